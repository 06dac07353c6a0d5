// The entry point of `dekker/inspect-inline`, with the module inside JavaScript, for bundlers that lose .wasm files. It is a third larger.

import encoded from "./dekker_inspect_bg.wasm.js";
import { compileText } from "./inlined.js";
import { inspector } from "./inspect-wasm.js";

inspector.setLoader(() => compileText(encoded));

export * from "./inspect-api.js";
