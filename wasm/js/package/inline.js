// The entry point with the modules inside JavaScript, for bundlers that lose .wasm files. It is a third larger.

import "./inspect-inline.js";

import encoded from "./dekker_bg.wasm.js";
import { compileText } from "./inlined.js";
import { engine } from "./wasm.js";

engine.setLoader(() => compileText(encoded));

export * from "./api.js";
