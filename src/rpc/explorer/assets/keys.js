// The keyboard.

function isTyping(target) {
  return target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio])") || target.isContentEditable;
}

/** Moves the focus along the items of the list on the page. */
function step(by) {
  const items = [...document.querySelectorAll("main [data-item]")];
  if (items.length === 0) return false;
  const at = items.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : items.length - 1) : Math.min(Math.max(at + by, 0), items.length - 1);
  items[next].focus();
  items[next].scrollIntoView({ block: "nearest" });
  return true;
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (link) location.hash = link.getAttribute("href");
  return link !== null;
}

export function start() {
  const query = document.getElementById("query");
  const help = document.getElementById("shortcuts");
  document.getElementById("help").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.key === "Escape" && event.target === query) {
      query.blur();
      return;
    }
    if (isTyping(event.target)) return;
    const arrows = event.target.matches("input");
    const done = {
      "/": () => (query.focus(), query.select(), true),
      "?": () => (help.showModal(), true),
      j: () => step(1),
      k: () => step(-1),
      ArrowDown: () => !arrows && step(1),
      ArrowUp: () => !arrows && step(-1),
      "[": () => follow("main a[rel=prev]"),
      "]": () => follow("main a[rel=next]"),
    }[event.key] ?? (/^[1-7]$/.test(event.key) ? () => follow(`nav a:nth-child(${event.key})`) : null);
    if (done?.()) event.preventDefault();
  });
}
