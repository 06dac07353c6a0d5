// What the page reads from a configuration by itself. The package does everything else.

import { latin1 } from "./bytes.js";

/** Whether the first bytes of a file are those of a configuration rather than of a value. */
export function isConfiguration(bytes) {
  return /["']?kind["']?\s*:\s*["']?EncryptionConfiguration\b/.test(latin1(bytes));
}

/**
 * Reads the output of `showConfig`. Returns `{ resources, keyNames }`:
 * - a resource for each entry of each rule, to try if the storage key does not determine one: for a wildcard, one resource that it covers;
 * - the names of all local keys, as `{ provider, name }`.
 */
export function rulesOf(shown) {
  const resources = [];
  const keyNames = [];
  let within = false;
  let provider;
  for (const line of shown.split("\n")) {
    if (line === "- resources:") within = true;
    else if (/^ {2}[a-z]/i.test(line)) within = false;
    else if (within) {
      const entry = scalar(/^ {2}- (.+)$/.exec(line)?.[1]);
      if (entry === undefined) continue;
      resources.push(entry === "*.*" ? "any.any" : entry === "*." ? "any" : entry.replace(/^\*/, "any"));
    } else {
      provider = /^ {2}- (\w+):/.exec(line)?.[1] ?? provider;
      const name = scalar(/^ {6}- name: (.+)$/.exec(line)?.[1]);
      if (name !== undefined) keyNames.push({ provider, name });
    }
  }
  return { resources: [...new Set(resources)], keyNames };
}

/** Returns the text of a scalar, which `showConfig` writes plain or as in JSON. */
const scalar = (text) => (text?.startsWith('"') ? JSON.parse(text) : text);
