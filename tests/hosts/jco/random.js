// `wasi:random`, all that the component imports, from the kernel each time. jco's own shim takes it from OpenSSL's generator, which is in this
// process' memory: its bytes would come again after a snapshot of the process was restored, and with them nonces.

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
