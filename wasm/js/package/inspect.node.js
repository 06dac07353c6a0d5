// The entry point of `dekker/inspect` for Node. The module is read from disk at its first use, so that every function works at once.

import { readFileSync } from "node:fs";

import { inspector } from "./inspect-wasm.js";

inspector.loadAtFirstUse(
  () => new WebAssembly.Module(readFileSync(new URL("./dekker_inspect_bg.wasm", import.meta.url))),
);

export * from "./inspect-api.js";
