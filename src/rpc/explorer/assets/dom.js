// Building the page. Everything that comes from the chain or from peers is put in as text: nothing here, and nothing
// that uses it, reads markup.

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

/** A table that scrolls in itself where it is wider than the page. `columns` are texts, or [text, class]. */
export function table(caption, columns, rows) {
  const classes = columns.map((column) => (Array.isArray(column) ? column[1] : null));
  const titles = columns.map((column) => (Array.isArray(column) ? column[0] : column));
  const head = el("tr", null, titles.map((title, i) => el("th", { scope: "col", class: classes[i] }, title)));
  const row = (cells) => el("tr", null, cells.map((cell, i) => el("td", { class: classes[i] }, cell)));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", null, el("caption", { class: "hidden" }, caption), el("thead", null, head), el("tbody", null, rows.map(row))));
}

/** A sentence where there is nothing else to show. */
export function notice(...text) {
  return el("p", { class: "notice" }, text);
}

/** Says something to those who do not see the page. */
export function say(text) {
  document.getElementById("said").textContent = text;
}
