import type { Inspection } from "./inspection.js";

/**
 * The kind of an error. The codes are stable; messages are for people and may change.
 *
 * | code | meaning |
 * |---|---|
 * | `NO_MATCHING_PREFIX` | no provider's prefix matches the stored value |
 * | `ENCRYPTED_DATA` | the value is encrypted, but no rule of the configuration says how to decrypt its resource |
 * | `DECRYPT_FAILED` | wrong key, wrong location or altered bytes; these cases are deliberately not distinguished |
 * | `MALFORMED` | the stored bytes are not a well-formed value of their provider |
 * | `KMS` | the KMS plugin refused the call, failed or timed out; see `grpcCode` |
 * | `NOT_READY` | the write DEK has expired, or there is no write DEK yet |
 * | `NONCES_EXHAUSTED` | the write DEK has no nonces left; a rotation is in progress |
 * | `OVERLOADED` | too many operations are waiting for the KMS plugin |
 * | `READ_ONLY` | the transformer was loaded with `readOnly: true`, so it encrypts nothing |
 * | `INTERNAL` | a cipher or the source of randomness failed, or a DEK has a length that cannot be used |
 * | `INVALID_CONFIG` | the configuration is not valid; see `findings` |
 * | `INVALID_ARGUMENT` | an argument is not valid, or a KMS provider has no client |
 * | `INVALID_VALUE` | the bytes to inspect are not a stored value |
 * | `RELOAD_REFUSED` | the KMS providers of the new configuration did not become healthy, or a newer configuration replaced it; the old one stays in use |
 * | `NOT_INITIALIZED` | `init()` has not been awaited |
 * | `WASM_UNAVAILABLE` | the WebAssembly module cannot be loaded |
 * | `TRAPPED` | the WebAssembly module failed: load the configuration again |
 * | `FREED` | the transformer has been freed |
 */
export type ErrorCode =
  | "NO_MATCHING_PREFIX"
  | "ENCRYPTED_DATA"
  | "DECRYPT_FAILED"
  | "MALFORMED"
  | "KMS"
  | "NOT_READY"
  | "NONCES_EXHAUSTED"
  | "OVERLOADED"
  | "READ_ONLY"
  | "INTERNAL"
  | "INVALID_CONFIG"
  | "INVALID_ARGUMENT"
  | "INVALID_VALUE"
  | "RELOAD_REFUSED"
  | "NOT_INITIALIZED"
  | "WASM_UNAVAILABLE"
  | "TRAPPED"
  | "FREED";

/**
 * An error of this package. Never contains a secret or a key ID.
 *
 * ```js
 * import { DekkerError, Transformer } from "dekker";
 *
 * try {
 *   await Transformer.load("kind: EncryptionConfiguration");
 * } catch (fault) {
 *   console.log(fault instanceof DekkerError, fault.code, fault.isTransient); // prints: true INVALID_CONFIG false
 *   for (const { path, message } of fault.findings) console.error(path, message);
 * }
 * ```
 */
export class DekkerError extends Error {
  private constructor();
  readonly name: "DekkerError";
  /** The kind of the error. Stable. */
  readonly code: ErrorCode;
  /** Whether the same operation may succeed later without any other change. */
  readonly isTransient: boolean;
  /** The gRPC status code, if a plugin's answer caused the error. */
  readonly grpcCode?: number;
  /** All errors of the configuration. Only for `INVALID_CONFIG`. */
  readonly findings?: Finding[];
  /** What is known of a value that is cut short or damaged. Only for `INVALID_VALUE` from `inspect`. */
  readonly known?: KnownOfValue;
}

/** What is known of a value that is cut short or damaged. Contains no secret and no key ID. */
export interface KnownOfValue
  extends Partial<Pick<Inspection, "provider" | "apiVersion" | "providerName" | "keyName" | "keyNameGuessed">> {
  /** The size of what is there, in bytes. */
  size: number;
  /** How many bytes are missing at least, if the value is cut short. */
  missingAtLeast?: number;
}

/** One finding in a configuration file. Never contains a secret. */
export interface Finding {
  /** A fault prevents the configuration from being used. A warning points out a possible problem. */
  severity: "fault" | "warning";
  /** The field, such as `resources[0].providers[1].kms.endpoint`; empty if the finding concerns the whole file. */
  path: string;
  /** The message in kube-apiserver's wording, without the path. */
  message: string;
  /** The line, counted from 1. Absent if the finding has no position in the file. */
  line?: number;
  /** The column in characters, counted from 1. */
  column?: number;
}
