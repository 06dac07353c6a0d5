// Messages to the user: the status line, errors, and the findings in a configuration.

import { $, count, el } from "./dom.js";

/** Shows a text in the status line, which screen readers read out. */
export function say(text) {
  $("status").textContent = text;
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
