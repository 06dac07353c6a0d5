// What a nonce's random part is made of.

import assert from "node:assert/strict";
import test from "node:test";

import { fillShort, keepNoBlock } from "../../dist/random.js";

test("no byte is given twice, and one call fetches many", (context) => {
  const fetched = [];
  context.mock.method(globalThis.crypto, "getRandomValues", (bytes) => {
    for (let at = 0; at < bytes.length; at++) bytes[at] = (fetched.length * 7 + at) % 251;
    fetched.push(bytes.length);
    return bytes;
  });
  const given = [];
  const expected = [];
  for (let call = 0; call < 200; call++) {
    const out = new Uint8Array(4);
    fillShort(out);
    given.push(...out);
  }
  for (let block = 0; expected.length < given.length; block++) {
    for (let at = 0; at < 256 && expected.length < given.length; at++) expected.push((block * 7 + at) % 251);
  }
  assert.deepEqual(given, expected);
  assert.deepEqual(fetched, [256, 256, 256, 256]);
  // What does not fit into the rest of a block comes from a fresh one.
  for (let call = 0; call < 56; call++) fillShort(new Uint8Array(4));
  fillShort(new Uint8Array(4));
  fillShort(new Uint8Array(16));
  keepNoBlock();
  fillShort(new Uint8Array(4));
  assert.deepEqual(fetched.slice(4), [256, 4]);
});
