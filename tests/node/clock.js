// A clock that tests control.

/** 2026-01-02T03:04:05Z, the time at which every test begins. */
const START = 1_767_323_045_000;

export class TestClock {
  #now = START;
  #timers = new Map();
  #next = 1;

  now = () => this.#now;

  setTimeout = (callback, ms) => {
    const id = this.#next++;
    this.#timers.set(id, { at: this.#now + ms, callback });
    return id;
  };

  clearTimeout = (id) => this.#timers.delete(id);

  /** The number of pending timers. */
  get waiting() {
    return this.#timers.size;
  }

  /** Lets time pass. Everything that is due runs at its time, with all its consequences, before time continues. */
  async advance(ms) {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const due = [...this.#timers]
        .filter(([, timer]) => timer.at <= end)
        .sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
      if (due === undefined) break;
      const [id, timer] = due;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, timer.at);
      timer.callback();
      await settled();
    }
    this.#now = end;
    await settled();
  }

  /** Lets time pass without firing timers, as in a tab that sleeps or a worker without timers. */
  sleep(ms) {
    this.#now += ms;
  }

  seconds = (seconds) => this.advance(seconds * 1000);
}

/** Waits for everything that needs no time: promises settle, and so does what they start. */
export async function settled() {
  for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
}
