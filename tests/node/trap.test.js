// After a trap in the module, every loaded transformer has ended, its data is gone from memory, and a new transformer works.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { inspect, readForms, Transformer } from "dekker";

import * as bindings from "../../dist/dekker.js";
import * as inspectBindings from "../../dist/dekker_inspect.js";
import { inspector } from "../../dist/inspect-wasm.js";
import { call } from "../../dist/wasm.js";
import { settled, TestClock } from "./clock.js";
import { AT, bytes, config, LOCAL, TestKms } from "./kms.js";

/** Asks for more memory than the module can have. */
const fail = () => call(() => bindings.checkConfig(new Uint8Array(2 ** 31), false));

/** The same in the module for inspection. */
function failToInspect() {
  inspector.current();
  return inspector.call(() => inspectBindings.inspect(new Uint8Array(2 ** 31), []));
}

/** Returns the memory of the current instance. */
function memory() {
  const module = new WebAssembly.Module(readFileSync(fileURLToPath(import.meta.resolve("dekker/dekker_bg.wasm"))));
  return bindings.initSync({ module }).memory;
}

test("after a trap a transformer fails with the cause, and the next one works", async () => {
  const transformer = await Transformer.load(LOCAL);
  const stored = await transformer.toStorage(AT, bytes("v"));
  const trap = await Promise.resolve()
    .then(fail)
    .catch((fault) => fault);
  assert.equal(trap.code, "TRAPPED");
  for (let n = 0; n < 2; n++) {
    await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "TRAPPED", message: trap.message });
    assert.throws(() => transformer.status(), { code: "TRAPPED", message: trap.message });
  }
  const next = await Transformer.load(LOCAL);
  assert.deepEqual((await next.fromStorage(AT, stored)).plaintext, bytes("v"));
  assert.equal(inspect(stored).keyName, "key1");
  transformer.free();
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "FREED" });
  assert.deepEqual((await next.fromStorage(AT, stored)).plaintext, bytes("v"));
  next.free();
});

test("a trap fails waiting operations and aborts their KMS calls", async () => {
  const clock = new TestClock();
  const kms = new TestKms();
  kms.hang();
  const transformer = await Transformer.load(config("a"), { kms: { a: kms }, clock });
  const waiting = assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "TRAPPED" });
  const reload = assert.rejects(transformer.reload(config("a")), { code: "TRAPPED" });
  await settled();
  assert.throws(fail, { code: "TRAPPED" });
  await clock.seconds(3);
  await Promise.all([waiting, reload]);
  assert.ok(kms.requests.every(({ signal }) => signal.aborted));
  assert.equal(clock.waiting, 0);
  transformer.free();
});

test("the memory of an instance that trapped is erased", async () => {
  const transformer = await Transformer.load(LOCAL);
  const { buffer } = memory();
  const key = Buffer.alloc(32, 7);
  const held = () => Buffer.from(buffer).includes(key) || Buffer.from(buffer).some((byte) => byte !== 0);
  assert.ok(held());
  assert.throws(fail, { code: "TRAPPED" });
  assert.ok(!held());
  assert.notEqual(memory().buffer, buffer);
  transformer.free();
});

test("freed secrets are erased from the module's memory", async () => {
  const secret = Buffer.from("a-secret-that-stands-nowhere-else-8c1f");
  const kms = new TestKms();
  const deks = [];
  kms.hooks.encrypt = (make, request) => {
    deks.push(Buffer.from(request.plaintext));
    return make();
  };
  const transformer = await Transformer.load(config("a"), { kms: { a: kms } });
  const stored = await transformer.toStorage(AT, secret);
  await transformer.fromStorage(AT, stored);
  const holds = (bytes) => Buffer.from(memory().buffer).includes(bytes);
  assert.ok(!holds(secret), "a value that was sealed and opened");
  assert.ok(holds(Buffer.from("key-1")), "data in use is present, so the search works");
  transformer.free();
  assert.equal(deks.length, 1);
  assert.ok(!holds(deks[0]), "a DEK");
});

const LINE = "/registry/secrets/ns/name\nk8s:enc:secretbox:v1:key1:????\n";

test("a trap in the module for inspection ends its readers, and no transformer", async () => {
  const transformer = await Transformer.load(LOCAL);
  const reading = readForms([LINE, LINE])[Symbol.asyncIterator]();
  assert.equal((await reading.next()).value.type, "value");
  assert.throws(failToInspect, { code: "TRAPPED" });
  await assert.rejects(
    async () => {
      for await (const item of reading) assert.ok(item);
    },
    { code: "TRAPPED" },
  );
  const stored = await transformer.toStorage(AT, bytes("v"));
  assert.deepEqual((await transformer.fromStorage(AT, stored)).plaintext, bytes("v"));
  assert.equal(inspect(stored).keyName, "key1");
  transformer.free();
});

test("a trap in the engine's module ends no reader", async () => {
  const reading = readForms([LINE, LINE, LINE])[Symbol.asyncIterator]();
  assert.equal((await reading.next()).value.type, "value");
  assert.throws(fail, { code: "TRAPPED" });
  let others = 0;
  for await (const { type } of reading) {
    assert.equal(type, "value");
    others++;
  }
  assert.equal(others, 2);
});
