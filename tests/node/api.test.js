// The package's public API.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { promisify } from "node:util";

import {
  checkConfig,
  DekkerError,
  init,
  inspect,
  inspectInput,
  openWithDek,
  sealWithDek,
  showConfig,
  Transformer,
  valuePrefixes,
} from "dekker";
import * as inline from "dekker/inline";

import { AT, bytes, config, LOCAL, rule, TestKms } from "./kms.js";

const run = promisify(execFile);

test("a value reads back only with the location where it was stored", async () => {
  const transformer = await Transformer.load(LOCAL);
  const stored = await transformer.toStorage(AT, bytes("hello"));
  assert.equal(Buffer.from(stored).toString("latin1").slice(0, 23), "k8s:enc:aesgcm:v1:key1:");
  const read = await transformer.fromStorage(AT, stored);
  assert.deepEqual(read, {
    plaintext: bytes("hello"),
    stale: false,
    state: "fresh",
    transformerPrefix: "k8s:enc:aesgcm:v1:",
    keyPrefix: "key1:",
    hasRule: true,
  });
  await assert.rejects(transformer.fromStorage({ ...AT, key: "/registry/secrets/ns/other" }, stored), {
    name: "DekkerError",
    code: "DECRYPT_FAILED",
    isTransient: false,
  });
  transformer.free();
});

test("keys may be text or bytes, and values any view of bytes", async () => {
  const transformer = await Transformer.load(bytes(LOCAL));
  const key = "/registry/secrets/ns/ü";
  const inside = new Uint8Array([0, 1, 2, 3, 0]);
  for (const value of [
    inside.subarray(1, 4),
    Buffer.from([1, 2, 3]),
    inside.buffer.slice(1, 4),
    new DataView(inside.buffer, 1, 3),
  ]) {
    const stored = await transformer.toStorage({ resource: "secrets", key }, value);
    const { plaintext } = await transformer.fromStorage(
      { resource: "secrets", key: Buffer.from(key) },
      Buffer.from(stored),
    );
    assert.deepEqual(plaintext, Uint8Array.of(1, 2, 3));
  }
  transformer.free();
});

test("values of every size round-trip", async () => {
  const transformer = await Transformer.load(LOCAL);
  for (const size of [0, 1, 15, 16, 17, 4095, 4096, 1 << 20]) {
    const value = new Uint8Array(size).map((_, at) => (7 * at + size) % 251);
    const { plaintext } = await transformer.fromStorage(AT, await transformer.toStorage(AT, value));
    assert.deepEqual(plaintext, value, `${size} bytes`);
  }
  transformer.free();
});

test("invalid arguments have the code INVALID_ARGUMENT", async () => {
  const transformer = await Transformer.load(LOCAL);
  const calls = [
    ["no location", () => transformer.toStorage(undefined, bytes("v"))],
    ["no key", () => transformer.toStorage({ resource: "secrets" }, bytes("v"))],
    ["no resource", () => transformer.fromStorage({ key: "k" }, bytes("v"))],
    ["text for a plaintext", () => transformer.toStorage(AT, "v")],
    ["text for a stored value", () => transformer.fromStorage(AT, "v")],
    ["a plaintext over the limit", () => transformer.toStorage(AT, new Uint8Array((64 << 20) + 1))],
    ["no configuration", () => Transformer.load(undefined)],
    ["no such DEK source", () => Transformer.load(LOCAL, { dekSource: "dice" })],
    ["no such coast", () => Transformer.load(LOCAL, { coast: "west" })],
    ["a cache of half a DEK", () => Transformer.load(LOCAL, { dekCacheCapacity: 0.5 })],
    ["no client", () => Transformer.load(config("a"))],
    ["no client of that name", () => Transformer.load(config("toString"), { kms: {} })],
    ["half a client", () => Transformer.load(config("a"), { kms: { a: { status() {} } } })],
  ];
  for (const [desc, call] of calls) {
    await assert.rejects(call, { name: "DekkerError", code: "INVALID_ARGUMENT" }, desc);
  }
  assert.throws(() => new Transformer(), TypeError);
  transformer.free();
});

test("all errors of a configuration are reported together, with positions", async () => {
  const faulty = rule("  - aesgcm: {keys: []}\n  - kms: {apiVersion: v3, name: 'a:b', endpoint: 'tcp://x'}\n");
  const fault = await Transformer.load(faulty).catch((fault) => fault);
  assert.ok(fault instanceof DekkerError && fault instanceof Error);
  assert.equal(fault.code, "INVALID_CONFIG");
  assert.ok(fault.findings.length >= 3, fault.message);
  const found = checkConfig(faulty).filter(({ severity }) => severity === "fault");
  assert.deepEqual(fault.findings, found);
  for (const { path, message, line, column } of found)
    assert.ok(fault.message.includes(`${line}:${column}: ${path}: ${message}`));
  assert.ok(found.every(({ path, message, line, column }) => path && message && line > 0 && column > 0));
  assert.throws(() => showConfig(faulty), { code: "INVALID_CONFIG" });
});

test("a configuration is checked and shown without its secrets", () => {
  const secret = Buffer.alloc(32, 7).toString("base64");
  assert.ok(checkConfig(LOCAL).every(({ severity }) => severity === "warning"));
  const shown = showConfig(LOCAL);
  assert.ok(shown.includes("aesgcm") && !shown.includes(secret), shown);
});

test("a stored value is inspected without a key", async () => {
  const kms = new TestKms("key-1");
  kms.annotations = { "note.example.com": bytes("x") };
  const transformer = await Transformer.load(config("a"), { kms: { a: kms } });
  const stored = await transformer.toStorage(AT, bytes("hello"));
  transformer.free();
  const seen = inspect(stored);
  assert.equal(seen.provider, "kms");
  assert.equal(seen.providerName, "a");
  assert.equal(seen.encryptedDEKSourceType, "AES_GCM_KEY");
  assert.match(seen.keyIdHash, /^sha256:[0-9a-f]{64}$/);
  assert.deepEqual(seen.annotations, [{ name: "note.example.com", size: 1 }]);
  assert.deepEqual(
    seen.layout.reduce((at, { offset, length }) => (offset === at ? at + length : NaN), 0),
    stored.length,
  );
  const [found] = inspectInput(Buffer.from(stored).toString("base64"));
  assert.deepEqual([found.form, found.within], ["raw", ["base64"]]);
  assert.equal(found.keyIdHash, seen.keyIdHash);
  assert.throws(() => inspect(new Uint8Array()), { code: "INVALID_VALUE" });
  assert.throws(() => inspect(bytes("k8s:enc:nobody:")), { code: "INVALID_VALUE" });
  assert.throws(() => inspect(bytes("k8s:enc:aescbc:v1:key1:0123456789abcdef")), {
    code: "INVALID_VALUE",
    message: /^the value is cut short: 16 bytes follow k8s:enc:aescbc:v1:key1:, /,
    known: { provider: "aescbc", keyName: "key1", keyNameGuessed: true, size: 39, missingAtLeast: 16 },
  });
});

test("free ends all operations and may be called twice", async () => {
  const kms = new TestKms();
  kms.hang();
  const transformer = await Transformer.load(config("a"), { kms: { a: kms } });
  const write = transformer.toStorage(AT, bytes("v"));
  const health = transformer.health();
  const outcomes = Promise.allSettled([write, health]);
  await new Promise(setImmediate);
  transformer.free();
  transformer.free();
  for (const { reason } of await outcomes) assert.equal(reason?.code, "FREED");
  assert.ok(kms.requests.length > 0 && kms.requests.every(({ signal }) => signal.aborted));
  await assert.rejects(transformer.toStorage(AT, bytes("v")), { code: "FREED" });
  await assert.rejects(transformer.reload(LOCAL), { code: "FREED" });
  assert.throws(() => transformer.status(), { code: "FREED" });
  assert.throws(() => transformer.metrics(), { code: "FREED" });
});

test("Symbol.dispose frees the transformer", async () => {
  const transformer = await Transformer.load(LOCAL);
  assert.equal(transformer[Symbol.dispose], transformer.free);
  transformer[Symbol.dispose]();
  await assert.rejects(transformer.health(), { code: "FREED" });
});

test("init may be called at any time, any number of times", async () => {
  await Promise.all([init(), init(), inline.init()]);
  await init();
});

test("the inlined module is the same package", () => {
  assert.deepEqual(Object.keys(inline).sort(), [
    "DekkerError",
    "Transformer",
    "checkConfig",
    "init",
    "inspect",
    "inspectInput",
    "openWithDek",
    "readForms",
    "resourceOf",
    "sealWithDek",
    "showConfig",
    "valuePrefixes",
  ]);
  assert.equal(inline.Transformer, Transformer);
});

test("a KMS value is opened and sealed with a given DEK, without a plugin", async () => {
  for (const dekSource of ["counter", "hkdf-seed"]) {
    const kms = new TestKms("key-1");
    let dek;
    kms.hooks.encrypt = (make, { plaintext }) => {
      dek = Uint8Array.from(plaintext);
      return make();
    };
    const writer = await Transformer.load(config("a"), { kms: { a: kms }, dekSource });
    const stored = await writer.toStorage(AT, bytes("hello"));
    const read = openWithDek(stored, AT.key, dek);
    assert.deepEqual(read.plaintext, bytes("hello"));
    assert.equal(read.keyIdHash, inspect(stored).keyIdHash);
    assert.deepEqual([read.stale, "state" in read], [false, false], "only the plugin knows its current key");
    // The writer also reads the new value, and two sealed values differ.
    const other = sealWithDek(bytes("world"), "/registry/secrets/ns/other", { stored, key: AT.key }, dek);
    assert.notDeepEqual(other, sealWithDek(bytes("world"), "/registry/secrets/ns/other", { stored, key: AT.key }, dek));
    const { plaintext } = await writer.fromStorage({ ...AT, key: "/registry/secrets/ns/other" }, other);
    assert.deepEqual(plaintext, bytes("world"));
    const wrong = dek.map((byte) => byte ^ 1);
    assert.throws(() => openWithDek(stored, AT.key, wrong), { code: "DECRYPT_FAILED" });
    assert.throws(() => openWithDek(stored, "/elsewhere", dek), { code: "DECRYPT_FAILED" });
    assert.throws(() => sealWithDek(bytes("x"), AT.key, { stored, key: AT.key }, wrong), { code: "DECRYPT_FAILED" });
    assert.throws(() => openWithDek(bytes("hello"), AT.key, dek), { code: "NO_MATCHING_PREFIX" });
    writer.free();
  }
});

/** Returns what a program prints that runs in a separate process, so that no other entry has loaded the module. */
async function program(text) {
  const args = ["--input-type=module", "--eval", text];
  const { stdout, stderr } = await run(process.execPath, args, { cwd: new URL(".", import.meta.url) });
  assert.equal(stderr, "");
  return stdout.trim();
}

test("the inlined module loads by itself, and reports a call before that", async () => {
  const printed = await program(`
    import { Transformer, checkConfig } from "dekker/inline";
    try { checkConfig("") } catch (fault) { console.log(fault.code) }
    const transformer = await Transformer.load(${JSON.stringify(LOCAL)});
    const at = ${JSON.stringify(AT)};
    const stored = await transformer.toStorage(at, Uint8Array.of(1, 2, 3));
    console.log((await transformer.fromStorage(at, stored)).plaintext.join());
  `);
  assert.equal(printed, "NOT_INITIALIZED\n1,2,3");
});

test("init of the browser entry takes the module from a URL or a response", async () => {
  const printed = await program(`
    import { readFileSync } from "node:fs";
    import { fileURLToPath } from "node:url";
    import { init, inspect } from "../../dist/index.browser.js";
    await init(new URL("data:,none")).catch((fault) => console.log(fault.code));
    const read = (name) => readFileSync(fileURLToPath(import.meta.resolve("dekker/" + name)));
    const engine = new Response(read("dekker_bg.wasm"), { headers: { "content-type": "application/wasm" } });
    await init({ engine, inspect: new URL("data:,none") }).catch((fault) => console.log(fault.code));
    await init({ inspect: read("dekker_inspect_bg.wasm") });
    console.log(inspect(Uint8Array.of(1)).provider);
  `);
  assert.equal(printed, "WASM_UNAVAILABLE\nWASM_UNAVAILABLE\nidentity");
});

test("a single source is the engine's; without the other module, only inspection fails", async () => {
  // In Node, fetch reads no files.
  const printed = await program(`
    import { readFileSync } from "node:fs";
    import { fileURLToPath } from "node:url";
    import { checkConfig, init, inspect, Transformer } from "../../dist/index.browser.js";
    const read = (name) => readFileSync(fileURLToPath(import.meta.resolve("dekker/" + name)));
    await init(new WebAssembly.Module(read("dekker_bg.wasm")));
    console.log(checkConfig("").length > 0);
    (await Transformer.load(${JSON.stringify(LOCAL)})).free();
    try { inspect(Uint8Array.of(1)) } catch (fault) { console.log(fault.code) }
    await init({ inspect: new WebAssembly.Module(read("dekker_inspect_bg.wasm")) });
    console.log(inspect(Uint8Array.of(1)).provider);
  `);
  assert.equal(printed, "true\nWASM_UNAVAILABLE\nidentity");
});

test("the prefixes of a configuration's values are those of its keys and KMS providers", () => {
  assert.deepEqual(valuePrefixes(LOCAL), ["k8s:enc:aesgcm:v1:key1:"]);
  assert.deepEqual(valuePrefixes(config("a")), ["k8s:enc:kms:v2:a:"]);
  assert.throws(() => valuePrefixes("kind: EncryptionConfiguration"), { code: "INVALID_CONFIG" });
  assert.throws(() => valuePrefixes(7), { code: "INVALID_ARGUMENT" });
});

test("polling does not keep the process alive, and a waiting operation does", async () => {
  const printed = await program(`
    import { Transformer } from "dekker";
    import { TestKms, config } from "./kms.js";
    const idle = await Transformer.load(config("a"), { kms: { a: new TestKms() } });
    await idle.health();
    const silent = new TestKms();
    silent.hang();
    const polling = await Transformer.load(config("a"), { kms: { a: silent } });
    await new Promise(setImmediate);
    console.log(silent.calls.status, process.getActiveResourcesInfo().includes("Timeout"));
    const file = config("a").replace("3s", "20ms");
    const transformer = await Transformer.load(file, { kms: { a: silent } });
    await transformer.toStorage(${JSON.stringify(AT)}, Uint8Array.of(1)).catch((fault) => console.log(fault.code));
  `);
  assert.equal(printed, "1 false\nNOT_READY");
});
