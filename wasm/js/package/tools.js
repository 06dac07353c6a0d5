// The functions that need no transformer.

import { bytes, textOrBytes } from "./bytes.js";
import { DekkerError, invalidConfig, invalidValue, unwrap } from "./errors.js";
import { call, current } from "./wasm.js";

function ask(into) {
  const { bindings } = current();
  return call(() => into(bindings));
}

function inspection(into) {
  try {
    return JSON.parse(ask(into));
  } catch (fault) {
    throw typeof fault === "string" ? new DekkerError("INVALID_VALUE", fault) : fault;
  }
}

export function inspect(stored) {
  const value = bytes(stored, "stored");
  try {
    return JSON.parse(ask((bindings) => bindings.inspect(value)));
  } catch (fault) {
    throw typeof fault === "string" ? invalidValue(JSON.parse(fault)) : fault;
  }
}

export function inspectInput(input) {
  const value = textOrBytes(input, "input");
  return inspection((bindings) => bindings.inspectInput(value));
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
  const file = textOrBytes(config, "config");
  try {
    return ask((bindings) => bindings.showConfig(file));
  } catch (fault) {
    throw Array.isArray(fault) ? invalidConfig(fault) : fault;
  }
}

/** Returns the KMS providers in a file; none if the file is not valid. */
export function kmsProvidersOf(file, automaticReload) {
  return ask((bindings) => bindings.kmsProvidersOf(file, automaticReload));
}
