// The Inspector, opened from file:// as its users open it.

import assert from "node:assert/strict";
import { resolve } from "node:path";
import test, { after, afterEach, before, beforeEach } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { audit } from "./audit.js";
import { launch } from "./chromium.js";
import { configOf, etcdctl, LOCAL, mixed, WRONG } from "./mixed.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const url = pathToFileURL(resolve(root, process.env.DEKKER_INSPECTOR ?? "target/dekker/inspector/index.html")).href;

let browser;
let page;
let requests; // every request that left the page, or tried to
let faults; // the errors that the page reports
let cluster; // a thousand values, and every DEK

before(async () => {
  cluster = await mixed(1000);
  browser = await launch();
});

after(() => browser?.close());

beforeEach(async () => {
  page = await browser.context.newPage();
  requests = [];
  faults = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (fault) => faults.push(fault.message));
  page.on("console", (message) => faults.push(message.text()));
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      globalThis.violations.push([violatedDirective, blockedURI]),
    );
  });
  await page.goto(url);
});

afterEach(async () => {
  // Every test also checks this: nothing leaves the page, and the page reports no error.
  const violations = await page.evaluate(() => globalThis.violations);
  await page.close();
  assert.deepEqual({ requests, faults, violations }, { requests: [url], faults: [], violations: [] });
});

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const valueBy = (by) => cluster.values.find((value) => value.by === by);
const text = (selector) => page.locator(selector).innerText();
const dekOf = async (value) => {
  // The value does not name its DEK, so this tries each.
  const { openWithDek } = await import("dekker");
  return cluster.deks.find((dek) => {
    try {
      return openWithDek(value.stored, value.key, dek) !== undefined;
    } catch {
      return false;
    }
  });
};

/** Pastes as the keyboard does, without touching the clipboard of the user who runs the tests. */
async function paste(data, selector = "#paste") {
  await page.locator(selector).evaluate((target, data) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", data);
    target.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, data);
}

/** Drops files, as `[name, bytes]`. */
async function drop(selector, ...files) {
  const encoded = files.map(([name, bytes]) => [name, base64(bytes)]);
  await page.locator(selector).evaluate((target, encoded) => {
    const dataTransfer = new DataTransfer();
    for (const [name, data] of encoded)
      dataTransfer.items.add(new File([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], name));
    target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  }, encoded);
}

async function decrypt({ config = "", dek = "" }) {
  await page.fill("#config", config);
  await page.fill("#dek", dek);
  await page.click("#decrypt");
}

/** Opens everything that can be opened. */
const openDetails = () =>
  page.evaluate(() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

/** Waits for a text. Playwright waits for it without a fixed delay. */
const until = (selector, words) => page.locator(selector).filter({ hasText: words }).first().waitFor();

const facts = () =>
  page.locator(".facts").evaluate((list) => {
    const read = (name) => [...list.querySelectorAll(name)].map(({ innerText }) => innerText.trim());
    const values = read("dd");
    return Object.fromEntries(read("dt").map((name, at) => [name, values[at]]));
  });

test("a pasted value is described without a key", async () => {
  const { stored, key } = valueBy("kms v2 seed");
  const dump = hex(stored)
    .match(/.{1,32}/g)
    .map(
      (line, at) => `${(16 * at).toString(16).padStart(8, "0")}  ${line.match(/../g).join(" ")}  |${"·".repeat(16)}|`,
    );
  const table = [
    ["hex", hex(stored), "hex, pasted"],
    ["base64", base64(stored), "base64, pasted"],
    ["etcdctl", etcdctl([{ key, stored }]), "etcdctl, pasted"],
    ["hexdump -C", dump.join("\n"), "hexdump, pasted"],
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
  await until("#alert", "etcd has no value for this key");
  await paste("k8s:enc:aesgcm:v1:k:\u{fffd}\u{fffd}");
  await until("#alert", "Raw bytes do not survive the clipboard.");
  await paste(hex(Buffer.from("k8s:enc:aesgcm:v1:k:short")));
  await until("#damage", "Damaged. The value is cut short: 5 bytes follow");
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array((64 << 20) + 1)], "disk.img"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  });
  await until("#alert", "These files are more than 64 MiB.");
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
  assert.equal((await facts())["Found as"], "raw, a.bin");
  await drop("#dek", ["dek", await dekOf(kms)]);
  await until("#status", "2 of 2 values decrypted.");
});

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

test("the page works with the keyboard alone", async () => {
  const { keyboard } = page;
  const focused = () =>
    page.evaluate(
      () => document.activeElement.id || document.activeElement.className || document.activeElement.tagName,
    );
  const tabTo = async (id) => {
    for (let at = 0; at < 80 && (await focused()) !== id; at++) await keyboard.press("Tab");
    assert.equal(await focused(), id);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none", `${id}: the focus is visible`);
  };
  await keyboard.press("Tab");
  assert.equal(await focused(), "skip");
  await tabTo("paste");
  await keyboard.insertText(
    cluster.values
      .slice(0, 200)
      .map(({ stored }) => base64(stored))
      .join("\n"),
  );
  await keyboard.press("Tab");
  assert.equal(await focused(), "inspect");
  await keyboard.press("Enter");
  await until("#status", "200 values found.");
  await page.locator("#results:focus").waitFor();
  assert.equal(await page.locator("#paste").inputValue(), "");

  await page.locator("#clear").focus();
  await tabTo("config");
  await keyboard.insertText(LOCAL);
  await keyboard.press("Control+Enter");
  await until("#status", "decrypted");

  await tabTo("filter");
  await keyboard.insertText("secretbox");
  await tabTo("pick");
  await keyboard.press("ArrowDown");
  const name = await page.evaluate(() => document.activeElement.innerText);
  await keyboard.press("Enter");
  await until("#detail-title:focus", name);
  await tabTo("tab-json");
  await keyboard.press("ArrowRight");
  assert.equal(await focused(), "tab-text");
  assert.equal(await page.locator("#tab-text").getAttribute("aria-selected"), "true");
  await keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement.innerText), name);
  await tabTo("next");
  // A button that becomes disabled passes the focus on.
  for (let at = 0; at < 9 && !(await page.locator("#next").isDisabled()); at++) await keyboard.press("Enter");
  assert.ok(await page.locator("#next").isDisabled());
  assert.equal(await focused(), "previous");
});

for (const colorScheme of ["light", "dark"]) {
  test(`every control has a name and every text enough contrast: ${colorScheme}`, async () => {
    await page.emulateMedia({ colorScheme });
    const problems = [["empty", await page.evaluate(audit)]];
    await drop(
      "body",
      ["etcd.json", Buffer.from(etcdctl(cluster.values))],
      ["damaged.bin", Buffer.from("k8s:enc:aesgcm:v1:k:short")],
    );
    await decrypt({ config: LOCAL, dek: hex(cluster.deks[0]) });
    await until("#status", "decrypted");
    await openDetails();
    problems.push(["many", await page.evaluate(audit)]);
    for (const words of ["damaged", "other DEK", "read, stale", "not encrypted"]) {
      await page.fill("#filter", words);
      await page.locator(".pick").first().click();
      await openDetails();
      problems.push([words, await page.evaluate(audit)]);
    }
    await decrypt({ config: "kind: x", dek: hex(cluster.deks[0]) });
    await until("#config-faults", "The configuration has errors.");
    problems.push(["faults", await page.evaluate(audit)]);
    for (const [where, { texts, contrast, names }] of problems) {
      assert.ok(texts > 20, `${where}: only ${texts} texts were measured`);
      assert.deepEqual({ contrast, names }, { contrast: [], names: [] }, where);
    }
    const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    assert.equal(ground, colorScheme === "light" ? "rgb(241, 244, 248)" : "rgb(13, 18, 25)");
  });
}

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
  requests = requests.filter((request) => request === url);
});
