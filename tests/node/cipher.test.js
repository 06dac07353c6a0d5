// Node's cipher, which must be used for long values.

import assert from "node:assert/strict";
import test from "node:test";

import { Transformer } from "dekker";

import { nodeCipher } from "../../dist/cipher-node.js";
import { AT, config, TestKms } from "./kms.js";

const filled = (length, byte) => new Uint8Array(length).fill(byte);

test("sealed values open, and altered ones do not", () => {
  for (const keyLength of [16, 24, 32]) {
    const header = { key: filled(keyLength, 1), nonce: filled(12, 2), aad: filled(5, 3) };
    const plaintext = filled(300, 4);
    const sealed = new Uint8Array(316);
    assert.equal(nodeCipher.seal({ ...header, plaintext, out: sealed }), true);
    const value = () => ({ ...header, ciphertext: sealed.slice(0, 300), tag: sealed.slice(300) });
    const out = new Uint8Array(300);
    assert.equal(nodeCipher.open({ ...value(), out }), true);
    assert.deepEqual(out, plaintext);
    for (const altered of ["ciphertext", "tag"]) {
      const parts = value();
      parts[altered][7] ^= 1;
      const none = new Uint8Array(300);
      assert.equal(nodeCipher.open({ ...parts, out: none }), false);
      assert.deepEqual(none, new Uint8Array(300), "a value that does not open writes no plaintext");
    }
    assert.equal(nodeCipher.open({ ...value(), aad: filled(5, 9), out: new Uint8Array(300) }), false, "another AAD");
  }
  const short = { key: filled(5, 1), nonce: filled(12, 2), aad: filled(1, 3), plaintext: filled(9, 4) };
  assert.equal(nodeCipher.seal({ ...short, out: new Uint8Array(25) }), false, "no such key");
});

for (const dekSource of ["counter", "hkdf-seed"]) {
  test(`long values use Node's cipher, and open without it: ${dekSource}`, async (t) => {
    const seal = t.mock.method(nodeCipher, "seal");
    const open = t.mock.method(nodeCipher, "open");
    const transformer = await Transformer.load(config("a"), { kms: { a: new TestKms() }, dekSource });
    const uses = process.env.DEKKER_CIPHER === "wasm" ? 0 : 1;
    const long = await transformer.toStorage(AT, filled(256, 7));
    await transformer.toStorage(AT, filled(255, 7));
    assert.equal(seal.mock.callCount(), uses);
    assert.deepEqual((await transformer.fromStorage(AT, long)).plaintext, filled(256, 7));
    assert.equal(open.mock.callCount(), uses);
    // If Node's cipher fails, the module's own cipher decides.
    open.mock.mockImplementation(() => false);
    seal.mock.mockImplementation(() => false);
    assert.deepEqual((await transformer.fromStorage(AT, long)).plaintext, filled(256, 7));
    const own = await transformer.toStorage(AT, filled(300, 8));
    open.mock.restore();
    assert.deepEqual((await transformer.fromStorage(AT, own)).plaintext, filled(300, 8));
    transformer.free();
  });
}
