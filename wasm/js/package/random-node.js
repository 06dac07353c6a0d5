// The kernel's random bytes in Node, by reading /dev/urandom.
//
// Node's own (`crypto.getRandomValues`, `randomBytes`) come from OpenSSL's generator, whose state is in the process' memory: after that memory
// was restored from a snapshot it gives the same bytes again. It also takes longer.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const DEVICE = "/dev/urandom";

/**
 * Behind the end of any file. The device does not mind where it is read; but should its descriptor have been closed by somebody else and now
 * be a file, a pipe or a socket, then there is nothing to read there, or an error, instead of bytes that are not random.
 */
const BEHIND_ANY_FILE = 2 ** 52;

/** What fills an array from the kernel; `undefined`: this system has no such device, or does not let us open it. */
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
      // Somebody has closed it. Not ours to close again: the number may be another's.
      device = open();
      read(device, out);
    }
  };
}

function open() {
  const device = openSync(DEVICE);
  if (fstatSync(device).isCharacterDevice()) return device;
  closeSync(device);
  throw new Error(`${DEVICE} is no device`);
}

function read(device, out) {
  for (let at = 0; at < out.length; ) {
    const got = readSync(device, out, at, out.length - at, BEHIND_ANY_FILE);
    if (got === 0) throw new Error(`${DEVICE} has ended`);
    at += got;
  }
}
