// Takes screenshots of the page with a thousand values, for docs/javascript.md:
// `node wasm/inspector/screenshot.js target/dekker/inspector/index.html docs`.

import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { launch } from "../../tests/browser/chromium.js";
import { etcdctl, LOCAL, mixed } from "../../tests/browser/mixed.js";

const [file, folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: node wasm/inspector/screenshot.js PAGE FOLDER");

const { values, deks } = await mixed(1000);
mkdirSync(folder, { recursive: true });
const browser = await launch();
try {
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.context.newPage();
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width: 1400, height: 1100 });
    await page.goto(pathToFileURL(resolve(file)).href);
    await page.setInputFiles("#files", {
      name: "etcd.json",
      mimeType: "application/json",
      buffer: Buffer.from(etcdctl(values)),
    });
    await page.locator("#results").waitFor();
    // Enter only some of the DEKs, so that some values stay closed, as in real use.
    await page.fill(
      "#dek",
      deks
        .slice(0, 2)
        .map((dek) => dek.toString("hex"))
        .join("\n"),
    );
    await page.fill("#config", LOCAL);
    await page.click("#decrypt");
    await page.getByText(" decrypted;").waitFor();
    await page.locator("#object-panel").waitFor();
    await page.mouse.move(0, 0);
    await page.screenshot({ path: join(folder, `inspector-${colorScheme}.png`) });
    await page.close();
  }
} finally {
  await browser.close();
}
