// One value: its description, its byte map and its content.

import { resourceOf } from "dekker/inline";

import { byteMap, dump } from "./bytemap.js";
import { latin1, toBase64 } from "./bytes.js";
import { badge, count, el, plural, printable, size } from "./dom.js";
import { Closed } from "./keys.js";
import { plaintextView } from "./plaintext.js";
import { stateOf } from "./table.js";
import { formOf, partOf, setKey } from "./values.js";

const SOURCE_TYPES = {
  AES_GCM_KEY: "a key (AES-GCM, counted nonces)",
  HKDF_SHA256_XNONCE_AES_GCM_SEED: "a seed (HKDF-SHA256, a key for each write)",
};

const ENCRYPTED = "k8s:enc:";

/** The pane for one value. It holds one plaintext at a time, and erases it before it shows another value. */
export class Detail {
  #box;
  #open;
  #onKey;
  #value;
  #plaintext;
  #view;

  /**
   * @param {HTMLElement} box
   * @param {(value: object) => Promise<object>} open decrypts a value, or rejects with `Closed`
   * @param {(value: object) => void} onKey called when the user has changed the storage key or the resource
   */
  constructor(box, open, onKey) {
    this.#box = box;
    this.#open = open;
    this.#onKey = onKey;
  }

  /** Draws a value. */
  async show(value) {
    this.clear();
    this.#value = value;
    const outcome = el("div", { id: "outcome", "aria-live": "polite" });
    const heading = el("h3", { id: "detail-title", tabindex: "-1" }, value.name);
    this.#box.replaceChildren(
      ...[
        el("header", { class: "detail-head" }, badge(value.group.provider, value.group.label), heading, stateOf(value)),
        el(
          "div",
          { class: "what" },
          value.seen === undefined && damage(value),
          facts(value),
          value.seen &&
            el(
              "section",
              { "aria-labelledby": "map-title" },
              el("h4", { id: "map-title" }, "Byte map"),
              byteMap(value),
            ),
          value.seen && value.seen.provider !== "identity" && this.#place(value),
        ),
        outcome,
        el(
          "div",
          { class: "more" },
          value.seen?.provider === "kms" && askPlugin(value),
          value.fault === undefined &&
            el(
              "details",
              { class: "stored" },
              el("summary", {}, "Stored bytes"),
              dump(value.stored, "The stored value in hexadecimal", value.seen?.layout),
            ),
        ),
      ],
    );
    await this.#read(value, outcome);
  }

  async #read(value, outcome) {
    let opened;
    try {
      opened = await this.#open(value);
    } catch (fault) {
      if (this.#value !== value || value.seen === undefined) return;
      outcome.replaceChildren(refusal(fault));
      return;
    }
    // The user has chosen another value in the meantime.
    if (this.#value !== value || !outcome.isConnected) {
      opened.plaintext.fill(0);
      return;
    }
    this.#plaintext = opened.plaintext;
    const { seen } = value;
    const clear = seen.provider === "identity";
    const isTwice = latin1(opened.plaintext.subarray(0, ENCRYPTED.length)) === ENCRYPTED;
    const words = clear
      ? [el("strong", {}, "Not encrypted. "), "Anyone who can read the store can read this value."]
      : [
          el("strong", {}, "Decrypted "),
          `with ${opened.with}. `,
          opened.stale === true && "Stale: a write would now use another key.",
          opened.stale === false && "Current: a write would use the same key.",
          seen.provider === "aescbc" &&
            " aescbc has no tag: about one wrong key in 256 is accepted and yields meaningless bytes.",
          opened.stale === undefined && "Only the plugin can determine whether it is stale.",
          isTwice && " The object inside is an encrypted value: it was encrypted twice.",
        ];
    const tone = clear || opened.stale || isTwice ? "warn" : "good";
    outcome.replaceChildren(
      el("p", { class: `notice tone-${tone}` }, words.filter(Boolean)),
      plaintextView(opened.plaintext, this.#view, (view) => (this.#view = view)),
    );
  }

  /** The form for what the value is bound to: its storage key, and the resource that selects the rule. */
  #place(value) {
    const derived = value.keyText === undefined ? undefined : resourceOf(value.keyText)?.resource;
    const change = (event) => {
      event.preventDefault();
      if (key.value !== (value.keyText ?? "")) setKey(value, key.value);
      value.resource = resource.value.trim() || undefined;
      this.#onKey(value);
    };
    const field = { type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false" };
    const key = el("input", { ...field, id: "storage-key", placeholder: "/registry/secrets/namespace/name" });
    key.value = value.keyText ?? "";
    const resource = el("input", {
      ...field,
      id: "resource",
      placeholder: derived ?? "from the configuration’s rules",
    });
    resource.value = value.resource ?? "";
    return el(
      "form",
      { class: "place", submit: change },
      el("label", { for: "storage-key" }, "Storage key"),
      key,
      el("label", { for: "resource" }, "Resource"),
      resource,
      el("button", { type: "submit" }, "Try"),
    );
  }

  /** Erases the plaintext and empties the pane. */
  clear() {
    this.#plaintext?.fill(0);
    this.#plaintext = undefined;
    this.#value = undefined;
    this.#box.replaceChildren();
  }
}

function refusal(fault) {
  const isExpected = fault instanceof Closed;
  const tone = isExpected && ["locked", "plugin", "key"].includes(fault.kind) ? "calm" : "bad";
  const lead = {
    wrong: "Decryption failed. ",
    dek: "Decryption failed. ",
    locked: "Encrypted. ",
    plugin: "A plugin is needed. ",
    key: "Storage key needed. ",
    absent: "No such key. ",
    damaged: "Damaged. ",
  };
  return el(
    "p",
    { class: `notice tone-${tone}` },
    el("strong", {}, (isExpected && lead[fault.kind]) || "Decryption failed. "),
    fault.message,
  );
}

/** Says what is wrong with a value, or why there is none and which command gives a better input. */
function damage({ fault, error }) {
  const use = fault?.command ? error.lastIndexOf("; use ") : -1;
  const [cause, command] = use < 0 ? [error] : [error.slice(0, use), error.slice(use + "; use ".length, -1)];
  return el(
    "p",
    { class: "notice tone-bad", id: "damage" },
    el("strong", {}, fault ? "Not read. " : "Damaged. "),
    printable(cause),
    command && [". Use: ", el("code", {}, printable(command))],
  );
}

function facts(value) {
  const { seen, known, stored, source, line, offset, revision, notes } = value;
  const form = formOf(value);
  const rows = [
    ...described(seen ?? known ?? {}, stored),
    revision !== undefined && ["Revision", String(revision)],
    form !== undefined && ["Found as", form],
    ["Found in", `${printable(source)}, line ${count(line)}, byte ${count(offset)}`],
    notes.length > 0 && [
      "Notes",
      el(
        "ul",
        {},
        notes.map((note) => el("li", {}, note)),
      ),
    ],
  ];
  return el(
    "dl",
    { class: "facts" },
    rows.filter(Boolean).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, [value].flat().filter(Boolean))]),
  );
}

const quoted = (name) => name !== undefined && el("b", {}, `“${printable(name)}”`);

/** Returns the rows for what is known of a value. */
function described(seen, stored) {
  return [
    seen.provider && [
      "Provider",
      seen.provider === "kms" ? [`KMS ${seen.apiVersion} `, quoted(seen.providerName)] : seen.provider,
    ],
    seen.keyName !== undefined && ["Key", [quoted(seen.keyName), seen.keyNameGuessed && ", the most probable name"]],
    seen.keyIdHash && ["Key ID hash", el("code", {}, seen.keyIdHash)],
    seen.encryptedDEKSourceType && [
      "DEK source",
      [SOURCE_TYPES[seen.encryptedDEKSourceType], el("br"), el("code", {}, seen.encryptedDEKSourceType)],
    ],
    seen.encryptedDEKSourceSize !== undefined && ["Encrypted DEK", size(seen.encryptedDEKSourceSize)],
    seen.content && ["Content", seen.content],
    stored.length > 0 && [
      "Size",
      [
        size(stored.length),
        seen.plaintextSize !== undefined &&
          seen.provider !== "identity" &&
          `, of ${seen.provider === "aescbc" ? "at most " : ""}${size(seen.plaintextSize)} of plaintext`,
      ],
    ],
    seen.annotations?.length > 0 && [
      "Annotations",
      el(
        "ul",
        {},
        seen.annotations.map(({ name, size }) =>
          el("li", {}, el("code", {}, printable(name)), `, ${plural(size, "byte")}`),
        ),
      ),
    ],
  ];
}

/** Shows what to ask the plugin to decrypt: only the plugin can turn it into the DEK. */
function askPlugin(value) {
  const source = partOf(value, "encryptedDEKSource", "encryptedDEK");
  if (source === undefined) return undefined;
  const field = el("textarea", { id: "encrypted-dek", readonly: true, rows: "2", spellcheck: "false" });
  field.value = toBase64(source);
  return el(
    "details",
    { class: "ask" },
    el("summary", {}, "How to get the DEK"),
    el(
      "label",
      { for: "encrypted-dek", class: "hint" },
      "Call the plugin’s Decrypt with this ciphertext (base64) and the value’s key ID and annotations. It returns the DEK or seed.",
    ),
    field,
  );
}
