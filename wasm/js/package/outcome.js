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

/** `plaintext` is a view of the module's memory. */
export const read = (plaintext, stale, transformerPrefix, keyIdHash, keyPrefix, hasRule) =>
  withKey({ plaintext: plaintext.slice(), stale, transformerPrefix, hasRule }, keyIdHash, keyPrefix);
