// A KMS plugin over its unix socket, for Node.

import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

import { DekkerError, invalidArgument } from "./errors.js";

/** 4 MiB: grpc-go's limit, and so kube-apiserver's. No valid answer has 128 KiB. */
const MAX_MESSAGE = 4 << 20;

/** KMS v1's one version. */
const V1 = "v1beta1";

const OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE,
  "grpc.default_authority": "localhost",
  "grpc.enable_http_proxy": 0,
  // A plugin that starts must not cost a call its deadline, and a look at a local socket is cheap.
  "grpc.initial_reconnect_backoff_ms": 5,
  "grpc.min_reconnect_backoff_ms": 5,
  "grpc.max_reconnect_backoff_ms": 200,
  // Closed by close(), whoever else speaks to the same socket.
  "grpc.use_local_subchannel_pool": 1,
};

const services = {};

/** The service's constructor, made of its .proto file when it is first needed. */
function service(version) {
  services[version] ??= (() => {
    const [file, name] = version === "v1" ? ["v1beta1", "v1beta1"] : ["v2", "v2"];
    const path = fileURLToPath(new URL(`./kms/${file}.proto`, import.meta.url));
    const definition = protoLoader.loadSync(path, { defaults: true });
    return grpc.loadPackageDefinition(definition)[name].KeyManagementService;
  })();
  return services[version];
}

/** What to dial: a configuration's endpoint, or what the engine made of it. */
function target({ socketPath, endpoint }) {
  const path = socketPath ?? /^unix:\/\/(\/.+)$/.exec(endpoint ?? "")?.[1];
  // Node 20 fills an abstract name up to 108 bytes, and then it is another name.
  if (path === undefined || path.startsWith("/@")) {
    throw invalidArgument("the endpoint of a KMS plugin must be unix:///path; Node reaches no sockets in the abstract namespace");
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
      // A call waits for the socket to appear, as kube-apiserver's does.
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
