// The chain as it grows: the newest blocks with their branches, and how the node is.

import { newest, back } from "./blocks.js";
import { addressName, el, replace } from "./dom.js";
import { ago, bytes, coins, count, difficulty, duration, moment, plural, rate } from "./format.js";
import { watch } from "./live.js";
import { call } from "./rpc.js";
import { tree } from "./tree.js";

const SHOWN = 24;
const MOST_BRANCHES = 6;
const RATE_SPAN = 60; // Blocks that the hash rate is measured over.

export const title = () => "Chain";

export function show(place, _, signal, failed) {
  const summary = el("section", { "aria-label": "State of the node" });
  const blocks = el("section", { "aria-label": "Newest blocks" });
  let drawn = null;
  const refresh = async () => {
    const [info, pool, peers, hashes, tips] = await Promise.all([
      call("getblockchaininfo"), call("getmempoolinfo"), call("getconnectioncount"),
      call("getnetworkhashps", RATE_SPAN), call("getchaintips"),
    ]);
    const main = await newest(info.bestblockhash, info.blocks, SHOWN);
    const branches = await sideBranches(tips, main);
    if (signal.aborted) return;
    if (!place.contains(blocks)) replace(place, el("h1", { class: "hidden" }, "Chain"), summary, el("h2", null, "Newest blocks"), blocks);
    replace(summary, figures(info, pool, peers, hashes, main));
    // Drawn anew only if it changed: a click that began on a block should end on it.
    const now = JSON.stringify([main, branches]);
    if (now !== drawn) replace(blocks, tree(main, branches, describe));
    drawn = now;
  };
  watch(["tip", "block", "transaction", "peer"], signal, refresh, failed);
  const timer = setInterval(() => tick(place), 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Branches that leave the best chain within what is shown, each from its end down. */
async function sideBranches(tips, main) {
  const lowest = main.at(-1).height;
  const ends = tips.filter((tip) => tip.status !== "active" && tip.height > lowest).slice(0, MOST_BRANCHES);
  const found = await Promise.all(ends.map((tip) => back(tip.hash, Math.min(tip.branchlen, SHOWN), lowest)));
  return found.map((blocks, i) => ({ blocks, status: ends[i].status })).filter(({ blocks }) => blocks.length > 0);
}

function figures(info, pool, peers, hashes, main) {
  const tip = main[0];
  const span = main.length > 1 ? (tip.time - main.at(-1).time) / (main.length - 1) : null;
  const figure = (label, value, note, href) =>
    el("div", null, el("dt", null, label), el("dd", null, href ? el("a", { href }, value) : value, note && el("small", null, note)));
  const behind = info.headers - info.blocks;
  return el("dl", { class: "figures" },
    figure("Height", count(info.blocks), behind > 0 ? `${plural(behind, "block")} to come` : el("span", { "data-time": tip.time }, ago(tip.time)), `#/block/${info.bestblockhash}`),
    figure("Hash rate", rate(hashes), `last ${RATE_SPAN} blocks`, "#/charts"),
    figure("Difficulty", difficulty(info.difficulty), `bits ${info.bits}`, "#/charts"),
    figure("Block time", span === null ? "–" : duration(span), `last ${main.length - 1}`, "#/charts"),
    figure("Mempool", count(pool.size), pool.size > 0 ? `${bytes(pool.bytes)}, ${coins(pool.total_fee)} in fees` : "nothing waits", "#/mempool"),
    figure("Peers", count(peers), info.initialblockdownload ? "catching up" : "in step", "#/peers"));
}

/** What stands beside a block in the tree. */
function describe(block, status) {
  return [
    el("a", { href: `#/block/${block.hash}`, class: "height", "data-item": true, "data-key": block.hash, title: block.hash }, count(block.height)),
    el("span", { class: "mono hash", title: block.hash }, `…${block.hash.slice(-10)}`),
    el("span", { class: "txs" }, block.transactions === null ? "no body" : plural(block.transactions, "tx", "txs")),
    el("span", { class: "size" }, block.size === null ? "" : bytes(block.size)),
    el("span", { class: "miner" }, block.miner && addressName(block.miner, 6)),
    status ? el("span", { class: "status" }, status) : null,
    el("time", { class: "age", "data-time": block.time, title: moment(block.time) }, ago(block.time)),
  ];
}

/** Ages grow while nothing happens. */
function tick(place) {
  for (const node of place.querySelectorAll("[data-time]")) {
    const text = ago(Number(node.dataset.time));
    if (node.textContent !== text) node.textContent = text;
  }
}
