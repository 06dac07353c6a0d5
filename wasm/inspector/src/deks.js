// DEKs and seeds that the user enters.

import { fromBase64, fromHex, toBase64 } from "./bytes.js";

/** A line that is not a DEK. The message is for the user. */
export class DekError extends Error {}

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
    if (bytes === undefined) throw new DekError(`Line ${index + 1} is not a DEK: enter 32 bytes in hex or base64.`);
    return bytes;
  });
}

/** Returns the text of a file. A file with DEKs contains text, or one DEK in raw bytes. */
export async function textOf(file, hasDeks) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const isRaw = hasDeks && [16, 24, 32].includes(bytes.length) && bytes.some((byte) => byte < 9 || byte > 126);
  const text = isRaw ? toBase64(bytes) : new TextDecoder().decode(bytes).trim();
  bytes.fill(0);
  return text;
}
