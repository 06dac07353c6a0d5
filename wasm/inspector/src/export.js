// Export of the table. It contains what the table and the facts show, and never a plaintext or a key.

import { resourceOf } from "dekker/inline";

import { el } from "./dom.js";
import { formOf, STATES } from "./values.js";

const COLUMNS = ["key", "resource", "provider", "name", "keyIdHash", "dekSource", "state", "size", "form", "error"];

/** How long the browser may take to begin the download. */
const DOWNLOAD_MS = 10_000;

/** Returns what is exported of a value. What is not known is `undefined`. */
function rowOf(value) {
  const { key, keyText, dekSource, state, stored, fault, error, line, offset } = value;
  const seen = value.seen ?? value.known;
  return {
    key: keyText,
    resource: value.resource ?? (key && resourceOf(key)?.resource),
    provider: seen?.provider === "kms" ? `kms ${seen.apiVersion}` : seen?.provider,
    name: seen?.providerName ?? seen?.keyName,
    keyIdHash: seen?.keyIdHash,
    dekSource: dekSource || undefined,
    state: STATES[state].label,
    size: fault ? undefined : stored.length,
    form: formOf(value),
    error: fault ? `line ${line}, byte ${offset}: ${fault.error}` : error,
  };
}

export function toJson(values) {
  return `${JSON.stringify(values.map(rowOf), null, 2)}\n`;
}

export function toCsv(values) {
  const lines = values.map((value) => {
    const row = rowOf(value);
    return COLUMNS.map((column) => cell(row[column]));
  });
  return [COLUMNS, ...lines].map((cells) => `${cells.join(",")}\r\n`).join("");
}

/**
 * Quotes every text, also against programs that separate cells by `;`. Spreadsheets run a cell that begins like a formula, quoted or not, so it gets a
 * leading apostrophe.
 */
function cell(content) {
  if (typeof content !== "string") return content ?? "";
  const inert = /^[=+\-@\t\r]/.test(content) ? `'${content}` : content;
  return `"${inert.replaceAll('"', '""')}"`;
}

/** Saves a text as a file of the user. */
export function download(name, type, text) {
  const href = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), DOWNLOAD_MS);
}
