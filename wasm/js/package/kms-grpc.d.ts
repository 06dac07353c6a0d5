import type { DekkerError } from "./errors.js";
import type { KmsProvider, KmsV1Client, KmsV2Client } from "./kms.js";

/** The plugin to connect to. A {@link KmsProvider} has all these fields. */
export interface KmsGrpcOptions {
  /** `unix:///path`, as in a configuration. Node cannot reach sockets in Linux's abstract namespace. */
  endpoint?: string;
  /** The path of the socket, instead of `endpoint`. */
  socketPath?: string;
  /** The version of the plugin's API. The default is `"v2"`. */
  version?: "v1" | "v2";
  /**
   * The timeout of each call, in milliseconds. The default is no timeout. A call ends 2 % earlier, so that its error, which names the cause, comes before
   * the engine's.
   */
  timeoutMs?: number;
}

/**
 * Creates a client of a KMS plugin on a Unix socket. Needs Node and the packages `@grpc/grpc-js` and `@grpc/proto-loader`.
 *
 * Pass the function itself to `Transformer.load` as `kms`: it then connects to each plugin in the configuration, at the plugin's endpoint, and
 * closes the connection when the provider is no longer in use.
 *
 * ```js no-run
 * import { Transformer } from "dekker";
 * import { kmsGrpc } from "dekker/kms-grpc";
 *
 * const transformer = await Transformer.load(config, { kms: kmsGrpc });
 * ```
 *
 * The client does not connect before the first call. A call waits for the socket to appear, until its deadline.
 *
 * A failed call rejects with the error of `@grpc/grpc-js`. A KMS v1 plugin must first return its version: if that fails, or if the version is not
 * `v1beta1`, the call rejects with a {@link DekkerError} `KMS` with kube-apiserver's text.
 */
export function kmsGrpc(options: KmsGrpcOptions & { version: "v1" }): KmsV1Client & { close(): void };
export function kmsGrpc(options: KmsGrpcOptions & { version?: "v2" }): KmsV2Client & { close(): void };
export function kmsGrpc(options: KmsGrpcOptions | KmsProvider): (KmsV1Client | KmsV2Client) & { close(): void };
