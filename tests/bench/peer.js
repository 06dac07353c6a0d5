// The npm package and its peers in Node, which measure themselves. Each line on standard input is `<subject> <op> <source> <size> <n>`; for each,
// the program prints a line with the nanoseconds that all n operations took.

import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { gcm } from "@noble/ciphers/aes.js";
import { Transformer } from "dekker";

const KEY = "/registry/secrets/default/token";
const AAD = new TextEncoder().encode(KEY);

const config = `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/vault.sock', timeout: 3s}
`;

/** A KMS v2 plugin in this process. It looks up DEKs in a map instead of encrypting them. */
function vault() {
  const known = new Map();
  return {
    status: async () => ({ version: "v2", healthz: "ok", keyId: "kek-2026-01" }),
    encrypt: async ({ plaintext }) => {
      const ciphertext = Uint8Array.from(randomBytes(60));
      known.set(ciphertext.toString(), Uint8Array.from(plaintext));
      return { ciphertext, keyId: "kek-2026-01", annotations: {} };
    },
    decrypt: async ({ ciphertext }) => ({ plaintext: Uint8Array.from(known.get(ciphertext.toString())) }),
  };
}

const AT = { resource: "secrets", key: KEY };
const transformers = {};
for (const [source, dekSource] of [
  ["counter", "counter"],
  ["seed", "hkdf-seed"],
]) {
  transformers[source] = await Transformer.load(config, { kms: { vault: vault() }, dekSource });
}

const bytes = randomBytes(32);
const secret = createSecretKey(bytes);
const webKey = await webcrypto.subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]);

const nonce = new Uint8Array(12);
/** Returns a nonce that was not used before. The next call overwrites it. */
function next() {
  for (let i = 11; i > 0 && ++nonce[i] === 256; i--);
  return nonce;
}

/** For `copied`: a WebAssembly module that seals and opens with node:crypto must at least copy values into its memory, and results out of it. */
const memory = new WebAssembly.Memory({ initial: 64 });
const inside = (from, length) => new Uint8Array(memory.buffer, from, length);
const HALF = 2 << 20;

/**
 * Each function returns `[write, read]`. A stored value of noble and webcrypto is `[nonce, ciphertext with its tag]`, of node
 * `[nonce, ciphertext, tag]`, and of the others one array of bytes.
 */
const subjects = {
  npm: (source) => [
    (text) => transformers[source].toStorage(AT, text),
    async (stored) => (await transformers[source].fromStorage(AT, stored)).plaintext,
  ],
  noble: () => [
    (text) => [Uint8Array.from(next()), gcm(bytes, nonce, AAD).encrypt(text)],
    ([iv, sealed]) => gcm(bytes, iv, AAD).decrypt(sealed),
  ],
  node: () => [
    (text) => {
      const iv = Uint8Array.from(next());
      const cipher = createCipheriv("aes-256-gcm", secret, iv);
      cipher.setAAD(AAD);
      const sealed = cipher.update(text);
      cipher.final();
      return [iv, sealed, cipher.getAuthTag()];
    },
    ([iv, sealed, tag]) => {
      const cipher = createDecipheriv("aes-256-gcm", secret, iv);
      cipher.setAAD(AAD);
      cipher.setAuthTag(tag);
      const text = cipher.update(sealed);
      cipher.final();
      return text;
    },
  ],
  copied: () => [
    async (text) => {
      const iv = Uint8Array.from(next());
      inside(0, text.length).set(text);
      const cipher = createCipheriv("aes-256-gcm", secret, iv);
      cipher.setAAD(AAD);
      const out = inside(HALF, 12 + text.length + 16);
      out.set(iv);
      out.set(cipher.update(inside(0, text.length)), 12);
      cipher.final();
      out.set(cipher.getAuthTag(), 12 + text.length);
      return out.slice();
    },
    async (stored) => {
      inside(0, stored.length).set(stored);
      const cipher = createDecipheriv("aes-256-gcm", secret, inside(0, 12));
      cipher.setAAD(AAD);
      cipher.setAuthTag(inside(stored.length - 16, 16));
      const out = inside(HALF, stored.length - 28);
      out.set(cipher.update(inside(12, stored.length - 28)));
      cipher.final();
      return out.slice();
    },
  ],
  webcrypto: () => [
    async (text) => {
      const iv = Uint8Array.from(next());
      return [iv, await webcrypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: AAD }, webKey, text)];
    },
    async ([iv, sealed]) =>
      new Uint8Array(await webcrypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: AAD }, webKey, sealed)),
  ],
};

/** Returns how many values of a size are read in turn: as many as make 1 MiB, but at least 4 and at most 64. */
const valuesOf = (size) => Math.min(Math.max(Math.floor(2 ** 20 / Math.max(size, 1)), 4), 64);

const stored = new Map();

/** Returns how many values of a size go through `toStorageMany` or `fromStorageMany` in one call: as many as make 4 MiB, but at most 256. */
const togetherOf = (size) => Math.min(Math.max(Math.floor(2 ** 22 / Math.max(size, 1)), 1), 256);

/** Times the functions for many values. */
async function timeMany(op, source, size, n) {
  const transformer = transformers[source];
  const text = Uint8Array.from({ length: size }, (_, i) => (7 * i + size) % 251);
  let values = Array(togetherOf(size)).fill({ at: AT, plaintext: text });
  let run = (values) => transformer.toStorageMany(values);
  if (op === "read") {
    values = (await run(values)).map(({ value }) => ({ at: AT, stored: value }));
    run = (values) => transformer.fromStorageMany(values);
    const [{ value }] = await run(values);
    if (Buffer.compare(value.plaintext, text) !== 0) throw new Error("the plaintext is not the one that was written");
  }
  const last = values.slice(0, n % values.length);
  const start = process.hrtime.bigint();
  for (let i = values.length; i <= n; i += values.length) await run(values);
  await run(last);
  return process.hrtime.bigint() - start;
}

async function time(subject, op, source, size, n) {
  if (subject === "npm-many") return timeMany(op, source, size, n);
  const [write, read] = subjects[subject](source);
  const text = Uint8Array.from({ length: size }, (_, i) => (7 * i + size) % 251);
  // Only await promises: for synchronous subjects, each await would cost a turn of the event loop's microtask queue.
  const first = write(text);
  const isAsync = first instanceof Promise;
  await first;
  if (op === "write") {
    const start = process.hrtime.bigint();
    if (isAsync) for (let i = 0; i < n; i++) await write(text);
    else for (let i = 0; i < n; i++) write(text);
    return process.hrtime.bigint() - start;
  }
  const name = `${subject} ${source} ${size}`;
  if (!stored.has(name)) stored.set(name, []);
  const values = stored.get(name);
  while (values.length < valuesOf(size)) values.push(await write(text));
  if (Buffer.compare(await read(values[0]), text) !== 0)
    throw new Error(`${name}: the plaintext is not the one that was written`);
  const start = process.hrtime.bigint();
  if (isAsync) for (let i = 0; i < n; i++) await read(values[i % values.length]);
  else for (let i = 0; i < n; i++) read(values[i % values.length]);
  return process.hrtime.bigint() - start;
}

const noble = JSON.parse(readFileSync(new URL("../../node_modules/@noble/ciphers/package.json", import.meta.url)));
console.log(`Node ${process.version}, @noble/ciphers ${noble.version}`);
for await (const line of createInterface({ input: process.stdin })) {
  const [subject, op, source, size, n] = line.split(" ");
  console.log(String(await time(subject, op, source, Number(size), Number(n))));
}
process.exit();
