// Random bytes always come from the kernel, and never from memory.

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";

import { Transformer } from "dekker";

import { fillFromKernel, useKernel } from "../../dist/random.js";
import { kernelRandom } from "../../dist/random-node.js";
import { AT, bytes, config, rule, TestKms } from "./kms.js";

/** Returns the lengths of all reads from the kernel's device while `body` runs. */
async function readsDuring(body) {
  const reads = [];
  const kernel = kernelRandom();
  useKernel((out) => {
    reads.push(out.length);
    kernel(out);
  });
  try {
    await body();
  } finally {
    useKernel(kernel);
  }
  return reads;
}

const local = (provider) =>
  rule(`  - ${provider}: {keys: [{name: key1, secret: ${Buffer.alloc(32, 7).toString("base64")}}]}\n`);

for (const [provider, nonce] of [
  ["aesgcm", 12],
  ["aescbc", 16],
  ["secretbox", 24],
]) {
  test(`each ${provider} value reads from the kernel once, for its whole nonce`, async () => {
    const transformer = await Transformer.load(local(provider));
    const reads = await readsDuring(async () => {
      for (let write = 0; write < 20; write++) await transformer.toStorage(AT, bytes("text"));
    });
    transformer.free();
    assert.deepEqual(reads, Array(20).fill(nonce));
  });
}

test("a KMS v2 value reads from the kernel once, for its whole header", async () => {
  for (const [dekSource, header] of [
    ["counter", 4],
    ["hkdf-seed", 44],
  ]) {
    const kms = new TestKms();
    const transformer = await Transformer.load(config("a"), { kms: { a: kms }, dekSource });
    await transformer.toStorage(AT, bytes("the first waits for a DEK"));
    const reads = await readsDuring(async () => {
      for (let write = 0; write < 20; write++) await transformer.toStorage(AT, bytes("text"));
    });
    transformer.free();
    assert.deepEqual(reads, Array(20).fill(header), dekSource);
  }
});

test("a descriptor that was closed and reused is not read", () => {
  const number = openSync("/dev/null");
  closeSync(number);
  const kernel = kernelRandom();
  const path = join(mkdtempSync(join(tmpdir(), "dekker-")), "file");
  writeFileSync(path, new Uint8Array(64).fill(7));
  closeSync(number);
  const file = openSync(path);
  assert.equal(file, number, "the file has the descriptor's number");
  const seen = new Set();
  for (let call = 0; call < 100; call++) {
    const out = new Uint8Array(12);
    kernel(out);
    seen.add(Buffer.from(out).toString("hex"));
  }
  assert.equal(seen.size, 100);
  assert.ok(!seen.has("07".repeat(12)));
  closeSync(file);
});

test("without access to the kernel nothing is filled, and the result is false", () => {
  const out = new Uint8Array(4);
  const kernel = kernelRandom();
  useKernel(undefined);
  assert.equal(fillFromKernel(out), false);
  assert.deepEqual(out, new Uint8Array(4));
  useKernel(kernel);
  assert.equal(fillFromKernel(out), true);
});
