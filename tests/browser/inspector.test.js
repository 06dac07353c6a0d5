// The Inspector with one value or a few: what it shows of a value, and how it decrypts it.

import assert from "node:assert/strict";
import test from "node:test";

import { base64, decrypt, dekOf, drop, facts, hex, page, paste, text, until, valueBy } from "./inspector-page.js";
import { configOf, etcdctl, LOCAL, WRONG } from "./mixed.js";

test("a pasted value is described without a key", async () => {
  const { stored, key } = valueBy("kms v2 seed");
  const dump = hex(stored)
    .match(/.{1,32}/g)
    .map(
      (line, at) => `${(16 * at).toString(16).padStart(8, "0")}  ${line.match(/../g).join(" ")}  |${"·".repeat(16)}|`,
    );
  const table = [
    ["hex", hex(stored), "raw in hex"],
    ["base64", base64(stored), "raw in base64"],
    ["etcdctl", etcdctl([{ key, stored }]), "etcdctl -w json"],
    ["hexdump -C", dump.join("\n"), "raw in hexdump -C"],
  ];
  for (const [desc, pasted, found] of table) {
    await paste(pasted);
    await until("#status", "1 value found.");
    const seen = await facts();
    assert.match(seen.Provider, /^KMS v2 “vault”$/, desc);
    assert.match(seen["Key ID hash"], /^sha256:[0-9a-f]{64}$/, desc);
    assert.match(seen["DEK source"], /a seed.*HKDF_SHA256_XNONCE_AES_GCM_SEED/s, desc);
    assert.match(seen.Size, new RegExp(`^${stored.length} bytes, of \\d+ bytes of plaintext$`), desc);
    assert.match(seen.Annotations, /version\.encryption\.example\.com, 1 byte/, desc);
    assert.equal(seen["Found as"], found, desc);
    assert.match(seen["Found in"], /^pasted, line 1, byte \d+$/, desc);
    assert.equal(await text("#detail-title"), desc === "etcdctl" ? key : "value 1", desc);
    assert.match(await text("#outcome"), /^Encrypted\. The KMS plugin “vault” holds the key/, desc);
    await page.click("#clear");
  }
});

test("the byte map is to scale and shows every byte once", async () => {
  const { stored } = valueBy("kms v2 key");
  await paste(base64(stored));
  await until("#status", "1 value found.");
  await page.locator(".parts").waitFor({ state: "attached" });
  const { perRow, drawn, parts } = await page.evaluate(() => {
    const rows = [...document.querySelectorAll(".map-row")];
    const offsets = [...document.querySelectorAll(".map-offset")].map(({ textContent }) => Number(textContent));
    const drawn = {};
    for (const row of rows) {
      const whole = row.getBoundingClientRect().width;
      for (const run of row.children)
        drawn[run.dataset.part] = (drawn[run.dataset.part] ?? 0) + run.getBoundingClientRect().width / whole;
    }
    document.querySelector(".all-parts").open = true;
    const parts = [...document.querySelectorAll(".parts tbody tr")].map((row) => [
      row.dataset.part,
      row.children[0].innerText,
      ...[1, 2].map((at) => Number(row.children[at].innerText.replaceAll(",", ""))),
    ]);
    return { perRow: offsets[1] - offsets[0], drawn, parts };
  });
  let end = 0;
  for (const [part, name, offset, length] of parts) {
    assert.equal(offset, end, name);
    end += length;
    assert.ok(
      Math.abs(drawn[part] * perRow - length) < 0.5,
      `${name}: ${drawn[part] * perRow} of ${length} bytes drawn`,
    );
  }
  assert.equal(end, stored.length);
  // The key ID is shown as its hash, in the bytes too.
  const dumped = await page.locator(".stored .dump").textContent();
  assert.ok(
    !dumped.includes(hex(new TextEncoder().encode("keys/etcd")).match(/../g).join(" ")) && !dumped.includes("projects"),
    dumped,
  );
  assert.ok(dumped.includes("k8s:enc:kms:v2:v"), dumped);
});

test("the configuration decrypts what local keys encrypted", async () => {
  await decrypt({ config: LOCAL });
  await until("#status", "The keys are ready.");
  const table = [
    ["secretbox 2026-q3", "read", /Current: a write would use the same key/],
    ["secretbox 2026-q1", "read, stale", /Stale: a write would now use another key/],
    ["aesgcm", "read, stale", /Stale/],
    ["aescbc", "read, stale", /aescbc has no tag/],
  ];
  for (const [by, state, words] of table) {
    const { key, stored } = valueBy(by);
    await drop("body", ["value.json", Buffer.from(etcdctl([{ key, stored }]))]);
    await until("#detail-title", key);
    await until("#outcome", "Decrypted with the configuration");
    assert.match(await text("#outcome .notice"), words, by);
    assert.equal((await text(".detail-head .state")).replace(/\W*(\w)/, "$1"), state, by);
    const object = JSON.parse(await text("#object-panel .object"));
    const [, , resource, namespace, name] = key.split("/");
    assert.deepEqual(
      [object.apiVersion, `${object.kind.toLowerCase()}s`, object.metadata.namespace, object.metadata.name],
      ["v1", resource, namespace, name],
      by,
    );
    if (resource === "secrets") assert.equal(object.data.username, "dekker", by);
    await page.click("#tab-hex");
    assert.match(await text("#object-panel .dump"), /^00000000 {2}6b 38 73 00 .*k8s\./, by);
    await page.click("#tab-text");
    assert.ok((await text("#object-panel .object")).includes(name), by);
    await page.click("#tab-json");
  }
});

test("the resource comes from the storage key, the rules or the user", async () => {
  const { Transformer } = await import("dekker");
  const transformer = await Transformer.load(LOCAL);
  const object = new TextEncoder().encode('{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"d"}}');
  const stored = await transformer.toStorage(
    { resource: "deployments.apps", key: "/registry/deployments/ns/d" },
    object,
  );
  transformer.free();
  const at = (key) => etcdctl([{ key, stored }]);
  await decrypt({ config: LOCAL });
  await paste(at("/registry/deployments/ns/d"));
  await until("#outcome", "as deployments.apps");
  assert.match(await text("#object-about"), /^Deployment d, apps\/v1 · 68 bytes$/);
  // secretbox does not bind a value to its storage key, so any rule works.
  await paste(at("/registry/widgets/ns/d"));
  await until("#outcome", "as secrets");
  await page.fill("#resource", "widgets");
  await page.keyboard.press("Enter");
  await until("#outcome", "No rule of the configuration that covers this resource");
});

for (const by of ["kms v2 seed", "kms v2 key", "kms v2 old", "kms v1"]) {
  test(`a DEK decrypts without a plugin if the storage key is known: ${by}`, async () => {
    const value = valueBy(by);
    const dek = await dekOf(value);
    await paste(hex(value.stored));
    await decrypt({ dek: by === "kms v1" ? hex(dek) : base64(dek) });
    await until("#outcome", /^Storage key needed\.|^Decrypted with the DEK\./);
    if (by !== "kms v1" || (await text("#outcome")).startsWith("Storage")) {
      await until("#outcome", "The value is bound to its storage key.");
      await page.fill("#storage-key", value.key);
      await page.click(".place button");
    }
    await until("#outcome", "Decrypted with the DEK.");
    assert.equal(JSON.parse(await text("#object-panel .object")).metadata.name, value.key.split("/").at(-1));
  });
}

test("a wrong key is a clear error", async () => {
  const [local, kms] = [valueBy("aesgcm"), valueBy("kms v2 seed")];
  await paste(etcdctl([local]));
  await decrypt({ config: WRONG });
  await until(
    "#outcome",
    "Decryption failed. The configuration’s key “gcm-2024” does not open it: wrong key, wrong storage key, or altered bytes.",
  );
  assert.match(await text(".detail-head .state"), /wrong key/);
  await until("#status", /^0 of 1 value decrypted; 1 refused: wrong key\.$/);

  await page.click("#clear");
  await paste(etcdctl([kms]));
  await decrypt({ dek: "00".repeat(32) });
  await until(
    "#outcome",
    "Decryption failed. This DEK does not open it: wrong key, wrong storage key, or altered bytes.",
  );

  // Also with the right DEK and the wrong storage key.
  await decrypt({ dek: hex(await dekOf(kms)) });
  await until("#outcome", "Decrypted with the DEK.");
  await page.fill("#storage-key", "/registry/secrets/default/another");
  await page.keyboard.press("Enter");
  await until("#outcome", "Decryption failed.");
});

test("unusable input is reported with the cause", async () => {
  const kms = { apiVersion: "v2", name: "vault", endpoint: "unix:///run/vault.sock" };
  await paste(etcdctl([valueBy("kms v2 seed")]));
  await decrypt({ config: configOf({ kms }) });
  await until("#outcome", "A plugin is needed. The KMS plugin “vault” holds the key, and a page cannot reach it.");
  await page.click(".ask summary");
  assert.match(await page.locator("#encrypted-dek").inputValue(), /^[A-Za-z0-9+/]+=*$/);

  await decrypt({ config: LOCAL.replace("gcm-2024", "other") });
  await paste(etcdctl([valueBy("aesgcm")]));
  await until("#outcome", "“gcm-2024”");

  const before = await text("#outcome");
  await decrypt({
    config:
      "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers:\n  - aesgcm: {keys: [{name: a, secret: c2hvcnQ=}]}\n",
  });
  await until("#config-faults [role=alert]", "The configuration has errors.");
  assert.match(
    await text("#config-faults"),
    /line 6, column \d+: resources\[0\]\.providers\[0\]\.aesgcm\.keys\[0\]\.secret: /,
  );
  assert.deepEqual(
    await page
      .locator("#config")
      .evaluate((field) => [field.getAttribute("aria-invalid"), field === document.activeElement]),
    ["true", true],
  );
  assert.equal(await text("#outcome"), before, "the earlier keys are still in use");

  await decrypt({ dek: "abc" });
  await until("#config-faults [role=alert]", "Line 1 is not a DEK: enter 32 bytes in hex or base64.");

  await paste("   ");
  await until("#alert", "There is no value: the input is empty.");
  await paste('{"header":{"revision":1}}');
  await until("#damage", "Not read. There is no value in the input: etcd has none under this key");
  await paste(`k8s:enc:aesgcm:v1:k:${"\u{fffd}a\u{fffd}\u{fffd}".repeat(20)}`);
  await until(
    "#damage",
    "Not read. Bytes were replaced by U+FFFD, because a tool read them as UTF-8 text; they are lost",
  );
  assert.equal(await text("#damage code"), "etcdctl get <key> -w json");
  await paste(hex(Buffer.from("k8s:enc:aesgcm:v1:k:\0\0\0\0\0")));
  await until("#damage", "Damaged. The value is cut short: 5 bytes follow");
  assert.equal((await facts()).Key, "“k”");
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array((64 << 20) + 1)], "disk.img"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  });
  await until("#detail-title", "line 1 of disk.img");
  await until("#damage", "Not read.");
});

test("files may be dropped: raw values, a configuration, a DEK", async () => {
  const [local, kms] = [valueBy("aescbc"), valueBy("kms v2 key")];
  await drop(
    "main",
    ["encryption-config.yaml", Buffer.from(LOCAL)],
    ["a.bin", local.stored],
    ["b.json", Buffer.from(etcdctl([kms]))],
  );
  await until("#status", "1 of 2 values decrypted; 1 without a key.");
  assert.equal(await page.locator("#config").inputValue(), LOCAL);
  // aescbc does not bind a value to its storage key, so a file is enough.
  await until("#outcome", "Decrypted with the configuration");
  const { "Found as": form, "Found in": place } = await facts();
  assert.deepEqual([form, place], ["raw", "a.bin, line 1, byte 0"]);
  await drop("#dek", ["dek", await dekOf(kms)]);
  await until("#status", "2 of 2 values decrypted.");
});
