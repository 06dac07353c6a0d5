// The exports that all entry points of `dekker` share.

export { DekkerError } from "./errors.js";
export { inspectInput, readForms, resourceOf } from "./forms.js";
export { inspect } from "./inspection.js";
export { checkConfig, openWithDek, sealWithDek, showConfig, valuePrefixes } from "./tools.js";
export { Transformer } from "./transformer.js";
export { init } from "./wasm.js";
