// Many values in one call, in a browser.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { check } from "../node/ways.js";
import { open } from "./chromium.js";

let browser;

before(async () => {
  browser = await open();
});

after(async () => {
  await browser?.close();
  assert.deepEqual(browser?.faults, []);
});

test("each value has the result of a single call", async () => {
  const page = await browser.newPage();
  const seen = await page.evaluate(async () => {
    const dekker = await import("/dist/index.browser.js");
    const { useKernel } = await import("/dist/random.js");
    const { compare } = await import("/tests/node/ways.js");
    return compare(dekker, useKernel);
  });
  check(assert, seen);
  await page.close();
});

test("other work runs between two groups", async () => {
  const page = await browser.newPage();
  const [count, turns] = await page.evaluate(async () => {
    const { Transformer } = await import("/dist/index.browser.js");
    const rule = { resources: ["secrets"], providers: [{ identity: {} }] };
    const kind = { apiVersion: "apiserver.config.k8s.io/v1", kind: "EncryptionConfiguration" };
    const transformer = await Transformer.load(JSON.stringify({ ...kind, resources: [rule] }));
    const { port1, port2 } = new MessageChannel();
    let turns = 0;
    port1.onmessage = () => {
      turns++;
      port2.postMessage(undefined);
    };
    port2.postMessage(undefined);
    const value = { at: { resource: "secrets", key: "/k" }, plaintext: new Uint8Array(10) };
    const results = await transformer.toStorageMany(Array(1024).fill(value));
    port1.close();
    transformer.free();
    return [results.length, turns];
  });
  assert.equal(count, 1024);
  assert.ok(turns >= 3, `${turns} turns`);
  await page.close();
});
