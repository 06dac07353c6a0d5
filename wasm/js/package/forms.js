// Stored values in the forms in which people hold them: what etcdctl, jq, hexdump, psql and others print.

import { isBytes, ofAnyLength, textOrBytes } from "./bytes.js";
import { DekkerError, invalidArgument } from "./errors.js";
import { given } from "./found.js";
import { inspector } from "./inspect-wasm.js";
import { inspectWith, prefixesOf } from "./inspection.js";

/** The module gets the input in pieces of 64 KiB, so that few values are in its memory at once. */
const PIECE = 64 << 10;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** A reader in the module. It must be freed. */
class Reader {
  #instance;
  #reader;

  constructor(prefixes) {
    const { bindings, instance } = inspector.current();
    this.#instance = instance;
    this.#reader = this.#call(() => new bindings.FormReader(prefixes));
  }

  *push(chunk) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      this.#call(() => this.#reader.push(chunk.subarray(at, at + PIECE)));
      yield* this.#items(() => this.#reader.next());
    }
  }

  *finish() {
    yield* this.#items(() => this.#reader.finish());
  }

  *#items(next) {
    for (let item = this.#call(next); item !== undefined; item = this.#call(next)) yield finished(item);
  }

  free() {
    if (this.#instance.trap === undefined) this.#call(() => this.#reader.free());
  }

  #call(into) {
    return inspector.call(into, this.#instance);
  }
}

/** Adds what follows from the rest of an item of the module. */
function finished(item) {
  if (item.type === "fault") return item;
  const { bytes, removed, cutShort, crlfUndone, ...value } = item;
  const readings = removed.map((end) => ({
    stored: bytes.subarray(0, bytes.length - end),
    notes: notes({ end: bytes.subarray(bytes.length - end), cutShort, crlfUndone }),
  }));
  return { ...value, ...readings[0], readings };
}

/** Returns what is unusual about a reading of a value, in the words of `dekker inspect`. `end` is what was removed. */
function notes({ end, cutShort, crlfUndone }) {
  const escaped = JSON.stringify(utf8.decode(end)).slice(1, -1);
  return [
    end.length > 0 && `the line end after the value (${escaped}) was removed: etcdctl and other tools add one`,
    cutShort && "the value is cut short: the input ends before it does",
    crlfUndone &&
      "each \\r\\n was read as \\n, because the output went through a terminal (`kubectl exec -t`); if the value does not decrypt, get it without -t",
  ].filter(Boolean);
}

export async function* readForms(source, options) {
  const chunks = chunksOf(source);
  const prefixes = prefixesOf(options);
  await inspector.init();
  const reader = new Reader(prefixes);
  try {
    for await (const chunk of chunks) yield* reader.push(ofAnyLength(chunk, "a chunk of the source"));
    yield* reader.finish();
  } finally {
    reader.free();
  }
}

function chunksOf(source) {
  // Bytes and text can be iterated too, but not by chunks.
  if (typeof source === "string" || isBytes(source)) return [source];
  if (typeof source?.getReader === "function") return chunksOfStream(source);
  if (typeof (source?.[Symbol.asyncIterator] ?? source?.[Symbol.iterator]) === "function") return source;
  throw invalidArgument("the source must be a Uint8Array, an iterable of them or a ReadableStream");
}

/** Not all browsers can iterate a ReadableStream. */
async function* chunksOfStream(stream) {
  const reader = stream.getReader();
  let done = false;
  try {
    for (;;) {
      const chunk = await reader.read();
      done = chunk.done;
      if (done) return;
      yield chunk.value;
    }
  } finally {
    // The caller wants no more values, or the source has failed.
    if (!done) await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}

export function inspectInput(input, options) {
  const all = ofAnyLength(input, "input");
  const prefixes = prefixesOf(options);
  const reader = new Reader(prefixes);
  try {
    const found = [];
    for (const item of reader.push(all)) found.push(described(item, prefixes));
    for (const item of reader.finish()) found.push(described(item, prefixes));
    return found;
  } finally {
    reader.free();
  }
}

/** Returns an item as `dekker inspect -o json` prints it. */
function described(item, prefixes) {
  const { type, key, revision, form, within, line, offset, readings, error, command } = item;
  const found = {
    key: key && utf8.decode(key),
    revision,
    form,
    within: within.length > 0 ? within : undefined,
    line,
    offset,
  };
  if (type === "fault") return given({ ...found, error, command });
  const { notes, ...description } = firstThatInspects(readings, prefixes);
  return given({ ...found, notes: notes.length > 0 ? notes : undefined, ...description });
}

/** Describes the first reading that is what its prefix says. If there is none, returns what is wrong with the most probable one, and what is known. */
function firstThatInspects(readings, prefixes) {
  let first;
  for (const { stored, notes } of readings) {
    try {
      return { notes, ...inspectWith(stored, prefixes) };
    } catch (fault) {
      if (!(fault instanceof DekkerError) || fault.code !== "INVALID_VALUE") throw fault;
      first ??= { notes, error: fault.message, ...fault.known };
    }
  }
  return first;
}

export function resourceOf(key) {
  const text = textOrBytes(key, "key");
  const { bindings } = inspector.current();
  return inspector.call(() => bindings.resourceOf(text));
}
