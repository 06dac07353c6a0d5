// A page with the Inspector, opened from file:// as its users open it, for each test of the file that imports this module.

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { launch } from "./chromium.js";
import { mixed } from "./mixed.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const url = pathToFileURL(
  resolve(root, process.env.DEKKER_INSPECTOR ?? "target/dekker/inspector/index.html"),
).href;

let browser;
/** The page of the test that runs. */
export let page;
/** The URL of every request that left the page, or tried to. */
export let requests;
/** The errors that the page reports. */
export let faults;
/** A thousand values, and every DEK. */
export let cluster;

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

export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const base64 = (bytes) => Buffer.from(bytes).toString("base64");
export const valueBy = (by) => cluster.values.find((value) => value.by === by);
export const text = (selector) => page.locator(selector).innerText();
export const dekOf = async (value) => {
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
export async function paste(data, selector = "#paste") {
  await page.locator(selector).evaluate((target, data) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", data);
    target.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, data);
}

/** Drops files, as `[name, bytes]`. */
export async function drop(selector, ...files) {
  const encoded = files.map(([name, bytes]) => [name, base64(bytes)]);
  await page.locator(selector).evaluate((target, encoded) => {
    const dataTransfer = new DataTransfer();
    for (const [name, data] of encoded)
      dataTransfer.items.add(new File([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], name));
    target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  }, encoded);
}

export async function decrypt({ config = "", dek = "" }) {
  await page.fill("#config", config);
  await page.fill("#dek", dek);
  await page.click("#decrypt");
}

/** Opens everything that can be opened. */
export const openDetails = () =>
  page.evaluate(() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

/** Waits for a text. Playwright waits for it without a fixed delay. */
export const until = (selector, words) => page.locator(selector).filter({ hasText: words }).first().waitFor();

export const facts = () =>
  page.locator(".facts").evaluate((list) => {
    const read = (name) => [...list.querySelectorAll(name)].map(({ innerText }) => innerText.trim());
    const values = read("dd");
    return Object.fromEntries(read("dt").map((name, at) => [name, values[at]]));
  });
