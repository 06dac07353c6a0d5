import type { Finding } from "./errors.js";
import type { Decrypted } from "./transformer.js";

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

/**
 * Returns the prefixes of the values of all keys and KMS providers in a configuration, such as `k8s:enc:aescbc:v1:key1:`. They are not secret. As
 * `prefixes` of `inspect`, `inspectInput` and `readForms`, also of `dekker/inspect`, they decide where the name in a value ends.
 *
 * ```js
 * import { inspect, valuePrefixes } from "dekker";
 *
 * const keys = [{ name: "a:bc", secret: btoa("0123456789abcdef") }];
 * const config = {
 *   apiVersion: "apiserver.config.k8s.io/v1",
 *   kind: "EncryptionConfiguration",
 *   resources: [{ resources: ["secrets"], providers: [{ aesgcm: { keys } }] }],
 * };
 * const prefixes = valuePrefixes(JSON.stringify(config));
 * console.log(prefixes[0]); // prints: k8s:enc:aesgcm:v1:a:bc:
 * const stored = new TextEncoder().encode(`${prefixes[0]}de:${"?".repeat(28)}`);
 * console.log(inspect(stored).keyName, inspect(stored, { prefixes }).keyName); // prints: a:bc:de a:bc
 * ```
 *
 * @throws {DekkerError} `INVALID_CONFIG` with all errors; `INVALID_ARGUMENT`; `NOT_INITIALIZED`
 */
export function valuePrefixes(config: string | Uint8Array): string[];
