import type { KmsProvider, KmsV1Client, KmsV2Client } from "./index.js";

/** Which plugin to speak to, and how. What the engine says of a provider ({@link KmsProvider}) is enough. */
export interface KmsGrpcOptions {
  /** `unix:///path`, as a configuration gives it. Sockets in Linux's abstract namespace are out of Node's reach. */
  endpoint?: string;
  /** The socket's path, instead of `endpoint`. */
  socketPath?: string;
  /** The plugin's API; `"v2"` unless given. */
  version?: "v1" | "v2";
  /** The deadline of each call, in milliseconds; none unless given. */
  timeoutMs?: number;
}

/**
 * A client of a KMS plugin over its unix socket. Needs the packages `@grpc/grpc-js` and `@grpc/proto-loader`, and Node.
 *
 * The function itself is what `Transformer.load` takes as `kms`: it then speaks to each plugin that the configuration names, at the endpoint
 * that stands there, and closes the connection when the provider is gone.
 *
 * ```js
 * const transformer = await Transformer.load(config, { kms: kmsGrpc });
 * ```
 *
 * Nothing is connected before the first call. A call waits for the socket to appear, until its deadline.
 */
export function kmsGrpc(options: KmsGrpcOptions & { version: "v1" }): KmsV1Client & { close(): void };
export function kmsGrpc(options: KmsGrpcOptions & { version?: "v2" }): KmsV2Client & { close(): void };
export function kmsGrpc(options: KmsGrpcOptions | KmsProvider): (KmsV1Client | KmsV2Client) & { close(): void };
