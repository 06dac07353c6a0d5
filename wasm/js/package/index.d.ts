/// <reference lib="esnext.disposable" />

/**
 * Kubernetes' encryption at rest: encrypts and decrypts byte for byte as kube-apiserver does. This package never uses the network; it calls KMS
 * plugins through clients that the caller provides.
 *
 * Any code that runs in the same JavaScript realm can read the module's memory, including the keys.
 *
 * @module
 */

/** Where a value is stored. */
export interface Location {
  /** The resource, followed by its group if it has one: `secrets`, `deployments.apps`. Selects the providers for the value. */
  resource: string;
  /** The full storage key, such as `/registry/secrets/ns/name`. A string is encoded as UTF-8. The value is bound to this key. */
  key: string | Uint8Array;
}

/** The result of decrypting a value. */
export interface Decrypted {
  /** The plaintext. It is a secret: erase it (`plaintext.fill(0)`) when you no longer need it. */
  plaintext: Uint8Array;
  /** Whether the value should be rewritten: a write would now produce something else. */
  stale: boolean;
  /** The prefix of the provider that decrypted the value, such as `k8s:enc:kms:v2:my-kms:`; empty for identity. */
  transformerPrefix: string;
  /** `sha256:<hex>` of the key ID. Only for KMS v2. */
  keyIdHash?: string;
  /** The key's name and a `:`, which follow the prefix in the stored value. Only for aesgcm, aescbc and secretbox. */
  keyPrefix?: string;
  /** Whether a rule of the configuration covers the resource. If not, the value is stored as plaintext. */
  hasRule: boolean;
}

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
 * | `INTERNAL` | a cipher or the source of randomness failed, or a DEK has a length that cannot be used |
 * | `INVALID_CONFIG` | the configuration is not valid; see `findings` |
 * | `INVALID_ARGUMENT` | an argument is not valid, or a KMS provider has no client |
 * | `INVALID_VALUE` | the input to inspect is not a stored value |
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
  | "INTERNAL"
  | "INVALID_CONFIG"
  | "INVALID_ARGUMENT"
  | "INVALID_VALUE"
  | "RELOAD_REFUSED"
  | "NOT_INITIALIZED"
  | "WASM_UNAVAILABLE"
  | "TRAPPED"
  | "FREED";

/** An error of this package. Never contains a secret or a key ID. */
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

/** Options of a KMS client's call. */
export interface CallOptions {
  /** Aborts when the provider's timeout has passed or the provider is closed: a reload removed it, or the transformer was freed or failed. */
  signal: AbortSignal;
}

/** The state of a KMS v2 plugin. */
export interface StatusResponse {
  /** `v2` or `v2beta1`; both mean the same. */
  version: string;
  /** `ok`, or a description of the problem. */
  healthz: string;
  /** The ID of the key that the plugin encrypts with now: 1 to 1024 bytes. */
  keyId: string;
}

/** A KMS v2 Encrypt request. */
export interface EncryptRequest {
  /** Identifies the call in the logs of both sides. */
  uid: string;
  /** A DEK or seed. It is erased when the call has ended; copy it if you need it longer. */
  plaintext: Uint8Array;
}

/** A KMS v2 Encrypt response. */
export interface EncryptResponse {
  /** The encrypted DEK source: 1 to 1024 bytes. */
  ciphertext: Uint8Array;
  /** The ID of the key that encrypted it. */
  keyId: string;
  /** Stored with the value, unencrypted. The names are fully qualified domain names. */
  annotations?: Record<string, Uint8Array>;
}

/** A KMS v2 Decrypt request. It contains everything that the plugin's Encrypt returned. */
export interface DecryptRequest {
  /** Identifies the call in the logs of both sides. */
  uid: string;
  /** The encrypted DEK source. */
  ciphertext: Uint8Array;
  /** The ID of the key that encrypted it. */
  keyId: string;
  /** The annotations that were stored with it. */
  annotations: Record<string, Uint8Array>;
}

/** A Decrypt response of KMS v1 or v2. */
export interface DecryptResponse {
  /** A DEK or seed. It is erased after it has been read; return a copy if you need it longer. */
  plaintext: Uint8Array;
}

/**
 * A KMS v2 plugin.
 *
 * To report a failed call, reject with an error whose `code` is a gRPC status code or its name (`14` or `"UNAVAILABLE"`). Node's connection errors,
 * such as `ECONNREFUSED`, count as `UNAVAILABLE`, a `TimeoutError` counts as `DEADLINE_EXCEEDED`, and any other error as `UNKNOWN`. The error's
 * message appears in errors and logs.
 */
export interface KmsV2Client {
  status(options: CallOptions): Promise<StatusResponse>;
  encrypt(request: EncryptRequest, options: CallOptions): Promise<EncryptResponse>;
  decrypt(request: DecryptRequest, options: CallOptions): Promise<DecryptResponse>;
}

/** A KMS v1 plugin. Reports failed calls as {@link KmsV2Client} does. */
export interface KmsV1Client {
  /** Encrypts a DEK. `plaintext` is erased when the call has ended. */
  encrypt(request: { uid: string; plaintext: Uint8Array }, options: CallOptions): Promise<{ ciphertext: Uint8Array }>;
  decrypt(request: { uid: string; ciphertext: Uint8Array }, options: CallOptions): Promise<DecryptResponse>;
}

/** A KMS provider as the configuration describes it. */
export interface KmsProvider {
  /** Stays the same over reloads while the provider's name, version, endpoint and timeout do, and for KMS v1 also its cache size. */
  id: number;
  /** The name of the provider in the configuration. */
  name: string;
  /** The version of the plugin's API. */
  version: "v1" | "v2";
  /** The endpoint, as written in the configuration. */
  endpoint: string;
  /** The path of the plugin's Unix socket, if it has one. */
  socketPath?: string;
  /** The name of the plugin's socket in Linux's abstract namespace, if it has one. */
  abstractSocket?: string;
  /** The timeout of each call, in milliseconds. */
  timeoutMs: number;
}

/**
 * The clients of the KMS plugins. Either an object with the clients by provider name, or a function that creates a client for a provider.
 *
 * A client that the function created is closed with `close()`, if it has that method, when its provider is no longer in use. Clients given by name
 * are not closed.
 */
export type KmsClients =
  | Record<string, KmsV2Client | KmsV1Client>
  | ((provider: KmsProvider) => (KmsV2Client | KmsV1Client) & { close?(): void });

/** An event, for logs and metrics. Never contains a secret or a key ID. */
export type TransformerEvent =
  | {
      type: "log";
      level: "error" | "warn" | "info" | "debug";
      /** The name of the KMS provider that the line concerns, if any. */
      provider?: string;
      message: string;
    }
  | {
      type: "kmsCall";
      /** The name of the KMS provider. */
      provider: string;
      method: "status" | "encrypt" | "decrypt";
      /** 0 if the call succeeded. */
      grpcCode: number;
      milliseconds: number;
    }
  | {
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
  setTimeout(callback: () => void, milliseconds: number): unknown;
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
  /** The maximum number of decrypted DEKs to cache for each provider. The default is 100 000. */
  dekCacheCapacity?: number;
  /** The ID of this server. Metrics contain its hash. */
  apiserverId?: string;
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
  help: string;
  /**
   * In a histogram, the samples with a label `le` are cumulative buckets; the last bucket is `+Inf`. The sample without the label `le` is the sum.
   */
  kind: "counter" | "gauge" | "histogram";
  samples: { labels: Record<string, string>; value: number }[];
}

/** The state of a configuration. */
export interface Status {
  /** The current time, in RFC 3339 format like all times here. */
  time: string;
  /** `sha256:<hex>` of the configuration in use. */
  configHash: string;
  automaticReload: boolean;
  candidateConfigHash: string | null;
  lastReload: { time: string; configHash: string; error: string | null } | null;
  parkedOperations: number;
  kmsCallsInFlight: number;
  kmsProviders: {
    name: string;
    apiVersion: "v1" | "v2";
    endpoint: string;
    timeoutMilliseconds: number;
    inUse: boolean;
    healthy: boolean | null;
    writeDek: { keyIdHash: string; sourceType: string; ageSeconds: number; expiry: string; expired: boolean } | null;
    lastStatus: { time: string; error: string | null } | null;
    nextStatus: string | null;
    dekCacheSize: number;
  }[];
}

/** An encryption configuration in use. Polls its KMS plugins until it is freed; the polls do not keep the process alive. */
export class Transformer {
  private constructor();

  /**
   * Loads an EncryptionConfiguration in YAML or JSON. Operations that need a KMS plugin wait for its first answer.
   *
   * @throws {DekkerError} `INVALID_CONFIG` with all errors; `INVALID_ARGUMENT`, also if a KMS provider has no client; `WASM_UNAVAILABLE`
   */
  static load(config: string | Uint8Array, options?: LoadOptions): Promise<Transformer>;

  /**
   * Encrypts a value and returns the bytes to store. `plaintext` is read before this function returns its promise; you may change or erase it
   * afterwards.
   *
   * @throws {DekkerError} see {@link ErrorCode}
   */
  toStorage(at: Location, plaintext: Uint8Array, options?: OperationOptions): Promise<Uint8Array>;

  /**
   * Decrypts a stored value.
   *
   * @throws {DekkerError} see {@link ErrorCode}
   */
  fromStorage(at: Location, stored: Uint8Array, options?: OperationOptions): Promise<Decrypted>;

  /** Runs the KMS health checks. A good answer of a plugin is reused for 20 s and a bad one for 3 s; otherwise the plugin is called. */
  health(options?: OperationOptions): Promise<Check[]>;

  /** Returns the names of the health checks without running them. */
  checkNames(): string[];

  /**
   * Replaces the configuration. The new one is built beside the one in use and its KMS plugins are probed until they are healthy, for at most
   * max(10 s, twice the sum of their timeouts). Then it takes over in one step. A provider that has not changed keeps its DEK and its cache.
   *
   * @param options.kms clients for new providers
   * @throws {DekkerError} `INVALID_CONFIG`, `INVALID_ARGUMENT` or `RELOAD_REFUSED`; the old configuration then stays in use
   */
  reload(config: string | Uint8Array, options?: { kms?: KmsClients }): Promise<void>;

  /**
   * Returns a phrase for each kind of value that the configuration in use can decrypt and this one could not; empty if nothing is lost. A file that
   * is still being written may be valid but lack its last keys or rules, so call this before `reload` when you watch a file.
   *
   * @throws {DekkerError} `INVALID_CONFIG`
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

  /** Rejects all open operations with `FREED`, and erases all keys. */
  free(): void;

  /** Calls `free`, for `using` declarations. */
  [Symbol.dispose](): void;
}

/** A description of a stored value. Contains no secret and no key ID. */
export interface Inspection {
  provider: "identity" | "aesgcm" | "aescbc" | "secretbox" | "kms";
  /** Only for KMS. */
  apiVersion?: "v1" | "v2";
  /** Only for KMS. */
  providerName?: string;
  /** Only for local providers. */
  keyName?: string;
  /** `sha256:<hex>`. Only for KMS v2. */
  keyIdHash?: string;
  /** Only for KMS v2. */
  encryptedDEKSourceType?: "AES_GCM_KEY" | "HKDF_SHA256_XNONCE_AES_GCM_SEED";
  /** In bytes. Only for KMS. */
  encryptedDEKSourceSize?: number;
  /** Only for KMS v2. */
  annotations?: { name: string; size: number }[];
  /** The kind of data that the plaintext appears to be. Only for identity. */
  content?: string;
  /** The size of the stored value, in bytes. */
  size: number;
  /** The size of the plaintext, in bytes. For aescbc, whose padding hides the exact size, the largest possible size. */
  plaintextSize: number;
  /** The parts of the value from first to last byte, without gaps. */
  layout: { name: string; offset: number; length: number }[];
}

/** A stored value found in some input. Has an `error` and no description if the value is not what its prefix says. */
export interface FoundValue extends Partial<Inspection> {
  /** The storage key, if the input contains it. */
  key?: string;
  /** The encoding of the value in the input. */
  encoding: "raw" | "hex" | "base64" | "etcdctl";
  error?: string;
}

/**
 * Describes a stored value. Needs no key.
 *
 * @throws {DekkerError} `INVALID_VALUE`
 */
export function inspect(stored: Uint8Array): Inspection;

/**
 * Finds and describes the stored values in `input`: raw bytes, hex, base64, or the output of `etcdctl get -w json`. Returns one element for each
 * value found.
 *
 * @throws {DekkerError} `INVALID_VALUE`
 */
export function inspectInput(input: string | Uint8Array): FoundValue[];

/**
 * Decrypts a KMS v1 or v2 value with its DEK or seed, without a plugin.
 *
 * `key` is the value's storage key; `dek` is what the plugin's Decrypt returns. `stale` is `true` only for values that KMS v1 wrote before
 * Kubernetes 1.25; for all other values, only the plugin can determine whether they are stale.
 *
 * @throws {DekkerError} `NO_MATCHING_PREFIX`, `MALFORMED` or `DECRYPT_FAILED`; `INTERNAL` if no DEK has the length of `dek`
 */
export function openWithDek(stored: Uint8Array, key: string | Uint8Array, dek: Uint8Array): Decrypted;

/**
 * Encrypts a value with the DEK or seed of an existing KMS v2 value, `like`. `dek` must open `like`. The new value gets its provider, key ID,
 * encrypted DEK source and annotations, so that the same readers can decrypt both. The nonce is random, because the nonces already used with the
 * DEK are unknown.
 *
 * @throws {DekkerError} `NO_MATCHING_PREFIX`, `MALFORMED` or `DECRYPT_FAILED`; `INTERNAL` if no DEK has the length of `dek`
 */
export function sealWithDek(
  plaintext: Uint8Array,
  key: string | Uint8Array,
  like: { stored: Uint8Array; key: string | Uint8Array },
  dek: Uint8Array,
): Uint8Array;

/** Returns all errors and warnings for a configuration. Needs no key. */
export function checkConfig(config: string | Uint8Array, options?: { automaticReload?: boolean }): Finding[];

/**
 * Returns a configuration as YAML, with its defaults filled in and its secrets redacted.
 *
 * @throws {DekkerError} `INVALID_CONFIG`
 */
export function showConfig(config: string | Uint8Array): string;

/** `WebAssembly.Module`, if the environment has a type for it. */
type WebAssemblyModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } }
  ? Module
  : never;

/**
 * Loads the WebAssembly module. `Transformer.load` calls this itself; the plain functions need it first, except in Node, where importing this
 * package loads the module. Further calls do nothing.
 *
 * @param source in browsers: the module or where to fetch it, instead of `dekker_bg.wasm` beside this package's files
 * @throws {DekkerError} `WASM_UNAVAILABLE`
 */
export function init(source?: string | URL | Response | ArrayBuffer | Uint8Array | WebAssemblyModule): Promise<void>;
