// Answers requests, one on each line, on standard input and output, in a page of a browser.

import { createInterface } from "node:readline";

import { open } from "./chromium.js";

const browser = await open();
const page = await browser.newPage();
await page.evaluate(async () => {
  const { init } = await import("/dist/index.browser.js");
  await init();
  const bindings = await import("/dist/dekker.js");
  const { inspect } = await import("/dist/dekker_inspect.js");
  const { makeHandler } = await import("/tests/node/face.js");
  globalThis.handle = makeHandler({ ...bindings, inspect });
});
const session = await browser.context.newCDPSession(page);
try {
  for await (const line of createInterface({ input: process.stdin })) {
    // JSON is valid JavaScript, so a string literal needs no other escaping.
    const expression = `handle(${JSON.stringify(line)})`;
    const { result, exceptionDetails } = await session.send("Runtime.evaluate", { expression, returnByValue: true });
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    process.stdout.write(`${result.value}\n`);
  }
} finally {
  await browser.close();
}
