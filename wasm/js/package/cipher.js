// The environment's AES-GCM, if it is faster than the module's. The module calls these functions; an entry point may set the cipher.

let cipher;

/** @param {{ seal(parts: Record<string, Uint8Array>): boolean, open(parts: Record<string, Uint8Array>): boolean }} of */
export function useCipher(of) {
  cipher = of;
}

export const hasCipher = () => cipher !== undefined;

/**
 * Fills `out` with ciphertext and tag. Returns `false` if it failed; the module then uses its own cipher. All arguments are views of the module's
 * memory.
 */
export const sealGcm = (key, nonce, aad, plaintext, out) => cipher.seal({ key, nonce, aad, plaintext, out });

/** Verifies the tag and fills `out` with the plaintext. Returns `false` if it failed; the module then uses its own cipher. */
export const openGcm = (key, nonce, aad, ciphertext, tag, out) =>
  cipher.open({ key, nonce, aad, ciphertext, tag, out });
