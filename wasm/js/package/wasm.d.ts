import type { ModuleSource } from "./module.js";

export type { ModuleSource } from "./module.js";

/**
 * Loads the WebAssembly modules: the engine's, and the one that `inspect`, `inspectInput`, `readForms` and `resourceOf` use. `Transformer.load` calls
 * this itself, and `readForms` loads the module that it needs. The other functions need it first, except in Node, where the modules load by
 * themselves. Further calls do nothing.
 *
 * If the module for inspection is the only one that cannot be loaded, and no source of it was passed, this function succeeds. The functions that
 * need that module then throw `WASM_UNAVAILABLE`.
 *
 * @param source in browsers: the modules or where to fetch them, instead of `dekker_bg.wasm` and `dekker_inspect_bg.wasm` beside this package's
 *   files. A single source is that of the engine's module.
 * @throws {DekkerError} `WASM_UNAVAILABLE`
 */
export function init(
  source?: ModuleSource | { engine?: ModuleSource | undefined; inspect?: ModuleSource | undefined },
): Promise<void>;
