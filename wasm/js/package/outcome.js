// Creates the results of encryption and decryption for the module. If the module created these objects itself, each property would cost a call
// across the boundary.

/** Adds the properties that are not `undefined`. */
function withKey(outcome, keyIdHash, keyPrefix) {
  if (keyIdHash !== undefined) outcome.keyIdHash = keyIdHash;
  if (keyPrefix !== undefined) outcome.keyPrefix = keyPrefix;
  return outcome;
}

/** `stored` is a view of the module's memory. */
export const written = (stored, transformerPrefix, keyIdHash, keyPrefix, hasRule) =>
  withKey({ stored: stored.slice(), transformerPrefix, hasRule }, keyIdHash, keyPrefix);

/** The states of a value, under their numbers in `state_number` of `convert.rs`. An unknown state has the next number. */
const STATES = ["fresh", "other-source", "stale"];

/** `plaintext` is a view of the module's memory; `state` is a number. */
export function read(plaintext, state, transformerPrefix, keyIdHash, keyPrefix, hasRule) {
  const stale = state === 1 || state === 2;
  const outcome = { plaintext: plaintext.slice(), stale, transformerPrefix, hasRule };
  if (state < STATES.length) outcome.state = STATES[state];
  return withKey(outcome, keyIdHash, keyPrefix);
}

/**
 * The outcomes of many values, in their order: a result in the form of `Promise.allSettled`, or `{ error }`; `undefined` for a value that is parked.
 * The module adds them, and each call passes only numbers and one view of its memory.
 */
export class Outcomes {
  all = [];
  #labels = [];

  written(stored) {
    this.all.push({ status: "fulfilled", value: stored.slice() });
  }

  /** Adds what values have in common. Its number is the count of those before it. */
  label(state, transformerPrefix, keyIdHash, keyPrefix, hasRule) {
    this.#labels.push([state, transformerPrefix, keyIdHash, keyPrefix, hasRule]);
  }

  /** `labels` is the number of what `label` added. */
  read(plaintext, labels) {
    this.all.push({ status: "fulfilled", value: read(plaintext, ...this.#labels[labels]) });
  }

  failed(outcome) {
    this.all.push(outcome);
  }

  parked() {
    this.all.push(undefined);
  }
}
