// The entry point of `dekker/inspect` for browsers and their bundlers. init(), which readForms() awaits, fetches the module.

import { compile } from "./fetch.js";
import { inspector } from "./inspect-wasm.js";

inspector.setLoader((source = new URL("./dekker_inspect_bg.wasm", import.meta.url)) => compile(source));

export * from "./inspect-api.js";
