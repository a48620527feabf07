// The page: which view is shown, and what stands around it.

import * as address from "./address.js";
import * as block from "./block.js";
import * as chain from "./chain.js";
import * as charts from "./charts.js";
import * as content from "./content.js";
import { el, notice, replace, say } from "./dom.js";
import { count } from "./format.js";
import * as keys from "./keys.js";
import * as links from "./links.js";
import * as list from "./list.js";
import * as live from "./live.js";
import * as mempool from "./mempool.js";
import * as owner from "./owner.js";
import * as peers from "./peers.js";
import { call, ownerKey, takeKeyFromAddress } from "./rpc.js";
import * as search from "./search.js";
import * as theme from "./theme.js";
import * as transaction from "./transaction.js";
import * as verify from "./verify.js";

const VIEWS = { "": chain, block, blocks: list, tx: transaction, address, mempool, peers, links, charts, content, verify, owner };

let current = new AbortController();

/** Shows the view that the address bar names. Each view gets its place, what follows its name, and a signal that ends it. */
function route() {
  takeKeyFromAddress();
  document.getElementById("owner").hidden = ownerKey() === null;
  if (!location.hash.startsWith("#/") && location.hash !== "") return; // A place on the page itself.
  const [name, ...rest] = location.hash.slice(2).split("/");
  current.abort();
  current = new AbortController();
  const main = document.getElementById("main");
  const place = el("div", { class: "view" });
  main.replaceChildren(place);
  document.getElementById("found").textContent = "";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : null;
  document.title = view ? `${view.title(rest.join("/"))} · Cairn` : "Cairn";
  if (!view) {
    replace(place, notice("There is no such view."));
    return;
  }
  const signal = current.signal;
  const failed = (error) => {
    if (place.childNodes.length === 0 || place.dataset.failed) {
      place.dataset.failed = "yes";
      replace(place, notice(`This cannot be shown now: ${error.message}`));
    }
  };
  view.show(place, rest.join("/"), signal, failed);
  scrollTo(0, 0);
}

async function introduce() {
  const [info, network] = await Promise.all([call("getblockchaininfo"), call("getnetworkinfo")]);
  document.getElementById("network").textContent = info.chain;
  document.getElementById("version").textContent = network.subversion;
}

takeKeyFromAddress();
theme.start();
keys.start();
search.start();
live.start();
addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
let announced = null;
live.on("tip", ({ height, hash }) => {
  if (announced !== null && announced !== hash) say(`Block ${count(height)} is the new tip`);
  announced = hash;
});
live.watch([], new AbortController().signal, introduce, () => {});
route();
