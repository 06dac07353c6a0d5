// A transformer in simulated time, for the tests of the driver.

import { Transformer } from "dekker";

import { settled, TestClock } from "./clock.js";
import { config, TestKms } from "./kms.js";

/** Returns a transformer with one plugin `a`, and its clock. */
export async function primed(options = {}) {
  const clock = new TestClock();
  const kms = new TestKms();
  const events = [];
  const onEvent = (event) => events.push(event);
  const transformer = await Transformer.load(config("a"), { kms: { a: kms }, clock, onEvent, ...options });
  await settled();
  return { transformer, kms, clock, events };
}

/** Returns the state of a promise without waiting for it. */
export async function state(promise) {
  let state = "open";
  promise.then(
    () => (state = "done"),
    () => (state = "failed"),
  );
  await settled();
  return state;
}
