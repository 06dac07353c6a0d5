// Bytes in and out.

import { invalidArgument } from "./errors.js";

const encoder = new TextEncoder();

/** Text as UTF-8, bytes as they are. */
export function textOrBytes(value, what) {
  return typeof value === "string" ? encoder.encode(value) : bytes(value, what);
}

/** Bytes as a Uint8Array over the same memory. */
export function bytes(value, what) {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw invalidArgument(`${what} must be a Uint8Array`);
}

/** Whatever realm it comes from. */
export function isBytes(value) {
  return ArrayBuffer.isView(value);
}
