// Many values in one operation. They are taken from the caller in groups, and each group goes to the module in one call.
//
//   an iterable ──all checked──▶ groups ──perform──▶ a promise of all results
//   an async iterable ──Source──▶ a group ──perform──▶ its results, one by one ──▶ the next group

import { bytes, isShortText, textOrBytes } from "./bytes.js";
import { invalidArgument } from "./errors.js";

/** 256: the maximum number of values in a group, as in `dekker-host`. More make no value cheaper, but keep other work waiting for longer. */
const VALUES_MAX = 256;

/** 4 MiB: the maximum size of a group. A value that is larger is a group by itself. It bounds the module's memory, which never shrinks. */
const BYTES_MAX = 4 << 20;

/**
 * Performs an operation on many values. For an iterable, promises the results, in the form of `Promise.allSettled`. For an async iterable, returns an
 * async generator of them.
 *
 * @param values objects with the properties `at` and `field`, which has the bytes
 * @param {AbortSignal | undefined} signal
 * @param {(group: Group) => Promise<object[]>} perform performs the operation on a group. If it rejects, it has done nothing
 */
export function many(values, field, signal, perform) {
  const read = (value, index) => new Item(value, field, index);
  if (typeof values?.[Symbol.iterator] !== "function" && typeof values?.[Symbol.asyncIterator] === "function") {
    return oneByOne(values, read, signal, perform);
  }
  return all(values, read, perform);
}

/** One value of the caller, checked. */
class Item {
  constructor(value, field, index) {
    const { at, [field]: content } = value ?? {};
    const { resource, key } = at ?? {};
    const path = () => `values[${index}]`;
    if (typeof resource !== "string") throw invalidArgument(`${path()}.at.resource must be a string`);
    this.index = index;
    this.resource = resource;
    /** Text that is short enough to be encoded when the group is packed; or bytes. */
    this.key = isShortText(key) ? key : textOrBytes(key, () => `${path()}.at.key`);
    this.content = bytes(content, () => `${path()}.${field}`);
    this.size = this.sizeNow();
  }

  /** The number of bytes that the value takes in a packed group, or more. */
  sizeNow() {
    // No UTF-16 code unit takes more than three bytes of UTF-8.
    const keySize = typeof this.key === "string" ? 3 * this.key.length : this.key.length;
    return keySize + this.content.length;
  }
}

class Group {
  items = [];
  size = 0;

  /** Whether the value is one too many. */
  isFullFor({ size }) {
    return this.isFull || (this.items.length > 0 && this.size + size > BYTES_MAX);
  }

  get isFull() {
    return this.items.length === VALUES_MAX;
  }

  add(item) {
    this.items.push(item);
    this.size += item.size;
  }

  /** Throws if a value has another size than before: its buffer was transferred or resized while earlier groups were handled. */
  demandUnchanged() {
    for (const item of this.items) {
      if (item.sizeNow() !== item.size) throw invalidArgument(`values[${item.index}] was changed during the call`);
    }
  }
}

/** Promises all results. Only the first group may reject the promise: then nothing was done. */
async function all(values, read, perform) {
  if (typeof values?.[Symbol.iterator] !== "function") {
    throw invalidArgument("values must be an array, an iterable or an async iterable");
  }
  const items = Array.from(values, read);
  const results = [];
  for (const group of groupsOf(items)) {
    try {
      if (results.length > 0) await turn();
      results.push(...(await perform(group)));
    } catch (reason) {
      if (results.length === 0) throw reason;
      while (results.length < items.length) results.push({ status: "rejected", reason });
      break;
    }
  }
  return results;
}

/** At least one group: an empty one, if there are no values. */
function* groupsOf(items) {
  let group = new Group();
  for (const item of items) {
    if (group.isFullFor(item)) {
      yield group;
      group = new Group();
    }
    group.add(item);
  }
  yield group;
}

async function* oneByOne(values, read, signal, perform) {
  // Rejects before a value is taken, if the transformer was freed or the signal has aborted.
  await perform(new Group());
  const source = new Source(values, read);
  const abandon = () => source.abandon(signal.reason);
  signal?.addEventListener("abort", abandon);
  let results = [];
  try {
    for (let group = await source.take(); group !== undefined; group = await source.take()) {
      results = (await perform(group)).reverse();
      while (results.length > 0) yield results.pop();
      await turn();
    }
  } finally {
    signal?.removeEventListener("abort", abandon);
    // The plaintexts that the caller has not taken.
    for (const { value } of results) value?.plaintext?.fill(0);
    await source.close();
  }
}

/** The values of an async iterable, in groups. */
class Source {
  #iterator;
  #read;
  #index = 0;
  /** A promise of the iterator's next value, until a group has it. */
  #next;
  /** Ends the wait for the next value. */
  #end;
  #isAsked = false;
  #isDone = false;
  /** The value that was too large for the last group. */
  #left;

  constructor(values, read) {
    this.#iterator = values[Symbol.asyncIterator]();
    this.#read = read;
  }

  /**
   * Returns a group of at least one value, or `undefined` at the end. The group ends early if the iterator has no value ready, because the caller may
   * need the results of these values to make the next one.
   */
  async take() {
    const group = new Group();
    if (this.#left !== undefined) group.add(this.#left);
    this.#left = undefined;
    let late;
    while (!group.isFull) {
      this.#next ??= this.#ask();
      const isFirst = group.items.length === 0;
      if (!isFirst) late ??= turn();
      const step = await (isFirst ? this.#next : Promise.race([this.#next, late]));
      // Late, or failed: first the values that are there.
      if (step === undefined || (step.done && !isFirst)) break;
      if ("fault" in step) throw step.fault;
      if (step.done) return undefined;
      this.#next = undefined;
      const item = this.#read(step.value, this.#index++);
      if (group.isFullFor(item)) {
        this.#left = item;
        break;
      }
      group.add(item);
    }
    return group;
  }

  /** Asks the iterator for its next value. The promise never rejects, because an iterator may fail while nothing waits for it. */
  #ask() {
    this.#isAsked = true;
    return new Promise((resolve) => {
      this.#end = resolve;
      const ended = (step) => {
        this.#isAsked = false;
        this.#isDone = step.done;
        resolve(step);
      };
      Promise.resolve(this.#iterator.next())
        .then(({ done, value }) => ended({ done, value }))
        .catch((fault) => ended({ done: true, fault }));
    });
  }

  /** Makes the wait for a value fail. */
  abandon(fault) {
    this.#end?.({ done: true, fault });
  }

  /** Ends the iterator, which may then release what it holds. */
  async close() {
    if (this.#isDone) return;
    const closed = Promise.resolve(this.#iterator.return?.());
    // An iterator that has not answered may never do so, and would only then end.
    if (this.#isAsked) closed.catch(() => {});
    else await closed;
  }
}

/** Returns after other work of the event loop has run. */
const turn = () => new Promise((resolve) => soon(() => resolve()));

/** In browsers, timers without delay wait for several milliseconds; messages do not. */
function soon(callback) {
  if (typeof setImmediate === "function") {
    setImmediate(callback);
    return;
  }
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    callback();
  };
  port2.postMessage(undefined);
}

const encoder = new TextEncoder();

/** 256 KiB: room for a group of usual size, used again for each one. */
const room = new Uint8Array(256 << 10);

/**
 * Packs a group, calls `into(resources, lengths, bytes)`, and erases the bytes. `lengths` has three numbers for each value: the index of its resource,
 * the length of its key and that of its content. `bytes` has the key and the content of each.
 */
export function packed({ items, size }, into) {
  const resources = [];
  const lengths = new Uint32Array(3 * items.length);
  const all = size <= room.length ? room.subarray(0, size) : new Uint8Array(size);
  let at = 0;
  let number = 0;
  try {
    for (const { resource, key, content } of items) {
      const keyLength = putKey(key, all, at);
      all.set(content, at + keyLength);
      at += keyLength + content.length;
      lengths[number++] = indexIn(resources, resource);
      lengths[number++] = keyLength;
      lengths[number++] = content.length;
    }
    return into(resources, lengths, all.subarray(0, at));
  } finally {
    all.fill(0);
  }
}

function putKey(key, all, at) {
  if (typeof key === "string") return encoder.encodeInto(key, all.subarray(at)).written;
  all.set(key, at);
  return key.length;
}

/** Returns the index of a resource, after adding it if it is new. Groups have few. */
function indexIn(resources, resource) {
  const index = resources.indexOf(resource);
  return index < 0 ? resources.push(resource) - 1 : index;
}
