/// <reference lib="esnext.disposable" />

import type { ErrorCode } from "./errors.js";
import type { KmsClients } from "./kms.js";

/** Where a value is stored. */
export interface Location {
  /** The resource, followed by its group if it has one: `secrets`, `deployments.apps`. Selects the providers for the value. */
  resource: string;
  /**
   * The full storage key, such as `/registry/secrets/ns/name`: at most 64 MiB. A string is encoded as UTF-8. Values of aesgcm and KMS are bound to
   * this key.
   */
  key: string | Uint8Array;
}

/** A value to encrypt. */
export interface PlainValue {
  /** Where it will be stored. */
  at: Location;
  /** At most 64 MiB. */
  plaintext: Uint8Array;
}

/** A stored value to decrypt. */
export interface StoredValue {
  /** Where it is stored. */
  at: Location;
  /** At most 64 MiB. */
  stored: Uint8Array;
}

/** The result of decrypting a value. */
export interface Decrypted {
  /** The plaintext. It is a secret: erase it (`plaintext.fill(0)`) when you no longer need it. */
  plaintext: Uint8Array;
  /**
   * Whether the value should be rewritten, as kube-apiserver means it: a write would now produce something else. `true` if `state` is `"other-source"`
   * or `"stale"`.
   */
  stale: boolean;
  /**
   * How the value differs from what a write would produce now: not at all (`"fresh"`), only in the kind of DEK source (`"other-source"`; the key is the
   * same, see {@link LoadOptions.dekSource}), or in the provider or the key (`"stale"`).
   *
   * Absent if that is unknown: the value is of KMS v2, and no plugin's Status has given the key ID that a write would use. Only `openWithDek` and a
   * transformer with the option `readOnly` return such values.
   */
  state?: "fresh" | "other-source" | "stale";
  /** The prefix of the provider that decrypted the value, such as `k8s:enc:kms:v2:my-kms:`; empty for identity. */
  transformerPrefix: string;
  /** `sha256:<hex>` of the key ID. Only for KMS v2. */
  keyIdHash?: string;
  /** The key's name and a `:`, which follow the prefix in the stored value. Only for aesgcm, aescbc and secretbox. */
  keyPrefix?: string;
  /** Whether a rule of the configuration covers the resource. If not, the value is stored as plaintext. */
  hasRule: boolean;
}

/** An event, for logs and metrics. Never contains a secret or a key ID. */
export type TransformerEvent =
  | {
      /** A line for the log. */
      type: "log";
      level: "error" | "warn" | "info" | "debug";
      /** The name of the KMS provider that the line concerns, if any. */
      provider?: string;
      /** The text, for people. It may change. */
      message: string;
    }
  | {
      /** A KMS call has ended. */
      type: "kmsCall";
      /** The name of the KMS provider. */
      provider: string;
      /** The method of the client that was called. */
      method: "status" | "encrypt" | "decrypt";
      /** The gRPC status code: 0 if the call succeeded. */
      grpcCode: number;
      /** How long the call took, by the transformer's clock. */
      milliseconds: number;
    }
  | {
      /** A reload has ended. */
      type: "reload";
      /** Why the reload was refused. Absent if the new configuration is in use. */
      error?: string;
    };

/** Time and timers. Replace it in tests. */
export interface Clock {
  /** Returns milliseconds since the Unix epoch: a whole number that never decreases. */
  now(): number;
  /** Returns whether the time of day has jumped ahead since the last call, as after a restore from a snapshot. Write DEKs are then replaced. */
  hasLeapt?(): boolean;
  /**
   * Calls `callback` once, after this time. Returns the timer. If the timer has a method `unref`, it is called for a timer that must not keep the
   * process alive.
   */
  setTimeout(callback: () => void, milliseconds: number): unknown;
  /** Cancels a timer of `setTimeout`. Does nothing if the timer has fired, or is `undefined`. */
  clearTimeout(timer: unknown): void;
}

/** Settings that are not part of the configuration. */
export interface LoadOptions {
  /** The clients of the KMS plugins. Not needed if the configuration has no KMS provider. */
  kms?: KmsClients;
  /**
   * Whether the configuration may be reloaded automatically. If so, health has a single check, `kms-providers`, and the names of KMS v1 providers
   * must be unique. The default is `false`. `reload` works in both cases.
   */
  automaticReload?: boolean;
  /**
   * The kind of DEK that encrypts new KMS v2 values: an AES key with counted nonces (`"counter"`, the default), or a seed from which a key is
   * derived for each write (`"hkdf-seed"`), as in kube-apiserver since 1.29. Values of both kinds can always be decrypted. Use `"hkdf-seed"` if
   * kube-apiserver writes to the same store.
   */
  dekSource?: "counter" | "hkdf-seed";
  /** Whether an unhealthy plugin can extend the life of its write DEK: never (`"strict"`, the default), or as in kube-apiserver (`"upstream"`). */
  coast?: "strict" | "upstream";
  /**
   * The maximum number of decrypted DEKs to cache for each KMS v2 provider: a whole number below 2^32. The default, also for 0, is 100 000, which
   * takes about 100 MB when the cache is full.
   */
  dekCacheCapacity?: number;
  /** The ID of this server. Metrics contain its hash. */
  apiserverId?: string;
  /**
   * Whether the transformer only decrypts. It then makes no DEK, never calls `encrypt` of a client, and rejects `toStorage` with `READ_ONLY`. It still
   * polls `status`, for `health` and for the `state` of values, but decrypts and reloads whatever the plugin answers. The health check of a KMS v1
   * provider, which has no `status`, reports the last `decrypt` and passes before the first one. The default is `false`.
   */
  readOnly?: boolean;
  /** Called for each event. An exception that it throws is reported as an uncaught error. */
  onEvent?: (event: TransformerEvent) => void;
  /** The source of time. The default is the system's clock. */
  clock?: Clock;
}

/** Options of an operation. */
export interface OperationOptions {
  /** When the signal aborts, the operation is cancelled and rejects with the signal's reason (by default an `AbortError`). */
  signal?: AbortSignal;
}

/** One named check, as kube-apiserver's `/healthz` shows it. */
export interface Check {
  /** `kms-providers`, or `kms-provider-0` and so on. */
  name: string;
  /** Why the check fails. Absent if it passes. */
  fault?: string;
}

/** A metric with all its values. */
export interface MetricFamily {
  /** The full name, as Prometheus shows it. */
  name: string;
  /** What the metric measures, in one line. */
  help: string;
  /**
   * The type of the metric. In a histogram, the samples with a label `le` are cumulative buckets; the last bucket is `+Inf`. The sample without the
   * label `le` is the sum.
   */
  kind: "counter" | "gauge" | "histogram";
  /** The values, one for each combination of labels. */
  samples: { labels: Record<string, string>; value: number }[];
}

/** The state of a configuration. */
export interface Status {
  /** The current time, in RFC 3339 format like all times here. */
  time: string;
  /** `sha256:<hex>` of the configuration in use. */
  configHash: string;
  /** The option of the same name. */
  automaticReload: boolean;
  /** The option of the same name. */
  readOnly: boolean;
  /** `sha256:<hex>` of a new configuration that is being probed; `null` if there is none. */
  candidateConfigHash: string | null;
  /** The last reload that ended, and why it was refused; `null` before the first one. */
  lastReload: { time: string; configHash: string; error: string | null } | null;
  /** The rules of the configuration in use, with the names of their providers and keys. */
  rules: RuleNames[];
  /** The number of operations that wait for a plugin: at most 4096 reads and writes, and 64 health checks. */
  parkedOperations: number;
  /** The number of KMS calls that have not ended. */
  kmsCallsInFlight: number;
  /** All KMS providers of the configuration in use, and of a new one that is being probed. */
  kmsProviders: ProviderStatus[];
}

/** The names in a rule of the configuration. */
interface RuleNames {
  /** The resources, with their wildcards. */
  resources: string[];
  /** The providers, of which the first encrypts. `apiVersion` and `name` are given for `kms`, `keys` for aesgcm, aescbc and secretbox. */
  providers: { provider: string; apiVersion?: "v1" | "v2"; name?: string; keys?: string[] }[];
}

/** The state of a KMS provider. */
interface ProviderStatus {
  /** The name of the provider in the configuration. */
  name: string;
  /** The version of the plugin's API. */
  apiVersion: "v1" | "v2";
  /** The endpoint, as written in the configuration. */
  endpoint: string;
  /** The timeout of each call. */
  timeoutMilliseconds: number;
  /** Whether the configuration in use has this provider. If not, only the new configuration has it. */
  inUse: boolean;
  /** Whether the plugin's last answer was good; `null` before the first one. */
  healthy: boolean | null;
  /**
   * The DEK that encrypts new values; `null` if there is none. KMS v1 never has one, because it uses a new DEK for each write, and neither has a
   * provider of a transformer with the option `readOnly`.
   *
   * `keyIdHash` is `sha256:<hex>` of the key ID, and `sourceType` is `AES_GCM_KEY` or `HKDF_SHA256_XNONCE_AES_GCM_SEED`. Writes fail after `expiry`,
   * which each good answer of the plugin extends.
   */
  writeDek: { keyIdHash: string; sourceType: string; ageSeconds: number; expiry: string; expired: boolean } | null;
  /** When the plugin last answered, and what was wrong with the answer; `null` before the first one. */
  lastStatus: { time: string; error: string | null } | null;
  /** When the plugin will be polled next; `null` if that is not planned. */
  nextStatus: string | null;
  /** The number of cached DEKs. */
  dekCacheSize: number;
}

/**
 * An encryption configuration in use. Polls its KMS plugins until it is freed; the polls do not keep the process alive.
 *
 * ```js
 * import { Transformer } from "dekker";
 *
 * const config = (...keys) =>
 *   JSON.stringify({
 *     apiVersion: "apiserver.config.k8s.io/v1",
 *     kind: "EncryptionConfiguration",
 *     resources: [{ resources: ["secrets"], providers: [{ secretbox: { keys } }] }],
 *   });
 * const key1 = { name: "key1", secret: btoa("a secret of 32 bytes, the first.") };
 * const key2 = { name: "key2", secret: btoa("a secret of 32 bytes, the other.") };
 *
 * const transformer = await Transformer.load(config(key1));
 * const at = { resource: "secrets", key: "/registry/secrets/ns/name" };
 * const stored = await transformer.toStorage(at, new TextEncoder().encode("hello"));
 * const read = await transformer.fromStorage(at, stored);
 * console.log(new TextDecoder().decode(read.plaintext), read.stale); // prints: hello false
 * read.plaintext.fill(0);
 *
 * // Rotate the key: new values are encrypted with the first one.
 * console.log(transformer.unreadableAfter(config(key2, key1))); // prints: []
 * await transformer.reload(config(key2, key1));
 * const { stale } = await transformer.fromStorage(at, stored);
 * console.log(stale); // prints: true
 * transformer.free();
 * ```
 *
 * Every function except `free` throws, or rejects with, `FREED` after `free`, and `TRAPPED` after the WebAssembly module has failed.
 */
export class Transformer {
  private constructor();

  /**
   * Loads an EncryptionConfiguration in YAML or JSON, of at most 64 MiB. Operations that need a KMS plugin wait for its first answer, unless the
   * option `readOnly` is set.
   *
   * @throws {DekkerError} `INVALID_CONFIG` with all errors; `INVALID_ARGUMENT`, also if a KMS provider has no client; `WASM_UNAVAILABLE`
   */
  static load(config: string | Uint8Array, options?: LoadOptions): Promise<Transformer>;

  /**
   * Encrypts a value of at most 64 MiB, and returns the bytes to store. `plaintext` is read before this function returns its promise; you may change
   * or erase it afterwards.
   *
   * @throws {DekkerError} `KMS`, `NOT_READY`, `NONCES_EXHAUSTED`, `OVERLOADED`, `READ_ONLY`, `INTERNAL` or `INVALID_ARGUMENT`; see {@link ErrorCode}
   */
  toStorage(at: Location, plaintext: Uint8Array, options?: OperationOptions): Promise<Uint8Array>;

  /**
   * Decrypts a stored value of at most 64 MiB. `stored` is read before this function returns its promise.
   *
   * @throws {DekkerError} `NO_MATCHING_PREFIX`, `ENCRYPTED_DATA`, `DECRYPT_FAILED`, `MALFORMED`, `KMS`, `NOT_READY`, `OVERLOADED`, `INTERNAL` or
   *   `INVALID_ARGUMENT`; see {@link ErrorCode}
   */
  fromStorage(at: Location, stored: Uint8Array, options?: OperationOptions): Promise<Decrypted>;

  /**
   * Encrypts many values at a lower cost than one call for each. Each value has the result of `toStorage`, in the form of `Promise.allSettled`: an
   * error of one value does not affect the others. The results have the order of the values.
   *
   * The values are encrypted in groups of at most 256 values and 4 MiB; a larger value is a group by itself. A group begins when the one before it has
   * all its results, and other work of the event loop runs between them. Do not change the values before the promise settles.
   *
   * If the signal aborts or the transformer is freed, the values without a result are rejected. The promise rejects only if nothing was encrypted:
   * with `INVALID_ARGUMENT`, whose message has the place (`values[3].at.resource must be a string`), or if the signal had aborted or the transformer
   * had been freed before.
   */
  toStorageMany(values: Iterable<PlainValue>, options?: OperationOptions): Promise<PromiseSettledResult<Uint8Array>[]>;

  /**
   * Encrypts the values of an async iterable, which may have any length. The next group is taken from it when the caller has taken all results of the
   * last one. A group ends early if the iterable has no value ready.
   *
   * The generator throws the iterable's error, `INVALID_ARGUMENT` for a wrong value, and the signal's reason, after the results of all groups that were
   * encrypted. If the caller stops early, the iterable is closed.
   */
  toStorageMany(
    values: AsyncIterable<PlainValue>,
    options?: OperationOptions,
  ): AsyncGenerator<PromiseSettledResult<Uint8Array>, void, undefined>;

  /** Decrypts many stored values. Each has the result of `fromStorage`; the rest is as in `toStorageMany`. */
  fromStorageMany(
    values: Iterable<StoredValue>,
    options?: OperationOptions,
  ): Promise<PromiseSettledResult<Decrypted>[]>;

  /** Decrypts the stored values of an async iterable. If the caller stops early, the plaintexts that it did not take are erased. */
  fromStorageMany(
    values: AsyncIterable<StoredValue>,
    options?: OperationOptions,
  ): AsyncGenerator<PromiseSettledResult<Decrypted>, void, undefined>;

  /**
   * Runs the KMS health checks. A good answer of a plugin is reused for 20 s and a bad one for 3 s; otherwise the plugin is called. A check that
   * fails is in the result, with its `fault`; it does not reject.
   */
  health(options?: OperationOptions): Promise<Check[]>;

  /** Returns the names of the health checks without running them. */
  checkNames(): string[];

  /**
   * Replaces the configuration. The new one is built beside the one in use and its KMS plugins are probed until they are healthy, for at most
   * max(10 s, twice the sum of their timeouts). Then it takes over in one step. A provider that has not changed keeps its DEK and its cache. With the
   * option `readOnly`, it takes over at once.
   *
   * @param options.kms clients for new providers
   * @throws {DekkerError} `INVALID_CONFIG`, `INVALID_ARGUMENT` or `RELOAD_REFUSED`; the old configuration then stays in use
   */
  reload(config: string | Uint8Array, options?: { kms?: KmsClients }): Promise<void>;

  /**
   * Returns a phrase for each kind of value that the configuration in use can decrypt and this one could not; empty if nothing is lost. A file that
   * is still being written may be valid but lack its last keys or rules, so call this before `reload` when you watch a file.
   *
   * @throws {DekkerError} `INVALID_CONFIG` with all errors; `INVALID_ARGUMENT`
   */
  unreadableAfter(config: string | Uint8Array): string[];

  /** Returns the state of the configuration and its providers. Contains no secrets and no key IDs. */
  status(): Status;

  /** Returns the metrics, under kube-apiserver's names. */
  metrics(): MetricFamily[];

  /**
   * Reports that the process or its machine was restored from a snapshot. The write DEK of each KMS v2 provider is then replaced before the next
   * write, which waits for it. While the plugin is unavailable, writes are refused with `NOT_READY`.
   *
   * The transformer calls this itself when the time of day has jumped ahead by one second or more, as it does after sleep, and after a restore once
   * the clock is set.
   */
  restored(): void;

  /** Rejects all open operations and reloads with `FREED`, aborts their KMS calls, and erases all keys. Further calls do nothing. */
  free(): void;

  /** Calls `free`, for `using` declarations. */
  [Symbol.dispose](): void;
}
