// Conversion between bytes and text.

/** Returns a string with one character for each byte. */
export function latin1(bytes) {
  let text = "";
  // Larger chunks would pass too many arguments for the stack.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

/** Decodes hexadecimal digits, with or without spaces. Returns `undefined` for other text. */
export function fromHex(text) {
  const digits = text.trim().replace(/^0x/i, "").replace(/\s+/g, "");
  if (digits.length === 0 || digits.length % 2 === 1 || /[^0-9a-f]/i.test(digits)) return undefined;
  const bytes = new Uint8Array(digits.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

/** Decodes standard base64, with or without line breaks. Returns `undefined` for other text. */
export function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return undefined;
  }
}

export function toBase64(bytes) {
  return btoa(latin1(bytes));
}
