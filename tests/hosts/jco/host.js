// Dekker's component in a Node program, transpiled by jco: `node transpile.js transformer.wasm`, then `node host.js`.
//
// The engine in the component does no I/O and reads no clock. Its host (this program) reports what happened and when, and executes the actions that
// the engine returns. The component imports only randomness, which `random.js` provides.

import assert from "node:assert/strict";

import { engine } from "./transpiled/transformer.js";

const CONFIG = `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: my-kms, endpoint: "unix:///run/my-kms.sock"}}]
`;

/**
 * A stand-in for a KMS plugin: it keeps a DEK and returns it. A real host calls `v2.KeyManagementService` by gRPC, at the `address` that
 * `kmsProviders()` returns. A failed call has the outcome `{ tag: "err", val: { code: 14, message } }`.
 */
class Kms {
  requests = [];
  #dek;

  async answer({ tag, val }) {
    console.log("  KMS:", tag);
    this.requests.push(tag);
    const event = (tag, answer) => ({ tag, val: { call: val.call, outcome: { tag: "ok", val: answer } } });
    switch (tag) {
      case "call-status":
        return event("status", { version: "v2", healthz: "ok", keyId: "key-1" });
      case "call-encrypt":
        this.#dek = val.plaintext.slice();
        return event("encrypted", { ciphertext: Buffer.from("dek 1"), keyId: "key-1", annotations: [] });
      case "call-decrypt":
        return event("decrypted", this.#dek.slice());
    }
  }
}

class Host {
  now = BigInt(Date.now()); // Milliseconds since 1970, which must never go back.

  constructor(kms) {
    this.kms = kms;
    const options = {
      reload: false,
      dekSource: "counter",
      coast: "strict",
      dekCacheCapacity: 0,
      apiserverId: "",
      readOnly: false,
    };
    this.engine = engine.Engine.create(Buffer.from(CONFIG), options, this.now); // Throws every error in the configuration.
  }

  /** Calls `toStorage` or `fromStorage`. An operation that cannot complete at once is parked under `op`; an action delivers its result later. */
  async operate(method, op, key, value) {
    const at = { resource: "secrets", key: Buffer.from(key) };
    let outcome = this.engine[method](op, at, value, this.now);
    if (outcome === undefined) {
      console.log("  parked");
      outcome = (await this.settle()).get(op);
    }
    return outcome.val; // With the tag "err" the value has a `kind`.
  }

  /**
   * Executes the engine's actions until there are no more, and returns the completed operations. (A busier host does not wait for the KMS here: the
   * engine can process other operations until the event arrives.)
   */
  async settle() {
    const done = new Map();
    for (;;) {
      const actions = this.engine.pollActions();
      if (actions.length === 0) return done;
      for (const action of actions) {
        const { tag, val } = action;
        if (tag.startsWith("call-")) {
          const event = await this.kms.answer(action);
          this.engine.handleEvent(event, this.now);
          // A DEK, once in a request and once in an answer: it is not needed any more.
          if (tag === "call-encrypt") val.plaintext.fill(0);
          if (tag === "call-decrypt") event.val.outcome.val.fill(0);
        } else if (tag === "to-storage-done" || tag === "from-storage-done") done.set(val.op, val.outcome);
        else if (tag === "log") console.error(val.level, val.message);
      }
    }
  }
}

const kms = new Kms();
const host = new Host(kms);
console.log("write");
const first = await host.operate("toStorage", 1n, "/registry/secrets/default/a", Buffer.from("hunter2"));
console.log(" ", first.stored.length, "bytes");
console.log("write another");
const second = await host.operate("toStorage", 2n, "/registry/secrets/default/b", Buffer.from("hunter2"));
console.log(" ", second.stored.length, "bytes");
console.log("read");
const read = await host.operate("fromStorage", 3n, "/registry/secrets/default/a", first.stored);
console.log(`  ${Buffer.from(read.plaintext)}, stale: ${read.stale}`);
console.log("read it with the other storage key");
const moved = await host.operate("fromStorage", 4n, "/registry/secrets/default/b", first.stored);
console.log(" ", moved.kind);

// The host determines the time. A real host sets a timer for `due`; this one assumes that it has come.
const due = host.engine.pollTimeout();
console.log(Number(due - host.now) / 1000, "s later");
host.now = due;
host.engine.handleTimeout(host.now);
await host.settle();
host.engine[Symbol.dispose](); // Erases every key in the component's memory.

assert.deepEqual(
  [Buffer.from(read.plaintext).toString(), read.stale, moved.kind],
  ["hunter2", false, "decrypt-failed"],
);
assert.deepEqual(kms.requests, ["call-status", "call-encrypt", "call-decrypt", "call-status"]);
console.log("two writes, one Encrypt");
