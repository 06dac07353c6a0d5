// Finds stored values in the formats that users have: those of `dekker inspect`, and those of a terminal (hexdump, plain etcdctl output, one value
// per line).

/** 64 MiB: the maximum size of all values that the page holds, and of one value in the engine. */
export const BYTES_MAX = 64 << 20;
/** The maximum number of values that the page holds. */
export const VALUES_MAX = 50_000;

const ENCRYPTED = "k8s:enc:";
/** The first bytes of every Kubernetes object in protobuf. */
const PROTOBUF = "k8s\0";
/** A line of `hexdump -C`, `xxd` or `od -A x -t x1z`: an offset, then the bytes. */
const DUMP_LINE =
  /^([0-9a-f]{6,16}):?(?: {1,3}|\t)((?:[0-9a-f]{2} {0,2}){1,32}|(?:[0-9a-f]{2,4} ){1,16})(?: *[|>].*| {2,}.*)?$/i;
/** In the plain output of etcdctl, a key is on the line before its value. */
const PLAIN_PAIR = /(?:^|\n)(\/[^\n\0]{1,1024})\n(?=k8s:enc:|k8s\0)/g;

/** An input that contains no usable value. The message is for the user. */
export class InputError extends Error {}

/** Returns a string with one character for each byte. */
export function latin1(bytes) {
  let text = "";
  // Larger chunks would pass too many arguments for the stack.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

function fromLatin1(text) {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

const isStored = (text) => text.startsWith(ENCRYPTED) || text.startsWith(PROTOBUF);

/** Decodes hexadecimal digits, with or without spaces. Returns `undefined` for other text. */
function fromHex(text) {
  const digits = text.trim().replace(/^0x/i, "").replace(/\s+/g, "");
  if (digits.length === 0 || digits.length % 2 === 1 || /[^0-9a-f]/i.test(digits)) return undefined;
  const bytes = new Uint8Array(digits.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

/** Decodes standard base64, with or without line breaks. Returns `undefined` for other text. */
function fromBase64(text) {
  try {
    return fromLatin1(atob(text));
  } catch {
    return undefined;
  }
}

export function toBase64(bytes) {
  return btoa(latin1(bytes));
}

/** Whether a file is a configuration rather than a value. */
export function isConfiguration(bytes) {
  return /["']?kind["']?\s*:\s*["']?EncryptionConfiguration\b/.test(latin1(bytes.subarray(0, 64 << 10)));
}

/**
 * Finds all values in an input. Returns `{ key?, stored, encoding }` for each; `key` is in bytes.
 *
 * @param {Uint8Array} input
 * @throws {InputError}
 */
export function findValues(input) {
  if (input.length > BYTES_MAX) throw new InputError("The input is larger than 64 MiB. Enter fewer values at once.");
  const text = latin1(input);
  if (text.trim() === "") throw new InputError("There is no value: the input is empty.");
  if (isStored(text)) return [{ stored: input, encoding: "raw" }];
  const found = etcdctl(text) ?? plainPairs(text) ?? dumped(text) ?? inLines(text) ?? decoded(text);
  return found ?? [{ stored: input, encoding: "raw" }];
}

/** Parses the output of `etcdctl get -w json`: one response, or several in sequence. */
function etcdctl(text) {
  if (!/^\s*\{/.test(text)) return undefined;
  const answers = parseAll(text);
  if (answers === undefined || !answers.every(isAnswer)) return undefined;
  const pairs = answers.flatMap((answer) => answer.kvs ?? []);
  if (pairs.length === 0) throw new InputError("etcd has no value for this key: the output of etcdctl has no kvs.");
  return pairs.map((pair, index) => {
    const key = fromBase64(String(pair?.key ?? ""));
    const stored = fromBase64(String(pair?.value ?? ""));
    if (key === undefined || stored === undefined)
      throw new InputError(`kvs[${index}] of the output of etcdctl is not base64.`);
    return { key, stored, encoding: "etcdctl" };
  });
}

function parseAll(text) {
  const parse = (json) => {
    try {
      return JSON.parse(json);
    } catch {
      return undefined;
    }
  };
  const whole = parse(text);
  if (whole !== undefined) return [whole];
  const lines = text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map(parse);
  return lines.includes(undefined) ? undefined : lines;
}

const isAnswer = (json) =>
  typeof json?.header === "object" && json.header !== null && (json.kvs == null || Array.isArray(json.kvs));

/** Parses the plain output of `etcdctl get --prefix`: each key on a line, followed by its value. */
function plainPairs(text) {
  if (!text.startsWith("/")) return undefined;
  const heads = [...text.matchAll(PLAIN_PAIR)];
  if (heads.length === 0 || heads[0].index !== 0) return undefined;
  return heads.map((head, index) => {
    const value = text.slice(head.index + head[0].length, heads[index + 1]?.index ?? text.length);
    // The line break after the last value was added by etcdctl. The other line breaks are part of the next match.
    const stored = index + 1 === heads.length ? value.replace(/\n$/, "") : value;
    return { key: fromLatin1(head[1]), stored: fromLatin1(stored), encoding: "etcdctl, plain" };
  });
}

function dumped(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (!DUMP_LINE.test(lines[0] ?? "")) return undefined;
  const runs = [];
  let end = 0;
  let repeats = false;
  for (const line of lines) {
    if (line.trim() === "*") {
      repeats = true;
      continue;
    }
    const offset = Number.parseInt(line, 16);
    if (repeats) {
      const last = runs.at(-1);
      if (!last?.length || !(offset <= BYTES_MAX)) return undefined;
      for (; end < offset; end += last.length) runs.push(last);
      repeats = false;
    }
    const bytes = fromHex(DUMP_LINE.exec(line)?.[2] ?? "");
    if (bytes !== undefined) {
      if (offset !== end)
        throw new InputError(`The hexdump is incomplete: after ${end} bytes, the next offset is ${offset}.`);
      runs.push(bytes);
      end += bytes.length;
    } else if (!/^[0-9a-f]{6,16}$/i.test(line.trim())) return undefined;
  }
  const dump = runs.map(latin1).join("");
  const found = plainPairs(dump) ?? (isStored(dump) ? [{ stored: fromLatin1(dump) }] : undefined);
  return found?.map((value) => ({ ...value, encoding: "hexdump" }));
}

/** Decodes several values, each in hex or base64 on its own line. */
function inLines(text) {
  const lines = text.split(/\s*\n\s*/).filter((line) => line !== "");
  if (lines.length < 2) return undefined;
  const found = [];
  for (const line of lines) {
    const one = decoded(line);
    if (one === undefined) return undefined;
    found.push(one[0]);
  }
  return found;
}

/** Decodes one value in hex or base64, if the result begins like a stored value. */
function decoded(text) {
  for (const [encoding, decode] of [
    ["hex", fromHex],
    ["base64", fromBase64],
  ]) {
    const stored = decode(text);
    if (stored !== undefined && isStored(latin1(stored.subarray(0, 8)))) return [{ stored, encoding }];
  }
  return undefined;
}

/** Parses DEKs or seeds, one per line, in hex or base64. */
export function findDeks(text) {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return lines.map((line, index) => {
    // 64 hexadecimal digits are also valid base64, for 48 bytes, but no DEK has that length.
    const bytes = [fromHex(line), fromBase64(line)].find(
      (bytes) => bytes?.length === 32 || bytes?.length === 16 || bytes?.length === 24,
    );
    if (bytes === undefined) throw new InputError(`Line ${index + 1} is not a DEK: enter 32 bytes in hex or base64.`);
    return bytes;
  });
}
