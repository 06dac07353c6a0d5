// The Inspector's parts that need no browser.

import assert from "node:assert/strict";
import test from "node:test";

import { init, readForms } from "dekker/inline";

import { findDeks } from "../../wasm/inspector/src/deks.js";
import { toCsv, toJson } from "../../wasm/inspector/src/export.js";
import { readObject } from "../../wasm/inspector/src/protobuf.js";
import { isConfiguration, rulesOf } from "../../wasm/inspector/src/rules.js";
import { makeValue, nameKeys, settleNames } from "../../wasm/inspector/src/values.js";
import { load } from "../node/cases.js";
import { etcdctl, kubernetesObject, LOCAL } from "./mixed.js";

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const base64 = (bytes) => Buffer.from(bytes).toString("base64");

/** Returns the values of the page for an input. */
async function valuesOf(input, keyNames = []) {
  const values = [];
  for await (const item of readForms(input)) values.push(makeValue(item, "a file", values.length + 1, keyNames));
  return values;
}

test("a fault is a row without a value", async () => {
  const [fault] = await valuesOf(load("gz.bin"));
  assert.equal(fault.state, "unread");
  assert.equal(fault.name, "line 1 of a file");
  assert.equal(fault.stored.length, 0);
  assert.match(fault.error, /^This is gzip, not a stored value of Kubernetes; use gzip -dc <file>\.$/);
  const [{ seen, group }] = await valuesOf(load("typo-prefix.bin"));
  assert.deepEqual([seen, group.provider], [undefined, "damaged"]);
});

test("the names of the configuration decide where a name ends", async () => {
  const [value] = await valuesOf(load("k3s-colon-gcm.bin"));
  assert.equal(value.group.key, "aesgcmkey-2026-03-09T09:46:54+01:00");
  nameKeys([value], [{ provider: "aesgcm", name: "aesgcmkey-2026-03-09T09:46" }]);
  assert.equal(value.group.key, "aesgcmkey-2026-03-09T09:46");
  assert.equal(value.seen.layout[0].length, "k8s:enc:aesgcm:v1:aesgcmkey-2026-03-09T09:46:".length);
});

test("names that are certain in other values decide where a name is a guess", async () => {
  const value = (begin) => Buffer.from(`k8s:enc:aesgcm:v1:key1:${begin}${"\0\xff".repeat(40)}`, "latin1");
  const values = await valuesOf(
    etcdctl([value("ab:"), value("")].map((stored) => ({ key: "/registry/secrets/a/b", stored }))),
  );
  assert.deepEqual(
    values.map(({ group }) => group.key),
    ["key1:ab", "key1"],
  );
  settleNames(values, values);
  assert.deepEqual(
    values.map(({ group }) => group.key),
    ["key1", "key1"],
  );
});

test("an export has what the table shows, and no cell is a formula", async () => {
  await init();
  const stored = load("gcm.bin");
  const values = [
    ...(await valuesOf(load("w-json.txt"))),
    ...(await valuesOf(
      etcdctl([{ key: "/registry/secrets/ns/plain", stored: kubernetesObject("Secret", "ns", "plain") }]),
    )),
    ...(await valuesOf("hello")),
  ];
  const [encrypted, plain, fault] = JSON.parse(toJson(values));
  assert.deepEqual(encrypted, {
    key: "/registry/secrets/default/token",
    resource: "secrets",
    provider: "aesgcm",
    name: "key1",
    state: "encrypted",
    size: 121,
    form: "etcdctl -w json",
  });
  assert.deepEqual([plain.provider, plain.state], ["identity", "not encrypted"]);
  assert.deepEqual(Object.keys(fault), ["state", "error"]);
  assert.match(fault.error, /^line 1, byte 0: not a stored value of Kubernetes/);
  for (const text of [toJson(values), toCsv(values)]) assert.ok(!text.includes("pw-0"), "no plaintext is exported");

  const hostile = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", 'a"b', "a;=1", "a\n=1", "/a"];
  const names = await valuesOf(etcdctl([{ key: "/registry/secrets/a/b", stored }]));
  const csv = toCsv(hostile.map((keyText) => ({ ...names[0], keyText })));
  assert.equal(
    csv.slice(0, csv.indexOf("\r\n")),
    "key,resource,provider,name,keyIdHash,dekSource,state,size,form,error",
  );
  const cells = csv
    .split(',"secrets",')
    .slice(0, -1)
    .map((line, at) => (at === 0 ? line.slice(line.indexOf("\r\n") + 2) : line.slice(line.lastIndexOf(',\r\n"') + 3)));
  assert.deepEqual(cells, [
    `"'=1+1"`,
    `"'+1"`,
    `"'-1"`,
    `"'@a"`,
    `"'\tx"`,
    `"'\rx"`,
    '"a""b"',
    '"a;=1"',
    '"a\n=1"',
    '"/a"',
  ]);
  assert.ok(csv.includes('"/a","secrets","aesgcm","key1",,,"encrypted",121,"etcdctl -w json",\r\n'), csv);
});

test("DEKs and configurations are distinguished from values", () => {
  const dek = Buffer.alloc(32, 0xab);
  assert.deepEqual(findDeks(`${hex(dek)}\n ${base64(dek)}\n\n`).map(hex), [hex(dek), hex(dek)]);
  assert.throws(() => findDeks(`${hex(dek)}\nabcd`), /Line 2 is not a DEK/);
  assert.ok(isConfiguration(Buffer.from(LOCAL)));
  assert.ok(isConfiguration(Buffer.from("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n")));
  assert.ok(!isConfiguration(Buffer.from('{"kind":"Secret"}')));
});

test("the resources and the key names of a configuration are read", () => {
  const shown = [
    "apiVersion: apiserver.config.k8s.io/v1",
    "kind: EncryptionConfiguration",
    "resources:",
    "- resources:",
    "  - secrets",
    '  - "*.apps"',
    "  providers:",
    "  - kms:",
    "      apiVersion: v2",
    "      name: vault",
    "  - aescbc:",
    "      keys:",
    '      - name: "aescbckey-2026-03-09T09:46:54+01:00"',
    "        secret: REDACTED",
    "      - name: aescbckey",
    "        secret: REDACTED",
    "  - identity: {}",
    "- resources:",
    '  - "*."',
    '  - "*.*"',
    "  providers:",
    "  - aesgcm:",
    "      keys:",
    "      - name: key1",
    "        secret: REDACTED",
    "",
  ].join("\n");
  assert.deepEqual(rulesOf(shown), {
    resources: ["secrets", "any.apps", "any", "any.any"],
    keyNames: [
      { provider: "aescbc", name: "aescbckey-2026-03-09T09:46:54+01:00" },
      { provider: "aescbc", name: "aescbckey" },
      { provider: "aesgcm", name: "key1" },
    ],
  });
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
