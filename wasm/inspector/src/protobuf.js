// Converts a Kubernetes object in protobuf to an object for JSON. Names are known for the fields that every object has, and for those of Secret and
// ConfigMap; other fields are named by their number. The bytes may be anything: a field that does not parse is shown as text or base64.

import { toBase64 } from "./bytes.js";

const DEPTH_MAX = 24;
const utf8 = new TextDecoder("utf-8", { fatal: true });

const TEXT = "text";
const BYTES = "bytes";
const NUMBER = "number";
const TIME = { kind: "time" };
const map = (value) => ({ kind: "map", value });
const list = (value) => ({ kind: "list", value });
const message = (fields) => ({ kind: "message", fields });

// The field numbers are those of generated.proto in k8s.io/apimachinery and k8s.io/api.
const OWNER = message({
  1: ["kind", TEXT],
  3: ["name", TEXT],
  4: ["uid", TEXT],
  5: ["apiVersion", TEXT],
  6: ["controller", NUMBER],
  7: ["blockOwnerDeletion", NUMBER],
});
const MANAGED = message({
  1: ["manager", TEXT],
  2: ["operation", TEXT],
  3: ["apiVersion", TEXT],
  4: ["time", TIME],
  6: ["fieldsType", TEXT],
  7: ["fieldsV1", message({ 1: ["raw", TEXT] })],
  8: ["subresource", TEXT],
});
const METADATA = message({
  1: ["name", TEXT],
  2: ["generateName", TEXT],
  3: ["namespace", TEXT],
  4: ["selfLink", TEXT],
  5: ["uid", TEXT],
  6: ["resourceVersion", TEXT],
  7: ["generation", NUMBER],
  8: ["creationTimestamp", TIME],
  9: ["deletionTimestamp", TIME],
  10: ["deletionGracePeriodSeconds", NUMBER],
  11: ["labels", map(TEXT)],
  12: ["annotations", map(TEXT)],
  13: ["ownerReferences", list(OWNER)],
  14: ["finalizers", list(TEXT)],
  17: ["managedFields", list(MANAGED)],
});
const SECRET = message({
  1: ["metadata", METADATA],
  2: ["data", map(BYTES)],
  3: ["type", TEXT],
  4: ["stringData", map(TEXT)],
  5: ["immutable", NUMBER],
});
const CONFIG_MAP = message({
  1: ["metadata", METADATA],
  2: ["data", map(TEXT)],
  3: ["binaryData", map(BYTES)],
  4: ["immutable", NUMBER],
});
const OBJECT = message({ 1: ["metadata", METADATA] });
const UNKNOWN = message({
  1: ["typeMeta", message({ 1: ["apiVersion", TEXT], 2: ["kind", TEXT] })],
  2: ["raw", BYTES],
  3: ["contentEncoding", TEXT],
  4: ["contentType", TEXT],
});

export const isKubernetesProtobuf = (bytes) =>
  bytes[0] === 0x6b && bytes[1] === 0x38 && bytes[2] === 0x73 && bytes[3] === 0;

/** Returns the object in `k8s\0…`, or `undefined` if the bytes are not an object. */
export function readObject(bytes) {
  if (!isKubernetesProtobuf(bytes)) return undefined;
  const outer = fieldsOf(bytes.subarray(4));
  if (outer === undefined) return undefined;
  const { typeMeta = {} } = named(
    outer.filter(({ number }) => number !== 2),
    UNKNOWN,
    0,
  );
  const raw = outer.find(({ number, wire }) => number === 2 && wire === 2)?.value;
  const inner = raw === undefined ? undefined : fieldsOf(raw);
  if (inner === undefined) return undefined;
  const { apiVersion = "", kind = "" } = typeMeta;
  const schema =
    apiVersion === "v1" && kind === "Secret"
      ? SECRET
      : apiVersion === "v1" && kind === "ConfigMap"
        ? CONFIG_MAP
        : OBJECT;
  return Object.assign(Object.create(null), { apiVersion, kind }, named(inner, schema, 0));
}

/** Returns the fields of a message in order, or `undefined` if the bytes are not a message. */
function fieldsOf(bytes) {
  const fields = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (at >= bytes.length) return undefined;
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag === undefined || tag >> 3n === 0n || tag >> 3n > 536_870_911n) return undefined;
    const wire = Number(tag & 7n);
    let value;
    if (wire === 0) value = varint();
    else {
      const length = wire === 2 ? varint() : wire === 1 ? 8n : wire === 5 ? 4n : undefined;
      if (length === undefined || length > BigInt(bytes.length - at)) return undefined;
      value = bytes.subarray(at, at + Number(length));
      at += Number(length);
    }
    if (value === undefined) return undefined;
    fields.push({ number: Number(tag >> 3n), wire, value });
  }
  return fields;
}

function named(fields, schema, depth) {
  // Names come from the value, so `__proto__` must work like any other name.
  const object = Object.create(null);
  for (const { number, wire, value } of fields) {
    const [name, type] = schema?.fields[number] ?? [`#${number}`, undefined];
    if (type?.kind === "map") {
      const entry = wire === 2 ? fieldsOf(value) : undefined;
      const part = (of) => entry?.findLast((field) => field.number === of)?.value;
      object[name] ??= Object.create(null);
      const key = part(1);
      object[name][key === undefined ? "" : shown(key, 2, TEXT, depth)] =
        part(2) === undefined ? "" : shown(part(2), 2, type.value, depth);
    } else if (type?.kind === "list") {
      object[name] ??= [];
      object[name].push(shown(value, wire, type.value, depth));
    } else if (name in object) {
      const earlier = object[name];
      const one = shown(value, wire, type, depth);
      object[name] = Array.isArray(earlier) ? [...earlier, one] : [earlier, one];
    } else object[name] = shown(value, wire, type, depth);
  }
  return object;
}

function shown(value, wire, type, depth) {
  if (wire === 0) {
    const signed = BigInt.asIntN(64, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : String(signed);
  }
  if (wire !== 2) return base64(value);
  if (type === TEXT || type === BYTES) return text(value) ?? base64(value);
  if (depth >= DEPTH_MAX) return base64(value);
  if (type?.kind === "time") {
    const seconds = fieldsOf(value)?.find(({ number, wire }) => number === 1 && wire === 0)?.value;
    const date = new Date(Number(BigInt.asIntN(64, seconds ?? 0n)) * 1000);
    return Number.isNaN(date.valueOf()) ? base64(value) : date.toISOString().replace(".000Z", "Z");
  }
  if (type?.kind === "message") {
    const fields = fieldsOf(value);
    return fields === undefined ? (text(value) ?? base64(value)) : named(fields, type, depth + 1);
  }
  // The field has no known name: try text, then a message, then base64.
  const readable = text(value);
  if (readable !== undefined) return readable;
  const fields = fieldsOf(value);
  return fields === undefined ? base64(value) : named(fields, undefined, depth + 1);
}

const base64 = (bytes) => `base64:${toBase64(bytes)}`;

/** Decodes text without control characters other than white space. Returns `undefined` for other bytes. */
export function text(bytes) {
  try {
    const decoded = utf8.decode(bytes);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it looks for control characters.
    return /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(decoded) ? undefined : decoded;
  } catch {
    return undefined;
  }
}
