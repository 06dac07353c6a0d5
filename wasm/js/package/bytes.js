// Conversion of arguments to bytes.

import { invalidArgument } from "./errors.js";

const encoder = new TextEncoder();

/** 64 MiB: more than any value in etcd. The module traps if it runs out of memory. */
const LENGTH_MAX = 64 << 20;

/** Returns text as UTF-8, and bytes unchanged. `what` names the argument in errors; a function makes the name only if there is one. */
export function textOrBytes(value, what) {
  return bytes(typeof value === "string" ? encoder.encode(value) : value, what);
}

const scratch = new Uint8Array(4096);

/** Whether `value` is text that `atOnce` accepts. No UTF-16 code unit takes more than three bytes of UTF-8. */
export const isShortText = (value) => typeof value === "string" && value.length * 3 <= scratch.length;

/**
 * Returns short text as UTF-8, and bytes unchanged. The text is in a buffer that the next call overwrites, so the caller must use it at once. A
 * separate buffer would cost more than the rest of the call.
 */
export function atOnce(value) {
  return typeof value === "string" ? scratch.subarray(0, encoder.encodeInto(value, scratch).written) : value;
}

/** Whether `value` is an ArrayBuffer or a view of one. */
export const isBytes = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

/** Returns text as UTF-8, and bytes unchanged, of any length: the module gets them in pieces. */
export function ofAnyLength(value, what) {
  return view(typeof value === "string" ? encoder.encode(value) : value, what);
}

/** Returns a Uint8Array over the memory of an ArrayBuffer or any view. */
export function bytes(value, what) {
  const all = view(value, what);
  if (all.length > LENGTH_MAX) throw invalidArgument(`${nameOf(what)} must not be longer than 64 MiB`);
  return all;
}

function view(value, what) {
  if (!isBytes(value)) throw invalidArgument(`${nameOf(what)} must be a Uint8Array`);
  if (value instanceof Uint8Array) return value;
  return value instanceof ArrayBuffer
    ? new Uint8Array(value)
    : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

const nameOf = (what) => (typeof what === "function" ? what() : what);
