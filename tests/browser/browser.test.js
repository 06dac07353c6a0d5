// The package in a browser, as its users see it.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { config, LOCAL } from "../node/kms.js";
import { open } from "./chromium.js";

let browser;

before(async () => {
  browser = await open();
});

after(async () => {
  await browser?.close();
  assert.deepEqual(browser?.faults, []);
});

for (const entry of ["index.browser.js", "inline.js"]) {
  test(`a value round-trips: ${entry}`, async () => {
    const page = await browser.newPage();
    const result = await page.evaluate(
      async ([entry, config]) => {
        const { Transformer, checkConfig, init, inspect } = await import(`/dist/${entry}`);
        let early;
        try {
          checkConfig(config);
        } catch (fault) {
          early = fault.code;
        }
        const transformer = await Transformer.load(config);
        await init();
        const at = { resource: "secrets", key: "/registry/secrets/ns/name" };
        const stored = await transformer.toStorage(at, new TextEncoder().encode("hello"));
        const { plaintext, stale } = await transformer.fromStorage(at, stored);
        const wrong = await transformer.fromStorage({ ...at, key: "/other" }, stored).catch((fault) => fault.code);
        transformer.free();
        return { early, text: new TextDecoder().decode(plaintext), stale, wrong, seen: inspect(stored).keyName };
      },
      [entry, LOCAL],
    );
    assert.deepEqual(result, {
      early: "NOT_INITIALIZED",
      text: "hello",
      stale: false,
      wrong: "DECRYPT_FAILED",
      seen: "key1",
    });
    await page.close();
  });
}

test("a page can provide its own KMS client", async () => {
  const page = await browser.newPage();
  const result = await page.evaluate(async (config) => {
    const { Transformer } = await import("/dist/index.browser.js");
    const kek = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    const calls = [];
    const iv = new Uint8Array(12);
    const client = {
      async status() {
        calls.push("status");
        return { version: "v2", healthz: "ok", keyId: "page" };
      },
      async encrypt({ plaintext }) {
        calls.push("encrypt");
        const ciphertext = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, kek, plaintext));
        return { ciphertext, keyId: "page" };
      },
      async decrypt({ ciphertext }) {
        calls.push("decrypt");
        return { plaintext: new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, kek, ciphertext)) };
      },
    };
    const at = { resource: "secrets", key: "/registry/secrets/ns/name" };
    const writer = await Transformer.load(config, { kms: { a: client } });
    const stored = await writer.toStorage(at, Uint8Array.of(1, 2, 3));
    writer.free();
    const reader = await Transformer.load(config, { kms: { a: client } });
    const reads = await Promise.all([reader.fromStorage(at, stored), reader.fromStorage(at, stored)]);
    const checks = await reader.health();
    reader.free();
    return { calls, values: reads.map(({ plaintext }) => [...plaintext].join()), checks };
  }, config("a"));
  assert.deepEqual(result.values, ["1,2,3", "1,2,3"]);
  assert.deepEqual(result.checks, [{ name: "kms-providers" }]);
  assert.deepEqual(result.calls.slice(0, 4), ["status", "encrypt", "decrypt", "status"]);
  await page.close();
});

test("a missing module is a clean error, and another URL may be used", async () => {
  const page = await browser.newPage();
  const result = await page.evaluate(async () => {
    const { init, inspect } = await import("/dist/index.browser.js");
    const missing = await init("/nowhere.wasm").catch((fault) => fault.code);
    await init("/dist/dekker_bg.wasm");
    return [missing, inspect(Uint8Array.of(1)).provider];
  });
  assert.deepEqual(result, ["WASM_UNAVAILABLE", "identity"]);
  await page.close();
});

/** Collects the names of the files that a page requests. */
function requestsOf(page) {
  const names = [];
  page.on("request", (request) => names.push(new URL(request.url()).pathname.split("/").at(-1)));
  return names;
}

for (const [entry, module] of [
  ["dekker/inspect", ["dekker_inspect_bg.wasm"]],
  ["dekker/inspect-inline", []],
]) {
  test(`values are described without the engine: ${entry}`, async () => {
    const page = await browser.newPage();
    const requests = requestsOf(page);
    const result = await page.evaluate(async (entry) => {
      const { init, inspect, inspectInput, readForms, resourceOf } = await import(entry);
      const text = `k8s:enc:aescbc:v1:a:b:${"\xff".repeat(32)}`;
      const stored = Uint8Array.from(text, (char) => char.charCodeAt(0));
      let early;
      try {
        inspect(stored);
      } catch (fault) {
        early = fault.code;
      }
      const items = [];
      for await (const item of readForms(["/registry/pods/a/b\n", stored, "\n"]))
        items.push(item.type, item.stored?.length);
      await init();
      return {
        early,
        items,
        named: inspect(stored, { prefixes: ["k8s:enc:aescbc:v1:a:b:"] }).keyName,
        found: inspectInput(stored)[0].provider,
        resource: resourceOf("/registry/pods/a/b"),
      };
    }, entry);
    assert.deepEqual(result, {
      early: "NOT_INITIALIZED",
      items: ["value", 54],
      named: "a:b",
      found: "aescbc",
      resource: { resource: "pods", certain: true },
    });
    const isOfEngine = (name) => ["dekker.js", "dekker_bg.wasm.js", "wasm.js", "transformer.js"].includes(name);
    assert.ok(requests.length > 3 && !requests.some(isOfEngine), requests.join());
    assert.deepEqual(
      requests.filter((name) => name.endsWith(".wasm")),
      module,
    );
    await page.close();
  });
}

test("a page whose server lacks the module for inspection can use transformers", async () => {
  const page = await browser.newPage();
  await page.route("**/dekker_inspect_bg.wasm", (route) => route.fulfill({ status: 404 }));
  const result = await page.evaluate(async (config) => {
    const { Transformer, inspect } = await import("dekker");
    const transformer = await Transformer.load(config);
    const stored = await transformer.toStorage({ resource: "secrets", key: "/a" }, Uint8Array.of(1));
    transformer.free();
    try {
      inspect(stored);
    } catch (fault) {
      return [fault.code, fault.message];
    }
  }, LOCAL);
  assert.equal(result[0], "WASM_UNAVAILABLE");
  assert.match(result[1], /dekker_inspect_bg\.wasm answered with HTTP status 404/);
  await page.close();
});
