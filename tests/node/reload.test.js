// The driver's reloads, all in simulated time.

import assert from "node:assert/strict";
import test from "node:test";

import { Transformer } from "dekker";

import { settled, TestClock } from "./clock.js";
import { AT, bytes, config, TestKms } from "./kms.js";
import { primed, state } from "./primed.js";

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
