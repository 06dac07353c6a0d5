// Time, as the engine is told it.

/** 1 second: by so much the time of day must run ahead at once before it counts as time that the monotonic clock slept through. */
const SLEPT_MIN_MS = 1000;

/** 10 seconds: the least time between two leaps that are told of, each of which costs a KMS plugin a new DEK. */
const LEAP_INTERVAL_MS = 10_000;

/**
 * Milliseconds since the Unix epoch that never go back: the time of day at the start, and from there the time that has passed by the
 * monotonic clock. That one may stand still while the machine sleeps, and a DEK must not outlive its three minutes in a closed laptop: when
 * the time of day has leapt ahead, so has this clock. Whoever sets the time of day ahead only makes DEKs expire early.
 */
export function systemClock(wall = Date, monotonic = performance) {
  const start = wall.now();
  const started = monotonic.now();
  let slept = 0;
  let ahead = 0;
  let last = start;
  let hasLeapt = false;
  let told = Number.NEGATIVE_INFINITY;
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
     * Whether the time of day has leapt ahead since this was last asked: the machine slept, or it was restored from a snapshot, which nothing
     * here tells apart. A leap soon after another is told of later.
     */
    hasLeapt() {
      if (!hasLeapt) return false;
      const time = monotonic.now();
      if (time - told < LEAP_INTERVAL_MS) return false;
      hasLeapt = false;
      told = time;
      return true;
    },
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (timer) => clearTimeout(timer),
  };
}
