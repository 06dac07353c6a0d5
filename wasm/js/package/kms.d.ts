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
  /** The ID of the key that encrypted it: 1 to 1024 bytes. */
  keyId: string;
  /** Stored with the value, unencrypted. The names are fully qualified domain names. Names and values may have at most 32 KiB in all. */
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
 * message appears in errors and logs, shortened to at most 4096 characters.
 *
 * An answer that lacks a field, or has one longer than 1 MiB, counts as an error with the code `INTERNAL`.
 *
 * ```js
 * import { Transformer } from "dekker";
 *
 * // A stand-in for a plugin, which keeps DEKs instead of encrypting them.
 * const deks = new Map();
 * const client = {
 *   async status() {
 *     return { version: "v2", healthz: "ok", keyId: "key-1" };
 *   },
 *   async encrypt({ uid, plaintext }) {
 *     deks.set(uid, plaintext.slice()); // A copy, because the request's DEK is erased.
 *     return { ciphertext: new TextEncoder().encode(uid), keyId: "key-1" };
 *   },
 *   async decrypt({ ciphertext }) {
 *     return { plaintext: deks.get(new TextDecoder().decode(ciphertext)).slice() };
 *   },
 * };
 * const config = `
 * apiVersion: apiserver.config.k8s.io/v1
 * kind: EncryptionConfiguration
 * resources:
 * - resources: [secrets]
 *   providers:
 *   - kms: { apiVersion: v2, name: my-kms, endpoint: "unix:///run/my-kms.sock" }
 * `;
 * const transformer = await Transformer.load(config, { kms: { "my-kms": client } });
 * const at = { resource: "secrets", key: "/registry/secrets/ns/name" };
 * const stored = await transformer.toStorage(at, new TextEncoder().encode("hello"));
 * const { plaintext, transformerPrefix } = await transformer.fromStorage(at, stored);
 * console.log(new TextDecoder().decode(plaintext), transformerPrefix); // prints: hello k8s:enc:kms:v2:my-kms:
 * transformer.free();
 * ```
 */
export interface KmsV2Client {
  /** Returns the plugin's state. It is called every 60 s, every 10 s while the plugin is not healthy, and for health checks. */
  status(options: CallOptions): Promise<StatusResponse>;
  /** Encrypts a DEK or seed. */
  encrypt(request: EncryptRequest, options: CallOptions): Promise<EncryptResponse>;
  /** Decrypts a DEK or seed, which this plugin or an earlier one with the same keys encrypted. */
  decrypt(request: DecryptRequest, options: CallOptions): Promise<DecryptResponse>;
}

/** A KMS v1 plugin. Reports failed calls as {@link KmsV2Client} does. */
export interface KmsV1Client {
  /** Encrypts a DEK. `plaintext` is erased when the call has ended. `ciphertext` may have 1 to 65535 bytes. */
  encrypt(request: { uid: string; plaintext: Uint8Array }, options: CallOptions): Promise<{ ciphertext: Uint8Array }>;
  /** Decrypts a DEK. */
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
