// The values of tests/vectors/cases, in the forms in which people hold them: what the package must find in each.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const folder = new URL("../vectors/cases/", import.meta.url);

const TOKEN = "/registry/secrets/default/token";
const GCM = { provider: "aesgcm", keyName: "key1", size: 121, plaintextSize: 70 };
const CBC = { provider: "aescbc", keyName: "key1", size: 119, plaintextSize: 79 };
const K3S = "key-2026-03-09T09:46:54+01:00";
const LINE_END = ["the line end after the value (\\n) was removed: etcdctl and other tools add one"];

const CUT_SHORT = ["the value is cut short: the input ends before it does"];
const GET = "etcdctl get <key> -w json";

const fault = (error, command) => ({ isFault: true, error, command });

/** `[what inspectInput must find, the plaintext that the configuration opens]` of each value. An `error` is a part of the text. */
export const CASES = {
  "gcm.bin": [[{ ...GCM, form: "raw" }], "gcm"],
  "cbc.bin": [[{ ...CBC, form: "raw" }], "cbc"],
  "k3s-colon.bin": [[{ form: "raw", provider: "aescbc", keyName: `aescbc${K3S}`, size: 150 }], "k3s"],
  "k3s-colon-gcm.bin": [[{ form: "raw", provider: "aesgcm", keyName: `aesgcm${K3S}`, plaintextSize: 70 }]],
  "value-only.txt": [[{ ...GCM, form: "raw", notes: LINE_END }], "gcm"],
  "value-only-cbc.txt": [[{ ...CBC, form: "raw", notes: LINE_END }], "cbc"],
  "plain-simple.txt": [[{ ...GCM, form: "etcdctl", key: TOKEN }], "gcm"],
  "plain-simple-cbc.txt": [[{ ...CBC, form: "etcdctl", key: TOKEN }], "cbc"],
  "dump-many.txt": [
    [
      { form: "etcdctl", key: "/registry/secrets/a/1", provider: "aescbc", keyName: "key1" },
      { form: "etcdctl", key: "/registry/secrets/a/2", provider: "aescbc", keyName: "key2" },
      { form: "etcdctl", key: "/registry/secrets/a/3", provider: "identity", content: "kubernetes protobuf" },
    ],
  ],
  "w-json.txt": [[{ ...GCM, form: "etcdctl -w json", key: TOKEN }], "gcm"],
  "w-json-two.txt": [
    [
      { form: "etcdctl -w json", key: TOKEN, revision: 1 },
      { form: "etcdctl -w json", key: TOKEN, revision: 1 },
    ],
  ],
  "w-json-bom.txt": [[{ ...GCM, form: "etcdctl -w json", key: TOKEN }], "gcm"],
  "w-fields.txt": [[{ ...GCM, form: "etcdctl -w fields", key: TOKEN }], "gcm"],
  "jq-values.txt": [
    [
      { ...GCM, form: "raw", within: ["base64"], line: 1 },
      { ...CBC, form: "raw", within: ["base64"], line: 2 },
    ],
  ],
  "jq-value-quoted.txt": [[{ ...GCM, form: "JSON strings" }], "gcm"],
  "b64-nopad.txt": [[{ ...GCM, form: "raw", within: ["base64"], size: 122, plaintextSize: 71 }]],
  "b64url.txt": [[{ ...GCM, form: "raw", within: ["base64url"] }], "gcm"],
  "xxd-p.txt": [[{ ...GCM, form: "raw", within: ["hex"] }], "gcm"],
  "xxd.txt": [[{ ...GCM, form: "etcdctl", within: ["xxd"], key: TOKEN }], "gcm"],
  "hexdump-C.txt": [[{ ...GCM, form: "etcdctl", within: ["hexdump -C"], key: TOKEN }], "gcm"],
  "hexdump-C-indent.txt": [[{ ...GCM, form: "etcdctl", within: ["hexdump -C"], key: TOKEN }], "gcm"],
  "hexdump-C-valueonly.txt": [[{ ...GCM, form: "raw", within: ["hexdump -C"], notes: LINE_END }], "gcm"],
  "hexdump-C-head.txt": [[{ form: "etcdctl", within: ["hexdump -C"], key: TOKEN, keyName: "key1", notes: CUT_SHORT }]],
  "pg-bytea.txt": [[{ ...GCM, form: "raw", within: ["hex (Postgres bytea)"] }], "gcm"],
  "double.bin": [[{ form: "raw", provider: "aesgcm", keyName: "key1", size: 172 }], "double"],
  "cbc-trunc.bin": [[{ form: "raw", provider: "aescbc", keyName: "key1", error: "the value is " }]],
  "trunc20.bin": [[{ form: "raw", provider: "kms", apiVersion: "v2", error: "cut short" }]],
  "trunc40.bin": [[{ form: "raw", provider: "aescbc", keyName: "key1", error: "cut short" }]],
  "typo-prefix.bin": [[{ form: "raw", error: "did you mean aesgcm?" }]],
  "utf8-mangled.bin": [[fault("the bytes were read as Latin-1 text and saved as UTF-8", GET)]],
  "replacement.bin": [[fault("bytes were replaced by U+FFFD", GET)]],
  "json-obj.bin": [[{ form: "raw", provider: "identity", content: "json", size: 80 }]],
  "gz.bin": [[fault("this is gzip, not a stored value of Kubernetes", "gzip -dc <file>")]],
  "snapshot-like.db": [
    [
      fault(
        "this is an etcd database",
        "etcdutl snapshot restore <file>, start etcd on it, then etcdctl get <key> -w json",
      ),
    ],
  ],
};

/** The names of the files with values in cases.tsv. */
export const NAMES = readFileSync(new URL("cases.tsv", folder), "utf8")
  .split("\n")
  .map((row) => row.split("\t"))
  .filter(([file, form]) => file.startsWith("values/") && form !== "configuration")
  .map(([file]) => file.slice("values/".length));

export const load = (name) => readFileSync(new URL(`values/${name}`, folder));

/** The configuration that opens a file's values. */
export const configOf = (name) => (name.startsWith("k3s") ? "k3s-config.json" : "cfg.yaml");

/** What the plaintexts begin with: all of them are the same Secret. */
const PLAINTEXTS = { gcm: "k8s\0", cbc: "k8s\0", k3s: "k8s\0", double: "k8s:enc:" };

/** Checks what `read` returned for a file. */
export function check(name, { found, streamed, opened }) {
  const [expected, plaintext] = CASES[name];
  assert.equal(found.length, expected.length, JSON.stringify(found));
  for (const [at, { isFault = false, ...wanted }] of expected.entries()) {
    const seen = found[at];
    assert.equal(streamed[at]?.type, isFault ? "fault" : "value");
    for (const [member, value] of Object.entries(wanted)) {
      if (member === "error") assert.ok(seen.error?.includes(value), seen.error);
      else assert.deepEqual(seen[member], value, member);
    }
    for (const member of ["key", "within", "notes", "error"])
      if (wanted[member] === undefined) assert.equal(seen[member], undefined, member);
    assert.ok(seen.line > 0 && seen.offset >= 0);
  }
  const places = ({ form, line, offset }) => ({ form, line, offset });
  assert.deepEqual(streamed.map(places), found.map(places));
  if (plaintext === undefined) return;
  assert.equal(opened.length, 1);
  assert.ok(opened[0].startsWith(PLAINTEXTS[plaintext]), opened[0]);
}
