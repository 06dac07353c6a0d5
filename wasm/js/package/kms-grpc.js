// A client of a KMS plugin on a Unix socket, for Node.

import { connect } from "node:net";
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

/** Whether grpc-js noticed the deadline, and not the plugin. */
function isOurs(fault) {
  return fault.details.startsWith("Deadline exceeded after ");
}

/** Go's words for the errors of a connection to a socket. */
const CAUSES = {
  EACCES: "permission denied",
  EAGAIN: "resource temporarily unavailable",
  ECONNREFUSED: "connection refused",
  ELOOP: "too many levels of symbolic links",
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
};

/** Connects to a socket once. Returns the error, or `undefined` if there is none. */
function dial(path) {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("error", resolve);
    socket.once("connect", () => {
      socket.destroy();
      resolve(undefined);
    });
  });
}

/** Returns what kube-apiserver's client, grpc-go, reports when the deadline of a call has passed: picker_wrapper.go, `pick`. */
async function deadlineExceeded(client, path) {
  if (client.getChannel().getConnectivityState(false) === grpc.connectivityState.READY) {
    return "context deadline exceeded";
  }
  const fault = await dial(path);
  if (fault === undefined) return "context deadline exceeded while waiting for connections to become ready";
  const cause = CAUSES[fault.code] ?? fault.message;
  const dialing = `transport: Error while dialing: dial unix ${path}: connect: ${cause}`;
  return `latest balancer error: connection error: desc = ${JSON.stringify(dialing)}`;
}

/** Returns the text of a gRPC error as kube-apiserver's client reports it. */
function textOf({ code, details }) {
  const words = (grpc.status[code] ?? "UNKNOWN").replace("CANCELLED", "CANCELED").split("_");
  const name = words.map((word) => word[0] + word.slice(1).toLowerCase()).join("");
  return `rpc error: code = ${name} desc = ${details}`;
}

/**
 * Creates the error of a KMS v1 plugin whose version is unknown or not supported. As upstream's, it is not a gRPC status: grpc_service.go,
 * `checkAPIVersion`.
 */
function versionError(message, more) {
  return new DekkerError("KMS", message, more);
}

/** Returns the path to connect to, from the configuration's endpoint or the path that the engine parsed from it. */
function target({ socketPath, endpoint }) {
  const path = socketPath ?? /^unix:\/\/(\/.+)$/.exec(endpoint ?? "")?.[1];
  // Node 20 pads an abstract name to 108 bytes, which makes it a different name.
  if (path === undefined || path.startsWith("/@")) {
    throw invalidArgument(
      "the endpoint of a KMS plugin must be unix:///path; Node cannot connect to sockets in the abstract namespace",
    );
  }
  return path;
}

export function kmsGrpc(provider) {
  const { version = "v2", timeoutMs } = provider;
  if (version !== "v1" && version !== "v2") throw invalidArgument("the version of a KMS plugin must be v1 or v2");
  const path = target(provider);
  const client = new (service(version))(`unix:${path}`, grpc.credentials.createInsecure(), OPTIONS);

  const call = (method, request, { signal } = {}) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      // The call waits for the socket to appear, as kube-apiserver's calls do.
      const metadata = new grpc.Metadata({ waitForReady: true });
      // 2 % earlier than the driver's own deadline, because the driver does not know the cause.
      const options = timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs - timeoutMs / 50 };
      const abort = () => placed.cancel();
      const placed = client[method](request, metadata, options, async (fault, answer) => {
        if (fault?.code === grpc.status.DEADLINE_EXCEEDED && isOurs(fault)) {
          fault.details = await deadlineExceeded(client, path);
          fault.message = `${fault.code} DEADLINE_EXCEEDED: ${fault.details}`;
        }
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
    const { version: answered } = await call("version", { version: V1 }, options).catch((fault) => {
      // The caller has ended the call.
      if (options?.signal?.aborted) throw fault;
      const message = `failed get version from remote KMS provider: ${textOf(fault)}`;
      throw versionError(message, { grpcCode: fault.code, cause: fault });
    });
    if (answered !== V1) {
      throw versionError(`KMS provider api version ${answered} is not supported, only ${V1} is supported now`);
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
