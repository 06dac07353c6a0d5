// The output of `npm pack` contains what its users need, and nothing else.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

let folder; // a directory whose node_modules contains only the package
let packed; // npm's report about the package

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "dekker-pack-"));
  const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  [packed] = Object.values(JSON.parse((await run("npm", pack, { cwd: root })).stdout));
  await writeFile(join(folder, "package.json"), '{ "private": true }');
  const install = [
    "install",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--offline",
    join(folder, packed.filename),
  ];
  await run("npm", install, { cwd: folder });
});

after(() => rm(folder, { recursive: true }));

test("it holds the code, its types, README and licence, and nothing else", () => {
  const names = packed.files.map(({ path }) => path).sort();
  const expected = [
    "LICENSE",
    "README.md",
    "dist/api.js",
    "dist/bytes.js",
    "dist/cipher-node.js",
    "dist/cipher.js",
    "dist/clock.js",
    "dist/dekker.js",
    "dist/dekker_bg.wasm",
    "dist/dekker_bg.wasm.js",
    "dist/dekker_inspect.js",
    "dist/dekker_inspect_bg.wasm",
    "dist/dekker_inspect_bg.wasm.js",
    "dist/errors.d.ts",
    "dist/errors.js",
    "dist/fetch.js",
    "dist/forms.d.ts",
    "dist/forms.js",
    "dist/found.js",
    "dist/index.browser.js",
    "dist/index.d.ts",
    "dist/index.node.js",
    "dist/inline.d.ts",
    "dist/inline.js",
    "dist/inlined.js",
    "dist/inspect-api.js",
    "dist/inspect-inline.d.ts",
    "dist/inspect-inline.js",
    "dist/inspect-wasm.d.ts",
    "dist/inspect-wasm.js",
    "dist/inspect.browser.js",
    "dist/inspect.d.ts",
    "dist/inspect.node.js",
    "dist/inspection.d.ts",
    "dist/inspection.js",
    "dist/kms-grpc.d.ts",
    "dist/kms-grpc.js",
    "dist/kms.d.ts",
    "dist/kms.js",
    "dist/kms/v1beta1.proto",
    "dist/kms/v2.proto",
    "dist/many.js",
    "dist/module.d.ts",
    "dist/module.js",
    "dist/outcome.js",
    "dist/random-node.js",
    "dist/random.js",
    "dist/tools.d.ts",
    "dist/tools.js",
    "dist/transformer.d.ts",
    "dist/transformer.js",
    "dist/wasm.d.ts",
    "dist/wasm.js",
    "package.json",
  ];
  assert.deepEqual(names, expected);
});

test("installed in an empty directory it has no dependencies", async () => {
  const lock = JSON.parse(await readFile(join(folder, "package-lock.json"), "utf8"));
  const installed = Object.entries(lock.packages).filter(
    ([path, { peer, optional }]) => path !== "" && !peer && !optional,
  );
  assert.deepEqual(
    installed.map(([path]) => path),
    ["node_modules/dekker"],
  );
});

test("ten lines of a new user's code make a round trip", async () => {
  const script = `
    import { Transformer } from "dekker";
    const secret = Buffer.alloc(32, 7).toString("base64");
    const rule = { resources: ["secrets"], providers: [{ secretbox: { keys: [{ name: "key1", secret }] } }] };
    const config = { apiVersion: "apiserver.config.k8s.io/v1", kind: "EncryptionConfiguration", resources: [rule] };
    const transformer = await Transformer.load(JSON.stringify(config));
    const at = { resource: "secrets", key: "/registry/secrets/ns/name" };
    const stored = await transformer.toStorage(at, new TextEncoder().encode("hello"));
    const { plaintext } = await transformer.fromStorage(at, stored);
    console.log(new TextDecoder().decode(plaintext), stored.length);
    transformer.free();`;
  await writeFile(join(folder, "stranger.mjs"), script);
  const { stdout, stderr } = await run(process.execPath, ["stranger.mjs"], { cwd: folder });
  assert.deepEqual([stdout, stderr], [`hello ${"k8s:enc:secretbox:v1:key1:".length + 24 + 16 + 5}\n`, ""]);
});

test("its gRPC client names the missing dependency", async () => {
  const failed = await run(process.execPath, ["--input-type=module", "--eval", 'import "dekker/kms-grpc"'], {
    cwd: folder,
  }).catch((fault) => fault);
  assert.match(failed.stderr, /Cannot find package '@grpc\/grpc-js'/);
});

for (const [desc, lib, types] of [
  ["for Node", ["es2022"], ["node"]],
  ["for browsers", ["es2022", "dom", "dom.iterable"], []],
]) {
  test(`its types satisfy a strict consumer ${desc}`, async () => {
    const source = join(folder, `consumer-${types.length}`);
    await mkdir(source);
    await cp(join(root, "tests/node/consumer.ts"), join(source, "consumer.ts"));
    await writeFile(join(source, "package.json"), '{ "type": "module" }');
    const compilerOptions = {
      strict: true,
      noEmit: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
    };
    Object.assign(compilerOptions, {
      target: "es2022",
      module: "nodenext",
      lib,
      types,
      typeRoots: [join(root, "node_modules/@types")],
    });
    await writeFile(join(source, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    const tsc = [join(root, "node_modules/typescript/bin/tsc"), "--project", source];
    await run(process.execPath, tsc, { cwd: source }).catch(({ stdout }) => assert.fail(stdout));
  });
}
