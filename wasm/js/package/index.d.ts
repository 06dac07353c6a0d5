/// <reference lib="esnext.disposable" />

/**
 * Kubernetes' encryption at rest: reads and writes byte for byte what kube-apiserver stores. Nothing here touches the network; KMS plugins
 * are reached through clients that the caller gives.
 *
 * Whoever can run JavaScript in the same realm can read the module's memory, keys included.
 *
 * @module
 */

/** Where a value is stored. */
export interface Location {
  /** The resource, then its group: `secrets`, `deployments.apps`. Decides which providers serve the value. */
  resource: string;
  /** The full storage key, such as `/registry/secrets/ns/name`; text stands for its UTF-8 bytes. The value is bound to it. */
  key: string | Uint8Array;
}

/** What a read gives. */
export interface Decrypted {
  /** A secret: yours to erase (`plaintext.fill(0)`). */
  plaintext: Uint8Array;
  /** The value should be rewritten: it is not what a write would produce now. */
  stale: boolean;
  /** The prefix of the provider that read it, such as `k8s:enc:kms:v2:my-kms:`; empty for identity. */
  transformerPrefix: string;
  /** `sha256:<hex>` of the key ID; KMS v2 only. */
  keyIdHash?: string;
  /** What follows the prefix for the key that read it: the key's name and `:`; aesgcm, aescbc and secretbox only. */
  keyPrefix?: string;
  /** A rule of the configuration covers the resource; without one it is stored as plaintext. */
  hasRule: boolean;
}

/**
 * What went wrong. These words are stable; messages are for people and may change.
 *
 * | code | meaning |
 * |---|---|
 * | `NO_MATCHING_PREFIX` | no provider's prefix matches the stored value |
 * | `ENCRYPTED_DATA` | the value is encrypted, and no rule says how its resource is read |
 * | `DECRYPT_FAILED` | wrong key, wrong location or altered bytes: deliberately not told apart |
 * | `MALFORMED` | the stored bytes are not a well-formed value of their provider |
 * | `KMS` | the KMS plugin refused, failed or ran out of time; see `grpcCode` |
 * | `NOT_READY` | the write DEK has expired, or there is none yet |
 * | `NONCES_EXHAUSTED` | the write DEK's nonces are used up; a rotation is under way |
 * | `OVERLOADED` | too many operations wait for the KMS plugin |
 * | `INTERNAL` | a cipher or the source of randomness failed |
 * | `INVALID_CONFIG` | the configuration has faults; see `findings` |
 * | `INVALID_ARGUMENT` | an argument is not what it must be, or a KMS provider has no client |
 * | `INVALID_VALUE` | what was to be inspected is not a stored value |
 * | `RELOAD_REFUSED` | the KMS providers of the new configuration did not become healthy, or a newer one took its place; the old one serves on |
 * | `NOT_INITIALIZED` | `init()` has not been awaited |
 * | `WASM_UNAVAILABLE` | the WebAssembly module cannot be loaded |
 * | `TRAPPED` | the WebAssembly module failed: load the configuration again |
 * | `FREED` | the transformer was freed |
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

/** Every fault of this package. Never holds a secret or a key ID. */
export class DekkerError extends Error {
  private constructor();
  readonly name: "DekkerError";
  /** What went wrong; stable. */
  readonly code: ErrorCode;
  /** Whether the same operation may pass later, with nothing changed but time. */
  readonly isTransient: boolean;
  /** The gRPC status code, where a plugin's answer caused it. */
  readonly grpcCode?: number;
  /** With `INVALID_CONFIG`, every fault. */
  readonly findings?: Finding[];
}

/** One finding in a configuration file. Never holds a secret. */
export interface Finding {
  /** A fault stops the configuration from being used; of a warning a person may want to know. */
  severity: "fault" | "warning";
  /** `resources[0].providers[1].kms.endpoint`; empty where it concerns the file as a whole. */
  path: string;
  /** In kube-apiserver's words, without the path. */
  message: string;
  /** From 1; not there where the finding has no place in the file. */
  line?: number;
  /** From 1, in characters. */
  column?: number;
}

/** How a call of a KMS client may be given up. */
export interface CallOptions {
  /** Aborts when the provider's timeout has passed, or nobody needs the answer any more. */
  signal: AbortSignal;
}

/** A KMS v2 plugin's state. */
export interface StatusResponse {
  /** `v2`, or `v2beta1`, which means the same. */
  version: string;
  /** `ok`, or what is wrong. */
  healthz: string;
  /** The key ID that encrypts now: 1 to 1024 bytes. */
  keyId: string;
}

/** What KMS v2 is asked to encrypt. */
export interface EncryptRequest {
  /** Names the call in both sides' logs. */
  uid: string;
  /** A DEK or seed. Erased when the call has ended: copy it if you must keep it. */
  plaintext: Uint8Array;
}

/** What KMS v2 encrypted. */
export interface EncryptResponse {
  /** The encrypted DEK source: 1 to 1024 bytes. */
  ciphertext: Uint8Array;
  /** The key ID that encrypted it. */
  keyId: string;
  /** Stored with the value, in the clear; keys are fully qualified domain names. */
  annotations?: Record<string, Uint8Array>;
}

/** What KMS v2 is asked to decrypt: everything that its Encrypt answered. */
export interface DecryptRequest {
  /** Names the call in both sides' logs. */
  uid: string;
  /** The encrypted DEK source. */
  ciphertext: Uint8Array;
  /** The key ID that encrypted it. */
  keyId: string;
  /** What was stored with it. */
  annotations: Record<string, Uint8Array>;
}

/** What a KMS decrypted. */
export interface DecryptResponse {
  /** A DEK or seed. Erased once it has been read: answer with a copy if you keep it. */
  plaintext: Uint8Array;
}

/**
 * A KMS v2 plugin. A rejection's `code` tells how the call failed, as a gRPC status code or its name (`14` or `"UNAVAILABLE"`); one without
 * counts as `UNKNOWN`. Its message goes into faults and logs.
 */
export interface KmsV2Client {
  status(options: CallOptions): Promise<StatusResponse>;
  encrypt(request: EncryptRequest, options: CallOptions): Promise<EncryptResponse>;
  decrypt(request: DecryptRequest, options: CallOptions): Promise<DecryptResponse>;
}

/** A KMS v1 plugin. Rejections as for {@link KmsV2Client}. */
export interface KmsV1Client {
  /** `plaintext` is a DEK, erased when the call has ended. */
  encrypt(request: { uid: string; plaintext: Uint8Array }, options: CallOptions): Promise<{ ciphertext: Uint8Array }>;
  decrypt(request: { uid: string; ciphertext: Uint8Array }, options: CallOptions): Promise<DecryptResponse>;
}

/** A KMS provider as the configuration describes it. */
export interface KmsProvider {
  /** Stable over reloads while name, version, endpoint and timeout stay the same. */
  id: number;
  /** Its name in the configuration. */
  name: string;
  /** Its API. */
  version: "v1" | "v2";
  /** The endpoint as the configuration gives it. */
  endpoint: string;
  /** The path of its unix socket, if it has one. */
  socketPath?: string;
  /** The name of its socket in Linux's abstract namespace, if it has one. */
  abstractSocket?: string;
  /** The deadline of each call, in milliseconds. */
  timeoutMs: number;
}

/**
 * The KMS plugins, by the providers' names; or a function that makes a client for each provider, whose `close()`, if it has one, is called
 * when nothing uses the provider any more. Clients given by name are yours to close.
 */
export type KmsClients =
  | Record<string, KmsV2Client | KmsV1Client>
  | ((provider: KmsProvider) => (KmsV2Client | KmsV1Client) & { close?(): void });

/** Something that happened, for logs and metrics. Never holds a secret or a key ID. */
export type TransformerEvent =
  | {
      type: "log";
      level: "error" | "warn" | "info" | "debug";
      /** The KMS provider that it concerns. */
      provider?: string;
      message: string;
    }
  | {
      type: "kmsCall";
      /** The KMS provider's name. */
      provider: string;
      method: "status" | "encrypt" | "decrypt";
      /** 0 for a call that went well. */
      grpcCode: number;
      milliseconds: number;
    }
  | {
      type: "reload";
      /** Why it was refused; not there when the new configuration is in use. */
      error?: string;
    };

/** Time and timers, for tests. */
export interface Clock {
  /** Milliseconds since the Unix epoch, a whole number that never goes back. */
  now(): number;
  /** Whether the time of day has leapt ahead since this was last asked, as after a restored snapshot: write DEKs are then replaced. */
  hasLeapt?(): boolean;
  setTimeout(callback: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** What does not stand in the configuration. */
export interface LoadOptions {
  /** The KMS plugins; not needed for a configuration without KMS. */
  kms?: KmsClients;
  /**
   * The configuration may be reloaded: health collapses to one check, `kms-providers`, and names of KMS v1 providers must be unique. Off
   * unless given, and `reload` works either way.
   */
  automaticReload?: boolean;
  /**
   * What new KMS v2 values are sealed with: a key whose nonces count up (`"counter"`, unless given), or a seed that gives a key for each
   * write (`"hkdf-seed"`), as kube-apiserver does since 1.29. Both are always read; choose `"hkdf-seed"` where both write to one store.
   */
  dekSource?: "counter" | "hkdf-seed";
  /** Whether an unhealthy plugin's answer may extend the life of the DEK in use: never (`"strict"`, unless given), or as kube-apiserver does. */
  coast?: "strict" | "upstream";
  /** Most decrypted DEKs kept per provider; 100 000 unless given. */
  dekCacheCapacity?: number;
  /** Names this server in metrics, hashed. */
  apiserverId?: string;
  /** Told of everything that happens. What it throws is reported as an error that nobody caught. */
  onEvent?: (event: TransformerEvent) => void;
  /** The system's, unless given. */
  clock?: Clock;
}

/** How an operation may be given up. */
export interface OperationOptions {
  /** When it aborts, the operation rejects with its reason (an `AbortError` unless given) and leaves nothing behind. */
  signal?: AbortSignal;
}

/** One named check, as kube-apiserver's `/healthz` shows it. */
export interface Check {
  /** `kms-providers`, or `kms-provider-0` and so on. */
  name: string;
  /** Not there when the check passes. */
  fault?: string;
}

/** A metric and all its values. */
export interface MetricFamily {
  /** The full name, as Prometheus shows it. */
  name: string;
  help: string;
  /** A histogram's samples with a label `le` are its cumulative buckets, the last of which is `+Inf`; the one without it is the sum. */
  kind: "counter" | "gauge" | "histogram";
  samples: { labels: Record<string, string>; value: number }[];
}

/** A configuration's state. */
export interface Status {
  /** RFC 3339, as are all times here. */
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

/** An encryption configuration at work. It polls its KMS plugins until it is freed; the polls keep no process alive. */
export class Transformer {
  private constructor();

  /**
   * Reads an EncryptionConfiguration, as YAML or JSON, and sets it to work. Operations that need a KMS plugin wait for its first answer.
   *
   * @throws {DekkerError} `INVALID_CONFIG` with every fault; `INVALID_ARGUMENT` when a KMS provider has no client
   */
  static load(config: string | Uint8Array, options?: LoadOptions): Promise<Transformer>;

  /**
   * Encrypts a value: the bytes to store. `plaintext` is read before this returns; it stays yours.
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

  /** The KMS checks. A good answer of a plugin is used again for 20 s, a bad one for 3 s; otherwise the plugin is asked. */
  health(options?: OperationOptions): Promise<Check[]>;

  /** The names of the checks, without running them. */
  checkNames(): string[];

  /**
   * Puts a changed configuration to work: it is built beside the one in use, its KMS plugins are probed until they are healthy, for at most
   * max(10 s, twice the sum of their timeouts), then it takes over in one step. A provider that did not change keeps its DEK and its cache.
   *
   * @param options.kms clients for providers that are new
   * @throws {DekkerError} `INVALID_CONFIG`, `INVALID_ARGUMENT`, or `RELOAD_REFUSED`: the configuration in use serves on
   */
  reload(config: string | Uint8Array, options?: { kms?: KmsClients }): Promise<void>;

  /**
   * What the configuration in use reads and this one would not, a phrase each; empty when nothing is lost. A file that is still being written
   * may be valid, with its last keys or rules missing: whoever watches a file does well to ask before `reload`.
   *
   * @throws {DekkerError} `INVALID_CONFIG`
   */
  unreadableAfter(config: string | Uint8Array): string[];

  /** The state of the configuration and its providers. No secrets, no key IDs. */
  status(): Status;

  /** What has been counted, under kube-apiserver's names. */
  metrics(): MetricFamily[];

  /**
   * Says that the process or its machine was restored from a snapshot. The DEK of each KMS v2 provider is replaced before the next write, which
   * waits for it; while the plugin is down, writes are refused with `NOT_READY`. Called by itself when the time of day has leapt ahead by a
   * second and more, as it does after a restore once the clock is set, and after sleep.
   */
  restored(): void;

  /** Ends everything that is open with `FREED`, and erases every key. */
  free(): void;

  /** The same, for `using`. */
  [Symbol.dispose](): void;
}

/** What a stored value is. Holds no secret and no key ID. */
export interface Inspection {
  provider: "identity" | "aesgcm" | "aescbc" | "secretbox" | "kms";
  /** KMS only. */
  apiVersion?: "v1" | "v2";
  /** KMS only. */
  providerName?: string;
  /** Local providers only. */
  keyName?: string;
  /** `sha256:<hex>`; KMS v2 only. */
  keyIdHash?: string;
  /** KMS v2 only. */
  encryptedDEKSourceType?: "AES_GCM_KEY" | "HKDF_SHA256_XNONCE_AES_GCM_SEED";
  /** In bytes; KMS only. */
  encryptedDEKSourceSize?: number;
  /** KMS v2 only. */
  annotations?: { name: string; size: number }[];
  /** What the plaintext looks like; identity only. */
  content?: string;
  /** Of the stored value, in bytes. */
  size: number;
  /** In bytes; of aescbc, whose padding hides it, the longest it can be. */
  plaintextSize: number;
  /** What stands where, without gaps. */
  layout: { name: string; offset: number; length: number }[];
}

/** A value that was found in what a person has. One that is not what its prefix says has an `error` instead of an inspection. */
export interface FoundValue extends Partial<Inspection> {
  /** Its storage key, where the input names it. */
  key?: string;
  /** How the input held it. */
  encoding: "raw" | "hex" | "base64" | "etcdctl";
  error?: string;
}

/**
 * What a stored value is; no key is needed.
 *
 * @throws {DekkerError} `INVALID_VALUE`
 */
export function inspect(stored: Uint8Array): Inspection;

/**
 * The same for a value as people have it: raw bytes, hex, base64, or what `etcdctl get -w json` prints. One element for each value found.
 *
 * @throws {DekkerError} `INVALID_VALUE`
 */
export function inspectInput(input: string | Uint8Array): FoundValue[];

/**
 * Decrypts a value of KMS v1 or v2 with its DEK or seed at hand, without a plugin.
 *
 * `key` is the value's storage key; `dek` is what the plugin's Decrypt gives. `stale` tells only of what KMS v1 wrote before Kubernetes 1.25:
 * of the rest only a plugin knows.
 *
 * @throws {DekkerError} `NO_MATCHING_PREFIX`, `MALFORMED`, `DECRYPT_FAILED`
 */
export function openWithDek(stored: Uint8Array, key: string | Uint8Array, dek: Uint8Array): Decrypted;

/**
 * Encrypts a value with the DEK or seed of another one of KMS v2, which is opened first: the new value gets its provider, key ID, encrypted DEK
 * source and annotations, so that whoever reads the one reads the other. The nonce is random, for nobody knows which the DEK has seen.
 *
 * @throws {DekkerError} `NO_MATCHING_PREFIX`, `MALFORMED`, `DECRYPT_FAILED`
 */
export function sealWithDek(
  plaintext: Uint8Array,
  key: string | Uint8Array,
  like: { stored: Uint8Array; key: string | Uint8Array },
  dek: Uint8Array,
): Uint8Array;

/** Every fault of a configuration, and what a person may want to know of it; no key is needed. */
export function checkConfig(config: string | Uint8Array, options?: { automaticReload?: boolean }): Finding[];

/**
 * A configuration with its defaults filled in and its secrets redacted, as YAML.
 *
 * @throws {DekkerError} `INVALID_CONFIG`
 */
export function showConfig(config: string | Uint8Array): string;

/** `WebAssembly.Module`, where the surroundings have a type for it. */
type WebAssemblyModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } } ? Module : never;

/**
 * Loads the WebAssembly module. `Transformer.load` does so by itself; the plain functions need it first, except in Node, where the module is
 * there when this package has been imported. Calling it again does nothing.
 *
 * @param source in browsers: where the module is, or the module itself, instead of `dekker_bg.wasm` beside this package's files
 * @throws {DekkerError} `WASM_UNAVAILABLE`
 */
export function init(source?: string | URL | Response | ArrayBuffer | Uint8Array | WebAssemblyModule): Promise<void>;
