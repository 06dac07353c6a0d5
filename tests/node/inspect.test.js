// `dekker/inspect` works without the engine, and its answers are those of `dekker`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import * as dekker from "dekker";

import { answers } from "./inspect-answers.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** The files of the entries of `dekker/inspect`, with the files that they import. */
const NEEDED = [
  "bytes.js",
  "dekker_inspect.js",
  "dekker_inspect_bg.wasm",
  "dekker_inspect_bg.wasm.js",
  "errors.js",
  "fetch.js",
  "forms.js",
  "found.js",
  "inlined.js",
  "inspect-api.js",
  "inspect-inline.js",
  "inspect-wasm.js",
  "inspect.browser.js",
  "inspect.node.js",
  "inspection.js",
  "module.js",
];

let folder; // a copy of the package with these files only

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "dekker-inspect-"));
  await cp(join(root, "package.json"), join(folder, "package.json"));
  for (const name of NEEDED) await cp(join(root, "dist", name), join(folder, "dist", name));
});

after(() => rm(folder, { recursive: true }));

/** Runs a program in the copy of the package, and returns what it prints. */
async function program(text) {
  const file = join(folder, "program.mjs");
  await writeFile(file, text);
  const { stdout } = await run(process.execPath, [file], { cwd: folder, maxBuffer: 1 << 28 });
  return stdout.trim();
}

const hash = (text) => createHash("sha256").update(text).digest("hex");

for (const [entry, load] of [
  ["dekker/inspect", ""],
  ["dekker/inspect-inline", "await dekker.init();"],
]) {
  test(`without the engine's files, ${entry} gives the same answers as dekker`, async () => {
    const printed = await program(`
      import { createHash } from "node:crypto";
      import * as dekker from ${JSON.stringify(entry)};
      import { answers } from ${JSON.stringify(new URL("inspect-answers.js", import.meta.url))};
      ${load}
      const all = await answers(dekker);
      console.log(JSON.parse(all).length, createHash("sha256").update(all).digest("hex"));
    `);
    const expected = await answers(dekker);
    const { length } = JSON.parse(expected);
    assert.ok(length > 100, `${length} answers`);
    assert.equal(printed, `${length} ${hash(expected)}`);
  });
}

test("the entry for browsers takes its module from a response", async () => {
  const printed = await program(`
    import { readFileSync } from "node:fs";
    import { init, inspect, resourceOf } from "./dist/inspect.browser.js";
    try { resourceOf("") } catch (fault) { console.log(fault.code) }
    await init(new URL("data:,none")).catch((fault) => console.log(fault.code));
    const module = readFileSync("dist/dekker_inspect_bg.wasm");
    await init(new Response(module, { headers: { "content-type": "application/wasm" } }));
    console.log(inspect(Uint8Array.of(1)).provider);
  `);
  assert.equal(printed, "NOT_INITIALIZED\nWASM_UNAVAILABLE\nidentity");
});

test("in Node, a missing module is an error at its first use", async () => {
  const printed = await program(`
    import { renameSync } from "node:fs";
    import { inspect } from "dekker/inspect";
    const module = "dist/dekker_inspect_bg.wasm";
    renameSync(module, "away");
    try { inspect(Uint8Array.of(1)) } catch (fault) { console.log(fault.code) }
    renameSync("away", module);
    console.log(inspect(Uint8Array.of(1)).provider);
  `);
  assert.equal(printed, "WASM_UNAVAILABLE\nidentity");
});

test("importing dekker does not load the module for inspection, and both entries share it", async () => {
  const { stdout } = await run(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `
      const compiled = [];
      const { Module } = WebAssembly;
      WebAssembly.Module = class extends Module {
        constructor(bytes) {
          super(bytes);
          compiled.push(bytes.length);
        }
      };
      const dekker = await import("dekker");
      const small = await import("dekker/inspect");
      console.log(compiled.length, dekker.inspect === small.inspect, dekker.DekkerError === small.DekkerError);
      small.inspect(Uint8Array.of(1));
      dekker.inspect(Uint8Array.of(1));
      console.log(compiled.length);
    `,
    ],
    { cwd: join(root, "dist") },
  );
  assert.equal(stdout, "1 true true\n2\n");
});

test("no file of dekker/inspect imports another one, and every entry's files are here", async () => {
  const seen = new Set(["inspect.node.js", "inspect.browser.js", "inspect-inline.js"]);
  for (const name of seen) {
    if (!name.endsWith(".js")) continue;
    const text = await readFile(join(root, "dist", name), "utf8");
    for (const [, other] of text.matchAll(/(?:\bfrom|^import|\bnew URL\() ?"\.\/([^"]+)"/gm)) seen.add(other);
  }
  assert.deepEqual([...seen].sort(), NEEDED);
  const engine = (await readdir(join(root, "dist"))).filter((name) => !seen.has(name));
  assert.ok(engine.includes("dekker_bg.wasm") && engine.includes("dekker.js"));
});
