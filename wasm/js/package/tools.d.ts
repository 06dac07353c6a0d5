import type { Finding } from "./errors.js";
import type { Decrypted } from "./transformer.js";

/** A description of a stored value. Contains no secret and no key ID. */
export interface Inspection {
  /** The kind of provider that wrote the value; `identity` means that it is not encrypted. */
  provider: "identity" | "aesgcm" | "aescbc" | "secretbox" | "kms";
  /** The version of the KMS API. Only for KMS. */
  apiVersion?: "v1" | "v2";
  /** The name of the provider in the configuration that wrote the value. Only for KMS. */
  providerName?: string;
  /** The name of the key in the configuration, which may contain colons. Only for aesgcm, aescbc and secretbox. */
  keyName?: string;
  /** Present if the value allows other names, of which `keyName` is the most probable. Names with colons make that possible. */
  keyNameGuessed?: true;
  /** `sha256:<hex>` of the key ID. Only for KMS v2. */
  keyIdHash?: string;
  /** Whether the DEK source is a key or a seed. Only for KMS v2. */
  encryptedDEKSourceType?: "AES_GCM_KEY" | "HKDF_SHA256_XNONCE_AES_GCM_SEED";
  /** The size of the encrypted DEK source, in bytes. Only for KMS. */
  encryptedDEKSourceSize?: number;
  /** The plugin's annotations, with the size of each value in bytes. Only for KMS v2. */
  annotations?: { name: string; size: number }[];
  /** The kind of data that the plaintext appears to be. Only for identity. */
  content?: string;
  /** The size of the stored value, in bytes. */
  size: number;
  /** The size of the plaintext, in bytes. For aescbc, whose padding hides the exact size, the largest possible size. */
  plaintextSize: number;
  /** The parts of the value from first to last byte, without gaps; `offset` and `length` are in bytes. */
  layout: { name: string; offset: number; length: number }[];
}

/**
 * Describes a stored value of at most 64 MiB. Needs no key.
 *
 * ```js
 * import { inspect } from "dekker";
 *
 * const stored = new TextEncoder().encode(`k8s:enc:secretbox:v1:key1:${"?".repeat(45)}`);
 * const { provider, keyName, plaintextSize } = inspect(stored);
 * console.log(provider, keyName, plaintextSize); // prints: secretbox key1 5
 * ```
 *
 * `keyNames` are the names of the configuration's keys. They decide where the name in the value ends, because a name may contain colons: k3s and RKE2
 * name a rotated key `aescbckey-2026-03-09T09:46:54+01:00`. Without them, the most probable name is returned.
 *
 * @throws {DekkerError} `INVALID_VALUE` if it is empty or not what its prefix says, with what is `known` of it; `INVALID_ARGUMENT`; `NOT_INITIALIZED`
 */
export function inspect(stored: Uint8Array, options?: { keyNames?: Iterable<KeyName> }): Inspection;

/** The name of a key in a configuration. */
export interface KeyName {
  /** The provider that has the key. */
  provider: "aesgcm" | "aescbc" | "secretbox";
  name: string;
}

/**
 * Decrypts a KMS v1 or v2 value with its DEK or seed, without a plugin.
 *
 * `key` is the value's storage key; `dek` is what the plugin's Decrypt returns. The result of a KMS v2 value has no `state`, because only
 * the plugin knows the key that a write would use, and its `stale` is `false`. The state of a KMS v1 value depends only on its cipher.
 *
 * @throws {DekkerError} `NO_MATCHING_PREFIX`, `MALFORMED` or `DECRYPT_FAILED`; `INTERNAL` if no DEK has the length of `dek`; `INVALID_ARGUMENT`;
 *   `NOT_INITIALIZED`
 */
export function openWithDek(stored: Uint8Array, key: string | Uint8Array, dek: Uint8Array): Decrypted;

/**
 * Encrypts a value with the DEK or seed of an existing KMS v2 value, `like`. `dek` must open `like`. The new value gets its provider, key ID,
 * encrypted DEK source and annotations, so that the same readers can decrypt both. The nonce is random, because the nonces already used with the
 * DEK are unknown.
 *
 * @throws {DekkerError} `NO_MATCHING_PREFIX`, `MALFORMED` or `DECRYPT_FAILED`; `INTERNAL` if no DEK has the length of `dek`; `INVALID_ARGUMENT`;
 *   `NOT_INITIALIZED`
 */
export function sealWithDek(
  plaintext: Uint8Array,
  key: string | Uint8Array,
  like: { stored: Uint8Array; key: string | Uint8Array },
  dek: Uint8Array,
): Uint8Array;

/**
 * Returns all errors and warnings for a configuration, in YAML or JSON, of at most 64 MiB. `automaticReload` is the option of the same name of
 * `Transformer.load`; the default is `false`.
 *
 * ```js
 * import { checkConfig } from "dekker";
 *
 * const faults = checkConfig("kind: EncryptionConfiguration").filter(({ severity }) => severity === "fault");
 * console.log(faults.length > 0); // prints: true
 * ```
 *
 * @throws {DekkerError} `INVALID_ARGUMENT`; `NOT_INITIALIZED`
 */
export function checkConfig(config: string | Uint8Array, options?: { automaticReload?: boolean }): Finding[];

/**
 * Returns a configuration as YAML, with its defaults filled in and its secrets redacted.
 *
 * @throws {DekkerError} `INVALID_CONFIG` with all errors; `INVALID_ARGUMENT`; `NOT_INITIALIZED`
 */
export function showConfig(config: string | Uint8Array): string;
