// The Inspector with values in the forms in which people hold them: names with colons, faults, notes and the export.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { load } from "../node/cases.js";
import { cluster, decrypt, drop, facts, page, paste, text, until } from "./inspector-page.js";
import { etcdctl, LOCAL } from "./mixed.js";

const K3S = "aescbckey-2026-03-09T09:46:54+01:00";
const KEY = "/registry/secrets/kube-system/token";

/** Returns what `hexdump -C` prints. */
function hexdump(bytes) {
  const line = (at) => {
    const part = bytes.subarray(at, at + 16);
    const digits = Array.from(part, (byte) => byte.toString(16).padStart(2, "0"));
    const halves = [digits.slice(0, 8).join(" "), digits.slice(8).join(" ")].join("  ").padEnd(48);
    const ascii = Buffer.from(part)
      .toString("latin1")
      .replace(/[^\x20-\x7e]/g, ".");
    return `${at.toString(16).padStart(8, "0")}  ${halves}  |${ascii}|`;
  };
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) lines.push(line(at));
  return `${lines.join("\n")}\n${bytes.length.toString(16).padStart(8, "0")}\n`;
}

test("a pasted hexdump of a k3s value shows the whole name, and its configuration opens it", async () => {
  const printed = Buffer.concat([Buffer.from(`${KEY}\n`), load("k3s-colon.bin"), Buffer.from("\n")]);
  await paste(`root@server:~# etcdctl get ${KEY} | hexdump -C\n${hexdump(printed)}`);
  await until("#status", "1 value found.");
  assert.equal(await text("#detail-title"), KEY);
  const seen = await facts();
  assert.deepEqual(
    [seen.Provider, seen.Key, seen["Found as"], seen["Found in"]],
    ["aescbc", `“${K3S}”`, "etcdctl in hexdump -C", "pasted, line 2, byte 76"],
  );
  await until("#outcome", `Paste the configuration that holds the key “${K3S}”`);
  await decrypt({ config: load("k3s-config.json").toString() });
  await until("#outcome", "Decrypted with the configuration, as secrets.");
  assert.equal((await facts()).Key, `“${K3S}”`);
});

test("a line end that was added is removed, and said", async () => {
  await drop("body", ["value-only.bin", load("value-only.txt")]);
  await until("#status", "1 value found.");
  assert.match((await facts()).Notes, /the line end after the value \(\\n\) was removed/);
  await decrypt({ config: load("cfg.yaml").toString() });
  await page.fill("#storage-key", "/registry/secrets/default/token");
  await page.click(".place button");
  await until("#outcome", "Decrypted with the configuration");
});

test("a value that ends with a line end opens too, and the note goes", async () => {
  // The last byte of the tag is a line end for one value in 256.
  const { Transformer } = await import("dekker");
  const config = load("cfg.yaml")
    .toString()
    .replace("- aescbc: {", "- aesgcm: {keys: [{name: first, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}\n  - aescbc: {");
  const transformer = await Transformer.load(config);
  const plaintext = new TextEncoder().encode('{"kind":"Secret","apiVersion":"v1"}');
  let stored;
  do stored = await transformer.toStorage({ resource: "secrets", key: KEY }, plaintext);
  while (stored.at(-1) !== 10);
  transformer.free();
  await drop("body", ["value.bin", stored]);
  await until("#status", "1 value found.");
  assert.match((await facts()).Notes, /was removed/);
  await decrypt({ config });
  await page.fill("#storage-key", KEY);
  await page.click(".place button");
  await until("#outcome", "Decrypted with the configuration");
  const seen = await facts();
  assert.deepEqual([seen.Notes, seen.Size.split(",")[0]], [undefined, `${stored.length} bytes`]);
});

test("faults are rows with place, cause and command, and never plaintext", async () => {
  const kubectl = "apiVersion: v1\nkind: Secret\ndata:\n  token: azhzOmVuYzphZXNnY206djE6azo=\n";
  await drop(
    "body",
    ["values.txt", load("dump-many.txt")],
    ["gz.bin", load("gz.bin")],
    ["mangled.bin", load("utf8-mangled.bin")],
    ["secret.yaml", Buffer.from(kubectl)],
  );
  await until("#status", "3 values found and 3 places that could not be read.");
  await page.fill("#filter", "not read");
  assert.equal(await text("#range"), "3 values");
  const rows = await page.locator("#table tbody tr").allInnerTexts();
  assert.ok(rows[0].includes("line 1 of gz.bin") && rows[0].includes("This is gzip"), rows[0]);
  assert.ok(rows[1].includes("line 1 of mangled.bin") && rows[1].includes("saved as UTF-8"), rows[1]);
  assert.ok(rows[2].includes("of secret.yaml") && rows[2].includes("Output of kubectl"), rows[2]);
  await page.locator(".pick").first().click();
  await until("#damage", "Not read. This is gzip, not a stored value of Kubernetes. Use: gzip -dc <file>");
  assert.equal(await text("#damage code"), "gzip -dc <file>");
  assert.equal((await facts())["Found in"], "gz.bin, line 1, byte 0");
  assert.equal(await page.locator("#object-panel").count(), 0);
  assert.match(await text(".figures"), /values\s+3.*not encrypted\s+1.*not read\s+3/s);
  await page.fill("#filter", "");
  await decrypt({ config: load("cfg.yaml").toString() });
  await until("#status", "1 of 3 values decrypted; 1 without a key.");
});

test("a value inside a value is named", async () => {
  await drop("body", ["double.bin", load("double.bin")]);
  await decrypt({ config: load("cfg.yaml").toString() });
  await page.fill("#storage-key", "/registry/secrets/default/token");
  await page.click(".place button");
  await until("#outcome", "The object inside is an encrypted value: it was encrypted twice.");
});

async function exported(button) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
  return [download.suggestedFilename(), await readFile(await download.path(), "utf8")];
}

test("the table is exported as CSV and JSON, as it is filtered and sorted", async () => {
  await drop("body", ["etcd.json", Buffer.from(etcdctl(cluster.values))]);
  await until("#status", "1,000 values found.");
  await decrypt({ config: LOCAL });
  await until("#status", "decrypted");
  const [name, all] = await exported("#export-csv");
  assert.equal(name, "stored-values.csv");
  assert.equal(all.split("\r\n").length, 1 + 1000 + 1);
  await page.fill("#filter", "kms v2 cloud-kms");
  await page.click("[data-sort=size]");
  const [, json] = await exported("#export-json");
  const rows = JSON.parse(json);
  assert.equal(rows.length, 50);
  const [first] = rows;
  assert.deepEqual(
    [first.provider, first.name, first.dekSource, first.state, first.form],
    ["kms v2", "cloud-kms", "seed", "plugin", "etcdctl -w json"],
  );
  assert.match(first.keyIdHash, /^sha256:[0-9a-f]{64}$/);
  assert.match(first.resource, /^(secrets|configmaps)$/);
  assert.deepEqual(
    rows.map(({ size }) => size),
    rows.map(({ size }) => size).toSorted((a, b) => a - b),
  );
  for (const text of [all, json]) assert.ok(!/pw-\d|etcd-2024|AgICAgIC/.test(text), "no plaintext, key ID or key");
});
