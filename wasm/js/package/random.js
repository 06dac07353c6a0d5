// Where random bytes come from. Nothing is fetched ahead and nothing is kept: what lies in memory is there again after a snapshot of the process
// or of its machine was restored, and would make the same nonce twice.

let kernel;

/** @param {((out: Uint8Array) => void) | undefined} fill what fills `out` from the kernel, where the surroundings can reach it */
export function useKernel(fill) {
  kernel = fill;
}

/** Fills `out` from the kernel. `false`: it cannot be reached from here, and `crypto.getRandomValues` is the best that there is. */
export function fillFromKernel(out) {
  if (kernel === undefined) return false;
  kernel(out);
  return true;
}
