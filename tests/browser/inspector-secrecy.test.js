// What the Inspector must not do: run the content of a value, keep what was cleared, or connect to anything.

import assert from "node:assert/strict";
import test from "node:test";

import { cluster, drop, faults, hex, page, paste, requests, text, until, url, valueBy } from "./inspector-page.js";
import { etcdctl, LOCAL } from "./mixed.js";

test("the content of a value is never markup", async () => {
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  const object = JSON.stringify({ kind: hostile, apiVersion: hostile, metadata: { name: hostile, __proto__: null } });
  const values = [
    { key: `/registry/secrets/ns/${hostile}\u{202e}`, stored: Buffer.from(object) },
    { key: "/registry/secrets/ns/b", stored: Buffer.from(`k8s:enc:aesgcm:v1:${hostile}:${"x".repeat(40)}`) },
  ];
  await drop("body", [`${hostile}.json`, Buffer.from(etcdctl(values))]);
  await until("#detail-title", hostile);
  await until("#object-about", hostile);
  assert.ok((await text("#detail-title")).endsWith("\\u{202e}"), "characters that reorder text are escaped");
  for (const tab of ["text", "hex", "json"]) await page.click(`#tab-${tab}`);
  await page.locator(".pick").nth(1).click();
  await until(".facts", hostile);
  assert.deepEqual(await page.evaluate(() => [document.title, document.querySelectorAll("img, main script").length]), [
    "Dekker Inspector",
    0,
  ]);
});

test("clearing leaves nothing behind", async () => {
  const value = valueBy("secretbox 2026-q3");
  await drop("body", ["config", Buffer.from(LOCAL)], ["a.json", Buffer.from(etcdctl([value, valueBy("kms v2 key")]))]);
  await until("#outcome", "Decrypted");
  await page.fill("#dek", hex(cluster.deks[0]));
  await page.click("#clear");
  await until("#status", "Everything was cleared");
  assert.deepEqual(
    await page.locator("textarea, input[type=search]").evaluateAll((fields) => fields.map(({ value }) => value)),
    ["", "", "", ""],
  );
  const left = await page.evaluate(() => document.querySelector("main").textContent);
  for (const trace of [value.key, "vault", "2026-q3", "password", "sha256:"]) assert.ok(!left.includes(trace), trace);
  // The keys are gone too.
  await paste(etcdctl([value]));
  await until("#outcome", "Paste the configuration that holds the key");
});

test("the content security policy refuses what the page never does", async () => {
  const tried = await page.evaluate(async () => {
    const attempt = async (act) => {
      try {
        return (await act()) ?? "done";
      } catch {
        return "refused";
      }
    };
    const socket = () =>
      new Promise((resolve, reject) =>
        Object.assign(new WebSocket("ws://127.0.0.1:9/"), { onopen: resolve, onerror: reject }),
      );
    const image = () =>
      new Promise((resolve, reject) =>
        Object.assign(new Image(), { onload: resolve, onerror: reject, src: "http://127.0.0.1:9/x.png" }),
      );
    return {
      fetch: await attempt(() => fetch("http://127.0.0.1:9/")),
      socket: await attempt(socket),
      image: await attempt(image),
      markup: await attempt(() => {
        document.body.innerHTML = "<b>x</b>";
      }),
      // biome-ignore lint/security/noGlobalEval: the policy must refuse this call.
      eval: await attempt(() => void globalThis.eval("1")),
    };
  });
  assert.deepEqual(tried, {
    fetch: "refused",
    socket: "refused",
    image: "refused",
    markup: "refused",
    eval: "refused",
  });
  const violated = await page.evaluate(() => globalThis.violations.splice(0).map(([directive]) => directive));
  for (const directive of ["connect-src", "img-src", "require-trusted-types-for"])
    assert.ok(violated.includes(directive), `${directive} of ${violated}`);
  // Chromium reports each violation, and there are no other errors.
  assert.equal(
    faults.filter((fault) => /violates|requires 'Trusted/i.test(fault)).length,
    faults.length,
    faults.join("\n"),
  );
  faults.length = 0;
  requests.splice(0, requests.length, ...requests.filter((request) => request === url));
});
