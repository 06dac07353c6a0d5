// The driver's KMS calls: deadlines, errors and clients, all in simulated time.

import assert from "node:assert/strict";
import test from "node:test";

import { Transformer } from "dekker";

import { settled } from "./clock.js";
import { AT, bytes, config, rule, TestKms } from "./kms.js";
import { primed, state } from "./primed.js";

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
    ["kmsGrpc: the version call of KMS v1 failed", { name: "DekkerError", code: "KMS", grpcCode: 14 }, 14],
    ["kmsGrpc: another version of KMS v1", { name: "DekkerError", code: "KMS" }, 2],
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
