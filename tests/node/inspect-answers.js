// What the functions of `dekker/inspect` return for every recorded value.

import { readdirSync, readFileSync } from "node:fs";

const folder = new URL("../vectors/", import.meta.url);

/** The files with values, as `[name, bytes]`. */
function* inputs() {
  for (const name of readdirSync(new URL("cases/values/", folder)).sort())
    yield [name, new Uint8Array(readFileSync(new URL(`cases/values/${name}`, folder)))];
  for (const name of readdirSync(folder).sort()) {
    if (name.endsWith(".bin")) yield [name, new Uint8Array(readFileSync(new URL(name, folder)))];
    if (!name.endsWith(".json")) continue;
    for (const [at, stored] of storedIn(JSON.parse(readFileSync(new URL(name, folder), "utf8"))).entries())
      yield [`${name} ${at}`, new Uint8Array(Buffer.from(stored, "base64"))];
  }
}

/** Returns every `stored` in a recording. */
function storedIn(recorded) {
  if (typeof recorded !== "object" || recorded === null) return [];
  return Object.entries(recorded).flatMap(([name, value]) =>
    name === "stored" && typeof value === "string" ? [value] : storedIn(value),
  );
}

function attempt(call) {
  try {
    return call();
  } catch ({ code, message, known }) {
    return { code, message, known };
  }
}

/** Returns all answers, as JSON. */
export async function answers({ inspect, inspectInput, readForms, resourceOf }) {
  const all = [];
  const prefixes = ["k8s:enc:aescbc:v1:aescbckey-2026-03-09T09:46:"];
  for (const [name, input] of inputs()) {
    for (const options of [undefined, { prefixes }]) {
      const items = [];
      for await (const item of readForms([input.subarray(0, 9), input.subarray(9)], options)) {
        const of = item.key && attempt(() => resourceOf(item.key));
        items.push({ ...item, of, seen: item.readings?.map(({ stored }) => attempt(() => inspect(stored, options))) });
      }
      all.push({ name, inspected: attempt(() => inspect(input, options)), found: inspectInput(input, options), items });
    }
  }
  return JSON.stringify(all, (_, value) => (ArrayBuffer.isView(value) ? Buffer.from(value).toString("base64") : value));
}
