// Values in the forms in which people hold them: every value of tests/vectors/cases.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import test from "node:test";

import * as dekker from "dekker";

import { CASES, check, configOf, load, NAMES } from "./cases.js";
import { read } from "./read-case.js";

const { DekkerError, inspectInput, readForms, resourceOf } = dekker;

test("every value of cases.tsv is here", () => {
  assert.deepEqual(Object.keys(CASES).toSorted(), NAMES.toSorted());
});

for (const name of NAMES) {
  test(`what is in ${name}`, async () => {
    check(name, await read(dekker, load(name), load(configOf(name))));
  });
}

test("every form of a value opens to the same plaintext", async () => {
  for (const of of ["gcm", "cbc"]) {
    const same = Object.keys(CASES).filter((name) => CASES[name][1] === of);
    assert.ok(same.length >= 3, of);
    const [first, ...others] = await Promise.all(
      same.map(async (name) => (await read(dekker, load(name), load(configOf(name)))).opened[0]),
    );
    for (const [at, plaintext] of others.entries()) assert.ok(plaintext === first, same[at + 1]);
  }
});

test("no input with an encrypted value is described as plaintext", () => {
  const value = Buffer.from(load("gcm.bin"));
  const nested = ["hex", "base64", "base64url"].map((encoding) => value.toString(encoding));
  for (const text of [
    ...nested,
    ...nested.map((digits) => `{"kind":"Secret","apiVersion":"v1","data":{"a":"${digits}"}}`),
  ]) {
    for (const input of [text, `${text}\n`, Buffer.from(text, "utf16le"), ` ${text}`, text.slice(3)]) {
      const found = inspectInput(input);
      assert.ok(found.length > 0 && found.every(({ provider }) => provider !== "identity"), String(input));
    }
  }
});

async function all(source) {
  const items = [];
  for await (const item of readForms(source)) items.push(item);
  return items;
}

test("a source may be bytes, text, an iterable, a stream of Node or a ReadableStream", async () => {
  const bytes = load("w-json-two.txt");
  const halves = [bytes.subarray(0, 100), bytes.subarray(100)];
  const expected = await all(bytes);
  assert.equal(expected.length, 2);
  assert.deepEqual(expected[0].stored, new Uint8Array(load("gcm.bin")));
  assert.equal(Buffer.from(expected[0].key).toString(), "/registry/secrets/default/token");
  const sources = [
    ["text", bytes.toString()],
    ["an ArrayBuffer", new Uint8Array(bytes).buffer],
    ["an array", halves],
    ["an array of text", halves.map(String)],
    ["a generator", halves.values()],
    [
      "an async generator",
      (async function* () {
        yield* halves;
      })(),
    ],
    ["a stream of Node", Readable.from(halves)],
    ["a ReadableStream", new Blob(halves).stream()],
  ];
  for (const [desc, source] of sources) assert.deepEqual(await all(source), expected, desc);
  for (const source of [undefined, 7, {}, [7], [[1, 2]]]) {
    await assert.rejects(all(source), { name: "DekkerError", code: "INVALID_ARGUMENT" }, String(source));
  }
});

test("a caller may stop early, and the source's error is passed on", async () => {
  let cancelled = false;
  const line = `${load("jq-values.txt").toString().trim()}\n`;
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(new TextEncoder().encode(line.repeat(100))),
    cancel: () => {
      cancelled = true;
    },
  });
  let items = 0;
  for await (const item of readForms(endless)) {
    assert.equal(item.type, "value");
    if (++items === 1000) break;
  }
  assert.ok(cancelled);
  assert.ok(!endless.locked);
  const failing = (async function* () {
    yield Buffer.from(line);
    throw new Error("the disk is gone");
  })();
  await assert.rejects(all(failing), { message: "the disk is gone" });
});

test("a long input is read in constant memory", async () => {
  const { initSync } = await import("../../dist/dekker_inspect.js");
  // Loads the module.
  resourceOf("");
  // The instance exists, so this only returns its exports.
  const { memory } = initSync({});
  const pair = `/registry/secrets/ns/name\nk8s:enc:secretbox:v1:key1:${"\xa5".repeat(4000)}\n`;
  const chunk = Buffer.from(pair.repeat(250), "latin1");
  const chunks = (function* () {
    for (let at = 0; at < 100; at++) yield chunk;
  })();
  const before = memory.buffer.byteLength;
  let values = 0;
  for await (const { type, stored } of readForms(chunks)) {
    assert.equal(type, "value");
    assert.equal(stored.length, 4026);
    values++;
  }
  assert.equal(values, 25_000);
  const grown = memory.buffer.byteLength - before;
  assert.ok(grown < 4 << 20, `the module's memory grew by ${grown} bytes for 100 MB of input`);
});

test("a value that may end with a line end has two readings", async () => {
  const value = load("gcm.bin");
  const [one] = await all(Buffer.concat([value, Buffer.from("\n")]));
  assert.deepEqual(
    one.readings.map(({ stored }) => stored.length),
    [121, 122],
  );
  assert.deepEqual(
    one.readings.map(({ notes }) => notes.length),
    [1, 0],
  );
  assert.equal(one.stored, one.readings[0].stored);
  // Whole blocks show that the line end belongs to an aescbc value.
  const block = Buffer.concat([load("cbc.bin").subarray(0, -1), Buffer.from("\n")]);
  const [found] = inspectInput(block);
  assert.deepEqual([found.size, found.notes], [119, undefined]);
  // So do the fields of an object in protobuf.
  const object = Buffer.from("k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x03ab\n");
  const [plain] = inspectInput(object);
  assert.deepEqual([plain.content, plain.size, plain.notes], ["kubernetes protobuf", object.length, undefined]);
});

test("the resource is known from the storage key", () => {
  const table = [
    ["/registry/secrets/ns/name", "secrets", true],
    ["/registry/deployments/ns/name", "deployments.apps", true],
    ["/registry/example.com/widgets/ns/name", "widgets.example.com", true],
    ["/registry/services/specs/ns/name", "services", true],
    ["/my/prefix/secrets/ns/name", "secrets", false],
  ];
  for (const [key, resource, certain] of table) {
    assert.deepEqual(resourceOf(key), { resource, certain }, key);
    assert.deepEqual(resourceOf(Buffer.from(key)), { resource, certain }, key);
  }
  for (const key of ["", "/registry", "/registry/unknown/name"]) assert.equal(resourceOf(key), undefined, key);
  assert.throws(() => resourceOf(7), { code: "INVALID_ARGUMENT" });
});

test("the names of a configuration decide where a name ends", () => {
  const stored = load("k3s-colon-gcm.bin");
  const name = (keyNames) => dekker.inspect(stored, { keyNames }).keyName;
  assert.equal(name(), "aesgcmkey-2026-03-09T09:46:54+01:00");
  assert.equal(name([{ provider: "aesgcm", name: "aesgcmkey-2026-03-09T09:46" }]), "aesgcmkey-2026-03-09T09:46");
  assert.equal(
    name([{ provider: "aescbc", name: "aesgcmkey-2026-03-09T09:46" }]),
    "aesgcmkey-2026-03-09T09:46:54+01:00",
  );
  assert.throws(() => name([{ provider: "kms", name: "x" }]), { code: "INVALID_ARGUMENT" });
});

test("the prefixes of a configuration decide too, in every function", async () => {
  const stored = load("k3s-colon-gcm.bin");
  const prefixes = ["k8s:enc:aesgcm:v1:aesgcmkey-2026-03-09T09:46:", "k8s:enc:kms:v2:a:b:"];
  const expected = "aesgcmkey-2026-03-09T09:46";
  assert.equal(dekker.inspect(stored, { prefixes }).keyName, expected);
  assert.deepEqual(
    inspectInput(stored, { prefixes }).map(({ keyName }) => keyName),
    [expected],
  );
  // With the name `a`, whole blocks follow it, and the line end belongs to the value; with `a:b`, it does not.
  const block = Buffer.from(`k8s:enc:aescbc:v1:a:b:${"\xff".repeat(29)}\n`, "latin1");
  for (const [name, lengths] of [
    ["a", [52, 51]],
    ["a:b", [51, 52]],
  ]) {
    const found = [];
    for await (const { readings } of readForms(block, { prefixes: [`k8s:enc:aescbc:v1:${name}:`] }))
      found.push(...readings.map(({ stored }) => stored.length));
    assert.deepEqual(found, lengths, name);
  }
  for (const wrong of ["k8s:enc:aescbc:v1:a:", ["key1"], ["k8s:enc:aescbc:v1:a"], [7]])
    assert.throws(() => inspectInput(stored, { prefixes: wrong }), { code: "INVALID_ARGUMENT" }, String(wrong));
});

test("an error says what is known of a value", () => {
  const fault = (() => {
    try {
      return dekker.inspect(load("trunc40.bin"));
    } catch (fault) {
      return fault;
    }
  })();
  assert.ok(fault instanceof DekkerError);
  assert.equal(fault.code, "INVALID_VALUE");
  assert.equal(fault.known.provider, "aescbc");
  assert.equal(fault.known.keyName, "key1");
  assert.ok(fault.known.missingAtLeast > 0);
});
