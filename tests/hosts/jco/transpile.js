// Turns a component into an ES module and a core module: `node transpile.js transformer.wasm` makes `transpiled/`, once, when a program is built.
// This is the same as `jco transpile transformer.wasm -o transpiled`, without the rest of jco, which is several times as large.

import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

import { transpile } from "@bytecodealliance/jco-transpile";

const outDir = new URL("transpiled/", import.meta.url).pathname;
// The component's import, and the module that provides it.
const map = { "wasi:random/random": "../random.js" };
const { files } = await transpile(process.argv[2], { name: "transformer", outDir, map });
for (const [path, bytes] of Object.entries(files)) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}
