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
