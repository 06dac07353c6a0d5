// Many values in one call.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { before, test } from "node:test";

import * as dekker from "dekker";
import { inspect, Transformer } from "dekker";

import * as bindings from "../../dist/dekker.js";
import { useKernel } from "../../dist/random.js";
import { kernelRandom } from "../../dist/random-node.js";
import { settled, TestClock } from "./clock.js";
import { AT, bytes, LOCAL, rule, TestKms } from "./kms.js";
import { primed, state } from "./primed.js";
import { check, compare } from "./ways.js";

const text = (number) => bytes(`value ${number}`);

/** Returns this number of values to write, each with its own key. */
const plaintexts = (count) =>
  Array.from({ length: count }, (_, number) => ({ at: { ...AT, key: `/k/${number}` }, plaintext: text(number) }));

/** Writes values with `toStorageMany`, and returns them as values to read. */
async function written(transformer, values) {
  const results = await transformer.toStorageMany(values);
  return results.map(({ value }, number) => ({ at: values[number].at, stored: value }));
}

const isPlaintext = (number, { status, value }) =>
  assert.deepEqual([status, value?.plaintext], ["fulfilled", text(number)], `value ${number}`);

/** Records the groups that go to the module: how many values and bytes each one has. */
function groupsOf(t, method) {
  const groups = [];
  const original = bindings.Engine.prototype[method];
  t.mock.method(bindings.Engine.prototype, method, function (op, resources, lengths, packed, ...rest) {
    if (lengths.length > 0) groups.push({ count: lengths.length / 3, size: packed.length, packed, resources });
    return original.call(this, op, resources, lengths, packed, ...rest);
  });
  return groups;
}

/** The first 12 bytes of a KMS v2 value's ciphertext: `random[4] ‖ counter[8, little-endian]`. */
function nonceOf(stored) {
  const { offset, length } = inspect(stored).layout.find(({ name }) => name === "nonce");
  return Buffer.from(stored.subarray(offset, offset + length));
}

const counterOf = (stored) => nonceOf(stored).readBigUInt64LE(4);

let seen;

before(async () => {
  try {
    seen = await compare(dekker, useKernel);
  } finally {
    useKernel(kernelRandom());
  }
});

test("each value has the result of a single call", () => check(assert, seen));

test("an empty list has no results", async () => {
  const transformer = await Transformer.load(LOCAL);
  assert.deepEqual(await transformer.toStorageMany([]), []);
  assert.deepEqual(await transformer.fromStorageMany(new Set()), []);
  for await (const result of transformer.fromStorageMany((async function* () {})())) assert.fail(result);
  transformer.free();
  await assert.rejects(transformer.toStorageMany([]), { code: "FREED" });
});

test("nonces of KMS v2 are all different, and their counters follow each other", async (t) => {
  const groups = groupsOf(t, "toStorageMany");
  const { transformer, kms } = await primed();
  const before = await transformer.toStorage(AT, bytes("one"));
  const values = await written(transformer, plaintexts(1000));
  const after = await transformer.toStorage(AT, bytes("one"));
  assert.deepEqual(
    groups.map(({ count }) => count),
    [256, 256, 256, 232],
  );
  const all = [before, ...values.map(({ stored }) => stored), after];
  assert.equal(new Set(all.map((stored) => nonceOf(stored).toString("hex"))).size, 1002);
  const first = counterOf(before);
  for (const [number, stored] of all.entries()) assert.equal(counterOf(stored), first + BigInt(number));
  assert.deepEqual(kms.calls, { status: 1, encrypt: 1, decrypt: 1 });
  for (const [number, result] of (await transformer.fromStorageMany(values)).entries()) isPlaintext(number, result);
  transformer.free();
});

test("no counter is lost to values that wait for the first Status", async () => {
  const kms = new TestKms();
  const later = [];
  kms.hooks.status = (make) => new Promise((resolve) => later.push(() => resolve(make())));
  const { transformer } = await primed({ kms: { a: kms } });
  const many = transformer.toStorageMany(plaintexts(300));
  assert.equal(await state(many), "open");
  // A group is complete before the next one is taken.
  assert.equal(transformer.status().parkedOperations, 256);
  for (const answer of later) answer();
  const counters = (await many).map(({ value }) => counterOf(value));
  const first = counters[0];
  assert.deepEqual(
    counters,
    counters.map((_, number) => first + BigInt(number)),
  );
  assert.equal(counterOf(await transformer.toStorage(AT, bytes("next"))), first + 300n);
  transformer.free();
});

test("values may come from any iterable", async () => {
  const transformer = await Transformer.load(LOCAL);
  const values = plaintexts(3);
  for (const [desc, iterable] of [
    ["a set", new Set(values)],
    ["a generator", values.values()],
    [
      "one that is also async",
      Object.assign(values.slice(), { [Symbol.asyncIterator]: () => assert.fail("not used") }),
    ],
  ]) {
    const results = await transformer.toStorageMany(iterable);
    assert.equal(results.length, 3, desc);
    const stored = results.map(({ value }, number) => ({ at: values[number].at, stored: value }));
    for (const [number, result] of (await transformer.fromStorageMany(stored)).entries()) isPlaintext(number, result);
  }
  transformer.free();
});

test("a group has at most 4 MiB, or one value", async (t) => {
  const groups = groupsOf(t, "toStorageMany");
  const transformer = await Transformer.load(rule("  - identity: {}\n"));
  const sizes = [1 << 20, 1 << 20, 1 << 20, 1 << 20, 10, 5 << 20, 10, 10, 3 << 20, (4 << 20) - 2, 2];
  const values = sizes.map((size) => ({ at: { ...AT, key: "" }, plaintext: new Uint8Array(size).fill(size % 251) }));
  const checkGroups = () => {
    const seen = groups.splice(0);
    assert.deepEqual(
      seen.map(({ count }) => count),
      [4, 1, 1, 3, 2],
    );
    for (const { count, size } of seen) assert.ok(count === 1 || size <= 4 << 20, `${count} values, ${size} bytes`);
  };
  const results = await transformer.toStorageMany(values);
  assert.deepEqual(
    results.map(({ value }) => value),
    values.map(({ plaintext }) => plaintext),
  );
  checkGroups();
  let number = 0;
  const source = (async function* () {
    yield* values;
  })();
  for await (const { value } of transformer.toStorageMany(source)) {
    assert.deepEqual(value, values[number++].plaintext);
  }
  checkGroups();
  transformer.free();
});

test("results have their own memory, and packed values are erased", async (t) => {
  const groups = [groupsOf(t, "toStorageMany"), groupsOf(t, "fromStorageMany")];
  const transformer = await Transformer.load(LOCAL);
  const large = { at: { ...AT, key: "/large" }, plaintext: new Uint8Array(1 << 20).fill(7) };
  const values = await written(transformer, [...plaintexts(3), large]);
  const reads = await transformer.fromStorageMany(values);
  for (const array of [...values.map(({ stored }) => stored), ...reads.map(({ value }) => value.plaintext)]) {
    assert.deepEqual([array.byteOffset, array.buffer.byteLength], [0, array.length]);
  }
  for (const [{ packed, size }] of groups) {
    assert.ok(size > 1 << 20);
    assert.ok(packed.every((byte) => byte === 0));
  }
  transformer.free();
});

test("a wrong value is INVALID_ARGUMENT, names its place, and nothing is done", async (t) => {
  const groups = groupsOf(t, "toStorageMany");
  const { transformer } = await primed();
  const [good] = plaintexts(1);
  const cases = [
    [{ ...good, at: { key: "k" } }, "values[2].at.resource must be a string"],
    [{ ...good, at: { resource: "secrets" } }, "values[2].at.key must be a Uint8Array"],
    [{ ...good, at: undefined }, "values[2].at.resource must be a string"],
    [{ at: AT }, "values[2].plaintext must be a Uint8Array"],
    [{ at: AT, plaintext: "text" }, "values[2].plaintext must be a Uint8Array"],
    [{ at: AT, plaintext: new Uint8Array((64 << 20) + 1) }, "values[2].plaintext must not be longer than 64 MiB"],
    [undefined, "values[2].at.resource must be a string"],
    [7, "values[2].at.resource must be a string"],
  ];
  for (const [bad, message] of cases) {
    const fault = { name: "DekkerError", code: "INVALID_ARGUMENT", message };
    const values = [good, good, bad, good];
    await assert.rejects(transformer.toStorageMany(values), fault);
    const source = (async function* () {
      yield* values;
    })();
    await assert.rejects(transformer.toStorageMany(source).next(), fault);
  }
  await assert.rejects(transformer.fromStorageMany([good]), {
    code: "INVALID_ARGUMENT",
    message: "values[0].stored must be a Uint8Array",
  });
  for (const values of [undefined, null, 7, {}, { length: 1, 0: good }]) {
    await assert.rejects(transformer.toStorageMany(values), {
      code: "INVALID_ARGUMENT",
      message: "values must be an array, an iterable or an async iterable",
    });
  }
  await assert.rejects(transformer.toStorageMany("text"), { code: "INVALID_ARGUMENT", message: /^values\[0\]/ });
  assert.equal(groups.length, 0);
  transformer.free();
});

test("a wrong value of an async iterable comes after the results of earlier groups", async () => {
  const { transformer } = await primed();
  let isClosed = false;
  const source = (async function* () {
    try {
      yield* plaintexts(300);
      yield { at: AT };
    } finally {
      isClosed = true;
    }
  })();
  let count = 0;
  const all = (async () => {
    for await (const _ of transformer.toStorageMany(source)) count++;
  })();
  await assert.rejects(all, { code: "INVALID_ARGUMENT", message: "values[300].plaintext must be a Uint8Array" });
  assert.deepEqual([count, isClosed], [256, true]);
  transformer.free();
});

test("a buffer that is transferred during the call is not written as an empty value", async () => {
  const transformer = await Transformer.load(LOCAL);
  const values = plaintexts(300);
  const many = transformer.toStorageMany(values);
  structuredClone(values[280].plaintext.buffer, { transfer: [values[280].plaintext.buffer] });
  const results = await many;
  for (const [number, { status, reason }] of results.entries()) {
    if (number < 256) assert.equal(status, "fulfilled");
    else assert.equal(reason.message, "values[280] was changed during the call");
  }
  transformer.free();
});

test("an async iterable gives at most 256 values before their results are taken", async () => {
  const { transformer } = await primed();
  let given = 0;
  const source = (async function* () {
    for (const value of plaintexts(1000)) {
      given++;
      yield value;
    }
  })();
  const stored = [];
  for await (const { value } of transformer.toStorageMany(source)) {
    stored.push(value);
    assert.ok(given - stored.length < 256, `${given} given, ${stored.length} taken`);
  }
  assert.equal(stored.length, 1000);
  const first = counterOf(stored[0]);
  for (const [number, value] of stored.entries()) assert.equal(counterOf(value), first + BigInt(number));
  transformer.free();
});

test("an async iterable may wait for a result before it gives the next value", async () => {
  const transformer = await Transformer.load(LOCAL);
  let next;
  const turns = [];
  const source = (async function* () {
    for (const value of plaintexts(3)) {
      yield value;
      await new Promise((resolve) => (next = resolve));
    }
  })();
  for await (const { status } of transformer.toStorageMany(source)) {
    turns.push(status);
    next();
  }
  assert.deepEqual(turns, ["fulfilled", "fulfilled", "fulfilled"]);
  transformer.free();
});

test("the failure of an async iterable comes after the results of its values", async () => {
  const transformer = await Transformer.load(LOCAL);
  const enough = new Error("enough");
  const source = (async function* () {
    yield* plaintexts(3);
    throw enough;
  })();
  const results = transformer.toStorageMany(source);
  for (let number = 0; number < 3; number++) assert.equal((await results.next()).value.status, "fulfilled");
  await assert.rejects(results.next(), enough);
  assert.equal((await results.next()).done, true);
  transformer.free();
});

test("a faulty async iterable ends with its error", async () => {
  const transformer = await Transformer.load(LOCAL);
  for (const [desc, next] of [
    ["throws", () => assert.fail("mine")],
    ["returns no result", () => undefined],
    ["rejects", () => Promise.reject(new Error("mine"))],
  ]) {
    const source = { [Symbol.asyncIterator]: () => ({ next }) };
    await assert.rejects(transformer.toStorageMany(source).next(), undefined, desc);
  }
  transformer.free();
});

test("a caller that stops ends the async iterable, and plaintexts that it has not taken are erased", async (t) => {
  const transformer = await Transformer.load(LOCAL);
  const values = await written(transformer, plaintexts(10));
  const slices = t.mock.method(Uint8Array.prototype, "slice").mock;
  let isClosed = false;
  const source = (async function* () {
    try {
      yield* values;
    } finally {
      isClosed = true;
    }
  })();
  for await (const result of transformer.fromStorageMany(source)) {
    isPlaintext(0, result);
    break;
  }
  const made = slices.calls.map(({ result }) => result).filter((array) => array.length === text(0).length);
  slices.restore();
  assert.equal(made.length, 10);
  assert.deepEqual(made[0], text(0));
  for (const array of made.slice(1)) assert.deepEqual(array, new Uint8Array(text(0).length));
  assert.equal(isClosed, true);
  transformer.free();
});

test("a caller that stops does not wait for an async iterable that is silent", async () => {
  const transformer = await Transformer.load(LOCAL);
  const source = (async function* () {
    yield* plaintexts(1);
    await new Promise(() => {});
  })();
  for await (const { status } of transformer.toStorageMany(source)) {
    assert.equal(status, "fulfilled");
    break;
  }
  transformer.free();
});

test("a value that waits for the plugin has its place among the others", async () => {
  const other = await primed();
  const foreign = await other.transformer.toStorage({ ...AT, key: "/k/1" }, text(1));
  other.transformer.free();
  const { transformer, kms } = await primed();
  const values = await written(transformer, plaintexts(3));
  values[1].stored = foreign;
  const answers = [];
  kms.hooks.decrypt = (make) => new Promise((resolve) => answers.push(() => resolve(make())));
  const reads = transformer.fromStorageMany(values);
  assert.equal(await state(reads), "open");
  assert.deepEqual([transformer.status().parkedOperations, answers.length], [1, 1]);
  answers[0]();
  for (const [number, result] of (await reads).entries()) isPlaintext(number, result);
  // It is cached now.
  assert.equal(await state(transformer.fromStorageMany(values)), "done");
  assert.equal(answers.length, 1);
  transformer.free();
});

/** Returns a transformer and values to read, of which those with odd numbers wait for the plugin, which is silent. */
async function halfWaiting(count) {
  const other = await primed();
  const foreign = await written(other.transformer, plaintexts(count));
  other.transformer.free();
  const { transformer, kms } = await primed();
  const values = await written(transformer, plaintexts(count));
  for (let number = 1; number < count; number += 2) values[number] = foreign[number];
  kms.hang();
  return { transformer, kms, values };
}

test("an abort rejects the values that are not done", async () => {
  const { transformer, values } = await halfWaiting(10);
  const reason = new Error("enough");
  const abort = new AbortController();
  const reads = transformer.fromStorageMany(values, { signal: abort.signal });
  assert.equal(await state(reads), "open");
  assert.equal(transformer.status().parkedOperations, 5);
  assert.equal(getEventListeners(abort.signal, "abort").length, 1);
  abort.abort(reason);
  for (const [number, result] of (await reads).entries()) {
    if (number % 2 === 0) isPlaintext(number, result);
    else assert.deepEqual(result, { status: "rejected", reason });
  }
  assert.equal(transformer.status().parkedOperations, 0);
  assert.equal(getEventListeners(abort.signal, "abort").length, 0);
  await assert.rejects(transformer.fromStorageMany(values, { signal: abort.signal }), reason);
  await assert.rejects(transformer.fromStorageMany([], { signal: abort.signal }), reason);
  transformer.free();
});

test("an abort between two groups rejects the values of the next ones", async () => {
  const transformer = await Transformer.load(LOCAL);
  const reason = new Error("enough");
  const abort = new AbortController();
  const writes = transformer.toStorageMany(plaintexts(600), { signal: abort.signal });
  abort.abort(reason);
  const results = await writes;
  assert.deepEqual(
    results.map(({ status }) => status),
    results.map((_, number) => (number < 256 ? "fulfilled" : "rejected")),
  );
  assert.equal(results[599].reason, reason);
  transformer.free();
});

test("a signal that does not abort keeps no listener", async () => {
  const { transformer, kms, values } = await halfWaiting(4);
  kms.up();
  const { signal } = new AbortController();
  for (const result of await transformer.fromStorageMany(values, { signal })) assert.equal(result.status, "fulfilled");
  const source = (async function* () {
    yield* values;
  })();
  for await (const { status } of transformer.fromStorageMany(source, { signal })) assert.equal(status, "fulfilled");
  assert.equal(getEventListeners(signal, "abort").length, 0);
  transformer.free();
});

test("an abort ends the wait for an async iterable", async () => {
  const transformer = await Transformer.load(LOCAL);
  const reason = new Error("enough");
  const abort = new AbortController();
  const source = (async function* () {
    yield* plaintexts(2);
    await new Promise(() => {});
  })();
  const results = transformer.toStorageMany(source, { signal: abort.signal });
  for (let number = 0; number < 2; number++) assert.equal((await results.next()).value.status, "fulfilled");
  const third = results.next();
  assert.equal(await state(third), "open");
  abort.abort(reason);
  await assert.rejects(third, reason);
  assert.equal(getEventListeners(abort.signal, "abort").length, 0);
  await assert.rejects(transformer.toStorageMany(source, { signal: abort.signal }).next(), reason);
  transformer.free();
});

test("free rejects the values that are not done", async () => {
  const { transformer, values } = await halfWaiting(10);
  const reads = transformer.fromStorageMany(values);
  await settled();
  transformer.free();
  for (const [number, result] of (await reads).entries()) {
    if (number % 2 === 0) isPlaintext(number, result);
    else assert.equal(result.reason.code, "FREED");
  }
  await assert.rejects(transformer.fromStorageMany(values), { code: "FREED" });
});

test("free between two groups rejects the values of the next ones", async () => {
  const [array, stream] = [await Transformer.load(LOCAL), await Transformer.load(LOCAL)];
  const writes = array.toStorageMany(plaintexts(300));
  array.free();
  const results = await writes;
  assert.deepEqual(
    results.map(({ status, reason }) => reason?.code ?? status),
    results.map((_, number) => (number < 256 ? "fulfilled" : "FREED")),
  );
  const source = (async function* () {
    yield* plaintexts(300);
  })();
  let count = 0;
  const all = (async () => {
    for await (const { status } of stream.toStorageMany(source)) {
      assert.equal(status, "fulfilled");
      count++;
      stream.free();
    }
  })();
  await assert.rejects(all, { code: "FREED" });
  assert.equal(count, 256);
});

test("a trap rejects the values of its group and of the next ones", async (t) => {
  const transformer = await Transformer.load(LOCAL);
  const original = bindings.Engine.prototype.toStorageMany;
  let calls = 0;
  t.mock.method(bindings.Engine.prototype, "toStorageMany", function (...args) {
    if (++calls === 2) throw new WebAssembly.RuntimeError("unreachable");
    return original.apply(this, args);
  });
  const results = await transformer.toStorageMany(plaintexts(600));
  assert.deepEqual(
    results.map(({ status, reason }) => reason?.code ?? status),
    results.map((_, number) => (number < 256 ? "fulfilled" : "TRAPPED")),
  );
  await assert.rejects(transformer.toStorageMany(plaintexts(1)), { code: "TRAPPED" });
  transformer.free();
});

test("other work runs between two groups", async () => {
  const transformer = await Transformer.load(LOCAL);
  let turns = 0;
  const count = () => {
    turns++;
    immediate = setImmediate(count);
  };
  let immediate = setImmediate(count);
  await transformer.toStorageMany(plaintexts(1024));
  clearImmediate(immediate);
  assert.ok(turns >= 3, `${turns} turns`);
  transformer.free();
});

test("more values than the engine lets wait at once are all written", async () => {
  const v1 = rule("  - kms: {apiVersion: v1, name: a, endpoint: 'unix:///run/a.sock', timeout: 3s}\n");
  const transformer = await Transformer.load(v1, { kms: { a: new TestKms() }, clock: new TestClock() });
  const values = await written(transformer, plaintexts(5000));
  assert.ok(values.every(({ stored }) => stored !== undefined));
  transformer.free();
});

test("a rule may be missing, and overdue work is done first", async () => {
  const { transformer, kms, clock } = await primed();
  clock.sleep(240_000);
  const values = plaintexts(2);
  values[1].at = { resource: "events", key: "/k/1" };
  const [secret, event] = await transformer.toStorageMany(values);
  assert.equal(inspect(secret.value).provider, "kms");
  assert.deepEqual(event, { status: "fulfilled", value: text(1) });
  assert.deepEqual(kms.calls, { status: 2, encrypt: 1, decrypt: 1 });
  transformer.free();
});
