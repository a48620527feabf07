// One transaction, from the mempool into the chain.

import { addressName, blockName, el, facts, notice, replace, transactionName, whole } from "./dom.js";
import { fromHex } from "./encoding.js";
import { ago, bytes, coins, count, inCoins, moment, plural, text } from "./format.js";
import { watch } from "./live.js";
import { ask } from "./rpc.js";
import { caveat, panel, receiptOf } from "./verify.js";

const MOST_INPUTS = 200; // Whose coins are looked up.

export const title = (txid) => `Transaction ${txid.slice(0, 8)}…`;

export function show(place, txid, signal, failed) {
  const head = el("section", { "aria-label": "Transaction" });
  const proof = el("section", { "aria-labelledby": "proof-title" });
  let spent = null;
  watch(["tip", "transaction"], signal, async () => {
    const [tx, entry] = await Promise.all([ask("getrawtransaction", txid, 1), ask("getmempoolentry", txid)]);
    spent ??= tx && (await coinsSpent(tx));
    if (signal.aborted) return;
    if (!place.contains(head)) replace(place, head, proof);
    replace(head, ...(tx ? page(tx, entry, spent) : [el("h1", null, "Transaction"), whole(txid), notice("This node does not know it, or not yet. The page will show it when it comes.")]));
    const provable = Boolean(tx?.blockhash) && tx.height > 0;
    if (provable && !proof.hasChildNodes()) {
      replace(proof, el("h2", { id: "proof-title" }, "Proof"),
        el("p", null, "That the transaction is in the chain need not be believed: it can be computed."),
        panel("Verify in this browser", () => receiptOf(txid)), caveat());
    } else if (!provable) {
      replace(proof);
    }
  }, failed);
}

/** The coins that a transaction spends, `{value, address}` each, in the order of its inputs; null where unknown. */
async function coinsSpent(tx) {
  const inputs = tx.vin.slice(0, MOST_INPUTS).filter((input) => input.txid);
  const parents = new Map();
  await Promise.all([...new Set(inputs.map((input) => input.txid))].map(async (txid) => parents.set(txid, await ask("getrawtransaction", txid, 1))));
  return inputs.map((input) => {
    const output = parents.get(input.txid)?.vout[input.vout];
    return output ? { value: output.value, address: output.scriptPubKey.address } : null;
  });
}

function page(tx, entry, spent) {
  const coinbase = tx.vin.length === 1 && tx.vin[0].coinbase !== undefined;
  const unmade = tx.vin.length === 0 || coinbase;
  const paid = tx.vout.reduce((sum, output) => sum + output.value, 0);
  const known = !unmade && spent.length === tx.vin.length && spent.every(Boolean);
  const fee = entry ? entry.fees.base : known ? spent.reduce((sum, coin) => sum + coin.value, 0) - paid : null;
  const waiting = !tx.blockhash;
  return [
    el("header", { class: "heading" }, el("h1", null, unmade ? "New coins" : "Transaction"),
      el("span", { id: "standing", class: waiting ? "badge waiting" : "badge done" }, waiting ? "waiting for a block" : plural(tx.confirmations, "confirmation"))),
    facts(
      ["Id", whole(tx.txid)],
      ["Block", waiting ? null : [el("a", { href: `#/block/${tx.blockhash}` }, count(tx.height)), " ", blockName(tx.blockhash)]],
      ["Time", waiting ? entry && `came ${ago(entry.time)}` : moment(tx.time)],
      ["Fee", fee === null ? null : `${inCoins(fee)}, ${(fee / tx.size).toFixed(1)} grains a byte`],
      ["Size", bytes(tx.size)],
      ["Locked until", tx.locktime > 0 && !coinbase ? `height ${count(tx.locktime)}` : null]),
    el("div", { class: "flow" },
      el("section", null, el("h2", null, unmade ? "From nothing" : plural(tx.vin.length, "input")), inputs(tx, spent, unmade)),
      el("section", null, el("h2", null, plural(tx.vout.length, "output"), " ", el("small", null, `${inCoins(paid)}`)), el("ol", { class: "coins" }, tx.vout.map(output)))),
    el("details", { "data-key": "bytes" }, el("summary", null, "Bytes"), el("p", { class: "mono long" }, tx.hex)),
  ];
}

function inputs(tx, spent, unmade) {
  if (unmade) return el("p", { class: "fine" }, "A coinbase: the reward for the block and the fees in it.");
  const rows = tx.vin.map((input, i) => {
    const coin = spent[i];
    const from = el("span", { class: "fine" }, "output ", String(input.vout), " of ", transactionName(input.txid, 6));
    return el("li", null, el("span", null, coin?.address ? addressName(coin.address, 10) : "coin"), el("b", null, coin ? coins(coin.value) : "?"), from);
  });
  return el("ol", { class: "coins" }, rows);
}

function output({ value, scriptPubKey }) {
  if (scriptPubKey.type !== "data") {
    return el("li", null, addressName(scriptPubKey.address, 10), el("b", null, coins(value)));
  }
  const data = fromHex(scriptPubKey.hex);
  const readable = text(data);
  return el("li", { class: "data" }, el("span", null, "data, ", plural(data.length, "byte")), el("b", null, coins(value)),
    readable !== null && el("pre", { dir: "auto" }, readable),
    el("details", null, el("summary", null, "hex"), el("p", { class: "mono long" }, scriptPubKey.hex)));
}
