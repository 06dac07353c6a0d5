// The driver: KMS calls, their deadlines, cancelled operations and reloads, all in simulated time.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import test from "node:test";

import { Transformer } from "dekker";

import { settled, TestClock } from "./clock.js";
import { AT, bytes, config, rule, TestKms } from "./kms.js";

/** Returns a transformer with one plugin `a`, and its clock. */
async function primed(options = {}) {
  const clock = new TestClock();
  const kms = new TestKms();
  const events = [];
  const onEvent = (event) => events.push(event);
  const transformer = await Transformer.load(config("a"), { kms: { a: kms }, clock, onEvent, ...options });
  await settled();
  return { transformer, kms, clock, events };
}

/** Returns the state of a promise without waiting for it. */
async function state(promise) {
  let state = "open";
  promise.then(
    () => (state = "done"),
    () => (state = "failed"),
  );
  await settled();
  return state;
}

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
    const { plaintext, stale, keyIdHash } = await reader.transformer.fromStorage(AT, stored);
    assert.deepEqual([plaintext, stale], [bytes("v"), true]);
    assert.match(keyIdHash, /^sha256:/);
    assert.equal((await writer.transformer.fromStorage(AT, stored)).stale, false);
  }
  counter.transformer.free();
  seed.transformer.free();
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

test("an unreachable plugin is UNAVAILABLE, and operations report it", async () => {
  const kms = new TestKms();
  kms.down();
  const { transformer, clock, events } = await primed({ kms: { a: kms } });
  const fault = await transformer.toStorage(AT, bytes("v")).catch((fault) => fault);
  assert.equal(fault.code, "NOT_READY");
  assert.equal(fault.isTransient, true);
  assert.match(fault.message, /code = Unavailable desc = connect ECONNREFUSED/);
  const call = events.find(({ type }) => type === "kmsCall");
  assert.deepEqual(call, { type: "kmsCall", provider: "a", method: "status", grpcCode: 14, milliseconds: 0 });
  assert.ok(events.some(({ type, level, provider }) => type === "log" && level === "warn" && provider === "a"));
  kms.up();
  await clock.seconds(10);
  assert.equal(await state(transformer.toStorage(AT, bytes("v"))), "done");
  transformer.free();
});

test("a call ends at its deadline, and its client's signal is aborted", async () => {
  const kms = new TestKms();
  kms.hang();
  const { transformer, clock, events } = await primed({ kms: { a: kms } });
  const write = transformer.toStorage(AT, bytes("v"));
  const failed = assert.rejects(write, { code: "NOT_READY", message: /context deadline exceeded/ });
  const [{ signal }] = kms.requests;
  await clock.advance(2999);
  assert.equal(await state(write), "open");
  assert.equal(signal.aborted, false);
  await clock.advance(1);
  await failed;
  assert.equal(signal.aborted, true);
  assert.equal(signal.reason.name, "TimeoutError");
  const ended = events.filter(({ type }) => type === "kmsCall");
  assert.deepEqual(
    ended.map(({ grpcCode, milliseconds }) => [grpcCode, milliseconds]),
    [[4, 3000]],
  );
  transformer.free();
});

test("an answer that comes too late changes nothing", async () => {
  const kms = new TestKms();
  let late;
  kms.hooks.status = (make) => new Promise((resolve) => (late = () => resolve(make())));
  const { transformer, clock } = await primed({ kms: { a: kms } });
  await clock.seconds(3);
  late();
  await settled();
  assert.equal(transformer.status().kmsProviders[0].healthy, false);
  assert.equal(kms.calls.encrypt, 0);
  transformer.free();
});

test("concurrent reads of one DEK cost one Decrypt, and each gets its answer", async () => {
  const writer = await primed();
  const stored = [];
  for (let n = 0; n < 50; n++) stored.push(await writer.transformer.toStorage(AT, bytes(`v${n}`)));
  writer.transformer.free();
  const { transformer, kms } = await primed();
  kms.calls.decrypt = 0;
  const reads = await Promise.all(stored.map((value) => transformer.fromStorage(AT, value)));
  assert.deepEqual(
    reads.map(({ plaintext }) => Buffer.from(plaintext).toString()),
    stored.map((_, n) => `v${n}`),
  );
  assert.equal(kms.calls.decrypt, 1);
  transformer.free();
});

test("a failed Decrypt fails every read that waits for it, with its code", async () => {
  const writer = await primed();
  const stored = await writer.transformer.toStorage(AT, bytes("v"));
  writer.transformer.free();
  const { transformer, kms } = await primed();
  kms.hooks.decrypt = () => Promise.reject(Object.assign(new Error("no\nsuch\u0007key"), { code: 5 }));
  const reads = await Promise.allSettled([1, 2, 3].map(() => transformer.fromStorage(AT, stored)));
  for (const { reason } of reads) {
    assert.equal(reason.code, "KMS");
    assert.equal(reason.grpcCode, 5);
    assert.ok(reason.message.endsWith("code = NotFound desc = no such key"), reason.message);
  }
  transformer.free();
});

test("errors of a client are mapped to gRPC codes", async () => {
  const table = [
    ["a number", { code: 7 }, 7],
    ["a name", { code: "PERMISSION_DENIED" }, 7],
    ["a name in Go's spelling", { code: "Canceled" }, 1],
    ["Node: no listener", { code: "ENOENT" }, 14],
    ["no code", {}, 2],
    ["a number that is not a gRPC code", { code: 500 }, 2],
    ["zero, which is not an error", { code: 0 }, 2],
    ["an unknown name", { code: "EWHAT" }, 2],
    ["a time-out of fetch", { name: "TimeoutError" }, 4],
  ];
  for (const [desc, fields, expected] of table) {
    const kms = new TestKms();
    kms.hooks.status = () => Promise.reject(Object.assign(new Error("no"), fields));
    const { transformer, events } = await primed({ kms: { a: kms } });
    assert.equal(events.find(({ type }) => type === "kmsCall").grpcCode, expected, desc);
    transformer.free();
  }
  for (const thrown of [
    "text",
    undefined,
    null,
    7,
    new DOMException("no", "AbortError"),
    new DOMException("no", "SyntaxError"),
  ]) {
    const kms = new TestKms();
    kms.hooks.status = () => Promise.reject(thrown);
    const { transformer, events } = await primed({ kms: { a: kms } });
    assert.equal(events.find(({ type }) => type === "kmsCall").grpcCode, 2, String(thrown));
    transformer.free();
  }
});

test("a malformed answer is an error of the client", async () => {
  const answers = {
    status: [undefined, {}, { version: "v2", healthz: "ok", keyId: 7 }],
    encrypt: [
      undefined,
      { ciphertext: "text", keyId: "key-1" },
      { ciphertext: bytes("c") },
      { ciphertext: bytes("c"), keyId: "key-1", annotations: { "a.b": "text" } },
    ],
    decrypt: [undefined, { plaintext: "text" }],
  };
  for (const [method, wrong] of Object.entries(answers)) {
    for (const answer of wrong) {
      const kms = new TestKms();
      kms.hooks[method] = () => Promise.resolve(answer);
      const { transformer, events } = await primed({ kms: { a: kms } });
      const failed = events.find(({ type, grpcCode }) => type === "kmsCall" && grpcCode !== 0);
      assert.deepEqual([failed.method, failed.grpcCode], [method, 13], JSON.stringify(answer));
      await assert.rejects(transformer.toStorage(AT, bytes("v")), /KMS client's answer/);
      transformer.free();
    }
  }
});

test("a client that throws synchronously is treated as one that rejects", async () => {
  const client = {
    status() {
      throw new Error("at once");
    },
    encrypt() {},
    decrypt() {},
  };
  const { transformer } = await primed({ kms: { a: client } });
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "NOT_READY", message: /at once/ });
  transformer.free();
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

test("a reload takes over when it is healthy, and an unchanged provider keeps its DEK", async () => {
  const { transformer, kms, events } = await primed();
  const stored = await transformer.toStorage(AT, bytes("v"));
  const b = new TestKms("key-b");
  await transformer.reload(config("b", "a"), { kms: { b } });
  assert.deepEqual(
    events.filter(({ type }) => type === "reload"),
    [{ type: "reload" }],
  );
  assert.deepEqual(kms.calls, { status: 1, encrypt: 1, decrypt: 1 });
  const read = await transformer.fromStorage(AT, stored);
  assert.deepEqual([read.plaintext, read.stale], [bytes("v"), true]);
  const written = await transformer.toStorage(AT, bytes("w"));
  assert.equal(Buffer.from(written).toString("latin1").slice(0, 17), "k8s:enc:kms:v2:b:");
  assert.deepEqual(
    transformer
      .status()
      .kmsProviders.map(({ name }) => name)
      .sort(),
    ["a", "b"],
  );
  transformer.free();
});

test("a reload that fails is refused, and the old configuration stays in use", async () => {
  const { transformer, clock, events } = await primed();
  await assert.rejects(transformer.reload("kind: nothing"), { code: "INVALID_CONFIG" });
  await assert.rejects(transformer.reload(config("b")), { code: "INVALID_ARGUMENT" });
  const b = new TestKms("key-b");
  b.down();
  const refused = assert.rejects(transformer.reload(config("b"), { kms: { b } }), {
    code: "RELOAD_REFUSED",
    message: /ECONNREFUSED/,
  });
  await clock.seconds(10);
  await refused;
  assert.match(events.find(({ type }) => type === "reload").error, /ECONNREFUSED/);
  assert.equal(await state(transformer.toStorage(AT, bytes("v"))), "done");
  assert.equal(transformer.status().kmsProviders.length, 1);
  transformer.free();
});

test("a newer reload replaces a pending one", async () => {
  const { transformer } = await primed();
  const b = new TestKms("key-b");
  b.hang();
  const first = assert.rejects(transformer.reload(config("b"), { kms: { b } }), {
    code: "RELOAD_REFUSED",
    message: /newer/,
  });
  await settled();
  const { signal } = b.requests[0];
  await transformer.reload(config("a"));
  await first;
  // Nothing uses `b` any more.
  assert.equal(signal.aborted, true);
  transformer.free();
});

test("a reload that took effect is not mistaken for one that began later", async () => {
  const clock = new TestClock();
  const [a, b, c] = ["a", "b", "c"].map((name) => new TestKms(`key-${name}`));
  c.hang();
  const kms = { a, b, c };
  let second;
  const onEvent = ({ type, message }) => {
    // From within the step in which the first reload takes effect.
    if (type === "log" && second === undefined && /is in use/.test(message) && /configuration/.test(message)) {
      second = transformer.reload(config("c"));
    }
  };
  const transformer = await Transformer.load(config("a"), { kms, clock, onEvent });
  await settled();
  await transformer.reload(config("b"));
  assert.equal(await state(second), "open");
  assert.equal(
    Buffer.from(await transformer.toStorage(AT, bytes("v")))
      .toString("latin1")
      .slice(0, 17),
    "k8s:enc:kms:v2:b:",
  );
  const refused = assert.rejects(second, { code: "RELOAD_REFUSED" });
  await clock.seconds(10);
  await refused;
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

test("a function creates a client for each provider, and each is closed with its provider", async () => {
  const made = [];
  const kms = (provider) => {
    const client = Object.assign(new TestKms(`key-${provider.name}`), {
      provider,
      closed: 0,
      close: () => client.closed++,
    });
    made.push(client);
    return client;
  };
  const { transformer } = await primed({ kms });
  const { id, ...described } = made[0].provider;
  assert.deepEqual(described, {
    name: "a",
    version: "v2",
    endpoint: "unix:///run/a.sock",
    socketPath: "/run/a.sock",
    timeoutMs: 3000,
  });
  await transformer.reload(config("b"));
  assert.deepEqual(
    made.map(({ closed }) => closed),
    [1, 0],
  );
  transformer.free();
  assert.deepEqual(
    made.map(({ closed }) => closed),
    [1, 1],
  );
});

test("KMS v1 creates a DEK for each write, and its client needs no Status", async () => {
  const file = rule("  - kms: {name: old, endpoint: 'unix:///run/old.sock', timeout: 3s}\n");
  const kms = new TestKms();
  const client = { encrypt: (...args) => kms.encrypt(...args), decrypt: (...args) => kms.decrypt(...args) };
  const loaded = await Transformer.load(file, { kms: { old: client } });
  const stored = [await loaded.toStorage(AT, bytes("v")), await loaded.toStorage(AT, bytes("v"))];
  assert.equal(Buffer.from(stored[0]).toString("latin1").slice(0, 19), "k8s:enc:kms:v1:old:");
  assert.equal(kms.calls.encrypt, 2);
  loaded.free();
  const reader = await Transformer.load(file, { kms: { old: client } });
  for (const value of stored) assert.deepEqual((await reader.fromStorage(AT, value)).plaintext, bytes("v"));
  assert.equal(kms.calls.decrypt, 2);
  assert.deepEqual(await reader.health(), [{ name: "kms-provider-0" }]);
  reader.free();
});

test("DEKs are erased when their call has ended", async () => {
  const kms = new TestKms();
  const seen = [];
  kms.hooks.encrypt = (make, request) => {
    seen.push([request.plaintext, Buffer.from(request.plaintext)]);
    return make();
  };
  kms.hooks.decrypt = (make) => {
    const answer = make();
    seen.push([answer.plaintext, Buffer.from(answer.plaintext)]);
    return answer;
  };
  const { transformer } = await primed({ kms: { a: kms } });
  await transformer.toStorage(AT, bytes("v"));
  assert.equal(seen.length, 2);
  for (const [held, copy] of seen) {
    assert.equal(held.length, 32);
    assert.ok(held.every((byte) => byte === 0));
    assert.ok(copy.some((byte) => byte !== 0));
  }
  transformer.free();
});

test("a client is never called synchronously within the caller's call", async () => {
  const { transformer, kms, clock } = await primed();
  await clock.seconds(21);
  const health = transformer.health();
  assert.equal(kms.calls.status, 1);
  await health;
  assert.equal(kms.calls.status, 2);
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

test("a client may call back into its transformer", async () => {
  const { transformer, kms, clock } = await primed();
  const inner = [];
  kms.hooks.status = (make) => {
    inner.push(transformer.toStorage(AT, bytes("inner")), transformer.health());
    transformer.status();
    return make();
  };
  await clock.seconds(60);
  assert.equal(inner.length, 2);
  await Promise.all(inner);
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

test("annotations of any name reach the client as they were stored", async () => {
  const kms = new TestKms();
  kms.annotations = { "a.example.com": bytes("1"), "b.example.com": new Uint8Array() };
  const writer = await primed({ kms: { a: kms } });
  const stored = await writer.transformer.toStorage(AT, bytes("v"));
  writer.transformer.free();
  const reader = await primed();
  await reader.transformer.fromStorage(AT, stored);
  const { request } = reader.kms.requests.at(-1);
  assert.equal(Object.getPrototypeOf(request.annotations), null);
  assert.deepEqual({ ...request.annotations }, kms.annotations);
  reader.transformer.free();
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
