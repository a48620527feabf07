// The chain as it grows: the newest blocks with their branches, and how the node is.

import { blockBar, histogram, nextBlock, rate as feeRate } from "./bands.js";
import { newest, back } from "./blocks.js";
import { addressName, el, notice, replace, transactionName } from "./dom.js";
import { ago, bytes, coins, count, difficulty, duration, moment, plural, rate } from "./format.js";
import { watch } from "./live.js";
import { call } from "./rpc.js";
import { tree } from "./tree.js";

const SHOWN = 24;
const MOST_BRANCHES = 6;
const RATE_SPAN = 60; // Blocks that the hash rate is measured over.
const MOST_READ = 1_000; // Of a larger mempool no next block is drawn.
const NEWEST = 6;
const MEMPOOL_REST = 2_000; // Milliseconds between two readings of the mempool, whatever comes meanwhile.

export const title = () => "Chain";

export function show(place, _, signal, failed) {
  const summary = el("section", { "aria-label": "State of the node" });
  const blocks = el("section", { "aria-label": "Newest blocks" });
  const aside = el("div", { class: "aside" });
  let drawn = null;
  const refresh = async () => {
    const [info, pool, peers, hashes, tips] = await Promise.all([
      call("getblockchaininfo"), call("getmempoolinfo"), call("getconnectioncount"),
      call("getnetworkhashps", RATE_SPAN), call("getchaintips"),
    ]);
    const main = await newest(info.bestblockhash, info.blocks, SHOWN);
    const branches = await sideBranches(tips, main);
    if (signal.aborted) return;
    if (!place.contains(blocks)) {
      replace(place, el("h1", { class: "hidden" }, "Chain"), summary,
        el("div", { class: "columns" }, el("div", null, el("h2", null, "Newest blocks"), blocks), aside));
    }
    replace(summary, figures(info, pool, peers, hashes, main));
    // Drawn anew only if it changed: a click that began on a block should end on it.
    const now = JSON.stringify([main, branches]);
    const lowest = main.at(-1).height;
    if (now !== drawn) replace(blocks, tree(main, branches, describe), lowest > 0 && el("p", null, el("a", { href: `#/blocks/${lowest - 1}` }, "Older blocks →")));
    drawn = now;
  };
  watch(["tip", "block", "transaction", "peer"], signal, refresh, failed);
  watch(["tip", "transaction"], signal, async () => {
    const [info, mining] = await Promise.all([call("getmempoolinfo"), call("getmininginfo")]);
    const entries = info.size <= MOST_READ ? Object.entries(await call("getrawmempool", true)) : null;
    if (!signal.aborted) replace(aside, ...waiting(info, mining.next, entries));
  }, failed, MEMPOOL_REST);
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

/** The next block as it would be mined now, and what came last. */
function waiting(info, next, entries) {
  const heading = el("h2", null, "Next block ", el("small", null, count(next.height)));
  if (entries === null) {
    return [heading, notice(`${count(info.size)} transactions wait, ${bytes(info.bytes)}: more than are read here. The least fee rate is ${plural(info.mempoolminfee, "grain")} a byte.`)];
  }
  const { chosen, size, fees } = nextBlock(entries, next.sizelimit);
  const full = chosen.length < entries.length;
  const least = full ? Math.ceil(feeRate(chosen.at(-1)[1])) : info.mempoolminfee;
  const last = [...entries].sort(([, a], [, b]) => b.time - a.time).slice(0, NEWEST);
  return [
    heading,
    blockBar(chosen, size, next.sizelimit),
    el("p", { class: "fine" }, `${plural(chosen.length, "transaction")}, ${bytes(size)} of ${bytes(next.sizelimit)}, ${coins(fees)} coins in fees. `,
      full ? `${count(entries.length - chosen.length)} others do not fit: to be in it, pay more than ${plural(least, "grain")} a byte.` : `There is room: the least fee rate, ${plural(least, "grain")} a byte, is enough.`),
    chosen.length > 0 && histogram("In it", chosen),
    el("h2", null, "Newest transactions"),
    last.length === 0
      ? notice("Nothing waits for a block.")
      : el("ol", { class: "newest" }, last.map(([txid, entry]) => el("li", null, transactionName(txid, 6),
        el("span", { class: "fine" }, `${feeRate(entry).toFixed(1)} grains a byte`), el("time", { class: "age", "data-time": entry.time }, ago(entry.time))))),
    entries.length > NEWEST && el("p", null, el("a", { href: "#/mempool" }, `All ${count(entries.length)} →`)),
  ];
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
