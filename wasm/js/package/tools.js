// The functions that need no transformer, but the engine's module.

import { bytes, textOrBytes } from "./bytes.js";
import { invalidConfig, unwrap } from "./errors.js";
import { call, current } from "./wasm.js";

function ask(into) {
  const { bindings } = current();
  return call(() => into(bindings));
}

export function openWithDek(stored, key, dek) {
  const value = bytes(stored, "stored");
  const at = textOrBytes(key, "key");
  const secret = bytes(dek, "dek");
  return unwrap(ask((bindings) => bindings.openWithDek(value, at, secret)));
}

export function sealWithDek(plaintext, key, like, dek) {
  const request = {
    plaintext: bytes(plaintext, "plaintext"),
    key: textOrBytes(key, "key"),
    like: bytes(like.stored, "like.stored"),
    likeKey: textOrBytes(like.key, "like.key"),
    dek: bytes(dek, "dek"),
  };
  return unwrap(ask((bindings) => bindings.sealWithDek(request))).stored;
}

export function checkConfig(config, { automaticReload = false } = {}) {
  const file = textOrBytes(config, "config");
  return ask((bindings) => bindings.checkConfig(file, automaticReload));
}

export function showConfig(config) {
  return askAbout(config, (bindings, file) => bindings.showConfig(file));
}

export function valuePrefixes(config) {
  return askAbout(config, (bindings, file) => bindings.valuePrefixes(file));
}

/** Calls the module with a configuration. The module throws the errors of one that is not valid. */
function askAbout(config, into) {
  const file = textOrBytes(config, "config");
  try {
    return ask((bindings) => into(bindings, file));
  } catch (fault) {
    throw Array.isArray(fault) ? invalidConfig(fault) : fault;
  }
}

/** Returns the KMS providers in a file; none if the file is not valid. */
export function kmsProvidersOf(file, automaticReload) {
  return ask((bindings) => bindings.kmsProvidersOf(file, automaticReload));
}
