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
 * @throws {DekkerError} `INVALID_VALUE` if it is empty or not what its prefix says, with what is `known` of it; `INVALID_ARGUMENT`; `NOT_INITIALIZED`;
 *   `WASM_UNAVAILABLE`
 */
export function inspect(stored: Uint8Array, options?: NameOptions): Inspection;

/**
 * Names of a configuration. They decide where the name in a value ends, because a name may contain colons: k3s and RKE2 name a rotated key
 * `aescbckey-2026-03-09T09:46:54+01:00`. Without them, the most probable name is returned.
 */
export interface NameOptions {
  /** The names of the configuration's keys. */
  keyNames?: Iterable<KeyName>;
  /** The prefixes of the configuration's values, as `valuePrefixes` of `dekker` returns them. They include those of KMS providers. */
  prefixes?: Iterable<string>;
}

/** The name of a key in a configuration. */
export interface KeyName {
  /** The provider that has the key. */
  provider: "aesgcm" | "aescbc" | "secretbox";
  name: string;
}
