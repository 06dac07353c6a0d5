import type { ModuleSource } from "./module.js";

export type { ModuleSource } from "./module.js";

/**
 * Loads the WebAssembly module. `readForms` calls this itself; the other functions need it first, except in Node, where the module loads by itself.
 * Further calls do nothing.
 *
 * @param source in browsers: the module or where to fetch it, instead of `dekker_inspect_bg.wasm` beside this package's files
 * @throws {DekkerError} `WASM_UNAVAILABLE`
 */
export function init(source?: ModuleSource): Promise<void>;
