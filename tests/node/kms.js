// A scriptable KMS plugin.

import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";

const kek = (keyId) => createHash("sha256").update(keyId).digest();

export class TestKms {
  version = "v2";
  healthz = "ok";
  annotations = {};
  calls = { status: 0, encrypt: 0, decrypt: 0 };
  /** Every request, with its signal. */
  requests = [];
  /** Hooks by method: `hook(make, request, signal)` returns the answer, and `make()` returns the normal one. */
  hooks = {};
  /** DEKs that another plugin encrypted: `[request, plaintext]`. */
  recorded = [];

  constructor(keyId = "key-1") {
    this.keyId = keyId;
  }

  async status({ signal }) {
    return this.#answer("status", {}, signal, () => ({
      version: this.version,
      healthz: this.healthz,
      keyId: this.keyId,
    }));
  }

  async encrypt(request, { signal }) {
    return this.#answer("encrypt", request, signal, () => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", kek(this.keyId), nonce);
      const sealed = [cipher.update(request.plaintext), cipher.final()];
      const ciphertext = new Uint8Array(Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]));
      return { ciphertext, keyId: this.keyId, annotations: this.annotations };
    });
  }

  async decrypt(request, { signal }) {
    return this.#answer("decrypt", request, signal, () => {
      const known = this.recorded.find(([of]) => sameRequest(of, request));
      if (known !== undefined) return { plaintext: Uint8Array.from(known[1]) };
      const { ciphertext } = request;
      try {
        const cipher = createDecipheriv("aes-256-gcm", kek(request.keyId ?? this.keyId), ciphertext.subarray(0, 12));
        cipher.setAuthTag(ciphertext.subarray(-16));
        const plaintext = Buffer.concat([cipher.update(ciphertext.subarray(12, -16)), cipher.final()]);
        return { plaintext: new Uint8Array(plaintext) };
      } catch {
        throw Object.assign(new Error("it was not encrypted here"), { code: "INVALID_ARGUMENT" });
      }
    });
  }

  async #answer(method, request, signal, make) {
    this.calls[method]++;
    this.requests.push({ method, request, signal });
    const hook = this.hooks[method];
    return hook === undefined ? make() : hook(make, request, signal);
  }

  /** Makes the plugin unreachable. */
  down() {
    const refuse = () => {
      throw Object.assign(new Error("connect ECONNREFUSED /run/a.sock"), { code: "ECONNREFUSED" });
    };
    this.hooks = { status: refuse, encrypt: refuse, decrypt: refuse };
  }

  /** Makes the plugin reachable but silent. */
  hang() {
    const never = () => new Promise(() => {});
    this.hooks = { status: never, encrypt: never, decrypt: never };
  }

  up() {
    this.hooks = {};
  }
}

function sameRequest(a, b) {
  const same = (x, y) => Buffer.compare(x, y) === 0;
  const names = Object.keys(a.annotations);
  const others = b.annotations ?? {};
  return (
    same(a.ciphertext, b.ciphertext) &&
    a.keyId === (b.keyId ?? "") &&
    names.length === Object.keys(others).length &&
    names.every((name) => others[name] !== undefined && same(a.annotations[name], others[name]))
  );
}

/** Returns a file in which KMS v2 providers with these names serve secrets. */
export function config(...names) {
  const kms = (name) => `  - kms: {apiVersion: v2, name: ${name}, endpoint: 'unix:///run/${name}.sock', timeout: 3s}\n`;
  return rule(names.map(kms).join(""));
}

/** Returns a file in which these providers serve secrets. */
export function rule(providers) {
  return `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n${providers}`;
}

export const LOCAL = rule(`  - aesgcm: {keys: [{name: key1, secret: ${Buffer.alloc(32, 7).toString("base64")}}]}\n`);

export const AT = { resource: "secrets", key: "/registry/secrets/ns/name" };

export const bytes = (text) => new TextEncoder().encode(text);
