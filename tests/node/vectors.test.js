// Every recorded value that upstream's own code wrote. It must read back, be stale or be rejected as in upstream.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Transformer } from "dekker";

import { TestKms } from "./kms.js";

const FILES = ["aesgcm", "aescbc", "secretbox", "identity", "kms-v1", "kms-v2-seed", "kms-v2-key"];

/** The names that the files use for errors. */
const VERDICTS = {
  DECRYPT_FAILED: "authentication failure",
  MALFORMED: "malformed",
  NO_MATCHING_PREFIX: "no matching prefix",
  ENCRYPTED_DATA: "encrypted data",
  KMS: "kms",
};

const folder = new URL("../vectors/", import.meta.url);
const base64 = (text) => new Uint8Array(Buffer.from(text ?? "", "base64"));

/** Returns a plaintext, made from its length and checked against its hash. */
function plaintextOf({ len, sha256 }) {
  const plaintext = new Uint8Array(len).map((_, at) => (7 * at + len) % 251);
  assert.equal(createHash("sha256").update(plaintext).digest("hex"), sha256);
  return plaintext;
}

/** Returns a transformer with a reader's configuration, and plugins that decrypt the recorded DEKs. */
function load({ config, dekSource, keyIds }, deks = []) {
  const kms = {};
  for (const [name, keyId] of Object.entries(keyIds ?? {})) {
    kms[name] = new TestKms(keyId);
    for (const { provider, ciphertext, keyId, annotations, plaintext } of deks) {
      if (provider !== name) continue;
      const pairs = Object.entries(annotations ?? {}).map(([name, value]) => [name, base64(value)]);
      const request = { ciphertext: base64(ciphertext), keyId: keyId ?? "", annotations: Object.fromEntries(pairs) };
      kms[name].recorded.push([request, base64(plaintext)]);
    }
  }
  return Transformer.load(JSON.stringify(config), { kms, dekSource: dekSource === "seed" ? "hkdf-seed" : "counter" });
}

for (const name of FILES) {
  test(`values that upstream wrote read as upstream reads them: ${name}`, async (context) => {
    const file = JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));
    assert.equal(file.format, 1);
    assert.ok(file.vectors.length > 0);
    const readers = {};
    let compared = 0;
    for (const vector of file.vectors) {
      const stored = vector.storedFile
        ? new Uint8Array(readFileSync(new URL(vector.storedFile, folder)))
        : base64(vector.stored);
      const key = new Uint8Array(Buffer.from(vector.key, "hex"));
      for (const { reader, expect, error } of vector.reads) {
        const what = `${vector.name}, by ${reader}`;
        readers[reader] ??= await load(file.readers[reader], file.deks);
        let verdict;
        try {
          const read = await readers[reader].fromStorage({ resource: vector.resource, key }, stored);
          verdict = read.stale ? "stale" : "ok";
          assert.deepEqual(read.plaintext, plaintextOf(vector.plaintext), what);
        } catch (fault) {
          if (fault.name !== "DekkerError") throw fault;
          verdict = VERDICTS[fault.code] ?? fault.code;
        }
        // Where upstream panics, Dekker must throw an error, with any code.
        if (error?.startsWith("panic")) assert.notEqual(verdict, "ok", what);
        else assert.equal(verdict, expect, what);
        compared++;
      }
    }
    for (const transformer of Object.values(readers)) transformer.free();
    context.diagnostic(`${compared} compared`);
  });
}
