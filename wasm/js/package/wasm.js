// The WebAssembly module. It is loaded once and instantiated again after a trap.

import * as bindings from "./dekker.js";
import { DekkerError } from "./errors.js";

let load; // the entry point's loader: returns a WebAssembly.Module or a promise of one
let loading;
let module;
let instance; // { trap?: string }

/** Sets the function that loads the module. The entry point that was imported provides it. */
export function setLoader(loader) {
  load ??= loader;
}

/** Loads the module unless it is already loaded. `source` is passed to the entry point's loader. */
export function init(source) {
  if (instance !== undefined) return Promise.resolve();
  loading ??= (async () => {
    try {
      use(source instanceof WebAssembly.Module ? source : await load(source));
    } catch (cause) {
      const message = `the WebAssembly module cannot be loaded: ${cause?.message ?? cause}`;
      throw new DekkerError("WASM_UNAVAILABLE", message, { cause });
    } finally {
      loading = undefined;
    }
  })();
  return loading;
}

/** Instantiates the module unless there is an instance. */
export function use(compiled) {
  if (instance !== undefined) return;
  bindings.initSync({ module: compiled });
  module = compiled;
  instance = {};
}

/** Returns the bindings and the instance that they currently use. */
export function current() {
  if (instance === undefined) {
    throw new DekkerError("NOT_INITIALIZED", "the WebAssembly module is not loaded yet: await init() first");
  }
  return { bindings, instance };
}

/**
 * Calls into an instance. The module throws strings and arrays on purpose; anything else is a trap. After a trap, the memory is in the state of an
 * interrupted call, so the instance cannot be used any more: every later call into it throws an error with the message of the first trap. New
 * transformers use a fresh instance.
 */
export function call(into, of = instance) {
  if (of.trap !== undefined) throw trapped(of.trap);
  try {
    return into();
  } catch (fault) {
    if (typeof fault === "string" || Array.isArray(fault)) throw fault;
    of.trap = String(fault?.message ?? fault);
    if (of === instance) replace();
    throw trapped(of.trap, fault);
  }
}

/** Erases the memory of the instance that trapped, including its secrets, and creates a fresh instance. */
function replace() {
  // Returns the exports of the existing instance.
  new Uint8Array(bindings.initSync({ module }).memory.buffer).fill(0);
  // From now on, the bindings reject objects of the old instance and do not free them in the new one.
  bindings.__wbg_reset_state();
  instance = {};
}

function trapped(message, cause) {
  return new DekkerError(
    "TRAPPED",
    `the WebAssembly module failed, and its transformers can no longer be used; load the configuration again: ${message}`,
    cause === undefined ? {} : { cause },
  );
}
