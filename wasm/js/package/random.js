// The source of random bytes. Nothing is fetched ahead or kept in memory: after a restore from a snapshot of the process or its machine, the same
// bytes would be in memory again and produce the same nonce twice.

let kernel;

/**
 * @param {((out: Uint8Array) => void) | undefined} fill fills `out` from the kernel; `undefined` if the environment cannot reach it
 */
export function useKernel(fill) {
  kernel = fill;
}

/** Fills `out` from the kernel. Returns `false` if the kernel cannot be reached from here; `crypto.getRandomValues` is then the best source. */
export function fillFromKernel(out) {
  if (kernel === undefined) return false;
  kernel(out);
  return true;
}
