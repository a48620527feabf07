// What waits for a block, best paying first.

import { histogram, rate } from "./bands.js";
import { amount, el, notice, pages, replace, transactionName } from "./dom.js";
import { ago, bytes, coins, count } from "./format.js";
import { watch } from "./live.js";
import { ask, call } from "./rpc.js";

const MOST_READ = 1_000; // What /public lists at a time. Above this, only some entries are read.
const SOME = 200;
const SHOWN = 100; // On a page of the table.

export const title = () => "Mempool";

export function show(place, _, signal, failed) {
  const part = { at: 0 };
  watch(["tip", "transaction"], signal, async () => {
    const info = await call("getmempoolinfo");
    const isWhole = info.size <= MOST_READ;
    const entries = isWhole ? Object.entries(await call("getrawmempool", true)) : await some();
    if (signal.aborted) return;
    entries.sort(([, a], [, b]) => rate(b) - rate(a));
    replace(place, el("h1", null, "Mempool"), summary(info),
      entries.length === 0
        ? notice("Nothing waits for a block.")
        : [histogram(isWhole ? "What waits" : `Some ${SOME} of what waits`, entries),
          el("h2", null, "Transactions ", el("small", null, isWhole ? "best paying first" : `some ${SOME} out of ${count(info.size)}, best paying first`)),
          pages(part, SHOWN, "Transactions, best paying first", ["Transaction", ["Grains a byte", "number"], ["Fee in coins", "number"], ["Size", "number"], ["Waits on", "number"], ["Came", "number"]], entries, row)]);
  }, failed);
}

/** Some entries of a mempool that is too large to be read whole. */
async function some() {
  const ids = await call("getrawmempool", false, SOME);
  const entries = await Promise.all(ids.map(async (txid) => [txid, await ask("getmempoolentry", txid)]));
  return entries.filter(([, entry]) => entry !== null);
}

function summary(info) {
  const figure = (label, value) => el("div", null, el("dt", null, label), el("dd", null, value));
  return el("dl", { class: "figures" },
    figure("Waiting", count(info.size)), figure("Bytes", bytes(info.bytes)), figure("Fees", [coins(info.total_fee), el("small", null, "coins")]),
    figure("Least fee", [String(info.mempoolminfee), el("small", null, "grains a byte")]));
}

function row([txid, entry]) {
  const link = transactionName(txid);
  link.querySelector("a").dataset.item = "";
  link.querySelector("a").dataset.key = txid;
  const parents = entry.ancestorcount - 1;
  return [link, rate(entry).toFixed(1), amount(entry.fees.base), bytes(entry.vsize), parents > 0 ? count(parents) : "–", ago(entry.time)];
}
