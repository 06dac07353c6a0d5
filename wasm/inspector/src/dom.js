// Elements and text. Everything from a value becomes text, never markup; the page's policy would refuse markup.

/**
 * Creates an element: `el("p", { class: "hint", title: "…" }, "text", child)`. Attributes that are functions become listeners. Attributes and
 * children that are `undefined` or `false` are left out.
 */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(attribute, value);
    else element.setAttribute(attribute, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== false));
  return element;
}

export const $ = (id) => document.getElementById(id);

/** Creates a badge for a provider: `kms`, `aesgcm`, … Its text says the same as its colour. */
export function badge(provider, text) {
  return el("span", { class: `badge of-${provider}` }, text);
}

const numbers = new Intl.NumberFormat("en");
export const count = (number) => numbers.format(number);
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Formats a size: `161 bytes`, `1.4 kB`. */
export function size(bytes) {
  if (bytes < 10_000) return plural(bytes, "byte");
  const [divisor, unit] = bytes < 1_000_000 ? [1e3, "kB"] : [1e6, "MB"];
  return `${(bytes / divisor).toFixed(1)} ${unit}`;
}

/** Formats a size for a narrow column: `161 B`. */
export const shortSize = (bytes) => (bytes < 10_000 ? `${count(bytes)} B` : size(bytes));

/** Makes characters visible that would hide or reorder text: control characters, zero-width characters and direction marks. */
export function printable(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u{fffd}]/gu, (char) =>
    char === "\u{fffd}" ? char : `\\u{${char.codePointAt(0).toString(16)}}`,
  );
}

/** Lets the browser draw and respond between two steps of long work. */
export function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/** Draws a part again, and returns the focus to the element that had it. */
export function redraw(box, part) {
  const held = box.contains(document.activeElement) ? document.activeElement : undefined;
  const same = held && ["id", "data-group", "data-number", "data-sort"].find((name) => held.hasAttribute(name));
  const value = same && held.getAttribute(same);
  box.replaceChildren(part);
  if (same === undefined) return;
  const again = [...box.querySelectorAll(`[${same}]`)].find((element) => element.getAttribute(same) === value);
  const target =
    again !== undefined && !again.disabled
      ? again
      : (box.querySelector("#previous:not([disabled]), #next:not([disabled])") ?? box.querySelector("button"));
  target?.focus();
}
