// The Inspector's parts that need no browser, compared with core's results.

import assert from "node:assert/strict";
import test from "node:test";

import { inspectInput } from "dekker";

import { findDeks, findValues, InputError, isConfiguration } from "../../wasm/inspector/src/input.js";
import { readObject } from "../../wasm/inspector/src/protobuf.js";
import { resourceOf, resourcesOfRules } from "../../wasm/inspector/src/resource.js";
import { etcdctl, kubernetesObject, LOCAL } from "./mixed.js";

const stored = Buffer.from(`k8s:enc:aesgcm:v1:key1:${"\0\n\xff".repeat(20)}`, "latin1");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const key = "/registry/secrets/ns/name";
const found = (input) =>
  findValues(Buffer.from(input)).map(({ key, stored, encoding }) => [
    key && Buffer.from(key).toString(),
    hex(stored),
    encoding,
  ]);

test("an input is read as core reads it", () => {
  const table = [
    ["raw", stored],
    ["hex", hex(stored)],
    ["hex with 0x, spaces and a line end", `0x${hex(stored).match(/../g).join(" ").toUpperCase()}\n`],
    ["base64", base64(stored)],
    [
      "base64 in lines",
      base64(stored)
        .match(/.{1,20}/g)
        .join("\r\n"),
    ],
    [
      "etcdctl",
      etcdctl([
        { key, stored },
        { key: "/b", stored },
      ]),
    ],
    ["etcdctl, an empty value", '{"header":{},"kvs":[{"key":"L2E="}]}'],
    ["a value in the clear", kubernetesObject("Secret", "ns", "name")],
    ["a JSON object that is not an answer", '{"kind":"Secret"}'],
    ["an answer without a header", '{"header":null,"kvs":[{"key":"L2E=","value":"YQ=="}]}'],
    ["text", "hello"],
    ["hex that does not begin like a value", "deadbeef"],
    ["bytes", Buffer.of(255, 0, 10)],
  ];
  for (const [desc, input] of table) {
    const ours = findValues(Buffer.from(input));
    const cores = inspectInput(Buffer.from(input));
    const seen = (values) => values.map(({ encoding, size }) => [encoding, size]);
    assert.deepEqual(
      seen(ours.map(({ encoding, stored }) => ({ encoding, size: stored.length || undefined }))),
      seen(cores),
      desc,
    );
  }
  for (const input of ["", " \n", '{"header":{"revision":1}}', '{"header":{},"kvs":[{"key":"L2E=","value":"*"}]}']) {
    assert.throws(() => findValues(Buffer.from(input)), InputError, input);
    assert.throws(() => inspectInput(input), { code: "INVALID_VALUE" }, input);
  }
});

test("terminal output of etcdctl, hexdump and xxd is read", () => {
  const plain = Buffer.concat([Buffer.from(`${key}\n`), stored, Buffer.from("\n")]);
  const zeros = Buffer.concat([Buffer.from("k8s:enc:kms:v1:a:".padEnd(32, "x")), Buffer.alloc(64), Buffer.of(7)]);
  const dump = (bytes, line) =>
    (hex(bytes).match(/.{1,32}/g) ?? []).map((digits, at) => line((16 * at).toString(16).padStart(8, "0"), digits));
  const hexdump = (bytes) => [
    ...dump(
      bytes,
      (offset, digits) =>
        `${offset}  ${digits
          .match(/.{1,16}/g)
          .map((half) => half.match(/../g).join(" "))
          .join("  ")}  |${digits.replace(/../g, ".")}|`,
    ),
    bytes.length.toString(16).padStart(8, "0"),
  ];
  const squeezed = hexdump(zeros).toSpliced(3, 3, "*");
  const table = [
    ["etcdctl, plain", plain, [[key, hex(stored), "etcdctl, plain"]]],
    [
      "etcdctl, plain, twice",
      Buffer.concat([plain, plain]),
      [
        [key, hex(stored), "etcdctl, plain"],
        [key, hex(stored), "etcdctl, plain"],
      ],
    ],
    ["hexdump -C of a value", hexdump(stored).join("\n"), [[undefined, hex(stored), "hexdump"]]],
    ["hexdump -C of etcdctl", hexdump(plain).join("\n"), [[key, hex(stored), "hexdump"]]],
    ["hexdump -C with *", squeezed.join("\n"), [[undefined, hex(zeros), "hexdump"]]],
    [
      "xxd",
      dump(
        stored,
        (offset, digits) => `${offset}: ${digits.match(/.{1,4}/g).join(" ")}  ${"k".repeat(digits.length / 2)}`,
      ).join("\n"),
      [[undefined, hex(stored), "hexdump"]],
    ],
    [
      "one a line",
      `${base64(stored)}\n\n${hex(stored)}\n`,
      [
        [undefined, hex(stored), "base64"],
        [undefined, hex(stored), "hex"],
      ],
    ],
    [
      "several answers",
      `${etcdctl([{ key, stored }])}\n${etcdctl([{ key, stored }])}\n`,
      [
        [key, hex(stored), "etcdctl"],
        [key, hex(stored), "etcdctl"],
      ],
    ],
  ];
  for (const [desc, input, expected] of table) assert.deepEqual(found(input), expected, desc);
  assert.throws(
    () => found(hexdump(stored).toSpliced(1, 1).join("\n")),
    /incomplete: after 16 bytes, the next offset is 32/,
  );
});

test("DEKs and configurations are distinguished from values", () => {
  const dek = Buffer.alloc(32, 0xab);
  assert.deepEqual(findDeks(`${hex(dek)}\n ${base64(dek)}\n\n`).map(hex), [hex(dek), hex(dek)]);
  assert.throws(() => findDeks(`${hex(dek)}\nabcd`), /Line 2 is not a DEK/);
  assert.ok(isConfiguration(Buffer.from(LOCAL)));
  assert.ok(isConfiguration(Buffer.from("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n")));
  assert.ok(!isConfiguration(Buffer.from('{"kind":"Secret"}')));
});

test("the resource is derived from the storage key", () => {
  const table = [
    ["/registry/secrets/ns/name", "secrets"],
    ["/registry/deployments/ns/name", "deployments.apps"],
    ["/registry/example.com/widgets/ns/name", "widgets.example.com"],
    ["/registry/services/specs/ns/name", "services"],
    ["/registry/services/endpoints/ns/name", "endpoints"],
    ["/registry/minions/name", "nodes"],
    ["/registry/ingress/ns/name", "ingresses.networking.k8s.io"],
    ["/registry", undefined],
    ["", undefined],
  ];
  for (const [key, expected] of table) assert.equal(resourceOf(key), expected, key);
  const shown =
    'kind: x\nresources:\n- resources:\n  - secrets\n  - "*.apps"\n  providers:\n  - identity: {}\n- resources:\n  - "*."\n  - "*.*"\n  providers:\n  - identity: {}\n';
  assert.deepEqual(resourcesOfRules(shown), ["secrets", "any.apps", "any", "any.any"]);
});

test("a protobuf object is converted to JSON", () => {
  const object = readObject(kubernetesObject("Secret", "ns", "a name", 3));
  assert.deepEqual(JSON.parse(JSON.stringify(object)), {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name: "a name",
      namespace: "ns",
      uid: "0b6c8a1e-0000-4000-8000-000000000003",
      creationTimestamp: "2026-09-21T14:13:23Z",
    },
    data: { username: "dekker", password: `pw-3-${"x".repeat(39)}` },
    type: "Opaque",
  });
});

test("damaged protobuf never throws", () => {
  const whole = kubernetesObject("Secret", "ns", "name", 30);
  let seed = 1;
  const random = (below) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let round = 0; round < 5000; round++) {
    const bytes = whole.slice(0, 4 + random(whole.length - 3));
    for (let at = random(4); at > 0; at--) if (bytes.length > 4) bytes[4 + random(bytes.length - 4)] = random(256);
    JSON.stringify(readObject(bytes) ?? null);
  }
  // Messages nested 4000 deep.
  let nested = Buffer.of(0xff);
  for (let depth = 0; depth < 4000; depth++) {
    const length = [];
    for (let left = nested.length; ; left >>= 7) {
      length.push(left > 127 ? (left & 127) | 128 : left);
      if (left < 128) break;
    }
    nested = Buffer.concat([Buffer.of(0x12, ...length), nested]);
  }
  JSON.stringify(readObject(Buffer.concat([Buffer.from("k8s\0", "latin1"), nested])) ?? null);
});
