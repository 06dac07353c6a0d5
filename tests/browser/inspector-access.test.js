// Accessibility of the Inspector: the keyboard, names of controls and contrast.

import assert from "node:assert/strict";
import test from "node:test";

import { audit } from "./audit.js";
import { base64, cluster, decrypt, drop, hex, openDetails, page, until } from "./inspector-page.js";
import { etcdctl, LOCAL } from "./mixed.js";

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
      ["archive.gz", Buffer.from("1f8b0800", "hex")],
    );
    await decrypt({ config: LOCAL, dek: hex(cluster.deks[0]) });
    await until("#status", "decrypted");
    await openDetails();
    problems.push(["many", await page.evaluate(audit)]);
    for (const words of ["not read", "damaged", "other DEK", "read, stale", "not encrypted"]) {
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
