// Shows a decrypted object as JSON, as text or as bytes.

import { dump, readableRuns } from "./bytemap.js";
import { el, plural, size } from "./dom.js";
import { isKubernetesProtobuf, readObject, text } from "./protobuf.js";

/** The number of characters of a large text to draw at first. */
const TEXT_FIRST = 64 << 10;

const NAMES = { json: "JSON", text: "Text", hex: "Hex" };

/** Returns the views that an object has, the most useful first. */
function viewsOf(plaintext) {
  if (isKubernetesProtobuf(plaintext)) {
    const object = readObject(plaintext);
    const note =
      "Decoded from protobuf. A field without a known name is shown by its number; bytes that are not text are shown in base64.";
    const json =
      object && (() => [el("p", { class: "hint" }, note), long(JSON.stringify(object, null, 2), "The object as JSON")]);
    return {
      about: object === undefined ? "Kubernetes protobuf, damaged" : describe(object),
      views: { json, text: () => strings(plaintext), hex: () => bytes(plaintext) },
    };
  }
  const whole = text(plaintext);
  if (whole === undefined)
    return { about: "Binary", views: { text: () => strings(plaintext), hex: () => bytes(plaintext) } };
  const views = { text: () => [long(whole, "The object as text")], hex: () => bytes(plaintext) };
  let object;
  try {
    object = JSON.parse(whole);
  } catch {
    return { about: "Text", views };
  }
  if (typeof object !== "object" || object === null) return { about: "Text", views };
  return {
    about: describe(object),
    views: { json: () => [long(JSON.stringify(object, null, 2), "The object as JSON")], ...views },
  };
}

function describe({ apiVersion, kind, metadata }) {
  if (typeof kind !== "string" || kind === "") return "JSON";
  const name = [metadata?.namespace, metadata?.name].filter((part) => typeof part === "string").join("/");
  return `${kind}${name && ` ${name}`}, ${apiVersion}`;
}

const bytes = (plaintext) => [dump(plaintext, "The object in hexadecimal")];

function strings(plaintext) {
  const note = "Readable runs of at least three characters. Hex shows every byte.";
  return [el("p", { class: "hint" }, note), long(readableRuns(plaintext), "The object as text")];
}

function long(whole, label) {
  const block = el(
    "pre",
    { class: "object", tabindex: "0", role: "group", "aria-label": label },
    whole.slice(0, TEXT_FIRST),
  );
  if (whole.length <= TEXT_FIRST) return block;
  const more = el("button", { type: "button", class: "quiet" }, `Show all ${plural(whole.length, "character")}`);
  more.addEventListener("click", () => {
    block.textContent = whole;
    more.remove();
    block.focus();
  });
  return el("div", {}, block, more);
}

/** Creates the tabs for a plaintext. `chosen` is the view that was used last; `onChoose` is called when the user selects another one. */
export function plaintextView(plaintext, chosen, onChoose) {
  const { about, views } = viewsOf(plaintext);
  const ids = Object.keys(NAMES).filter((id) => views[id] !== undefined);
  const panel = el("div", { id: "object-panel", role: "tabpanel", "aria-labelledby": "" });
  const tabs = ids.map((id) =>
    el("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": "object-panel" }, NAMES[id]),
  );
  const choose = (index) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", tabs[index].id);
    panel.replaceChildren(...views[ids[index]]());
  };
  const list = el("div", { role: "tablist", "aria-label": "How to show the object" }, tabs);
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => {
      choose(at);
      onChoose(ids[at]);
    });
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  choose(Math.max(0, ids.indexOf(chosen)));
  const head = el(
    "div",
    { class: "object-head" },
    el("p", { id: "object-about" }, el("strong", {}, about), ` · ${size(plaintext.length)}`),
    list,
  );
  return el("div", { class: "plaintext" }, head, panel);
}
