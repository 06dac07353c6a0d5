// The values that the page holds: their descriptions and their keys.

import { DekkerError, inspect } from "dekker/inline";

import { latin1 } from "./bytes.js";
import { printable } from "./dom.js";

/** 64 MiB: the maximum size of all values that the page holds. */
export const BYTES_MAX = 64 << 20;
/** The maximum number of values that the page holds. */
export const VALUES_MAX = 50_000;

const utf8 = new TextDecoder();
const encoder = new TextEncoder();

/** The states of a value, starting with those that need attention most. `mark` expresses the state without colour. */
export const STATES = {
  unread: { label: "not read", mark: "✕", tone: "bad", about: "no value could be read here" },
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

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

/**
 * Creates a value from an item of `readForms`, with everything that can be known without a key. A fault becomes a value too, with `fault` and without
 * bytes: it is a row of the table.
 */
export function makeValue(item, source, number, keyNames) {
  const { form, within, line, offset, revision } = item;
  const value = { number, source, form, within, line, offset, revision, keyNames, dekSource: "" };
  value.fault = item.type === "fault" ? item : undefined;
  setKey(value, item.key);
  if (value.fault) {
    Object.assign(value, { state: "unread", stored: new Uint8Array(), readings: [], notes: [] });
    value.group = { id: "unread", provider: "damaged", label: "not read", key: "no value" };
    // The page shows the key beside the text.
    const beginning = `${value.keyText}: `;
    value.error = sentence(item.error.startsWith(beginning) ? item.error.slice(beginning.length) : item.error);
    return value;
  }
  value.readings = item.readings;
  describe(value, item.readings);
  return value;
}

/** Describes values again, with the names of a configuration's keys. */
export function nameKeys(values, keyNames) {
  for (const value of values) {
    value.keyNames = keyNames;
    const isLocal = value.seen === undefined || value.seen.keyName !== undefined;
    if (value.fault === undefined && isLocal) describe(value, [value]);
  }
  settleNames(values, values);
}

/**
 * Describes the values again whose key name is a guess, because their ciphertext begins like a part of a name. Then the names that are certain in
 * other values decide.
 */
export function settleNames(values, all) {
  const certain = new Map();
  for (const { seen } of all) {
    if (seen?.keyName === undefined || seen.keyNameGuessed) continue;
    certain.set(`${seen.provider} ${seen.keyName}`, { provider: seen.provider, name: seen.keyName });
  }
  for (const value of values) {
    if (!value.seen?.keyNameGuessed) continue;
    value.keyNames = [...value.keyNames, ...certain.values()];
    describe(value, [value]);
  }
}

/** Replaces the description by that of another reading, which a key has opened. */
export function useReading(value, stored) {
  if (stored !== value.stored)
    describe(
      value,
      value.readings.filter((reading) => reading.stored === stored),
    );
}

/** Describes the first reading that is what its prefix says. If there is none, says what is wrong with the first one. */
function describe(value, readings) {
  let first;
  value.seen = value.known = value.error = undefined;
  for (const { stored, notes } of readings) {
    try {
      Object.assign(value, { seen: inspect(stored, { keyNames: value.keyNames }), stored, notes });
      break;
    } catch (fault) {
      if (!(fault instanceof DekkerError) || fault.code !== "INVALID_VALUE") throw fault;
      first ??= { error: sentence(fault.message), known: fault.known, stored, notes };
    }
  }
  if (value.seen === undefined) Object.assign(value, first);
  value.state = value.seen === undefined ? "damaged" : value.seen.provider === "identity" ? "plaintext" : "locked";
  value.group = groupOf(value);
  value.dek = dekOf(value);
  value.dekSource = SOURCE_TYPES[value.seen?.encryptedDEKSourceType] ?? (value.seen?.provider === "kms" ? "DEK" : "");
}

/** Sets the storage key, from user input (text) or from an input of values (bytes). */
export function setKey(value, key) {
  const bytes = typeof key === "string" ? encoder.encode(key) : key;
  value.key = bytes?.length ? bytes : undefined;
  value.keyText = value.key === undefined ? undefined : utf8.decode(value.key);
  const unnamed = value.fault ? `line ${value.line} of ${value.source}` : `value ${value.number}`;
  value.name = printable(value.keyText ?? unnamed);
}

/** Returns the form of a value with the forms around it: `etcdctl in hexdump -C`. */
export function formOf({ form, within }) {
  return [...within, form].filter(Boolean).reverse().join(" in ") || undefined;
}

/** Returns what encrypted a value, as one line of the chart: `{ id, provider, label, key }`. */
function groupOf({ seen, known }) {
  if (seen === undefined) {
    const name = known?.providerName ?? known?.keyName;
    const key = [known?.provider, name && printable(name)].filter(Boolean).join(" ");
    return { id: `damaged\0${key}`, provider: "damaged", label: "damaged", key };
  }
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
