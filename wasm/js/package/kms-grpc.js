// A client of a KMS plugin on a Unix socket, for Node.

import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

import { DekkerError, invalidArgument } from "./errors.js";

/** 4 MiB: the limit of grpc-go, and so of kube-apiserver. No valid response has even 128 KiB. */
const MAX_MESSAGE = 4 << 20;

/** The only version of the KMS v1 API. */
const V1 = "v1beta1";

const OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE,
  "grpc.default_authority": "localhost",
  "grpc.enable_http_proxy": 0,
  // Retry often, so that a plugin that is starting does not cost a call its deadline. Trying a local socket is cheap.
  "grpc.initial_reconnect_backoff_ms": 5,
  "grpc.min_reconnect_backoff_ms": 5,
  "grpc.max_reconnect_backoff_ms": 200,
  // Do not share the connection, so that close() closes it even if another client uses the same socket.
  "grpc.use_local_subchannel_pool": 1,
};

const services = {};

/** Returns the constructor of the service, which is built from its .proto file on first use. */
function service(version) {
  services[version] ??= (() => {
    const [file, name] = version === "v1" ? ["v1beta1", "v1beta1"] : ["v2", "v2"];
    const path = fileURLToPath(new URL(`./kms/${file}.proto`, import.meta.url));
    const definition = protoLoader.loadSync(path, { defaults: true });
    return grpc.loadPackageDefinition(definition)[name].KeyManagementService;
  })();
  return services[version];
}

/** Returns the address to connect to, from the configuration's endpoint or the path that the engine parsed from it. */
function target({ socketPath, endpoint }) {
  const path = socketPath ?? /^unix:\/\/(\/.+)$/.exec(endpoint ?? "")?.[1];
  // Node 20 pads an abstract name to 108 bytes, which makes it a different name.
  if (path === undefined || path.startsWith("/@")) {
    throw invalidArgument(
      "the endpoint of a KMS plugin must be unix:///path; Node cannot connect to sockets in the abstract namespace",
    );
  }
  return `unix:${path}`;
}

export function kmsGrpc(provider) {
  const { version = "v2", timeoutMs } = provider;
  if (version !== "v1" && version !== "v2") throw invalidArgument("the version of a KMS plugin must be v1 or v2");
  const client = new (service(version))(target(provider), grpc.credentials.createInsecure(), OPTIONS);

  const call = (method, request, { signal } = {}) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      // The call waits for the socket to appear, as kube-apiserver's calls do.
      const metadata = new grpc.Metadata({ waitForReady: true });
      const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
      const abort = () => placed.cancel();
      const placed = client[method](request, metadata, options, (fault, answer) => {
        signal?.removeEventListener("abort", abort);
        if (fault) reject(fault);
        else resolve(answer);
      });
      signal?.addEventListener("abort", abort, { once: true });
    });

  const close = () => client.close();
  if (version === "v2") {
    return {
      status: (options) => call("status", {}, options),
      encrypt: ({ uid, plaintext }, options) => call("encrypt", { uid, plaintext }, options),
      decrypt: ({ uid, ciphertext, keyId, annotations }, options) =>
        call("decrypt", { uid, ciphertext, keyId, annotations }, options),
      close,
    };
  }

  let checked = false;
  const check = async (options) => {
    if (checked) return;
    const { version: answered } = await call("version", { version: V1 }, options);
    if (answered !== V1) {
      throw new DekkerError("KMS", `KMS v1 plugin answers version ${JSON.stringify(answered)}, not ${V1}`);
    }
    checked = true;
  };
  return {
    async encrypt({ plaintext }, options) {
      await check(options);
      const { cipher } = await call("encrypt", { version: V1, plain: plaintext }, options);
      return { ciphertext: cipher };
    },
    async decrypt({ ciphertext }, options) {
      await check(options);
      const { plain } = await call("decrypt", { version: V1, cipher: ciphertext }, options);
      return { plaintext: plain };
    },
    close,
  };
}
