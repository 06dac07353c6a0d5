// An overview of many values: figures, and how many values each key encrypts. Each bar is a button that filters for its values.

import { badge, count, el, plural, size } from "./dom.js";
import { groupsOf } from "./values.js";

/** The number of bars to show at first. A button shows the rest. */
const BARS = 8;

/**
 * @param {{ chosen: string | undefined, all: boolean, onChoose: (id: string) => void, onAll: () => void }} how
 */
export function overview(values, { chosen, all, onChoose, onAll }) {
  const groups = groupsOf(values);
  return el(
    "div",
    { class: "overview" },
    figures(values, groups),
    chart(groups, values.length, { chosen, all, onChoose, onAll }),
  );
}

function figures(values, groups) {
  const keys = groups.filter(({ provider }) => provider !== "identity" && provider !== "damaged").length;
  const deks = new Set(values.map(({ dek }) => dek).filter((dek) => dek !== undefined)).size;
  const bytes = values.reduce((sum, { stored }) => sum + stored.length, 0);
  const of = (state) => values.filter((value) => value.state === state).length;
  const plain = values.filter(({ group }) => group.provider === "identity").length;
  const [read, stale] = [of("read"), of("stale")];
  const refused = of("wrong") + of("failed");
  const unread = of("unread");
  const rows = [
    ["values", count(values.length - unread), size(bytes)],
    ["keys", count(keys), deks > 0 ? plural(deks, "DEK") : "no KMS"],
    read + stale > 0 && ["decrypted", count(read + stale), stale > 0 ? `${count(stale)} stale` : "none stale"],
    refused > 0 && ["refused", count(refused), "wrong key", "bad"],
    of("dek") > 0 && ["not decrypted", count(of("dek")), "other DEK needed", "warn"],
    plain > 0 && ["not encrypted", count(plain), "stored in the clear", "warn"],
    unread > 0 && ["not read", count(unread), "places in the input", "bad"],
    of("damaged") > 0 && ["damaged", count(of("damaged")), "do not match their prefix", "bad"],
  ];
  const figure = ([name, number, more, tone = "calm"]) =>
    el(
      "div",
      { class: `figure tone-${tone}` },
      el("dt", {}, name),
      el("dd", {}, el("strong", {}, number), el("span", {}, more)),
    );
  return el("dl", { class: "figures" }, rows.filter(Boolean).map(figure));
}

function chart(groups, total, { chosen, all, onChoose, onAll }) {
  const shown = all || groups.length <= BARS + 1 ? groups : groups.slice(0, BARS);
  const most = groups[0]?.values ?? 1;
  const bar = (group) => {
    const fill = el("span", { class: `fill of-${group.provider}` });
    fill.style.inlineSize = `${(100 * group.values) / most}%`;
    const share = (100 * group.values) / total;
    const percent = share < 1 ? "<1%" : `${Math.round(share)}%`;
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "bar",
          "data-group": group.id,
          "aria-pressed": String(group.id === chosen),
          click: () => onChoose(group.id),
        },
        badge(group.provider, group.label),
        el("span", { class: "bar-key", title: group.key }, group.key),
        el("span", { class: "track", "aria-hidden": "true" }, fill),
        el(
          "span",
          { class: "bar-count" },
          el("b", {}, count(group.values)),
          el("span", { class: "visually-hidden" }, " values, "),
        ),
        el("span", { class: "bar-share" }, percent),
      ),
    );
  };
  const rest = groups.length - shown.length;
  return el(
    "section",
    { class: "chart", "aria-labelledby": "chart-title" },
    el("h3", { id: "chart-title" }, "Values per key"),
    el("ul", {}, shown.map(bar)),
    rest > 0 &&
      el(
        "button",
        { type: "button", class: "quiet", id: "all-keys", click: onAll },
        `Show ${plural(rest, "more key")}`,
      ),
  );
}
