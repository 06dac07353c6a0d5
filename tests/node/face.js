// The raw engine with a JSON interface, so that the behaviour suite, which is written in Rust, can test this face of core too. Bytes are base64.
//
// This module does not depend on Node or a browser; `face-node.js` and `../browser/face-browser.js` transport the messages.

import { useKernel } from "../../dist/random.js";

/** SplitMix64 from a seed, the same as in `tests/src/entropy.rs`: the same calls on two faces give the same bytes. */
class Seeded {
  constructor(seed) {
    this.state = BigInt(seed);
  }

  /** Makes the next call of `fill` return these bytes. */
  choose(bytes) {
    this.chosen = bytes;
  }

  fill(bytes) {
    if (this.chosen !== undefined) {
      if (this.chosen.length !== bytes.length)
        throw new Error(`${bytes.length} bytes wanted, ${this.chosen.length} chosen`);
      bytes.set(this.chosen);
      this.chosen = undefined;
      return bytes;
    }
    const number = new DataView(new ArrayBuffer(8));
    for (let at = 0; at < bytes.length; at += 8) {
      this.state = BigInt.asUintN(64, this.state + 0x9e3779b97f4a7c15n);
      let z = this.state;
      z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
      z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
      number.setBigUint64(0, z ^ (z >> 31n), true);
      bytes.set(new Uint8Array(number.buffer, 0, Math.min(8, bytes.length - at)), at);
    }
    return bytes;
  }
}

function decode(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

function encode(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary);
}

/**
 * Returns the function that answers one request with one response, both JSON text: `{ok}`; `{faults}` or `{text}` for an error that the module throws
 * intentionally; `{trap}` for any other error. The answer of an engine includes its next actions and when it is due, `{actions, due}`, because
 * each message may be expensive. `bindings` are those of the engine's module, with `inspect` of the other one.
 */
export function makeHandler(bindings, codec = { encode, decode }) {
  const engines = new Map();
  let next = 1;
  let entropy;
  globalThis.crypto.getRandomValues = (bytes) => entropy.fill(bytes);
  // The bytes must come from the seed and not from the kernel.
  useKernel(undefined);

  const bytes = (text) => codec.decode(text);
  const methods = {
    create({ config, options, seed, now }) {
      entropy = new Seeded(seed);
      const engine = bindings.Engine.create(bytes(config), options, now);
      engines.set(next, { engine, entropy });
      return { engine: next++, ...wanted(engine) };
    },
    drop({ engine }) {
      engines.get(engine)?.engine.free();
      engines.delete(engine);
    },
    inspect: ({ stored }) => bindings.inspect(bytes(stored), []),
    openWithDek: ({ stored, key, dek }) => bindings.openWithDek(bytes(stored), bytes(key), bytes(dek)),
    sealWithDek({ plaintext, key, like, likeKey, dek }) {
      entropy = new Seeded(0);
      return bindings.sealWithDek({
        plaintext: bytes(plaintext),
        key: bytes(key),
        like: bytes(like),
        likeKey: bytes(likeKey),
        dek: bytes(dek),
      });
    },
    checkConfig: ({ config, reload }) => bindings.checkConfig(bytes(config), reload),
  };
  const engineMethods = {
    toStorage: (engine, { op, resource, key, plaintext, now }) =>
      engine.toStorage(op, resource, bytes(key), bytes(plaintext), now),
    fromStorage: (engine, { op, resource, key, stored, now }) =>
      engine.fromStorage(op, resource, bytes(key), bytes(stored), now),
    health: (engine, { op, now }) => engine.health(op, now),
    cancel: (engine, { op }) => engine.cancel(op),
    reload: (engine, { config, now }) => engine.reload(bytes(config), now),
    unreadableAfter: (engine, { config }) => engine.unreadableAfter(bytes(config)),
    completeStatus: (engine, { call, version, healthz, keyId, now }) =>
      engine.completeStatus(call, version, healthz, keyId, now),
    completeEncrypt(engine, { call, ciphertext, keyId, annotations, now }) {
      const flat = annotations.flatMap(([name, value]) => [name, bytes(value)]);
      return engine.completeEncrypt(call, bytes(ciphertext), keyId, flat, now);
    },
    completeDecrypt: (engine, { call, plaintext, now }) => engine.completeDecrypt(call, bytes(plaintext), now),
    completeError: (engine, { call, method, code, message, now }) =>
      engine.completeError(call, method, code, message, now),
    restored: (engine, { now }) => engine.restored(now),
    advance: (engine, { now }) => engine.advance(now),
    kmsProviders: (engine) => engine.kmsProviders(),
    chooseRandom: (_, { bytes: chosen }) => entropy.choose(bytes(chosen)),
    status: (engine, { now }) => engine.status(now),
    metrics: (engine) => engine.metrics(),
  };

  const wanted = (engine) => ({ actions: engine.actions(), due: engine.poll() ?? null });

  function answer(request) {
    const plain = methods[request.do];
    if (plain !== undefined) return { ok: plain(request) ?? null };
    const { engine, entropy: own } = engines.get(request.engine);
    entropy = own;
    let response;
    try {
      response = { ok: engineMethods[request.do](engine, request) ?? null };
    } catch (thrown) {
      response = intended(thrown);
    }
    return { ...response, ...wanted(engine) };
  }

  function intended(thrown) {
    if (Array.isArray(thrown)) return { faults: thrown };
    if (typeof thrown === "string") return { text: thrown };
    throw thrown;
  }

  return (text) => {
    let response;
    try {
      response = answer(JSON.parse(text));
    } catch (thrown) {
      try {
        response = intended(thrown);
      } catch {
        response = { trap: String(thrown?.stack ?? thrown) };
      }
    }
    return JSON.stringify(response, (_, value) => (value instanceof Uint8Array ? codec.encode(value) : value));
  };
}
