// The page: its inputs and what it shows.

import { DekkerError, readForms } from "dekker/inline";

import { DekError, textOf } from "./deks.js";
import { Detail } from "./detail.js";
import { $, breathe, count, el, plural, redraw } from "./dom.js";
import { download, toCsv, toJson } from "./export.js";
import { Closed, Keys } from "./keys.js";
import { complain, finding, found, say } from "./messages.js";
import { overview } from "./overview.js";
import { isConfiguration } from "./rules.js";
import { arrange, PAGE, table } from "./table.js";
import { BYTES_MAX, makeValue, nameKeys, STATES, settleNames, useReading, VALUES_MAX } from "./values.js";

/** The maximum size of a configuration or a file of DEKs. */
const KEYS_MAX = 1 << 20;
/** The number of bytes by which a configuration is recognized. */
const HEAD = 64 << 10;
/** The number of values to process between two pauses, in which the browser can draw. */
const CHUNK = 200;

const fresh = () => ({ values: [], bytes: 0, numbered: 0, selected: undefined, view: fresh.view() });
fresh.view = () => ({ group: undefined, words: "", sort: { by: "", down: false }, page: 0, allKeys: false });

let state = fresh();
let keys = new Keys();
/** Increases whenever the keys change. Work that began with the previous keys then stops. */
let era = 0;
/** Increases whenever the page is cleared. Input that is still being processed is then dropped. */
let clearings = 0;

const detail = new Detail(
  $("detail"),
  (value) => keys.open(value),
  (value) => retry(value),
);

// ---- input

/** Processes inputs, given as `{ name, blob }`: values, or a configuration. */
async function take(inputs, { focus = false } = {}) {
  const mine = clearings;
  const { keyNames } = keys;
  const added = [];
  let held = state.bytes;
  const faults = [];
  let config;
  let full; // why no more values are taken
  for (const { name, blob } of inputs) {
    try {
      if (isConfiguration(new Uint8Array(await blob.slice(0, HEAD).arrayBuffer()))) {
        if (blob.size > KEYS_MAX) faults.push(`${name} is too large for a configuration.`);
        else config = await blob.text();
        continue;
      }
      for await (const item of readForms(blob.stream())) {
        if (mine !== clearings) return;
        const value = makeValue(item, name, state.numbered + 1, keyNames);
        held += value.stored.length;
        if (state.values.length + added.length >= VALUES_MAX)
          full = `The page holds at most ${count(VALUES_MAX)} values.`;
        else if (held > BYTES_MAX) full = "The page holds at most 64 MiB of values.";
        if (full !== undefined) break;
        state.numbered++;
        added.push(value);
        if (added.length % CHUNK === 0) {
          say(`Looking at ${plural(added.length, "value")}…`);
          await breathe();
        }
      }
    } catch (fault) {
      // The browser cannot read the file.
      if (!(fault instanceof DOMException)) throw fault;
      faults.push(`${name} cannot be read. Is it a folder?`);
    }
    if (full !== undefined) {
      faults.push(full);
      break;
    }
  }
  if (mine !== clearings) return;
  complain(faults);
  // The keys may have changed while the input was read.
  if (keyNames !== keys.keyNames) nameKeys(added, keys.keyNames);
  settleNames(added, [...state.values, ...added]);
  for (const value of added) {
    state.values.push(value);
    state.bytes += value.stored.length;
  }
  if (added.length > 0) {
    state.selected = added[0];
    state.view = fresh.view();
    say(found(added, state.values.length));
  }
  if (config !== undefined) {
    $("config").value = config;
    await useKeys();
  } else if (added.length > 0) {
    draw();
    await readAll(added);
  }
  if (focus && added.length > 0) $("results").focus();
}

async function takeFiles(files, into) {
  if (files.length === 0) return;
  if (into === undefined) {
    await take(Array.from(files, (file) => ({ name: file.name, blob: file })));
    return;
  }
  const [file] = files;
  if (file.size > KEYS_MAX) {
    complain(["This file is too large for a configuration or DEKs."]);
    return;
  }
  try {
    $(into).value = await textOf(file, into === "dek");
  } catch {
    complain([`${file.name} cannot be read. Is it a folder?`]);
    return;
  }
  await useKeys();
}

async function takeText(text, how) {
  if (text.trim() === "") {
    complain(["There is no value: the input is empty."]);
    return;
  }
  await take([{ name: "pasted", blob: new Blob([text]) }], how);
}

// ---- keys

async function useKeys() {
  const mine = ++era;
  const faults = $("config-faults");
  faults.replaceChildren();
  for (const id of ["config", "dek"]) $(id).removeAttribute("aria-invalid");
  complain([]);
  let loaded;
  try {
    loaded = await Keys.load($("config").value, $("dek").value);
  } catch (fault) {
    if (mine !== era) return;
    const which = fault instanceof DekError ? "dek" : "config";
    $(which).setAttribute("aria-invalid", "true");
    const lines = fault.findings?.map(finding) ?? [el("li", {}, fault.message)];
    faults.replaceChildren(
      el(
        "div",
        { class: "notice tone-bad", role: "alert" },
        el("strong", {}, which === "dek" ? "The DEK cannot be used." : "The configuration has errors."),
        el("ul", {}, lines),
      ),
    );
    $(which).focus();
    say("The keys did not change.");
    if (!(fault instanceof DekError || fault instanceof DekkerError)) throw fault;
    return;
  }
  if (mine !== era) {
    loaded.free();
    return;
  }
  keys.free();
  keys = loaded;
  nameKeys(state.values, keys.keyNames);
  const { warnings } = keys;
  if (warnings.length > 0)
    faults.replaceChildren(
      el(
        "details",
        { class: "warnings" },
        el("summary", {}, plural(warnings.length, "warning")),
        el("ul", {}, warnings.map(finding)),
      ),
    );
  await readAll(state.values);
}

/** Tries the keys on values and records the state of each value. Erases each plaintext at once. */
async function readAll(values) {
  const mine = era;
  let [read, refused, closed, done] = [0, 0, 0, 0];
  const all = values.filter(({ fault }) => fault === undefined);
  for (const value of all) {
    await readOne(value);
    if (mine !== era) return;
    if (value.state === "read" || value.state === "stale") read++;
    else if (value.state === "wrong") refused++;
    else if (value.state !== "plaintext" && value.state !== "damaged") closed++;
    if (++done % CHUNK === 0 && done < all.length) {
      if (!keys.isEmpty) say(`Decrypting: ${count(done)} of ${count(all.length)}…`);
      await breathe();
      if (mine !== era) return;
    }
  }
  draw();
  if (keys.isEmpty) return;
  if (all.length === 0) {
    if (values.length === 0) say("The keys are ready. Now add stored values.");
    return;
  }
  const results = [
    `${count(read)} of ${plural(all.length, "value")} decrypted`,
    refused > 0 && `${count(refused)} refused: wrong key`,
    closed > 0 && `${count(closed)} without a key`,
  ];
  say(`${results.filter(Boolean).join("; ")}.`);
}

async function readOne(value) {
  if (value.seen === undefined || value.seen.provider === "identity") return;
  try {
    const { plaintext, stale, stored } = await keys.open(value);
    plaintext.fill(0);
    useReading(value, stored);
    value.state = stale ? "stale" : "read";
  } catch (fault) {
    value.state = fault instanceof Closed ? fault.kind : "failed";
  }
}

async function retry(value) {
  await readOne(value);
  draw();
  $("storage-key")?.focus();
  say(`${value.name}: ${STATES[value.state].about}.`);
}

// ---- output

function draw() {
  const many = state.values.length > 1;
  $("results").hidden = state.values.length === 0;
  $("start").hidden = state.values.length > 0;
  $("many").hidden = !many;
  $("results").classList.toggle("one", !many);
  if (many) {
    drawOverview();
    drawTable();
  }
  if (state.selected !== undefined) void detail.show(state.selected);
}

function drawOverview() {
  const { view, values } = state;
  const onChoose = (id) => {
    Object.assign(view, { group: view.group === id ? undefined : id, page: 0 });
    drawOverview();
    drawTable();
    say(
      view.group === undefined
        ? "All values are shown."
        : `Only the ${plural(shown().length, "value")} of this key are shown.`,
    );
  };
  const onAll = () => {
    view.allKeys = true;
    drawOverview();
  };
  redraw($("overview"), overview(values, { chosen: view.group, all: view.allKeys, onChoose, onAll }));
}

const shown = () => arrange(state.values, state.view);

function drawTable() {
  const { view, selected } = state;
  const values = shown();
  view.page = Math.min(view.page, Math.max(0, Math.ceil(values.length / PAGE) - 1));
  const { page, sort } = view;
  const onSort = (by) => {
    view.sort = sort.by === by ? { by, down: !sort.down } : { by, down: false };
    view.page = 0;
    drawTable();
  };
  const onPage = (to) => {
    view.page = to;
    drawTable();
  };
  const onSelect = (value, byKeyboard) => {
    state.selected = value;
    drawTable();
    void detail.show(value);
    if (byKeyboard) $("detail-title").focus();
  };
  redraw($("table"), table({ values, page, sort, selected, onSort, onPage, onSelect }));
  if ($("filter").value !== view.words) $("filter").value = view.words;
}

/** Erases what can be erased, and drops the rest. */
function clear() {
  era++;
  clearings++;
  keys.free();
  keys = new Keys();
  for (const { stored } of state.values) stored.fill(0);
  state = fresh();
  detail.clear();
  for (const id of ["overview", "table", "config-faults"]) $(id).replaceChildren();
  for (const id of ["paste", "config", "dek", "filter", "files"]) $(id).value = "";
  for (const id of ["config", "dek"]) $(id).removeAttribute("aria-invalid");
  complain([]);
  draw();
}

// ---- events

/** Shows unexpected errors on the page, not only in the console. */
const guarded = (act) => (event) =>
  Promise.resolve(act(event)).catch((fault) => {
    complain([`Something went wrong: ${fault?.message ?? fault}`]);
  });

$("inspect").addEventListener(
  "click",
  guarded(async () => {
    const text = $("paste").value;
    $("paste").value = "";
    await takeText(text, { focus: true });
  }),
);

$("paste").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("inspect").click();
});

for (const id of ["config", "dek"]) {
  $(id).addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("decrypt").click();
  });
}

// In the field for values, and outside text fields, pasted text is processed at once.
document.addEventListener(
  "paste",
  guarded(async (event) => {
    const { target, clipboardData } = event;
    if (clipboardData === null) return;
    if (clipboardData.files.length > 0) {
      event.preventDefault();
      await takeFiles(clipboardData.files);
      return;
    }
    const isField = target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement;
    if (isField && (target.id !== "paste" || target.value !== "")) return;
    event.preventDefault();
    await takeText(clipboardData.getData("text/plain"));
  }),
);

$("files").addEventListener(
  "change",
  guarded(async () => {
    await takeFiles($("files").files);
    // Allows choosing the same file again.
    $("files").value = "";
  }),
);
$("choose").addEventListener("click", () => $("files").click());
$("decrypt").addEventListener("click", guarded(useKeys));
$("clear").addEventListener("click", () => {
  clear();
  $("paste").focus();
  say("Everything was cleared: keys and decrypted objects are erased.");
});
$("export-csv").addEventListener("click", () => download("stored-values.csv", "text/csv", toCsv(shown())));
$("export-json").addEventListener("click", () => download("stored-values.json", "application/json", toJson(shown())));
$("filter").addEventListener("input", () => {
  Object.assign(state.view, { words: $("filter").value, page: 0 });
  drawTable();
});
$("reveal").addEventListener("change", () => $("dek").classList.toggle("masked", !$("reveal").checked));

for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
document.addEventListener(
  "drop",
  guarded(async (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const into = event.target.closest?.("[data-drop]")?.dataset.drop;
    const { files } = event.dataTransfer;
    if (files.length > 0) await takeFiles(files, into);
    else if (into === undefined) await takeText(event.dataTransfer.getData("text/plain"));
  }),
);

// Escape returns from a value to its row.
$("detail").addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".pick[aria-pressed='true']")?.focus();
});

// When the user returns to the page, it is empty.
window.addEventListener("pagehide", clear);

document.body.classList.remove("loading");
