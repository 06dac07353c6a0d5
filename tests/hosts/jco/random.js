// Implements `wasi:random`, the only import of the component, with the kernel's random bytes. jco's own shim uses OpenSSL's generator, whose state is
// in this process' memory. After a snapshot of the process was restored, its bytes would repeat, and so would nonces.

import { openSync, readSync } from "node:fs";

const kernel = openSync("/dev/urandom");

export function getRandomBytes(count) {
  const bytes = new Uint8Array(Number(count));
  for (let at = 0; at < bytes.length; ) at += readSync(kernel, bytes, at, bytes.length - at);
  return bytes;
}

export function getRandomU64() {
  return new DataView(getRandomBytes(8).buffer).getBigUint64(0, true);
}
