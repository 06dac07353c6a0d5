// Bytes in and out.

import { invalidArgument } from "./errors.js";

const encoder = new TextEncoder();

/** 64 MiB: more than anything that is stored in etcd. What the module has no memory for would be its end. */
const LENGTH_MAX = 64 << 20;

/** Text as UTF-8, bytes as they are. */
export function textOrBytes(value, what) {
  return bytes(typeof value === "string" ? encoder.encode(value) : value, what);
}

const scratch = new Uint8Array(4096);

/** Text that `atOnce` takes. No character has more than three bytes. */
export const isShortText = (value) => typeof value === "string" && value.length * 3 <= scratch.length;

/**
 * Short text as UTF-8, bytes as they are, for whoever uses them at once: the text is in memory that the next call uses again. A buffer of its
 * own would cost more than the rest of the call.
 */
export function atOnce(value) {
  return typeof value === "string" ? scratch.subarray(0, encoder.encodeInto(value, scratch).written) : value;
}

/** Bytes, whatever holds them, as a Uint8Array over the same memory. */
export function bytes(value, what) {
  const isBuffer = value instanceof ArrayBuffer;
  if (!isBuffer && !ArrayBuffer.isView(value)) throw invalidArgument(`${what} must be a Uint8Array`);
  if (value.byteLength > LENGTH_MAX) throw invalidArgument(`${what} must not be longer than 64 MiB`);
  if (value instanceof Uint8Array) return value;
  return isBuffer ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}
