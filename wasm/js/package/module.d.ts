/** `WebAssembly.Module`, if the environment has a type for it. */
type WebAssemblyModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } }
  ? Module
  : never;

/** A WebAssembly module of this package, or where to fetch it. */
export type ModuleSource = string | URL | Response | ArrayBuffer | Uint8Array | WebAssemblyModule;
