// AES-GCM of the surroundings, where that is faster than the module's own. The module asks for it; an entry may have set one.

let cipher;

/** @param {{ seal(...of: Uint8Array[]): boolean, open(...of: Uint8Array[]): boolean }} of */
export function useCipher(of) {
  cipher = of;
}

export const hasCipher = () => cipher !== undefined;

/** Fills `out` with ciphertext and tag. `false`: it did not, and the module's own cipher has the word. All are views of the module's memory. */
export const sealGcm = (key, nonce, aad, plaintext, out) => cipher.seal(key, nonce, aad, plaintext, out);

/** Fills `out` with the plaintext once its tag was found to be right. `false`: as above. */
export const openGcm = (key, nonce, aad, ciphertext, tag, out) => cipher.open(key, nonce, aad, ciphertext, tag, out);
