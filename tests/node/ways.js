// The same values through the functions for one value and through those for many. Everything random comes from a seed, so the results must be equal byte
// for byte. Runs in Node and in a browser.

import { TestClock } from "./clock.js";

const utf8 = new TextEncoder();

/** Returns a configuration for Secrets and ConfigMaps. */
const configOf = (...providers) =>
  JSON.stringify({
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "EncryptionConfiguration",
    resources: [{ resources: ["secrets", "configmaps"], providers }],
  });

const KEYS = {
  keys: [1, 2].map((byte) => ({ name: `key${byte}`, secret: btoa(String.fromCharCode(byte).repeat(32)) })),
};
const kms = (apiVersion, name) => ({ kms: { apiVersion, name, endpoint: `unix:///run/${name}.sock`, timeout: "3s" } });

/** `[description, configuration, options]` */
const CASES = [
  ["aesgcm", configOf({ aesgcm: KEYS })],
  ["aescbc", configOf({ aescbc: KEYS })],
  ["secretbox", configOf({ secretbox: KEYS })],
  ["identity", configOf({ identity: {} })],
  ["KMS v1", configOf(kms("v1", "one"))],
  ["KMS v2, counter", configOf(kms("v2", "two"))],
  ["KMS v2, seed", configOf(kms("v2", "two")), { dekSource: "hkdf-seed" }],
  [
    "all of them",
    configOf(
      kms("v2", "two"),
      kms("v1", "one"),
      { aesgcm: KEYS },
      { aescbc: KEYS },
      { secretbox: KEYS },
      { identity: {} },
    ),
  ],
  ["a plugin that fails", configOf(kms("v2", "failing"))],
];

/** Returns plugins that only invert the bits of a DEK. */
const plugins = (keyId) => (provider) => ({
  async status() {
    if (provider.name === "failing") throw Object.assign(new Error("it is tired"), { code: "UNAVAILABLE" });
    return { version: "v2", healthz: "ok", keyId };
  },
  encrypt: async ({ plaintext }) => ({ ciphertext: plaintext.map((byte) => byte ^ 255), keyId }),
  async decrypt({ ciphertext }) {
    if (ciphertext.length !== 32) {
      throw Object.assign(new Error("no such ciphertext"), { code: "INVALID_ARGUMENT" });
    }
    return { plaintext: ciphertext.map((byte) => byte ^ 255) };
  },
});

/** Returns a function that fills arrays with bytes of a linear congruential generator. */
function seeded() {
  let state = 1;
  return (out) => {
    for (let at = 0; at < out.length; at++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      out[at] = state >>> 24;
    }
  };
}

const plaintext = (size) => Uint8Array.from({ length: size }, (_, at) => (7 * at + size) % 251);

/** Values with keys of each kind and plaintexts around each limit. */
function valuesToWrite() {
  const keys = [
    "/registry/secrets/ns/a",
    "/registry/secrets/ns/ü€😀",
    "",
    utf8.encode("/bytes"),
    `/long/${"é".repeat(3000)}`,
  ];
  const sizes = [0, 1, 15, 16, 17, 255, 256, 257, 1000, 5000];
  const values = sizes.map((size, at) => ({
    at: { resource: at % 3 === 2 ? "configmaps" : "secrets", key: keys[at % keys.length] },
    plaintext: plaintext(size),
  }));
  values.splice(4, 0, { at: { resource: "events.events.k8s.io", key: "/without/a/rule" }, plaintext: plaintext(20) });
  values.push({ at: { resource: "secrets", key: "/view" }, plaintext: new DataView(plaintext(40).buffer, 10, 20) });
  return values;
}

/** Returns values of every provider, of another key and of another key ID. */
async function valuesOfOthers(load) {
  const key2 = { keys: KEYS.keys.slice(1) };
  const writers = [
    ...CASES.slice(0, -1),
    ["another key", configOf({ aesgcm: key2 })],
    ["another key", configOf({ aescbc: key2 })],
    ["another key", configOf({ secretbox: key2 })],
    ["another key ID", configOf(kms("v2", "two")), { kms: plugins("key-2") }],
  ];
  const values = [];
  for (const [, file, options] of writers) {
    const writer = await load(file, options);
    const at = { resource: "secrets", key: "/others" };
    values.push({ at, stored: await writer.toStorage(at, plaintext(30)) });
    writer.free();
  }
  return values;
}

/** Each stored value as it is, and damaged; with values that no provider has written between them. */
function valuesToRead(written) {
  const others = [
    "plain",
    "",
    "k8s:enc:nobody:v1:x",
    "k8s:enc:aesgcm:v1:key3:x",
    "k8s:enc:kms:v2:two:\x0a",
    "k8s:enc:kms:v1:one:",
  ];
  const values = written.flatMap(({ at, stored }, number) => {
    const flipped = stored.slice();
    if (flipped.length > 0) flipped[(flipped.length * (number % 4) + flipped.length - 1) >> 2] ^= 1;
    const other = utf8.encode(others[number % others.length]);
    return [
      { at, stored },
      { at, stored: flipped },
      { at: { ...at, key: "/elsewhere" }, stored },
      { at: { ...at, resource: "events" }, stored },
      { at, stored: stored.subarray(0, -1) },
      { at, stored: other },
    ];
  });
  return [...values, ...values.slice(0, 3)];
}

async function* stream(values) {
  yield* values;
}

async function collect(results) {
  const all = [];
  for await (const result of results) all.push(result);
  return all;
}

const WAYS = {
  one: {
    write: (transformer, values) =>
      Promise.allSettled(values.map(({ at, plaintext }) => transformer.toStorage(at, plaintext))),
    read: (transformer, values) =>
      Promise.allSettled(values.map(({ at, stored }) => transformer.fromStorage(at, stored))),
  },
  many: {
    write: (transformer, values) => transformer.toStorageMany(values),
    read: (transformer, values) => transformer.fromStorageMany(values),
  },
  stream: {
    write: (transformer, values) => collect(transformer.toStorageMany(stream(values))),
    read: (transformer, values) => collect(transformer.fromStorageMany(stream(values))),
  },
};

/** Writes and reads in one way, and returns all that can be seen of it. */
async function run(Transformer, useKernel, [, file, options], { write, read }) {
  useKernel(seeded());
  const load = (file, options) => Transformer.load(file, { kms: plugins("key-1"), clock: new TestClock(), ...options });
  const seen = [];
  const toWrite = valuesToWrite();
  const writer = await load(file, options);
  // The first values wait for the plugin; the next ones do not.
  for (let round = 0; round < 2; round++) seen.push(await write(writer, toWrite));
  const stored = (index) => seen[0][index].value ?? utf8.encode("k8s:enc:kms:v2:failing:\x0a");
  const written = toWrite.map(({ at }, index) => ({ at, stored: stored(index) }));
  const toRead = [...valuesToRead(written), ...(await valuesOfOthers(load))];
  seen.push(await read(writer, toRead));
  const readers = [await load(file, options), await load(file, { ...options, readOnly: true, dekSource: "hkdf-seed" })];
  for (const reader of readers) for (let round = 0; round < 2; round++) seen.push(await read(reader, toRead));
  seen.push(await write(readers[1], toWrite));
  const states = [];
  for (const transformer of [writer, ...readers]) {
    states.push(transformer.metrics(), transformer.status());
    transformer.free();
  }
  return { results: seen.map((results) => results.map(plain)), states };
}

/** Returns a result as JSON. */
function plain({ status, value, reason }) {
  if (status === "rejected") {
    const { name, code, message, isTransient, grpcCode } = reason;
    return { status, name, code, message, isTransient, grpcCode };
  }
  if (value instanceof Uint8Array) return { status, value: hex(value) };
  return { status, value: { ...value, plaintext: hex(value.plaintext) } };
}

const labelsOf = ({ plaintext, ...labels }) => JSON.stringify(labels);

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Returns what each way gives, for each case: `[description, { one, many, stream }]`. */
export async function compare({ Transformer }, useKernel) {
  const all = [];
  for (const each of CASES) {
    const seen = {};
    for (const [name, way] of Object.entries(WAYS)) seen[name] = await run(Transformer, useKernel, each, way);
    all.push([each[0], seen]);
  }
  return all;
}

/** Checks what `compare` returned, in Node. */
export function check(assert, seen) {
  assert.equal(seen.length, CASES.length);
  for (const [desc, { one, many, stream }] of seen) {
    assert.deepEqual(many, one, desc);
    assert.deepEqual(stream, one, desc);
    const results = one.results.flat();
    const isSeen = (status) => results.some((result) => result.status === status);
    assert.ok(isSeen("fulfilled") && isSeen("rejected"), desc);
  }
  const [, { many }] = seen.find(([desc]) => desc === "all of them");
  const kinds = many.results.flat().map(({ value }) => value?.transformerPrefix && labelsOf(value));
  assert.ok(new Set(kinds).size > 12, [...new Set(kinds)].join("\n"));
}
