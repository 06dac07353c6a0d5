// A program that uses the whole API. It only needs to compile.

import type {
  Check,
  Clock,
  ErrorCode,
  Finding,
  FoundValue,
  InputFault,
  InputValue,
  KmsClients,
  KmsV1Client,
  KmsV2Client,
  LoadOptions,
  Location,
  PlainValue,
  StoredValue,
  TransformerEvent,
} from "dekker";
import {
  checkConfig,
  DekkerError,
  init,
  inspect,
  inspectInput,
  readForms,
  resourceOf,
  showConfig,
  Transformer,
  valuePrefixes,
} from "dekker";
import * as inline from "dekker/inline";
import * as small from "dekker/inspect";
import * as smallInline from "dekker/inspect-inline";
import { kmsGrpc } from "dekker/kms-grpc";

const v2: KmsV2Client = {
  async status({ signal }) {
    signal.throwIfAborted();
    return { version: "v2", healthz: "ok", keyId: "key-1" };
  },
  async encrypt({ uid, plaintext }) {
    return { ciphertext: plaintext.slice(), keyId: uid, annotations: { "a.example.com": new Uint8Array() } };
  },
  async decrypt({ ciphertext, keyId, annotations }) {
    const value: Uint8Array | undefined = annotations[keyId];
    return { plaintext: value ?? ciphertext.slice() };
  },
};
const v1: KmsV1Client = {
  encrypt: async ({ plaintext }) => ({ ciphertext: plaintext.slice() }),
  decrypt: async ({ ciphertext }, { signal }) => ({
    plaintext: signal.aborted ? new Uint8Array() : ciphertext.slice(),
  }),
};
const kms: KmsClients = { v2, v1 };
const factory: KmsClients = (provider) => (provider.version === "v1" ? v1 : { ...v2, close() {} });

function describe(event: TransformerEvent): string {
  switch (event.type) {
    case "log":
      return `${event.level} ${event.provider ?? ""} ${event.message}`;
    case "kmsCall":
      return `${event.provider} ${event.method} ${event.grpcCode} ${event.milliseconds}`;
    case "reload":
      return event.error ?? "in use";
  }
}

const clock: Clock = { now: () => 0, setTimeout: (callback, ms) => ({ callback, ms }), clearTimeout: () => {} };
const options: LoadOptions = {
  kms: factory,
  automaticReload: true,
  dekSource: "hkdf-seed",
  coast: "upstream",
  dekCacheCapacity: 10,
  apiserverId: "me",
  readOnly: false,
  onEvent: (event) => console.log(describe(event)),
  clock,
};

export async function main(config: string, stored: Uint8Array): Promise<Check[]> {
  await init();
  const at: Location = { resource: "secrets", key: new Uint8Array() };
  using scoped = await Transformer.load(config, { kms });
  const transformer: Transformer = await Transformer.load(config, options);
  const written: Uint8Array = await scoped.toStorage(at, stored, { signal: new AbortController().signal });
  const { plaintext, stale, state, keyIdHash, transformerPrefix } = await transformer.fromStorage(at, written);
  const same: boolean = state === "fresh" || state === "other-source";
  const text: string = `${plaintext.length} ${stale} ${same} ${keyIdHash?.length} ${transformerPrefix}`;
  await transformer.reload(config, { kms: { v2 } });
  const faults: Finding[] = checkConfig(config, { automaticReload: true });
  const names: string[] = transformer.checkNames();
  const age: number | undefined = transformer.status().kmsProviders[0]?.writeDek?.ageSeconds;
  const total = transformer
    .metrics()
    .flatMap(({ samples }) => samples.map(({ labels, value }) => [labels.resource, value] as const));
  console.log(
    text,
    faults,
    names,
    age,
    total,
    inspect(stored).layout[0]?.offset,
    inspectInput(text)[0]?.form,
    inspect(stored, { keyNames: [{ provider: "aescbc", name: "a:b" }] }).keyNameGuessed,
    showConfig(config),
  );
  transformer.free();
  const grpc: KmsV2Client = kmsGrpc({ endpoint: "unix:///run/kms.sock", timeoutMs: 3000 });
  const old: KmsV1Client = kmsGrpc({ socketPath: "/run/kms.sock", version: "v1" });
  await inline.Transformer.load(config, { kms: { grpc, old } });
  await Transformer.load(config, { kms: kmsGrpc });
  return scoped.health();
}

export async function* find(input: AsyncIterable<Uint8Array>, blob: Blob): AsyncGenerator<Location> {
  const found: FoundValue[] = inspectInput("text");
  console.log(found.map(({ key, notes, error, command }) => [key, notes?.[0], error, command]));
  for await (const item of readForms(input)) {
    const either: InputValue | InputFault = item;
    if (either.type === "fault") console.error(either.line, either.error, either.command);
    else if (either.key !== undefined) yield { resource: resourceOf(either.key)?.resource ?? "", key: either.key };
  }
  for await (const item of readForms(blob.stream())) if (item.type === "value") console.log(item.readings[0]?.stored);
  for await (const { type } of readForms(["text", new Uint8Array()])) console.log(type);
}

export async function rewrite(transformer: Transformer, values: AsyncIterable<StoredValue>): Promise<number> {
  const { signal } = new AbortController();
  const plain: PlainValue[] = [];
  for await (const result of transformer.fromStorageMany(values, { signal })) {
    if (result.status === "fulfilled") plain.push({ at: { resource: "", key: "" }, plaintext: result.value.plaintext });
    else console.error(why(result.reason));
  }
  const [first, ...others] = await transformer.toStorageMany(new Set(plain), { signal });
  const stored: Uint8Array | undefined = first?.status === "fulfilled" ? first.value : undefined;
  const read = await transformer.fromStorageMany(stored ? [{ at: { resource: "", key: "" }, stored }] : []);
  for await (const { status } of transformer.toStorageMany(readable(plain))) console.log(status, read[0]?.status);
  return others.length;
}

async function* readable(values: PlainValue[]): AsyncGenerator<PlainValue> {
  yield* values;
}

export async function describeOnly(module: ArrayBuffer, config: string): Promise<small.Inspection> {
  await init(module);
  await init({ engine: new URL("https://example.com/dekker_bg.wasm"), inspect: module });
  await small.init("/dekker_inspect_bg.wasm");
  await smallInline.init();
  const prefixes: string[] = valuePrefixes(config);
  const options: small.NameOptions = { prefixes, keyNames: [{ provider: "aesgcm", name: "key1" }] };
  for await (const { type } of small.readForms("text", options)) console.log(type);
  const found: FoundValue[] = smallInline.inspectInput("text", options);
  console.log(found, small.resourceOf("/registry/secrets/a/b")?.certain);
  return small.inspect(new Uint8Array(), options);
}

export function why(fault: unknown): ErrorCode | undefined {
  if (!(fault instanceof DekkerError)) return undefined;
  const { code, isTransient, grpcCode, findings, known, message } = fault;
  console.log(isTransient, grpcCode?.toFixed(), findings?.[0]?.line, known?.provider, message);
  return code;
}

// @ts-expect-error: only `load` creates one
new Transformer();
// @ts-expect-error: a plaintext must be bytes
export const text = (transformer: Transformer, at: Location) => transformer.toStorage(at, "text");
// @ts-expect-error: a value has a location
export const lost = (transformer: Transformer) => transformer.toStorageMany([{ plaintext: new Uint8Array() }]);
// @ts-expect-error: a client without Decrypt is incomplete
export const half: LoadOptions = { kms: () => ({ status: v2.status, encrypt: v2.encrypt }) };
// @ts-expect-error: there is no such source
export const source: LoadOptions = { dekSource: "dice" };
