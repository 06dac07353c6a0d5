// The random part of a nonce: four bytes, for which a call into the operating system takes longer than the rest of a write.

/** 256 bytes: 64 nonces. */
let block = new Uint8Array(256);
let used = block.length;

/** Fills a few bytes. Each byte of the block is given once, and erased when it is given. */
export function fillShort(out) {
  if (block === undefined) {
    crypto.getRandomValues(out);
    return;
  }
  if (block.length - used < out.length) {
    crypto.getRandomValues(block);
    used = 0;
  }
  const given = block.subarray(used, used + out.length);
  out.set(given);
  given.fill(0);
  used += out.length;
}

/** From now on the operating system is asked each time, for just the bytes that are needed. */
export function keepNoBlock() {
  block?.fill(0);
  block = undefined;
}
