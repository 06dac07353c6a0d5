// Messages to the user: the status line, errors, and the findings in a configuration.

import { $, count, el, plural } from "./dom.js";

/** Shows a text in the status line, which screen readers read out. */
export function say(text) {
  $("status").textContent = text;
}

/** Returns what was found in an input, as a sentence. `all` is the number of values that the page holds now. */
export function found(added, all) {
  const unread = added.filter(({ fault }) => fault).length;
  const read = added.length - unread;
  return [
    read > 0 ? `${plural(read, "value")} found` : "No value found",
    unread > 0 && ` and ${plural(unread, "place")} that could not be read`,
    all > added.length && `, ${count(all)} in all`,
    ".",
  ]
    .filter(Boolean)
    .join("");
}

/** Shows at most five errors above the values. An empty list hides the errors. */
export function complain(faults) {
  $("alert").hidden = faults.length === 0;
  const shown = faults.slice(0, 5).map((fault) => el("li", {}, fault));
  if (faults.length > 5) shown.push(el("li", {}, `and ${count(faults.length - 5)} more`));
  $("alert").replaceChildren(el("ul", {}, shown));
}

/** Formats a finding as an item of a list. */
export function finding({ line, column, path, message }) {
  const place = line === undefined ? "" : `line ${line}, column ${column}: `;
  return el("li", {}, place, path !== "" && [el("code", {}, path), ": "], message);
}
