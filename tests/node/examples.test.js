// The examples in the package's types and in docs/javascript.md run and print what they say.
//
// An example is a block of code that is marked `js`. `// prints: …` is the next line that it prints. An example that needs more than the package is
// marked `js no-run`, and only its syntax is checked.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Returns the examples in a text as `{ code, line, runs }`. In a comment, each line of an example begins with ` * `. */
function examplesIn(text) {
  return [...text.matchAll(/^( \* )?```js( no-run)?\n(.*?)^\1```$/gms)].map((block) => {
    const [, prefix, noRun, code] = block;
    return {
      code: prefix === undefined ? code : code.replaceAll(/^ \* ?/gm, ""),
      line: text.slice(0, block.index).split("\n").length,
      runs: noRun === undefined,
    };
  });
}

const dist = join(root, "dist");
const types = (await readdir(dist)).filter((name) => name.endsWith(".d.ts")).map((name) => join(dist, name));

for (const path of [...types, join(root, "docs/javascript.md")]) {
  for (const { code, line, runs } of examplesIn(await readFile(path, "utf8"))) {
    const name = `${path.slice(root.length)}:${line}`;
    if (runs) {
      test(`the example at ${name} prints what it says`, async () => {
        // In this directory, `dekker` is the built package.
        const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", code], { cwd: dist });
        const expected = [...code.matchAll(/\/\/ prints: (.*)$/gm)].map(([, words]) => `${words}\n`);
        assert.ok(expected.length > 0, "the example prints something");
        assert.equal(stdout, expected.join(""));
      });
    } else {
      test(`the example at ${name} is valid JavaScript`, async (context) => {
        const folder = await mkdtemp(join(tmpdir(), "dekker-example-"));
        context.after(() => rm(folder, { recursive: true }));
        const file = join(folder, "example.mjs");
        await writeFile(file, code);
        await run(process.execPath, ["--check", file]);
      });
    }
  }
}

test("the main types have examples that run", async () => {
  for (const file of ["transformer", "kms", "errors", "tools", "inspect", "inspection"]) {
    const examples = examplesIn(await readFile(join(dist, `${file}.d.ts`), "utf8"));
    assert.ok(
      examples.some(({ runs }) => runs),
      file,
    );
  }
});
