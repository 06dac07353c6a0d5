// What needs no key.

import { bytes, textOrBytes } from "./bytes.js";
import { DekkerError, invalidConfig } from "./errors.js";
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
  return inspection((bindings) => bindings.inspect(value));
}

export function inspectInput(input) {
  const value = textOrBytes(input, "input");
  return inspection((bindings) => bindings.inspectInput(value));
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

/** The KMS providers that a file names; none if it has faults. */
export function kmsProvidersOf(file, automaticReload) {
  return ask((bindings) => bindings.kmsProvidersOf(file, automaticReload));
}
