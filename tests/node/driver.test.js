// The driver: operations, their cancellation, health, metrics and events, all in simulated time.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import test from "node:test";

import { settled, TestClock } from "./clock.js";
import { AT, bytes, TestKms } from "./kms.js";
import { primed, state } from "./primed.js";

test("ten thousand writes cost one Encrypt", async () => {
  const { transformer, kms } = await primed();
  const all = new Set();
  for (let n = 0; n < 10_000; n++) all.add(Buffer.from(await transformer.toStorage(AT, bytes("v"))).toString("base64"));
  assert.equal(all.size, 10_000);
  assert.deepEqual(kms.calls, { status: 1, encrypt: 1, decrypt: 1 });
  transformer.free();
});

test("seed and counter transformers read each other's values", async () => {
  const counter = await primed();
  const seed = await primed({ dekSource: "hkdf-seed" });
  for (const [writer, reader] of [
    [counter, seed],
    [seed, counter],
  ]) {
    const stored = await writer.transformer.toStorage(AT, bytes("v"));
    const read = await reader.transformer.fromStorage(AT, stored);
    assert.deepEqual([read.plaintext, read.stale, read.state], [bytes("v"), true, "other-source"]);
    assert.match(read.keyIdHash, /^sha256:/);
    const own = await writer.transformer.fromStorage(AT, stored);
    assert.deepEqual([own.stale, own.state], [false, "fresh"]);
  }
  counter.transformer.free();
  seed.transformer.free();
});

test("a read-only transformer decrypts whatever Status says, and never calls encrypt", async () => {
  const writer = await primed();
  const stored = await writer.transformer.toStorage(AT, bytes("v"));
  writer.transformer.free();
  const fail = () => {
    throw Object.assign(new Error("connect ECONNREFUSED /run/a.sock"), { code: "ECONNREFUSED" });
  };
  for (const [desc, change, known] of [
    ["healthy", () => {}, "fresh"],
    ["another key ID", (kms) => (kms.keyId = "key-2"), "stale"],
    ["unhealthy", (kms) => (kms.healthz = "tired"), undefined],
    ["failing", (kms) => (kms.hooks.status = fail), undefined],
    ["silent", (kms) => (kms.hooks.status = () => new Promise(() => {})), undefined],
  ]) {
    const kms = new TestKms();
    change(kms);
    const { transformer, clock } = await primed({ readOnly: true, kms: { a: kms } });
    const read = await transformer.fromStorage(AT, stored);
    assert.deepEqual([read.plaintext, read.state, read.stale], [bytes("v"), known, known === "stale"], desc);
    await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "READ_ONLY", isTransient: false }, desc);
    const [check] = desc === "silent" ? [] : await transformer.health();
    assert.equal(check?.fault !== undefined, ["unhealthy", "failing"].includes(desc), desc);
    assert.deepEqual(
      [transformer.status().readOnly, transformer.status().kmsProviders[0].writeDek],
      [true, null],
      desc,
    );
    await clock.advance(120_000);
    assert.deepEqual([kms.calls.encrypt, kms.calls.decrypt], [0, 1], desc);
    assert.ok(kms.calls.status > 1, desc);
    transformer.free();
  }
});

test("operations wait for the first Status, however long it takes", async () => {
  const kms = new TestKms();
  const later = [];
  kms.hooks.status = (make) => new Promise((resolve) => later.push(() => resolve(make())));
  const { transformer, clock } = await primed({ kms: { a: kms } });
  const write = transformer.toStorage(AT, bytes("v"));
  assert.equal(await state(write), "open");
  for (const answer of later) answer();
  assert.equal(await state(write), "done");
  assert.equal(clock.waiting, 1);
  transformer.free();
  assert.equal(clock.waiting, 0);
});

test("an aborted operation rejects at once and leaves nothing behind", async () => {
  const writer = await primed();
  const stored = await writer.transformer.toStorage(AT, bytes("v"));
  writer.transformer.free();
  const { transformer, kms } = await primed();
  const answers = [];
  kms.hooks.decrypt = (make) => new Promise((resolve) => answers.push(() => resolve(make())));
  const gone = new AbortController();
  const read = transformer.fromStorage(AT, stored, { signal: gone.signal });
  const other = transformer.fromStorage(AT, stored);
  await settled();
  assert.equal(transformer.status().parkedOperations, 2);
  gone.abort();
  await assert.rejects(read, { name: "AbortError" });
  assert.equal(transformer.status().parkedOperations, 1);
  // Other operations still wait for the same call.
  assert.equal(kms.requests.at(-1).signal.aborted, false);
  const kept = new AbortController();
  const third = transformer.fromStorage(AT, stored, { signal: kept.signal });
  assert.equal(getEventListeners(kept.signal, "abort").length, 1);
  for (const answer of answers) answer();
  assert.deepEqual((await other).plaintext, bytes("v"));
  assert.deepEqual((await third).plaintext, bytes("v"));
  assert.equal(getEventListeners(kept.signal, "abort").length, 0);
  assert.equal(transformer.status().parkedOperations, 0);
  assert.equal(transformer.status().kmsCallsInFlight, 0);
  transformer.free();
});

test("an operation rejects with the reason of its signal, and a signal aborted later has no effect", async () => {
  const { transformer, kms } = await primed();
  const reason = new Error("enough");
  await assert.rejects(transformer.toStorage(AT, bytes("v"), { signal: AbortSignal.abort(reason) }), reason);
  await assert.rejects(transformer.health({ signal: AbortSignal.abort(reason) }), reason);
  const later = new AbortController();
  const stored = await transformer.toStorage(AT, bytes("v"), { signal: later.signal });
  later.abort(reason);
  assert.deepEqual((await transformer.fromStorage(AT, stored)).plaintext, bytes("v"));
  kms.hang();
  transformer.free();
});

test("writes end three minutes after the last good Status, and reads continue", async () => {
  const { transformer, kms, clock } = await primed();
  const stored = await transformer.toStorage(AT, bytes("v"));
  kms.down();
  await clock.seconds(179);
  assert.equal(await state(transformer.toStorage(AT, bytes("w"))), "done");
  await clock.seconds(2);
  await assert.rejects(transformer.toStorage(AT, bytes("w")), { code: "NOT_READY" });
  assert.deepEqual((await transformer.fromStorage(AT, stored)).plaintext, bytes("v"));
  kms.up();
  await clock.seconds(10);
  assert.equal(await state(transformer.toStorage(AT, bytes("w"))), "done");
  transformer.free();
});

test("a rotated key makes values stale, and writes continue with the new one", async () => {
  const { transformer, kms, clock, events } = await primed();
  const stored = await transformer.toStorage(AT, bytes("v"));
  kms.keyId = "key-2";
  await clock.seconds(60);
  const read = await transformer.fromStorage(AT, stored);
  assert.deepEqual([read.plaintext, read.stale], [bytes("v"), true]);
  const rewritten = await transformer.toStorage(AT, read.plaintext);
  assert.equal((await transformer.fromStorage(AT, rewritten)).stale, false);
  assert.ok(events.some(({ type, level }) => type === "log" && level === "info"));
  assert.ok(!JSON.stringify([events, transformer.status(), transformer.metrics()]).includes("key-2"));
  transformer.free();
});

test("health calls the plugin, and reuses its answer", async () => {
  const { transformer, kms, clock } = await primed({ automaticReload: true });
  assert.deepEqual(transformer.checkNames(), ["kms-providers"]);
  assert.deepEqual(await transformer.health(), [{ name: "kms-providers" }]);
  assert.equal(kms.calls.status, 1);
  kms.healthz = "on fire";
  await clock.seconds(21);
  const [{ fault }] = await transformer.health();
  assert.match(fault, /on fire/);
  assert.equal(kms.calls.status, 2);
  transformer.free();
});

test("an operation after a sleep first runs overdue work", async () => {
  const { transformer, kms, clock } = await primed();
  clock.sleep(240_000);
  await transformer.toStorage(AT, bytes("v"));
  assert.deepEqual(kms.calls, { status: 2, encrypt: 1, decrypt: 1 });
  // The call that is under way when the sleep begins is never answered, and no timer ends it.
  kms.hang();
  await clock.seconds(60);
  assert.equal(kms.calls.status, 3);
  clock.sleep(240_000);
  kms.up();
  await transformer.toStorage(AT, bytes("v"));
  assert.equal(kms.calls.status, 4);
  // If the plugin was just called and gave no good answer, the transformer does not wait for it again.
  kms.down();
  clock.sleep(240_000);
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "NOT_READY", message: /expired/ });
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "NOT_READY", message: /expired/ });
  assert.equal(kms.calls.status, 5);
  transformer.free();
});

test("metrics have upstream's names and labels", async () => {
  const { transformer } = await primed();
  await transformer.toStorage(AT, bytes("v"));
  const families = transformer.metrics();
  const operations = families.find(({ name }) => name === "apiserver_storage_transformation_operations_total");
  assert.equal(operations.kind, "counter");
  const labels = {
    resource: "secrets",
    transformation_type: "to_storage",
    transformer_prefix: "k8s:enc:kms:v2:a:",
    status: "OK",
  };
  assert.deepEqual(operations.samples, [{ labels, value: 1 }]);
  transformer.free();
});

test("an error in an event listener affects no operation", async () => {
  const faults = [];
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (fault) => faults.push(fault.message));
  try {
    const onEvent = () => {
      throw new Error("mine");
    };
    const { transformer } = await primed({ onEvent });
    assert.equal(await state(transformer.toStorage(AT, bytes("v"))), "done");
    transformer.free();
    await settled();
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
  assert.ok(faults.length >= 3 && faults.every((message) => message === "mine"), faults.join());
});

test("after a jump of the time of day nothing is written with the earlier DEK", async () => {
  const clock = new TestClock();
  let hasLeapt = false;
  clock.hasLeapt = () => {
    const had = hasLeapt;
    hasLeapt = false;
    return had;
  };
  const { transformer, kms } = await primed({ clock });
  const before = await transformer.toStorage(AT, bytes("before"));
  const later = [];
  kms.hooks.status = (make) => new Promise((resolve) => later.push(() => resolve(make())));
  hasLeapt = true;
  const write = transformer.toStorage(AT, bytes("after"));
  assert.equal(await state(write), "open");
  const read = await transformer.fromStorage(AT, before);
  assert.deepEqual([read.plaintext, read.stale], [bytes("before"), false]);
  for (const answer of later) answer();
  assert.equal(await state(write), "done");
  assert.deepEqual(kms.calls, { status: 2, encrypt: 2, decrypt: 2 });
  // Called explicitly while the plugin is down: writes fail, although the earlier DEK has three minutes left.
  kms.down();
  transformer.restored();
  await assert.rejects(transformer.toStorage(AT, bytes("refused")), {
    code: "NOT_READY",
    message: /connect ECONNREFUSED|expired at/,
  });
  assert.deepEqual((await transformer.fromStorage(AT, before)).plaintext, bytes("before"));
  transformer.free();
  assert.throws(() => transformer.restored(), { code: "FREED" });
});
