// The kernel's random bytes in Node, read from /dev/urandom.
//
// Node's own random functions (`crypto.getRandomValues`, `randomBytes`) use OpenSSL's generator, whose state is in the memory of the process. After
// that memory is restored from a snapshot, they return the same bytes again. They are also slower.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const DEVICE = "/dev/urandom";

/**
 * An offset beyond the end of any file. The device ignores the offset. If other code has closed the descriptor and it now refers to a file, pipe or
 * socket, reading at this offset returns nothing or fails, instead of returning bytes that are not random.
 */
const BEHIND_ANY_FILE = 2 ** 52;

/** Returns a function that fills an array from the kernel, or `undefined` if the system has no such device or does not allow opening it. */
export function kernelRandom() {
  let device;
  try {
    device = open();
  } catch {
    return undefined;
  }
  return (out) => {
    try {
      read(device, out);
    } catch {
      // Other code has closed the descriptor. Do not close it again: the number may now belong to another file.
      device = open();
      read(device, out);
    }
  };
}

function open() {
  const device = openSync(DEVICE);
  if (fstatSync(device).isCharacterDevice()) return device;
  closeSync(device);
  throw new Error(`${DEVICE} is not a character device`);
}

function read(device, out) {
  for (let at = 0; at < out.length; ) {
    const got = readSync(device, out, at, out.length - at, BEHIND_ANY_FILE);
    if (got === 0) throw new Error(`${DEVICE} returned no bytes`);
    at += got;
  }
}
