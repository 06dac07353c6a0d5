// The driver. It carries out the engine's actions and reports the results to the engine.
//
//   caller ──toStorage, fromStorage, health, reload──▶ ┌─────────────┐ ──calls──▶ Engine (WebAssembly)
//   clients ◀──status, encrypt, decrypt──────────────── │ Transformer │ ◀─actions─
//                                                       └─────────────┘ ◀─timer── its next due time

import { atOnce, bytes, isShortText, textOrBytes } from "./bytes.js";
import { systemClock } from "./clock.js";
import { DekkerError, fromEngine, invalidArgument, invalidConfig, unwrap } from "./errors.js";
import { KmsCalls, quietly } from "./kms.js";
import { many, packed } from "./many.js";
import { Outcomes } from "./outcome.js";
import { kmsProvidersOf } from "./tools.js";
import { call, current, init } from "./wasm.js";

/** The maximum delay of a JavaScript timer. */
const TIMER_MAX_MS = 2 ** 31 - 1;

const DEK_SOURCES = ["counter", "hkdf-seed"];
const COASTS = ["strict", "upstream"];

function oneOf(value, allowed, what) {
  if (!allowed.includes(value)) throw invalidArgument(`${what} must be one of ${allowed.join(", ")}`);
  return value;
}

export class Transformer {
  #engine;
  #instance;
  #clock;
  #kms;
  #onEvent;
  #automaticReload;
  #open = new Map();
  #nextOp = 1;
  /** The reloads in progress, by generation. */
  #reloads = new Map();
  #timer;
  /** When the engine must be called again. */
  #due = Infinity;
  #freed = false;

  static async load(config, options = {}) {
    await init();
    return new Transformer(LOAD, config, options);
  }

  constructor(token, config, options) {
    if (token !== LOAD) throw new TypeError("use await Transformer.load(config, options) to create a Transformer");
    const {
      kms,
      automaticReload = false,
      dekSource = "counter",
      coast = "strict",
      dekCacheCapacity = 0,
      apiserverId = "",
      readOnly = false,
      onEvent = () => {},
      clock = systemClock(),
    } = options;
    if (!Number.isInteger(dekCacheCapacity) || dekCacheCapacity < 0 || dekCacheCapacity >= 2 ** 32) {
      throw invalidArgument("dekCacheCapacity must be a whole number, 0 for the default");
    }
    const file = textOrBytes(config, "config");
    this.#clock = clock;
    this.#onEvent = onEvent;
    this.#automaticReload = Boolean(automaticReload);
    this.#kms = new KmsCalls(
      kms,
      clock,
      (method, args) => this.#deliver((engine, now) => engine[method](...args, now)),
      (event) => this.#emit(event),
    );
    this.#kms.demandClients(kmsProvidersOf(file, this.#automaticReload));
    const { bindings, instance } = current();
    this.#instance = instance;
    const engineOptions = {
      automaticReload: this.#automaticReload,
      dekSource: oneOf(dekSource, DEK_SOURCES, "dekSource"),
      coast: oneOf(coast, COASTS, "coast"),
      dekCacheCapacity,
      apiserverId: String(apiserverId),
      readOnly: Boolean(readOnly),
    };
    try {
      this.#engine = call(() => bindings.Engine.create(file, engineOptions, clock.now()), instance);
    } catch (fault) {
      throw Array.isArray(fault) ? invalidConfig(fault) : fault;
    }
    this.#settle();
  }

  async toStorage(at, plaintext, { signal } = {}) {
    const { resource, key } = location(at);
    const value = bytes(plaintext, "plaintext");
    const written = await this.#operation(signal, (engine, op, now) =>
      engine.toStorage(op, resource, atOnce(key), value, now),
    );
    return written.stored;
  }

  async fromStorage(at, stored, { signal } = {}) {
    const { resource, key } = location(at);
    const value = bytes(stored, "stored");
    return this.#operation(signal, (engine, op, now) => engine.fromStorage(op, resource, atOnce(key), value, now));
  }

  toStorageMany(values, { signal } = {}) {
    const resultOf = ({ stored }) => stored;
    return many(values, "plaintext", signal, (group) => this.#group(signal, group, "toStorageMany", resultOf));
  }

  fromStorageMany(values, { signal } = {}) {
    const resultOf = (outcome) => outcome;
    return many(values, "stored", signal, (group) => this.#group(signal, group, "fromStorageMany", resultOf));
  }

  async health({ signal } = {}) {
    return this.#operation(signal, (engine, op, now) => engine.health(op, now));
  }

  checkNames() {
    return this.#callEngine((engine) => engine.checkNames());
  }

  status() {
    return JSON.parse(this.#callEngine((engine, now) => engine.status(now)));
  }

  metrics() {
    const families = this.#callEngine((engine) => engine.metrics());
    for (const family of families) {
      for (const sample of family.samples) sample.labels = Object.fromEntries(sample.labels);
    }
    return families;
  }

  unreadableAfter(config) {
    const file = textOrBytes(config, "config");
    this.#demandAlive();
    try {
      return this.#callEngine((engine) => engine.unreadableAfter(file));
    } catch (fault) {
      throw Array.isArray(fault) ? invalidConfig(fault) : fault;
    }
  }

  async reload(config, { kms } = {}) {
    const file = textOrBytes(config, "config");
    this.#demandAlive();
    this.#kms.demandClients(kmsProvidersOf(file, this.#automaticReload), kms);
    this.#kms.add(kms);
    let generation;
    try {
      generation = this.#callEngine((engine, now) => engine.reload(file, now));
    } catch (fault) {
      throw Array.isArray(fault) ? invalidConfig(fault) : fault;
    }
    const done = new Promise((resolve, reject) => {
      this.#reloads.set(generation, { resolve, reject });
    });
    this.#settle();
    return done;
  }

  restored() {
    this.#demandAlive();
    this.#deliver((engine, now) => engine.restored(now));
  }

  free() {
    if (this.#freed) return;
    this.#freed = true;
    this.#end(freed());
    if (this.#instance.trap === undefined) call(() => this.#engine.free(), this.#instance);
    this.#engine = undefined;
  }

  /** Performs an operation. The engine answers at once, or parks the operation and answers with an action later. */
  #operation(signal, begin) {
    const { op, outcome } = this.#begin(signal, 1, begin);
    if (outcome !== undefined) {
      // A successful result at once leaves no actions.
      if (outcome.error !== undefined || Array.isArray(outcome)) this.#settle();
      return unwrap(outcome);
    }
    const [done] = this.#wait([op], signal);
    this.#settle();
    return done;
  }

  /**
   * Performs an operation on each value of a group. Returns the results in the form of `Promise.allSettled`; `resultOf` makes the result of a value
   * that was parked from its outcome. If this function rejects, nothing was done.
   */
  async #group(signal, group, method, resultOf) {
    group.demandUnchanged();
    const { op, outcome } = this.#begin(signal, group.items.length, (engine, op, now) => {
      const outcomes = new Outcomes();
      packed(group, (resources, lengths, bytes) => engine[method](op, resources, lengths, bytes, now, outcomes));
      return outcomes.all;
    });
    const parked = [];
    let hasFailed = false;
    for (const [index, { error } = {}] of outcome.entries()) {
      if (outcome[index] === undefined) parked.push(index);
      if (error === undefined) continue;
      outcome[index] = { status: "rejected", reason: fromEngine(error) };
      hasFailed = true;
    }
    if (parked.length === 0 && !hasFailed) return outcome;
    const waiting = this.#wait(
      parked.map((index) => op + index),
      signal,
    );
    const results = Promise.allSettled(waiting.map((done) => done.then(resultOf)));
    this.#settle();
    for (const [at, result] of (await results).entries()) outcome[parked[at]] = result;
    return outcome;
  }

  /** Starts `count` operations with one call: `begin(engine, op, now)`, where `op` is the ID of the first one. Returns it and the outcome of the call. */
  #begin(signal, count, begin) {
    signal?.throwIfAborted();
    const op = this.#nextOp;
    this.#nextOp += count;
    const now = this.#clock.now();
    // If timers do not run, as in a suspended tab, overdue work is done here.
    if (now >= this.#due) this.#deliver((engine) => engine.advance(now));
    return { op, outcome: this.#callEngine((engine) => begin(engine, op, now), now) };
  }

  /** Promises the outcomes of parked operations. When the signal aborts, those that are still parked are cancelled. */
  #wait(ops, signal) {
    if (ops.length === 0) return [];
    let count = ops.length;
    const abandon = () => {
      const parked = ops.filter((op) => this.#open.has(op));
      for (const op of parked) {
        this.#open.get(op).reject(signal.reason);
        this.#open.delete(op);
      }
      this.#deliver((engine) => {
        for (const op of parked) engine.cancel(op);
      });
    };
    const close = () => {
      if (--count === 0) signal?.removeEventListener("abort", abandon);
    };
    signal?.addEventListener("abort", abandon, { once: true });
    return ops.map((op) => new Promise((resolve, reject) => this.#open.set(op, { resolve, reject, close })));
  }

  #demandAlive() {
    if (this.#freed) throw freed();
  }

  /** Makes one call into the engine. A trap ends all open operations. */
  #callEngine(into, now = this.#clock.now()) {
    this.#demandAlive();
    try {
      // Before the operation, which must not use a nonce counter value from a snapshot.
      if (this.#clock.hasLeapt?.()) this.restored();
      this.#demandAlive();
      return call(() => into(this.#engine, now), this.#instance);
    } catch (fault) {
      if (fault instanceof DekkerError && fault.code === "TRAPPED") this.#end(fault);
      throw fault;
    }
  }

  /** Passes an event to the engine, for which no caller waits, and carries out the actions that follow. */
  #deliver(into) {
    if (this.#freed) return;
    try {
      this.#callEngine(into);
    } catch {
      return; // A trap, which has rejected all open operations.
    }
    this.#settle();
  }

  /** Carries out the engine's actions, and sets the timer for the next call. */
  #settle() {
    try {
      for (const action of this.#callEngine((engine) => engine.actions())) this.#act(action);
      this.#schedule();
    } catch (fault) {
      // All waiting callers have been notified: the engine trapped, or the caller called `free` in an event handler.
      if (!(fault instanceof DekkerError)) throw fault;
    }
  }

  #act(action) {
    switch (action.type) {
      case "callStatus":
        return this.#place(action, "status");
      case "callEncrypt": {
        const { uid, plaintext } = action;
        return this.#place(action, "encrypt", { uid, plaintext }, plaintext);
      }
      case "callDecrypt": {
        const { uid, ciphertext, keyId, annotations } = action;
        return this.#place(action, "decrypt", { uid, ciphertext, keyId, annotations: record(annotations) });
      }
      case "toStorageDone":
      case "fromStorageDone":
        return this.#done(action.op, action.outcome);
      case "healthDone":
        return this.#done(action.op, action.checks);
      case "reloadDone":
        return this.#reloadDone(action);
      case "closeProvider":
        return this.#kms.close(action.provider);
      case "log": {
        return this.#emit(action);
      }
    }
  }

  /** Starts a KMS call. Fetches the providers first if this one is new. */
  #place(action, method, request, secret) {
    if (!this.#kms.knows(action.provider)) {
      this.#kms.learn(this.#callEngine((engine) => engine.kmsProviders()));
    }
    this.#kms.place(action, method, request, secret);
  }

  #done(op, outcome) {
    const open = this.#open.get(op);
    if (open === undefined) return;
    this.#open.delete(op);
    open.close();
    try {
      open.resolve(unwrap(outcome));
    } catch (fault) {
      open.reject(fault);
    }
  }

  #reloadDone({ generation, error }) {
    const reload = this.#reloads.get(generation);
    this.#reloads.delete(generation);
    this.#emit(error === undefined ? { type: "reload" } : { type: "reload", error });
    if (error === undefined) reload?.resolve();
    else reload?.reject(new DekkerError("RELOAD_REFUSED", error));
  }

  #emit(event) {
    quietly(() => this.#onEvent(event));
  }

  #schedule() {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = this.#callEngine((engine) => engine.poll()) ?? Infinity;
    if (this.#due === Infinity) return;
    const wait = Math.min(Math.max(this.#due - this.#clock.now(), 0), TIMER_MAX_MS);
    this.#timer = this.#clock.setTimeout(() => {
      this.#deliver((engine, now) => engine.advance(now));
    }, wait);
    // Polls alone do not keep the process alive, but a waiting caller does.
    if (this.#open.size === 0 && this.#reloads.size === 0) this.#timer?.unref?.();
  }

  /** Ends everything with an error. */
  #end(fault) {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { reject, close } of open) {
      close();
      reject(fault);
    }
    this.#due = Infinity;
    const reloads = [...this.#reloads.values()];
    this.#reloads.clear();
    for (const { reject } of reloads) reject(fault);
    this.#kms.closeAll();
  }
}

const LOAD = Symbol("Transformer.load");

if (Symbol.dispose !== undefined) {
  Object.defineProperty(Transformer.prototype, Symbol.dispose, {
    value: Transformer.prototype.free,
    writable: true,
    configurable: true,
  });
}

function freed() {
  return new DekkerError("FREED", "the transformer was freed");
}

function location(at) {
  if (typeof at?.resource !== "string") throw invalidArgument("the location's resource must be a string");
  const { resource, key } = at;
  return { resource, key: isShortText(key) ? key : textOrBytes(key, "the location's key") };
}

/** Names come from storage, so `__proto__` must work like any other name. */
function record(pairs) {
  const all = Object.create(null);
  for (const [name, value] of pairs) all[name] = value;
  return all;
}
