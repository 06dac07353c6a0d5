// The description of a stored value.

import { bytes } from "./bytes.js";
import { invalidArgument, invalidValue } from "./errors.js";
import { inspector } from "./inspect-wasm.js";

const LOCAL_PROVIDERS = ["aesgcm", "aescbc", "secretbox"];

/** Returns the prefixes of the values that have the names in the options of a caller. */
export function prefixesOf({ keyNames = [], prefixes = [] } = {}) {
  const ofNames = Array.from(keyNames, ({ provider, name }) => {
    if (!LOCAL_PROVIDERS.includes(provider) || typeof name !== "string")
      throw invalidArgument("each of keyNames must have a provider (aesgcm, aescbc or secretbox) and a name");
    return `k8s:enc:${provider}:v1:${name}:`;
  });
  // Text can be iterated too, but not by prefixes.
  if (typeof prefixes === "string") throw invalidArgument("prefixes must be a list of texts");
  const given = Array.from(prefixes, (prefix) => {
    if (typeof prefix !== "string" || !prefix.startsWith("k8s:enc:") || !prefix.endsWith(":"))
      throw invalidArgument("each of prefixes must be a text such as k8s:enc:aescbc:v1:key1:");
    return prefix;
  });
  return [...ofNames, ...given];
}

export function inspect(stored, options) {
  return inspectWith(stored, prefixesOf(options));
}

/** Describes a stored value. The prefixes are those of `prefixesOf`. */
export function inspectWith(stored, prefixes) {
  const value = bytes(stored, "stored");
  const { bindings } = inspector.current();
  try {
    return JSON.parse(inspector.call(() => bindings.inspect(value, prefixes)));
  } catch (fault) {
    throw typeof fault === "string" ? invalidValue(JSON.parse(fault)) : fault;
  }
}
