// The small WebAssembly module, which describes and finds stored values.

import * as bindings from "./dekker_inspect.js";
import { WasmModule } from "./module.js";

export const inspector = new WasmModule(bindings, "what it was reading is lost; other calls work");

/** Loads the module unless it is already loaded. The entry point's loader gets the source. */
export const init = (source) => inspector.init(source);
