// Prints what a browser loads for an entry point of the built package, in bytes after `gzip -9`, as `{"modules": 1, "scripts": 2}`:
// `node wasm/js/sizes.js dist/index.browser.js`. Each file is compressed by itself, as servers do.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

const sizes = { modules: 0, scripts: 0 };
const files = [process.argv[2]];
// The loop also visits the files that it adds.
for (const file of files) {
  const content = readFileSync(file);
  const isModule = file.endsWith(".wasm");
  sizes[isModule ? "modules" : "scripts"] += gzipSync(content, { level: 9 }).length;
  if (isModule) continue;
  for (const [, name] of content.toString().matchAll(/(?:\bfrom|^import|\bnew URL\() ?"(\.\/[^"]+)"/gm)) {
    const loaded = join(dirname(file), name);
    if (!files.includes(loaded)) files.push(loaded);
  }
}
console.log(JSON.stringify(sizes));
