// The Inspector with many values: the table and the chart.

import assert from "node:assert/strict";
import test from "node:test";

import { cluster, decrypt, drop, hex, page, text, until } from "./inspector-page.js";
import { etcdctl, LOCAL } from "./mixed.js";

test("a thousand mixed values have a table and a chart", async () => {
  await drop("body", ["etcd.json", Buffer.from(etcdctl(cluster.values))]);
  await until("#status", "1,000 values found.");
  assert.equal(await page.locator("#table tbody tr").count(), 20);
  assert.equal(await text("#range"), "1 to 20 of 1,000");
  const bars = await page
    .locator(".bar")
    .evaluateAll((bars) =>
      bars.map((bar) => [
        bar.querySelector(".badge").innerText,
        Number(bar.querySelector("b").innerText),
        bar.querySelector(".fill").getBoundingClientRect().width,
      ]),
    );
  assert.deepEqual(
    bars.map(([provider, number]) => [provider, number]),
    [
      ["kms v2", 340],
      ["kms v2", 170],
      ["secretbox", 140],
      ["aesgcm", 70],
      ["secretbox", 70],
      ["aescbc", 60],
      ["kms v1", 60],
      ["kms v2", 50],
      ["identity", 40],
    ],
  );
  for (const [, number, width] of bars) assert.ok(Math.abs(width / bars[0][2] - number / 340) < 0.01);

  await decrypt({ config: LOCAL, dek: cluster.deks.map(hex).join("\n") });
  await until("#status", "960 of 1,000 values decrypted.");
  assert.match(await text(".figures"), /keys\s+8\s+63 DEKs\s+decrypted\s+960\s+200 stale/);

  await page.locator(".bar", { hasText: "cbc-2022" }).click();
  assert.equal(await text("#range"), "1 to 20 of 60");
  assert.deepEqual(await page.locator("#table .badge").allInnerTexts(), Array(20).fill("aescbc"));
  await page.click("#last");
  assert.equal(await text("#range"), "41 to 60 of 60");
  await page.locator(".bar", { hasText: "cbc-2022" }).click();
  await page.fill("#filter", "not encrypted");
  assert.equal(await text("#range"), "1 to 20 of 40");
  await page.fill("#filter", "secretbox 2026-q1 payments");
  const names = await page.locator(".pick").allInnerTexts();
  assert.ok(names.length > 0 && names.every((name) => name.includes("/payments/")), names.join());
  await page.fill("#filter", "nothing like this");
  assert.equal(await text(".empty"), "No value matches.");
  await page.fill("#filter", "");

  await page.click("[data-sort=size]");
  await page.click("[data-sort=size]");
  assert.equal(await page.locator("th.col-size").getAttribute("aria-sort"), "descending");
  const largest = cluster.values.toSorted((a, b) => b.stored.length - a.stored.length)[0];
  assert.equal(await page.locator(".pick").first().innerText(), largest.key);
  await page.locator("#table tbody tr").first().click();
  await until("#detail-title", largest.key);
});

test("ten thousand values show no more rows than a hundred", async () => {
  const many = Array.from({ length: 10_000 }, (_, at) => ({
    key: `/registry/secrets/ns/${at}`,
    stored: cluster.values[at % 1000].stored,
  }));
  await page.setInputFiles("#files", {
    name: "etcd.json",
    mimeType: "application/json",
    buffer: Buffer.from(etcdctl(many)),
  });
  await until("#status", "10,000 values found.");
  assert.equal(await page.locator("#table tbody tr").count(), 20);
  await page.click("#last");
  assert.equal(await text("#range"), "9,981 to 10,000 of 10,000");
});
