import type { KnownOfValue } from "./errors.js";
import type { Inspection, NameOptions } from "./inspection.js";

/**
 * The name of a form in which a value is held, such as `raw`, `hex`, `base64`, `etcdctl`, `etcdctl -w json`, `hexdump -C` or `database rows`.
 * docs/forms.md lists all of them. A later version may know more.
 */
export type Form = string;

/** A place in an input, and the forms that were found there. */
interface Found {
  /** The innermost form: `raw` for a value in base64. For a fault, the form that the input has or resembles; absent if it resembles no form. */
  form?: Form;
  /** The line, counted from 1. */
  line: number;
  /** The number of bytes before the place. In UTF-16 input, it counts the bytes of the same text in UTF-8. */
  offset: number;
}

/** A stored value that `readForms` found. */
export interface InputValue extends Found {
  type: "value";
  form: Form;
  /** The forms around it, from the outside in: `["base64"]`; `["hexdump -C"]` for `etcdctl get | hexdump -C`, whose `form` is `etcdctl`. */
  within: Form[];
  /** The storage key, if the input contains it. */
  key?: Uint8Array;
  /** The revision of the value (`mod_revision` of etcd, `id` of kine), if the input contains it. */
  revision?: number;
  /** What the value is, by its first bytes. `other` is not a value of Kubernetes, under a key outside of Kubernetes' prefixes. */
  content: "encrypted" | "protobuf" | "json" | "cbor" | "other";
  /** The stored bytes: those of the first of `readings`. */
  stored: Uint8Array;
  /** What is unusual about `stored`, for people: a line end that was removed, a value that is cut short. */
  notes: string[];
  /**
   * The bytes that the value may have, with their notes, the most probable first. There is only one, unless a tool may have added a line end to the
   * value. To decrypt it, try them in this order.
   */
  readings: { stored: Uint8Array; notes: string[] }[];
}

/** A place where `readForms` found no value. It contains no part of a value. */
export interface InputFault extends Found {
  type: "fault";
  /** The forms around it, from the outside in. */
  within: Form[];
  /** The storage key, if the input contains it. */
  key?: Uint8Array;
  /** What is wrong, for people, and which command gives a better input. */
  error: string;
  /** The command, with `<key>` for the storage key. Absent if there is none. */
  command?: string;
}

/**
 * A value that `inspectInput` found, or a place where it found none. If there is an `error`, the value is not what its prefix says, and the description
 * contains only what is known of it; or there is no value.
 */
export interface FoundValue extends Found, Partial<Inspection>, Partial<KnownOfValue> {
  /** The storage key, if the input contains it. Bytes that are not UTF-8 are replaced. */
  key?: string;
  /** The revision of the value, if the input contains it. */
  revision?: number;
  /** The forms around it, from the outside in. Absent if there are none. */
  within?: Form[];
  /** What is unusual about the value, for people. Absent if there is nothing. */
  notes?: string[];
  /** What is wrong, for people. */
  error?: string;
  /** A command whose output can be read instead, with `<key>` for the storage key. Only if there is no value. */
  command?: string;
}

/**
 * Finds and describes the stored values in `input`, in any form of docs/forms.md: the output of `etcdctl`, `jq`, `hexdump`, `xxd`, `od`, `psql` or
 * `sqlite3`, hex, base64, raw bytes. Needs no key. Returns one element for each value, and one for each place where a value could not be read. An
 * encrypted value is never described as plaintext.
 *
 * ```js
 * import { inspectInput } from "dekker";
 *
 * const base64 = btoa(`k8s:enc:secretbox:v1:key1:${"\xff".repeat(45)}`);
 * const [{ within, keyName, plaintextSize }] = inspectInput(base64);
 * console.log(within[0], keyName, plaintextSize); // prints: base64 key1 5
 * console.log(inspectInput("hello")[0].error); // prints: not a stored value of Kubernetes in a known form; use etcdctl get <key> -w json
 * ```
 *
 * @throws {DekkerError} `INVALID_ARGUMENT`; `NOT_INITIALIZED`; `WASM_UNAVAILABLE`
 */
export function inspectInput(input: string | Uint8Array, options?: NameOptions): FoundValue[];

/** The chunks of an input. The chunks may end anywhere, also within a value. */
type Source =
  | string
  | Uint8Array
  | Iterable<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  // A ReadableStream, in environments that have this type and in those that do not.
  | {
      getReader(): {
        read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
        cancel(): Promise<void>;
        releaseLock(): void;
      };
    };

/**
 * Reads the stored values in an input of any length, in any form of docs/forms.md. Only one value is in memory at a time. Loads the module that it needs.
 *
 * ```js
 * import { readForms, resourceOf } from "dekker";
 *
 * // Also of a file (`createReadStream(path)`), of `process.stdin`, or of a Blob (`blob.stream()`).
 * const chunks = ["/registry/deploy", "ments/ns/name\nk8s:enc:secretbox:v1:key1:????\n"];
 * for await (const item of readForms(chunks)) {
 *   if (item.type === "fault") console.error(item.line, item.error, item.command);
 *   else console.log(resourceOf(item.key).resource, item.stored.length); // prints: deployments.apps 30
 * }
 * ```
 *
 * @throws {DekkerError} `INVALID_ARGUMENT`; `WASM_UNAVAILABLE`; `TRAPPED`. An error of the source is passed on.
 */
export function readForms(
  source: Source,
  options?: NameOptions,
): AsyncGenerator<InputValue | InputFault, void, undefined>;

/**
 * Returns the resource of a storage key, as a configuration names it: `secrets`, `deployments.apps`, `widgets.example.com`. Returns `undefined` if
 * the key does not determine it. `certain` is `false` if the key is below another prefix than kube-apiserver's and OpenShift's.
 *
 * @throws {DekkerError} `INVALID_ARGUMENT`; `NOT_INITIALIZED`; `WASM_UNAVAILABLE`
 */
export function resourceOf(key: string | Uint8Array): { resource: string; certain: boolean } | undefined;
