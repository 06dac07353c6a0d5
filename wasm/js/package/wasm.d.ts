/** `WebAssembly.Module`, if the environment has a type for it. */
type WebAssemblyModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } }
  ? Module
  : never;

/**
 * Loads the WebAssembly module. `Transformer.load` calls this itself; the plain functions need it first, except in Node, where importing this
 * package loads the module. Further calls do nothing.
 *
 * @param source in browsers: the module or where to fetch it, instead of `dekker_bg.wasm` beside this package's files
 * @throws {DekkerError} `WASM_UNAVAILABLE`
 */
export function init(source?: string | URL | Response | ArrayBuffer | Uint8Array | WebAssemblyModule): Promise<void>;
