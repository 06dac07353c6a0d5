// The engine's WebAssembly module. `inspect-wasm.js` has the other one, which contains everything that needs no engine, cipher or configuration.

import * as bindings from "./dekker.js";
import { inspector } from "./inspect-wasm.js";
import { WasmModule } from "./module.js";

export const engine = new WasmModule(bindings, "its transformers can no longer be used; load the configuration again");

/** Loads both modules unless they are already loaded. The entry points' loaders get the sources. */
export async function init(source) {
  const sources = isPlain(source) ? source : { engine: source };
  const inspecting = inspector.init(sources.inspect);
  // A transformer works without the other module, of which the caller may know nothing. The functions that need it throw the error.
  const tolerated = sources.inspect === undefined ? inspecting.catch(() => {}) : inspecting;
  await Promise.all([engine.init(sources.engine), tolerated]);
}

/** Whether a value is an object literal, perhaps of another realm. */
function isPlain(value) {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Returns the engine's bindings and the instance that they currently use. */
export const current = () => engine.current();

/** Calls into an instance of the engine's module. See `WasmModule.call`. */
export const call = (into, of) => engine.call(into, of);
