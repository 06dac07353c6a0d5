// Decryption, with the local keys of a configuration and with DEKs or seeds that the user has entered.

import { checkConfig, DekkerError, init, openWithDek, resourceOf, showConfig, Transformer } from "dekker/inline";

import { findDeks } from "./deks.js";
import { rulesOf } from "./rules.js";

/** Why a value could not be decrypted: `kind` for the table, `message` for the user. */
export class Closed extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** The kinds of failures that another reading of the value may not have. */
const OF_THE_BYTES = ["wrong", "dek", "key", "damaged"];

/** The codes of failures after which other resources are tried, the most informative first. If all fail, the first code in this list is shown. */
const INFORMATIVE = ["DECRYPT_FAILED", "MALFORMED", "NO_MATCHING_PREFIX", "ENCRYPTED_DATA"];

/** The clients for a configuration's KMS plugins. A page cannot reach a plugin, so every call fails. */
const UNREACHABLE = () => {
  const refuse = async () => {
    throw Object.assign(new Error("a page cannot reach a KMS plugin"), { code: "UNAVAILABLE" });
  };
  return { status: refuse, encrypt: refuse, decrypt: refuse };
};

export class Keys {
  #transformer;
  #resources = [];
  #deks = [];
  warnings = [];
  /** The names of the configuration's local keys, as `{ provider, name }`. */
  keyNames = [];

  /**
   * @throws {DekkerError} `INVALID_CONFIG`, with findings
   * @throws {DekError} if a line is not a DEK
   */
  static async load(config, deks) {
    const keys = new Keys();
    keys.#deks = findDeks(deks);
    // The values were read without the engine's module.
    if (config.trim() !== "" || keys.#deks.length > 0) await init();
    if (config.trim() !== "") {
      keys.#transformer = await Transformer.load(config, { kms: UNREACHABLE });
      const { resources, keyNames } = rulesOf(showConfig(config));
      keys.#resources = resources;
      keys.keyNames = keyNames;
      keys.warnings = checkConfig(config);
    }
    return keys;
  }

  get isEmpty() {
    return this.#transformer === undefined && this.#deks.length === 0;
  }

  get dekCount() {
    return this.#deks.length;
  }

  get hasConfig() {
    return this.#transformer !== undefined;
  }

  /**
   * Decrypts a value. Returns `{ plaintext, stale, stored, resource?, with }`; `stored` is the reading of the value that was decrypted. The caller
   * must erase the plaintext.
   *
   * @throws {Closed}
   */
  async open(value) {
    if (value.seen === undefined) throw new Closed("damaged", value.error);
    const { seen, stored, readings } = value;
    if (seen.provider === "identity")
      return { plaintext: stored.slice(), stale: undefined, stored, with: "nothing: it is not encrypted" };
    let first;
    const others = readings.map(({ stored }) => stored).filter((other) => other !== stored);
    for (const reading of [stored, ...others]) {
      const one = { ...value, stored: reading };
      try {
        const opened = await (seen.provider === "kms" ? this.#openKms(one) : this.#openLocal(one));
        return { ...opened, stored: reading };
      } catch (fault) {
        if (!(fault instanceof Closed)) throw fault;
        first ??= fault;
        if (!OF_THE_BYTES.includes(fault.kind)) break;
      }
    }
    throw first;
  }

  #openKms({ seen, stored, key }) {
    if (this.#deks.length === 0) {
      const name = seen.providerName;
      throw this.hasConfig
        ? new Closed(
            "plugin",
            `The KMS plugin “${name}” holds the key, and a page cannot reach it. Have the plugin decrypt the value’s encrypted DEK source, and paste the DEK that it returns.`,
          )
        : new Closed("locked", `The KMS plugin “${name}” holds the key. Paste the DEK or seed to read it here.`);
    }
    let malformed;
    for (const dek of this.#deks) {
      try {
        const { plaintext } = openWithDek(stored, key ?? "", dek);
        const which = this.#deks.length === 1 ? "the DEK" : `the DEK on line ${this.#deks.indexOf(dek) + 1}`;
        return { plaintext, stale: undefined, with: which };
      } catch (fault) {
        if (!(fault instanceof DekkerError)) throw fault;
        if (fault.code !== "DECRYPT_FAILED") malformed = fault;
      }
    }
    if (malformed !== undefined) throw new Closed("damaged", sentence(malformed.message));
    throw key === undefined
      ? needsKey()
      : new Closed(
          "dek",
          wrong(this.#deks.length === 1 ? "This DEK does not open it" : `The ${this.#deks.length} DEKs do not open it`),
        );
  }

  async #openLocal({ seen, stored, key, keyText, resource }) {
    if (this.#transformer === undefined) {
      const hint = this.#deks.length > 0 ? "It is not encrypted with a DEK. " : "";
      throw new Closed(
        "locked",
        `${hint}Paste the configuration that holds the key “${seen.keyName}” to read it here.`,
      );
    }
    let refused;
    for (const candidate of this.#candidates(keyText, resource)) {
      try {
        const { plaintext, stale } = await this.#transformer.fromStorage(
          { resource: candidate, key: key ?? "" },
          stored,
        );
        return {
          plaintext,
          stale,
          resource: candidate,
          with: `the configuration, as ${/^any(\.any)?$/.test(candidate) ? "a resource that a wildcard covers" : candidate}`,
        };
      } catch (fault) {
        if (!(fault instanceof DekkerError)) throw fault;
        if (!INFORMATIVE.includes(fault.code)) throw new Closed("failed", sentence(fault.message));
        if (refused === undefined || INFORMATIVE.indexOf(fault.code) < INFORMATIVE.indexOf(refused.code))
          refused = fault;
      }
    }
    throw this.#closed(refused, seen, key);
  }

  #candidates(keyText, resource) {
    if (resource) return [resource];
    const derived = keyText === undefined ? undefined : resourceOf(keyText)?.resource;
    return [...new Set([...(derived === undefined ? [] : [derived]), ...this.#resources])];
  }

  #closed(fault, { provider, keyName }, key) {
    switch (fault?.code) {
      case "DECRYPT_FAILED":
        // The other local providers do not bind a value to its storage key.
        return key === undefined && provider === "aesgcm"
          ? needsKey()
          : new Closed("wrong", wrongLocal(provider, keyName));
      case "MALFORMED":
        return new Closed("damaged", sentence(fault.message));
      default:
        return new Closed(
          "absent",
          `No rule of the configuration that covers this resource has ${provider} with a key “${keyName}”.${this.#namesOf(provider)}`,
        );
    }
  }

  /** Returns a sentence with the names of a provider's keys in the configuration. */
  #namesOf(provider) {
    const names = this.keyNames.filter((key) => key.provider === provider).map(({ name }) => `“${name}”`);
    const distinct = [...new Set(names)];
    return distinct.length === 0
      ? ` The configuration has no key of ${provider}.`
      : ` Its ${distinct.length === 1 ? "key" : "keys"} of ${provider}: ${distinct.join(", ")}.`;
  }

  /** Erases all keys. */
  free() {
    this.#transformer?.free();
    this.#transformer = undefined;
    for (const dek of this.#deks) dek.fill(0);
    this.#deks = [];
  }
}

const needsKey = () => new Closed("key", "The value is bound to its storage key. Enter it under “Storage key”.");
const wrong = (what) =>
  `${what}: wrong key, wrong storage key, or altered bytes. These causes cannot be distinguished.`;
/** aescbc and secretbox do not bind a value to its storage key, and aescbc cannot detect altered bytes either. */
function wrongLocal(provider, keyName) {
  const what = `The configuration’s key “${keyName}” does not open it`;
  if (provider === "aesgcm") return wrong(what);
  return `${what}: another key of this name wrote it, or its bytes were altered. These causes cannot be distinguished.`;
}
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
