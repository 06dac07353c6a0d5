// Stored values of every provider, as in a cluster after some rotations. Used by the Inspector's tests and its pictures.

import { Transformer } from "dekker";

import { TestKms } from "../node/kms.js";

const utf8 = new TextEncoder();
const secret = (byte) => Buffer.alloc(32, byte).toString("base64");
const key = (name, byte) => ({ name, secret: secret(byte) });
const kms = (apiVersion, name) => ({ kms: { apiVersion, name, endpoint: `unix:///run/${name}.sock`, timeout: "3s" } });

/** Returns a configuration, as JSON. */
export function configOf(...providers) {
  const rules = [{ resources: ["secrets", "configmaps", "*.apps"], providers }];
  return JSON.stringify({
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "EncryptionConfiguration",
    resources: rules,
  });
}

/** Reads everything with local keys. The newest key is secretbox's; the others were rotated out but can still read. */
export const LOCAL = configOf(
  { secretbox: { keys: [key("2026-q3", 3), key("2026-q1", 4)] } },
  { aesgcm: { keys: [key("gcm-2024", 1)] } },
  { aescbc: { keys: [key("cbc-2022", 2)] } },
  { identity: {} },
);

/** The same names with other keys. */
export const WRONG = configOf(
  { secretbox: { keys: [key("2026-q3", 13), key("2026-q1", 14)] } },
  { aesgcm: { keys: [key("gcm-2024", 11)] } },
  { aescbc: { keys: [key("cbc-2022", 12)] } },
);

/** `[share, configuration, key ID, DEK source]` of each writer. */
const WRITERS = {
  "kms v2 seed": [34, configOf(kms("v2", "vault")), "projects/prod/keys/etcd/7", "hkdf-seed"],
  "kms v2 key": [17, configOf(kms("v2", "vault")), "projects/prod/keys/etcd/6", "counter"],
  "kms v2 old": [5, configOf(kms("v2", "cloud-kms")), "etcd-2024", "hkdf-seed"],
  "kms v1": [6, configOf(kms("v1", "legacy")), "legacy", "counter"],
  "secretbox 2026-q3": [14, configOf({ secretbox: { keys: [key("2026-q3", 3)] } })],
  "secretbox 2026-q1": [7, configOf({ secretbox: { keys: [key("2026-q1", 4)] } })],
  aesgcm: [7, configOf({ aesgcm: { keys: [key("gcm-2024", 1)] } })],
  aescbc: [6, configOf({ aescbc: { keys: [key("cbc-2022", 2)] } })],
  identity: [4, configOf({ identity: {} })],
};

/** A plugin that records each DEK or seed. */
class RememberingKms extends TestKms {
  deks = [];
  annotations = { "version.encryption.example.com": utf8.encode("1") };

  async encrypt(request, options) {
    this.deks.push(Buffer.from(request.plaintext));
    return super.encrypt(request, options);
  }
}

/**
 * Returns `{ values, deks }`: `count` values as `{ key, stored, by }`, which only differ in their nonces for the same count; and every DEK and seed
 * of KMS.
 *
 * @param {number} count
 */
export async function mixed(count) {
  const writers = [];
  for (const [by, [share, config, keyId, dekSource]] of Object.entries(WRITERS)) {
    const plugin = new RememberingKms(keyId);
    const transformer = await Transformer.load(config, { dekSource, kms: keyId && (() => plugin) });
    writers.push({ by, share, plugin, transformer });
  }
  const turns = writers.flatMap((writer) => Array(writer.share).fill(writer));
  const values = [];
  for (let at = 0; at < count; at++) {
    // The step shares no factor with the number of turns, so every writer gets a turn.
    const { by, transformer } = turns[(at * 37) % turns.length];
    const { resource, key, object } = objectOf(at);
    values.push({ key, by, stored: await transformer.toStorage({ resource, key }, object) });
  }
  const deks = writers.flatMap(({ plugin }) => plugin.deks);
  for (const { transformer } of writers) transformer.free();
  return { values, deks };
}

/** Returns what `etcdctl get --prefix -w json` prints. */
export function etcdctl(values) {
  const base64 = (bytes) => Buffer.from(bytes).toString("base64");
  const kvs = values.map(({ key, stored }, at) => ({
    key: base64(utf8.encode(key)),
    create_revision: at + 2,
    mod_revision: at + 2,
    version: 1,
    value: base64(stored),
  }));
  return JSON.stringify({
    header: { cluster_id: 1, member_id: 1, revision: values.length + 1, raft_term: 2 },
    kvs,
    count: kvs.length,
  });
}

const NAMESPACES = ["default", "kube-system", "payments", "web", "monitoring", "ci", "identity"];
const NAMES = ["token", "db-credentials", "tls", "registry-pull", "session-key", "webhook", "api-key", "oauth"];

function objectOf(at) {
  const namespace = NAMESPACES[at % NAMESPACES.length];
  const name = `${NAMES[at % NAMES.length]}-${(at * 7919 + 4096).toString(16)}`;
  if (at % 9 === 8)
    return {
      resource: "configmaps",
      key: `/registry/configmaps/${namespace}/${name}`,
      object: kubernetesObject("ConfigMap", namespace, name, at),
    };
  return {
    resource: "secrets",
    key: `/registry/secrets/${namespace}/${name}`,
    object: kubernetesObject("Secret", namespace, name, at),
  };
}

/** Returns an object as kube-apiserver stores it: `k8s\0`, then protobuf. */
export function kubernetesObject(kind, namespace, name, at = 0) {
  const metadata = field(1, [
    field(1, name),
    field(3, namespace),
    field(5, `0b6c8a1e-0000-4000-8000-${String(at).padStart(12, "0")}`),
    field(8, varint(1, 1_790_000_000 + at)),
  ]);
  const entry = (key, value) => field(2, [field(1, key), field(2, value)]);
  const data =
    kind === "Secret"
      ? [entry("username", "dekker"), entry("password", `pw-${at}-${"x".repeat((at * 13) % 400)}`), field(3, "Opaque")]
      : [entry("settings.yaml", `replicas: ${at}\n`)];
  const unknown = [field(1, [field(1, "v1"), field(2, kind)]), field(2, [metadata, ...data])];
  return new Uint8Array(Buffer.concat([Buffer.from("k8s\0", "latin1"), ...unknown]));
}

function field(number, value) {
  const bytes = Array.isArray(value) ? Buffer.concat(value) : Buffer.from(value);
  return Buffer.concat([Buffer.of((number << 3) | 2), varintOf(bytes.length), bytes]);
}

const varint = (number, value) => Buffer.concat([Buffer.of(number << 3), varintOf(value)]);

function varintOf(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}
