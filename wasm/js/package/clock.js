// The clock that the engine uses.

/** 1 second: smaller jumps of the time of day are not treated as sleep. */
const SLEPT_MIN_MS = 1000;

/** 10 seconds: the minimum time between two reported jumps. Each reported jump makes every KMS plugin encrypt a new DEK. */
const LEAP_INTERVAL_MS = 10_000;

/**
 * Creates a clock that returns milliseconds since the Unix epoch and never goes back. It starts at the time of day and advances with the monotonic
 * clock, which may stop while the machine sleeps. A DEK must not outlive its three minutes in a closed laptop, so when the time of day jumps ahead,
 * this clock does too. If the user sets the time of day ahead, DEKs only expire early.
 */
export function systemClock(wall = Date, monotonic = performance) {
  const start = wall.now();
  const started = monotonic.now();
  let slept = 0;
  let ahead = 0;
  let last = start;
  let hasLeapt = false;
  let reported = Number.NEGATIVE_INFINITY;
  return {
    now() {
      const passed = monotonic.now() - started;
      const aheadNow = wall.now() - start - passed;
      if (aheadNow - ahead >= SLEPT_MIN_MS) {
        slept += aheadNow - ahead;
        hasLeapt = true;
      }
      ahead = aheadNow;
      last = Math.max(last, Math.floor(start + passed + slept));
      return last;
    },
    /**
     * Returns whether the time of day has jumped ahead since the last call: the machine slept, or it was restored from a snapshot. This clock
     * cannot distinguish the two. A jump soon after a reported one is reported later.
     */
    hasLeapt() {
      if (!hasLeapt) return false;
      const time = monotonic.now();
      if (time - reported < LEAP_INTERVAL_MS) return false;
      hasLeapt = false;
      reported = time;
      return true;
    },
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (timer) => clearTimeout(timer),
  };
}
