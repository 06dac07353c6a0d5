/**
 * The part of `dekker` that needs no key: it describes stored values, finds them in what etcdctl, jq, hexdump, psql and others print, and names the
 * resource of a storage key. Its WebAssembly module is small and contains no cipher. The functions are those of `dekker`; if a program imports both,
 * they share the module.
 *
 * ```js
 * import { inspect } from "dekker/inspect";
 *
 * const stored = new TextEncoder().encode(`k8s:enc:aesgcm:v1:key1:${"?".repeat(33)}`);
 * console.log(inspect(stored).plaintextSize); // prints: 5
 * ```
 *
 * @module
 */

export { DekkerError, type ErrorCode, type Finding, type KnownOfValue } from "./errors.js";
export {
  type Form,
  type FoundValue,
  type InputFault,
  type InputValue,
  inspectInput,
  readForms,
  resourceOf,
} from "./forms.js";
export { init, type ModuleSource } from "./inspect-wasm.js";
export { type Inspection, inspect, type KeyName, type NameOptions } from "./inspection.js";
