// A WebAssembly module of this package. It is loaded once and instantiated again after a trap.

import { DekkerError } from "./errors.js";

export class WasmModule {
  #bindings;
  #lost;
  /** The entry point's loader: returns a WebAssembly.Module or a promise of one. */
  #load;
  /** The entry point's loader for the first use: returns a WebAssembly.Module. */
  #loadNow;
  #loading;
  /** Why the module could not be loaded last. */
  #fault;
  #module;
  #instance; // { trap?: string }

  /** `lost` says what a trap means for the caller. */
  constructor(bindings, lost) {
    this.#bindings = bindings;
    this.#lost = lost;
  }

  /** Sets the function that loads the module. The entry point that was imported provides it. */
  setLoader(loader) {
    this.#load ??= loader;
  }

  /** Sets a function that loads the module when it is first used, without waiting. */
  loadAtFirstUse(loader) {
    this.#loadNow ??= loader;
  }

  /** Loads the module unless it is already loaded or loads at its first use. `source` is passed to the entry point's loader. */
  init(source) {
    if (this.#instance !== undefined) return Promise.resolve();
    if (this.#loadNow !== undefined && source === undefined) return Promise.resolve();
    this.#loading ??= this.#loadFrom(source).finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #loadFrom(source) {
    try {
      const load = this.#load ?? this.#loadNow;
      this.use(source instanceof WebAssembly.Module ? source : await load(source));
    } catch (cause) {
      throw this.#unavailable(cause);
    }
  }

  #unavailable(cause) {
    const message = `the WebAssembly module cannot be loaded: ${cause?.message ?? cause}`;
    this.#fault = new DekkerError("WASM_UNAVAILABLE", message, { cause });
    return this.#fault;
  }

  /** Instantiates the module unless there is an instance. */
  use(compiled) {
    if (this.#instance !== undefined) return;
    this.#bindings.initSync({ module: compiled });
    this.#module = compiled;
    this.#instance = {};
  }

  /** Returns the bindings and the instance that they currently use. */
  current() {
    if (this.#instance === undefined) this.#useNow();
    return { bindings: this.#bindings, instance: this.#instance };
  }

  #useNow() {
    if (this.#loadNow === undefined) {
      if (this.#fault !== undefined) throw this.#fault;
      throw new DekkerError("NOT_INITIALIZED", "the WebAssembly module is not loaded yet: await init() first");
    }
    try {
      this.use(this.#loadNow());
    } catch (cause) {
      throw this.#unavailable(cause);
    }
  }

  /**
   * Calls into an instance. The module throws strings and arrays on purpose; anything else is a trap. After a trap, the memory is in the state of an
   * interrupted call, so the instance cannot be used any more: every later call into it throws an error with the message of the first trap. New
   * objects use a fresh instance.
   */
  call(into, of = this.#instance) {
    if (of.trap !== undefined) throw this.#trapped(of.trap);
    try {
      return into();
    } catch (fault) {
      if (typeof fault === "string" || Array.isArray(fault)) throw fault;
      of.trap = String(fault?.message ?? fault);
      if (of === this.#instance) this.#replace();
      throw this.#trapped(of.trap, fault);
    }
  }

  /** Erases the memory of the instance that trapped, including its secrets, and creates a fresh instance. */
  #replace() {
    // Returns the exports of the existing instance.
    new Uint8Array(this.#bindings.initSync({ module: this.#module }).memory.buffer).fill(0);
    // From now on, the bindings reject objects of the old instance and do not free them in the new one.
    this.#bindings.__wbg_reset_state();
    this.#instance = {};
  }

  #trapped(message, cause) {
    const text = `the WebAssembly module failed, and ${this.#lost}: ${message}`;
    return new DekkerError("TRAPPED", text, cause === undefined ? {} : { cause });
  }
}
