// Building the page. Everything that comes from the chain or from peers is put in as text: nothing here, and nothing
// that uses it, reads markup.

import { coins, count } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** An HTML element. A property `onclick` is a listener; others are attributes, left out if null or false. */
export function el(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same of SVG. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Puts other content into a node; what had the focus has it again if it is still there by its `data-key`. */
export function replace(node, ...children) {
  const active = document.activeElement;
  const key = node.contains(active) ? active.dataset.key : undefined;
  const open = [...node.querySelectorAll("details[open][data-key]")].map((details) => details.dataset.key);
  node.replaceChildren();
  fill(node, null, children);
  for (const name of open) {
    const details = find(node, name);
    if (details) details.open = true;
  }
  if (key !== undefined) find(node, key)?.focus({ preventScroll: true });
}

function find(node, key) {
  return [...node.querySelectorAll("[data-key]")].find((other) => other.dataset.key === key);
}

/** A long name, shortened to its two ends; the whole of it in the title, and a button that copies it. */
function name(text, href, ends = 8) {
  const short = text.length > 2 * ends + 3 ? `${text.slice(0, ends)}…${text.slice(-ends)}` : text;
  const shown = href
    ? el("a", { href, title: text, class: "mono" }, short)
    : el("span", { title: text, class: "mono" }, short);
  return el("span", { class: "name" }, shown, copier(text));
}

export const blockName = (hash, ends) => name(hash, `#/block/${hash}`, ends);
export const transactionName = (txid, ends) => name(txid, `#/tx/${txid}`, ends);
export const addressName = (address, ends) => name(address, `#/address/${address}`, ends);

/** The whole of a long name, broken where it must. */
export function whole(text, href) {
  const shown = href ? el("a", { href, class: "mono long" }, text) : el("span", { class: "mono long" }, text);
  return el("span", { class: "name" }, shown, copier(text));
}

const sheets = () => svg("svg", { viewBox: "0 0 16 16", width: 12, height: 12, "aria-hidden": "true" },
  svg("path", { d: "M5.5 1.5h9v9h-9zM1.5 5.5v9h9", fill: "none", stroke: "currentColor", "stroke-width": 1.5 }));

function copier(text) {
  const button = el("button", { type: "button", class: "copy", title: "Copy", "aria-label": `Copy ${text}` }, sheets());
  button.addEventListener("click", async () => {
    button.replaceChildren((await copy(text)) ? "✓" : "✗");
    setTimeout(() => button.replaceChildren(sheets()), 1200);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // Browsers offer the clipboard only to pages of this machine or over TLS.
  }
}

/** A list of names and values. Values that are null are left out with their names. */
export function facts(...rows) {
  const shown = rows.filter((row) => row && row[1] !== null && row[1] !== undefined);
  return el("dl", { class: "facts" }, shown.map(([label, ...value]) => el("div", null, el("dt", null, label), el("dd", null, value))));
}

/**
 * A table. `columns` are texts, or [text, class]. On a narrow page each row is a block of its own, with the columns' names
 * beside the values. It says its roles, for browsers that take a table laid out otherwise for none.
 */
export function table(caption, columns, rows) {
  const classes = columns.map((column) => (Array.isArray(column) ? column[1] : null));
  const titles = columns.map((column) => (Array.isArray(column) ? column[0] : column));
  const head = el("tr", { role: "row" }, titles.map((title, i) => el("th", { scope: "col", role: "columnheader", class: classes[i] }, title)));
  const row = (cells) => el("tr", { role: "row" }, cells.map((cell, i) => el("td", { role: "cell", class: classes[i], "data-label": titles[i] }, cell)));
  return el("table", { role: "table" }, el("caption", { class: "hidden" }, caption),
    el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, rows.map(row)));
}

/** A table that is shown part by part, as in `parts`. */
export function pages(part, size, caption, columns, items, row) {
  return parts(part, size, caption, items, (shown) => table(caption, columns, shown.map(row)));
}

/**
 * A list that is shown part by part by `show(items, from)`. `part` is kept by the caller between two drawings: `{at}`, from
 * 0. `moved` is called when another part was chosen.
 */
export function parts(part, size, caption, items, show, moved = () => {}) {
  const place = el("div");
  const draw = () => {
    part.at = Math.max(0, Math.min(part.at, Math.ceil(items.length / size) - 1));
    const from = part.at * size;
    const shown = items.slice(from, from + size);
    const go = (by, text) => el("button", {
      type: "button", "data-key": `${caption} ${text}`, disabled: items[(part.at + by) * size] === undefined,
      onclick: () => {
        part.at += by;
        draw();
        place.scrollIntoView({ block: "start" });
        moved();
      },
    }, text);
    replace(place, show(shown, from),
      items.length > size && el("p", { class: "controls" }, go(-1, "Previous"), go(1, "Next"),
        el("span", { class: "fine", role: "status" }, `${count(from + 1)} to ${count(from + shown.length)} of ${count(items.length)}`)));
  };
  draw();
  return place;
}

/** An amount for a column: digits after the point are aligned, and idle zeros leave room. */
export function amount(grains) {
  const text = coins(grains);
  const digits = text.includes(".") ? text.length - text.indexOf(".") - 1 : -1;
  return el("span", { class: "amount", "data-rest": `${digits < 0 ? "." : ""}${"0".repeat(8 - Math.max(digits, 0))}` }, text);
}

/** A sentence where there is nothing else to show. */
export function notice(...text) {
  return el("p", { class: "notice" }, text);
}

/** Says something to those who do not see the page. */
export function say(text) {
  document.getElementById("said").textContent = text;
}
