// The functions that need no transformer.

import { bytes, textOrBytes } from "./bytes.js";
import { invalidArgument, invalidConfig, invalidValue, unwrap } from "./errors.js";
import { call, current } from "./wasm.js";

function ask(into) {
  const { bindings } = current();
  return call(() => into(bindings));
}

const LOCAL_PROVIDERS = ["aesgcm", "aescbc", "secretbox"];

export function inspect(stored, { keyNames = [] } = {}) {
  const value = bytes(stored, "stored");
  const names = Array.from(keyNames).flatMap(({ provider, name }) => {
    if (!LOCAL_PROVIDERS.includes(provider) || typeof name !== "string")
      throw invalidArgument("each of keyNames must have a provider (aesgcm, aescbc or secretbox) and a name");
    return [provider, name];
  });
  try {
    return JSON.parse(ask((bindings) => bindings.inspect(value, names)));
  } catch (fault) {
    throw typeof fault === "string" ? invalidValue(JSON.parse(fault)) : fault;
  }
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
