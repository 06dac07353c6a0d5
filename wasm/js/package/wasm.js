// The one WebAssembly module: loaded once, begun anew after a trap.

import * as bindings from "./dekker.js";
import { DekkerError } from "./errors.js";

let load; // the entry's: gives a WebAssembly.Module, or a promise of one
let loading;
let module;
let instance; // { trap?: string }

/** The way to the module, from the entry that was imported. */
export function setLoader(loader) {
  load ??= loader;
}

/** Loads the module unless that is done. `source` goes to the entry's loader. */
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

/** Makes the instance, unless there is one. */
export function use(compiled) {
  if (instance !== undefined) return;
  bindings.initSync({ module: compiled });
  module = compiled;
  instance = {};
}

/** The bindings and the instance that they call into now. */
export function current() {
  if (instance === undefined) {
    throw new DekkerError("NOT_INITIALIZED", "the WebAssembly module is not loaded yet: await init() first");
  }
  return { bindings, instance };
}

/**
 * Calls into an instance. What it throws on purpose is a string or an array; everything else is a trap. That leaves memory as it was in the
 * middle of the call: nothing in it can be used any more, and its first message stands for every later call. A fresh instance takes over for
 * whoever comes next.
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

/** Erases the memory of the instance that trapped, secrets and all, and begins anew. */
function replace() {
  // It gives the exports of the instance that there is.
  new Uint8Array(bindings.initSync({ module }).memory.buffer).fill(0);
  // From here on the bindings refuse objects of the old instance, and do not free them in the new one.
  bindings.__wbg_reset_state();
  instance = {};
}

function trapped(message, cause) {
  return new DekkerError(
    "TRAPPED",
    `the WebAssembly module failed, and nothing that was loaded in it can be used any more; load the configuration again: ${message}`,
    cause === undefined ? {} : { cause },
  );
}
