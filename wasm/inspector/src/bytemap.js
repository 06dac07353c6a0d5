// Draws a stored value to scale, and dumps its bytes.

import { latin1 } from "./bytes.js";
import { count, el, plural } from "./dom.js";

const ROWS_MAX = 4;
/** The minimum number of bytes that a row stands for. A shorter value does not fill its row. */
const ROW_MIN = 48;
/** The number of bytes of a dump to draw at first. */
const DUMP_FIRST = 1024;

const ABOUT = {
  prefix: "names the provider and the key",
  nonce: "used once with its key",
  iv: "starts the chain of blocks",
  info: "derives this value’s key from the seed",
  ciphertext: "the object, encrypted",
  tag: "detects altered bytes",
  keyID: "the KMS key; shown as a hash only",
  encryptedDEKSource: "only the KMS plugin can decrypt it",
  encryptedDEK: "only the KMS plugin can decrypt it",
  annotation: "set by the KMS plugin",
  protobuf: "framing of the envelope",
  length: "of the encrypted DEK",
  plaintext: "the object, in the clear",
};

const kind = (name) => (Object.hasOwn(ABOUT, name) ? name : "protobuf");

/** Draws the map with its table. Pointing at a part highlights it in both. */
export function byteMap({ seen, stored }) {
  const perRow = Math.max(ROW_MIN, Math.ceil(stored.length / ROWS_MAX));
  const rows = Math.ceil(stored.length / perRow);
  const map = el("div", {
    class: "map",
    role: "img",
    "aria-label": `The value drawn to scale: ${seen.layout.map(({ name, length }) => `${name} ${plural(length, "byte")}`).join(", ")}`,
  });
  for (let row = 0; row < rows; row++) map.append(mapRow(seen.layout, row * perRow, perRow));
  const line = ({ name, offset, length }, index) =>
    el(
      "tr",
      { "data-part": index },
      el("th", { scope: "row" }, el("span", { class: `swatch part-${kind(name)}`, "aria-hidden": "true" }), name),
      el("td", { class: "number" }, count(offset)),
      el("td", { class: "number" }, count(length)),
      el("td", { class: "about" }, ABOUT[name] ?? ""),
    );
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "Part"),
    el("th", { scope: "col", class: "number" }, "Offset"),
    el("th", { scope: "col", class: "number" }, "Bytes"),
    el("th", { scope: "col" }, "Meaning"),
  );
  const parts = el(
    "table",
    { class: "parts" },
    el("caption", { class: "visually-hidden" }, "Parts of the value"),
    el("thead", {}, head),
    el("tbody", {}, seen.layout.map(line)),
  );
  const whole = el(
    "div",
    { class: "byte-map" },
    map,
    el("details", { class: "all-parts" }, el("summary", {}, plural(seen.layout.length, "part")), parts),
  );
  const light = ({ target }) => {
    const part = target.closest?.("[data-part]")?.dataset.part;
    for (const one of whole.querySelectorAll("[data-part]")) one.classList.toggle("lit", one.dataset.part === part);
  };
  whole.addEventListener("pointerover", light);
  whole.addEventListener("pointerleave", light);
  return whole;
}

function mapRow(layout, start, perRow) {
  const row = el("div", { class: "map-row" });
  layout.forEach(({ name, offset, length }, index) => {
    const from = Math.max(offset, start);
    const to = Math.min(offset + length, start + perRow);
    if (from >= to) return;
    const share = (to - from) / perRow;
    // A name that does not fit is in the table and in the tooltip.
    const label = share * 68 > name.length + 1 ? name : "";
    const run = el(
      "span",
      {
        class: `run part-${kind(name)}`,
        "data-part": index,
        title: `${name}, ${plural(length, "byte")} from ${count(offset)}`,
      },
      label,
    );
    run.style.insetInlineStart = `${(100 * (from - start)) / perRow}%`;
    run.style.inlineSize = `${100 * share}%`;
    row.append(run);
  });
  return el("div", { class: "map-line" }, el("span", { class: "map-offset" }, count(start)), row);
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/**
 * Draws 16 bytes in each line, in the colours of the parts if there are any. Key IDs are hidden, because everywhere else only their hash is shown.
 */
export function dump(bytes, label, layout = [{ name: "", offset: 0, length: bytes.length }]) {
  const block = el("pre", { class: "dump", tabindex: "0", role: "group", "aria-label": label });
  const more = el("button", { type: "button", class: "quiet" });
  let shown = 0;
  const grow = (to) => {
    const end = Math.min(bytes.length, to);
    for (; shown < end; shown += 16) block.append(dumpLine(bytes, shown, layout));
    more.hidden = shown >= bytes.length;
    more.textContent = `Show more of the ${count(bytes.length)} bytes`;
  };
  more.addEventListener("click", () => grow(shown * 4));
  grow(DUMP_FIRST);
  return el("div", { class: "dump-box" }, block, more);
}

function dumpLine(bytes, start, layout) {
  const end = Math.min(bytes.length, start + 16);
  const line = [`${start.toString(16).padStart(8, "0")}  `];
  for (const { name, offset, length } of layout) {
    const [from, to] = [Math.max(offset, start), Math.min(offset + length, end)];
    if (from >= to) continue;
    const text =
      name === "keyID"
        ? Array(to - from)
            .fill("··")
            .join(" ")
        : hex(bytes.subarray(from, to));
    line.push(name === "" ? text : el("span", { class: `part-${kind(name)}` }, text), to < end ? " " : "");
  }
  const seen = bytes.slice(start, end);
  for (const { name, offset, length } of layout) {
    if (name === "keyID") seen.fill(0, Math.max(0, offset - start), Math.max(0, offset + length - start));
  }
  const ascii = latin1(seen).replace(/[^\x20-\x7e]/g, ".");
  line.push(" ".repeat(3 * (16 - (end - start)) + 2), ascii, "\n");
  const fragment = document.createDocumentFragment();
  fragment.append(...line);
  return fragment;
}

/** Returns the readable runs of bytes, one per line, as `strings` finds them. */
export function readableRuns(bytes) {
  const text = new TextDecoder().decode(bytes);
  return (text.match(/[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u{fffd}]{3,}/gu) ?? []).join("\n");
}
