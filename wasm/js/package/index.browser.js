// The entry point for browsers and their bundlers. init(), which Transformer.load() awaits, fetches the modules.

import "./inspect.browser.js";

import { compile } from "./fetch.js";
import { engine } from "./wasm.js";

engine.setLoader((source = new URL("./dekker_bg.wasm", import.meta.url)) => compile(source));

export * from "./api.js";
