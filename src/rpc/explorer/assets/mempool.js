// What waits for a block, best paying first.

import { el, notice, replace, table, transactionName } from "./dom.js";
import { ago, bytes, coins, count } from "./format.js";
import { watch } from "./live.js";
import { ask, call } from "./rpc.js";

const MOST_READ = 1_000; // What /public lists at a time. Above this, only some entries are read.
const SHOWN = 200;

export const title = () => "Mempool";

export function show(place, _, signal, failed) {
  watch(["tip", "transaction"], signal, async () => {
    const info = await call("getmempoolinfo");
    const entries = info.size <= MOST_READ ? Object.entries(await call("getrawmempool", true)) : await some();
    if (signal.aborted) return;
    entries.sort(([, a], [, b]) => rate(b) - rate(a));
    replace(place, el("h1", null, "Mempool"), summary(info),
      entries.length === 0
        ? notice("Nothing waits for a block.")
        : [histogram(entries), table("Transactions, best paying first", ["Transaction", ["Grains a byte", "number"], ["Fee", "number"], ["Size", "number"], ["Waits on", "number"], "Came"], entries.slice(0, SHOWN).map(row)),
          info.size > SHOWN && notice(`The best paying ${SHOWN} of ${info.size <= MOST_READ ? count(info.size) : `some ${SHOWN} out of ${count(info.size)}`}.`)]);
  }, failed);
}

const rate = (entry) => entry.fees.base / entry.vsize;

/** Some entries of a mempool that is too large to be read whole. */
async function some() {
  const ids = await call("getrawmempool", false, SHOWN);
  const entries = await Promise.all(ids.map(async (txid) => [txid, await ask("getmempoolentry", txid)]));
  return entries.filter(([, entry]) => entry !== null);
}

function summary(info) {
  const figure = (label, value) => el("div", null, el("dt", null, label), el("dd", null, value));
  return el("dl", { class: "figures" },
    figure("Waiting", count(info.size)), figure("Bytes", bytes(info.bytes)), figure("Fees", coins(info.total_fee)),
    figure("Least fee", [String(info.mempoolminfee), el("small", null, "grains a byte")]));
}

/** Bytes by fee rate, in bands that double. */
function histogram(entries) {
  const bands = new Map();
  for (const [, entry] of entries) {
    const band = Math.max(0, Math.floor(Math.log2(Math.max(rate(entry), 1))));
    bands.set(band, (bands.get(band) ?? 0) + entry.vsize);
  }
  const most = Math.max(...bands.values());
  const rows = [...bands].sort(([a], [b]) => b - a).map(([band, size]) => {
    const bar = el("meter", { min: 0, max: most, value: size, "aria-hidden": "true" });
    return el("li", null, el("span", null, `${count(2 ** band)} – ${count(2 ** (band + 1))}`), bar, el("span", null, bytes(size)));
  });
  return el("ol", { class: "bands", "aria-label": "Bytes by grains a byte" }, rows);
}

function row([txid, entry]) {
  const link = transactionName(txid);
  link.querySelector("a").dataset.item = "";
  link.querySelector("a").dataset.key = txid;
  const parents = entry.ancestorcount - 1;
  return [link, rate(entry).toFixed(1), coins(entry.fees.base), bytes(entry.vsize), parents > 0 ? count(parents) : "–", ago(entry.time)];
}

