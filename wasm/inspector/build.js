// Builds the page as one file: `node wasm/inspector/build.js target/dekker/inspector/index.html`. Needs the npm package in dist/.
//
// It is one file because browsers do not let a page from file:// import other files. The policy lists the script and the style by their hashes and
// allows no connections, so that nothing entered into the page can leave it, whatever the script does.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { buildSync } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2];
if (output === undefined) throw new Error("usage: node wasm/inspector/build.js OUTPUT");

function bundle(entry) {
  const built = buildSync({
    absWorkingDir: join(here, "../.."),
    entryPoints: [join(here, entry)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: ["chrome110", "firefox115", "safari16.4"],
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
  });
  return built.outputFiles[0].text.trim();
}

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const parts = { script: bundle("src/main.js"), style: bundle("style.css") };
for (const [name, text] of Object.entries(parts)) {
  // The HTML parser would change these, and the hash would no longer match.
  if (/\r|\0|<\/(script|style)|<!--/i.test(text)) throw new Error(`the ${name} cannot be embedded in a page`);
}
parts.policy = [
  "default-src 'none'",
  `script-src ${hash(parts.script)} 'wasm-unsafe-eval'`,
  `style-src ${hash(parts.style)}`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const page = readFileSync(join(here, "index.html"), "utf8").replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
mkdirSync(dirname(output), { recursive: true });
writeFileSync(output, page);
console.log(`${output}\n  ${Math.round(page.length / 1000)} kB`);
