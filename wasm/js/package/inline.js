// The entry point with the module inside JavaScript, for bundlers that lose .wasm files. It is a third larger.

import encoded from "./dekker_bg.wasm.js";
import { setLoader } from "./wasm.js";

setLoader(() => WebAssembly.compile(Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0))));

export * from "./api.js";
