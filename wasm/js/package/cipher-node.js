// Node's AES-GCM, which is OpenSSL's. Neither function keeps a key, and neither leaves a plaintext in memory that it allocated.

import { createCipheriv, createDecipheriv } from "node:crypto";

const TAG = { authTagLength: 16 };

const name = (key) => `aes-${key.length * 8}-gcm`;

export const nodeCipher = {
  seal({ key, nonce, aad, plaintext, out }) {
    try {
      const cipher = createCipheriv(name(key), key, nonce, TAG);
      cipher.setAAD(aad);
      out.set(cipher.update(plaintext));
      cipher.final();
      out.set(cipher.getAuthTag(), plaintext.length);
      return true;
    } catch {
      return false;
    }
  },

  open({ key, nonce, aad, ciphertext, tag, out }) {
    let plaintext;
    try {
      const cipher = createDecipheriv(name(key), key, nonce, TAG);
      cipher.setAAD(aad);
      cipher.setAuthTag(tag);
      plaintext = cipher.update(ciphertext);
      // Throws if the tag is wrong.
      cipher.final();
      out.set(plaintext);
      return true;
    } catch {
      return false;
    } finally {
      plaintext?.fill(0);
    }
  },
};
