// Node: the module is read from disk when this is imported, so that everything works at once.

import { readFileSync } from "node:fs";

import { setLoader, use } from "./wasm.js";

const load = () => new WebAssembly.Module(readFileSync(new URL("./dekker_bg.wasm", import.meta.url)));

setLoader(load);
use(load());

export * from "./api.js";
