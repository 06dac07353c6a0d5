// The table of values. It shows one page at a time, because ten thousand rows would slow down any browser.

import { badge, count, el, plural, shortSize } from "./dom.js";
import { STATES } from "./values.js";

export const PAGE = 20;
const STATE_ORDER = Object.keys(STATES);

const text = (of) => (a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : 0);

/** `[id, heading, class, compare]`. */
const COLUMNS = [
  ["name", "Storage key", "", text(({ name, keyText }) => keyText ?? name)],
  ["provider", "Provider", "", text(({ group }) => group.label)],
  ["key", "Key", "", text((value) => keyOf(value))],
  ["size", "Size", "number", (a, b) => a.stored.length - b.stored.length],
  ["state", "State", "", (a, b) => STATE_ORDER.indexOf(a.state) - STATE_ORDER.indexOf(b.state)],
];

/** Returns the key of a value, or why there is no value. */
const keyOf = ({ fault, error, group }) => (fault === undefined ? group.key : error);

/** Returns the values that match the filters, in order. */
export function arrange(values, { group, words, sort }) {
  const wanted = words
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  const matches = (value) => {
    if (group !== undefined && value.group.id !== group) return false;
    const line =
      `${value.name} ${value.group.label} ${keyOf(value)} ${value.dekSource} ${STATES[value.state].label} ${value.seen?.keyIdHash ?? ""}`.toLowerCase();
    return wanted.every((word) => line.includes(word));
  };
  const left = values.filter(matches);
  const compare = COLUMNS.find(([id]) => id === sort.by)?.[3];
  if (compare !== undefined) left.sort((a, b) => (sort.down ? -1 : 1) * compare(a, b) || a.number - b.number);
  return left;
}

/** Shows the state with a mark, a word and a colour. */
export function stateOf(value) {
  const { label, mark, tone, about } = STATES[value.state];
  return el(
    "span",
    { class: `state tone-${tone}`, title: about },
    el("span", { "aria-hidden": "true", class: "mark" }, mark),
    label,
  );
}

/**
 * @param {{ values: object[], page: number, sort: object, selected: object, onSort: Function, onPage: Function, onSelect: Function }} how
 */
export function table({ values, page, sort, selected, onSort, onPage, onSelect }) {
  const rows = values.slice(page * PAGE, (page + 1) * PAGE);
  const heading = ([id, label, kind]) => {
    const order = sort.by !== id ? "none" : sort.down ? "descending" : "ascending";
    const arrow = order === "none" ? "" : sort.down ? "▾" : "▴";
    const button = el(
      "button",
      { type: "button", "data-sort": id, click: () => onSort(id) },
      label,
      el("span", { class: "arrow", "aria-hidden": "true" }, arrow),
    );
    return el("th", { scope: "col", class: `${kind} col-${id}`, "aria-sort": order }, button);
  };
  const row = (value) => {
    const isSelected = value === selected;
    const pick = el(
      "button",
      {
        type: "button",
        class: "pick",
        "data-number": value.number,
        "aria-pressed": String(isSelected),
        title: value.name,
        click: ({ detail }) => onSelect(value, detail === 0),
      },
      value.name,
    );
    return el(
      "tr",
      {
        class: isSelected ? "selected" : undefined,
        click: ({ target }) => target.closest("button") === null && onSelect(value),
      },
      el("th", { scope: "row", class: "col-name" }, pick),
      el("td", { class: "col-provider" }, badge(value.group.provider, value.group.label)),
      el("td", { class: "col-key", title: keyOf(value), colspan: value.fault && 2 }, keyOf(value)),
      value.fault === undefined && el("td", { class: "col-size number" }, shortSize(value.stored.length)),
      el("td", { class: "col-state" }, stateOf(value)),
    );
  };
  const body = el("tbody", { keydown: moveByArrow }, rows.map(row));
  const nothing = el("p", { class: "empty" }, "No value matches.");
  const caption = el(
    "caption",
    { class: "visually-hidden" },
    "Stored values. Up and Down move between rows, Enter opens the details of a value, Escape returns to its row.",
  );
  return el(
    "div",
    { class: "table" },
    values.length === 0
      ? nothing
      : el(
          "div",
          { class: "scroll" },
          el("table", {}, caption, el("thead", {}, el("tr", {}, COLUMNS.map(heading))), body),
        ),
    pager(values.length, page, onPage),
  );
}

function pager(total, page, onPage) {
  const last = Math.max(0, Math.ceil(total / PAGE) - 1);
  const from = total === 0 ? 0 : page * PAGE + 1;
  const to = Math.min(total, (page + 1) * PAGE);
  const go = (id, label, mark, target) =>
    el(
      "button",
      {
        type: "button",
        id,
        class: "quiet",
        "aria-label": label,
        disabled: target < 0 || target > last || target === page,
        click: () => onPage(target),
      },
      mark,
    );
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages of the table" },
    el(
      "span",
      { id: "range" },
      total > PAGE ? `${count(from)} to ${count(to)} of ${count(total)}` : plural(total, "value"),
    ),
    last > 0 && [
      go("first", "First page", "«", 0),
      go("previous", "Previous page", "‹", page - 1),
      go("next", "Next page", "›", page + 1),
      go("last", "Last page", "»", last),
    ],
  );
}

/** Moves the focus between the rows' buttons with Up, Down, Home and End. */
function moveByArrow(event) {
  const picks = [...event.currentTarget.querySelectorAll(".pick")];
  const at = picks.indexOf(document.activeElement);
  if (at < 0) return;
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: picks.length - 1 }[event.key];
  if (to === undefined || picks[to] === undefined) return;
  event.preventDefault();
  picks[to].focus();
}
