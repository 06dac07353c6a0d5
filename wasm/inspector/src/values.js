// The values that the page holds: their descriptions and their keys.

import { inspect } from "dekker/inline";

import { printable } from "./dom.js";
import { latin1 } from "./input.js";

const utf8 = new TextDecoder();
const encoder = new TextEncoder();

/** The states of a value, starting with those that need attention most. `mark` expresses the state without colour. */
export const STATES = {
  damaged: { label: "damaged", mark: "✕", tone: "bad", about: "does not match its prefix" },
  wrong: { label: "wrong key", mark: "✕", tone: "bad", about: "the configured key does not open it" },
  failed: { label: "failed", mark: "✕", tone: "bad", about: "could not be decrypted" },
  dek: { label: "other DEK", mark: "○", tone: "warn", about: "no DEK that was entered opens it" },
  absent: { label: "no key", mark: "○", tone: "warn", about: "the configuration has no key for it" },
  key: { label: "storage key?", mark: "○", tone: "warn", about: "its storage key is needed" },
  plugin: { label: "plugin", mark: "○", tone: "warn", about: "its KMS plugin or the DEK is needed" },
  plaintext: { label: "not encrypted", mark: "!", tone: "warn", about: "stored in the clear" },
  stale: { label: "read, stale", mark: "✓", tone: "warn", about: "decrypted; a write would now use another key" },
  read: { label: "read", mark: "✓", tone: "good", about: "decrypted" },
  locked: { label: "encrypted", mark: "●", tone: "calm", about: "no key was entered for it" },
};

const SOURCE_TYPES = { AES_GCM_KEY: "key", HKDF_SHA256_XNONCE_AES_GCM_SEED: "seed" };

/** Creates a value from a found one, with everything that can be known without a key. */
export function makeValue({ key, stored, encoding }, source, number) {
  const value = { number, stored, encoding, source, state: "locked" };
  setKey(value, key);
  try {
    value.seen = inspect(stored);
    if (value.seen.provider === "identity") value.state = "plaintext";
  } catch (fault) {
    value.error = `${fault.message.charAt(0).toUpperCase()}${fault.message.slice(1)}.`;
    value.state = "damaged";
  }
  value.group = groupOf(value);
  value.dek = dekOf(value);
  value.dekSource = SOURCE_TYPES[value.seen?.encryptedDEKSourceType] ?? (value.seen?.provider === "kms" ? "DEK" : "");
  return value;
}

/** Sets the storage key, from user input (text) or etcdctl output (bytes). */
export function setKey(value, key) {
  const bytes = typeof key === "string" ? encoder.encode(key) : key;
  value.key = bytes?.length ? bytes : undefined;
  value.keyText = value.key === undefined ? undefined : utf8.decode(value.key);
  value.name = value.keyText === undefined ? `value ${value.number}` : printable(value.keyText);
}

/** Returns what encrypted a value, as one line of the chart: `{ id, provider, label, key }`. */
function groupOf({ seen }) {
  if (seen === undefined) return { id: "damaged", provider: "damaged", label: "damaged", key: "" };
  const { provider, apiVersion, providerName, keyName, keyIdHash } = seen;
  if (provider === "identity") return { id: "identity", provider, label: "identity", key: "not encrypted" };
  const label = provider === "kms" ? `kms ${apiVersion}` : provider;
  const name = printable(providerName ?? keyName);
  const hash = keyIdHash === undefined ? "" : ` · ${shortHash(keyIdHash)}`;
  return { id: [label, providerName ?? keyName, keyIdHash].join("\0"), provider, label, key: `${name}${hash}` };
}

/** Returns `9735189e` for `sha256:9735189e…`: enough to distinguish keys at a glance. */
const shortHash = (hash) => hash.slice("sha256:".length).slice(0, 8);

/** Returns the first part of a stored value that has one of these names. */
export function partOf({ seen, stored }, ...names) {
  const part = seen?.layout.find(({ name }) => names.includes(name));
  return part === undefined ? undefined : stored.subarray(part.offset, part.offset + part.length);
}

function dekOf(value) {
  const source = partOf(value, "encryptedDEKSource", "encryptedDEK");
  return source === undefined ? undefined : latin1(source);
}

/** Returns the groups with the number of values in each, the largest first. */
export function groupsOf(values) {
  const groups = new Map();
  for (const { group, stored } of values) {
    const known = groups.get(group.id) ?? { ...group, values: 0, bytes: 0 };
    known.values++;
    known.bytes += stored.length;
    groups.set(group.id, known);
  }
  return [...groups.values()].sort((a, b) => b.values - a.values || (a.id < b.id ? -1 : 1));
}
