// What the module gives for a value that was written or read. It makes these here, for each property that it set itself would be a call out of it.

/** With what is not `undefined`. */
function withKey(outcome, keyIdHash, keyPrefix) {
  if (keyIdHash !== undefined) outcome.keyIdHash = keyIdHash;
  if (keyPrefix !== undefined) outcome.keyPrefix = keyPrefix;
  return outcome;
}

/** `stored` is a view of the module's memory. */
export const written = (stored, transformerPrefix, keyIdHash, keyPrefix, hasRule) =>
  withKey({ stored: stored.slice(), transformerPrefix, hasRule }, keyIdHash, keyPrefix);

/** `plaintext` is a view of the module's memory. */
export const read = (plaintext, stale, transformerPrefix, keyIdHash, keyPrefix, hasRule) =>
  withKey({ plaintext: plaintext.slice(), stale, transformerPrefix, hasRule }, keyIdHash, keyPrefix);
