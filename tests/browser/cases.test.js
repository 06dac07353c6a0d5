// Values in the forms in which people hold them, read by the package in a browser: every value of tests/vectors/cases.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { check, configOf, NAMES } from "../node/cases.js";
import { open } from "./chromium.js";

let browser;
let page;

before(async () => {
  browser = await open();
  page = await browser.newPage();
});

after(async () => {
  await browser?.close();
  assert.deepEqual(browser?.faults, []);
});

for (const name of NAMES) {
  test(`what is in ${name}`, async () => {
    const result = await page.evaluate(
      async ([name, config]) => {
        const dekker = await import("/dist/index.browser.js");
        const { read } = await import("/tests/node/read-case.js");
        await dekker.init();
        const load = async (file) => {
          const answer = await fetch(`/tests/vectors/cases/values/${file}`);
          return new Uint8Array(await answer.arrayBuffer());
        };
        return read(dekker, await load(name), await load(config));
      },
      [name, configOf(name)],
    );
    check(name, result);
  });
}
