// The exports that all entry points of `dekker/inspect` share.

export { DekkerError } from "./errors.js";
export { inspectInput, readForms, resourceOf } from "./forms.js";
export { init } from "./inspect-wasm.js";
export { inspect } from "./inspection.js";
