// The exports that all entry points share.

export { DekkerError } from "./errors.js";
export { inspectInput, readForms, resourceOf } from "./forms.js";
export { checkConfig, inspect, openWithDek, sealWithDek, showConfig } from "./tools.js";
export { Transformer } from "./transformer.js";
export { init } from "./wasm.js";
