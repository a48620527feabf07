// One transaction, from the mempool into the chain.

import { addressName, amount, blockName, el, facts, notice, parts, replace, transactionName, whole } from "./dom.js";
import { fromHex, isHash } from "./encoding.js";
import { ago, bytes, coins, count, inCoins, moment, plural, text } from "./format.js";
import { watch } from "./live.js";
import { ask } from "./rpc.js";
import { fate, spender } from "./spends.js";
import { caveat, download, panel, receiptOf } from "./verify.js";

const SHOWN = 20; // Inputs and outputs on a page. Of the outputs on it, the spends are looked up.
const MOST_SEEN = 50; // Transactions remembered, to say what replaced one that is gone.

const seen = new Map();

export const title = (txid) => `Transaction ${txid.slice(0, 8)}…`;

export function show(place, txid, signal, failed) {
  if (!isHash(txid)) {
    replace(place, el("h1", null, "Transaction"), notice(`“${txid}” names no transaction: an id has 64 hex digits.`));
    return;
  }
  const head = el("section", { "aria-label": "Transaction" });
  const proof = el("section", { "aria-labelledby": "proof-title" });
  const known = []; // What became of outputs, as found before.
  const at = { inputs: { at: 0 }, outputs: { at: 0 } };
  const run = watch(["tip", "transaction"], signal, async () => {
    const [tx, entry] = await Promise.all([ask("getrawtransaction", txid, 2), ask("getmempoolentry", txid)]);
    if (tx) await learn(tx, known, at.outputs.at * SHOWN);
    const shown = tx ? page(tx, entry, known, at, () => run()) : await absence(txid);
    if (signal.aborted) return;
    if (tx) remember(tx);
    if (!place.contains(head)) replace(place, head, proof);
    replace(head, shown);
    const provable = Boolean(tx?.blockhash) && tx.height > 0;
    if (provable && !proof.hasChildNodes()) {
      replace(proof, el("h2", { id: "proof-title" }, "Proof"),
        el("p", null, "That the transaction is in the chain need not be believed: it can be computed."),
        panel("Verify in this browser", () => receiptOf(txid), [download(txid)]), caveat());
    } else if (!provable) {
      replace(proof);
    }
  }, failed);
}

/** Learns what became of the outputs on a page. That one is spent is looked up once, that it is not each time. */
async function learn(tx, known, from) {
  await Promise.all(tx.vout.slice(from, from + SHOWN).map(async (_, i) => {
    const n = from + i;
    if (known[n] === undefined || known[n] === "unspent") known[n] = await fate(tx, n);
  }));
}

function remember(tx) {
  seen.delete(tx.txid);
  seen.set(tx.txid, tx);
  if (seen.size > MOST_SEEN) seen.delete(seen.keys().next().value);
}

/** A transaction that the node does not know, and what took its coins if it was seen here before. */
async function absence(txid) {
  const heading = [el("h1", null, "Transaction"), whole(txid)];
  const before = seen.get(txid);
  if (!before) return [heading, notice("This node does not know it, or not yet. The page will show it when it comes.")];
  for (const { txid: parent, vout, prevout } of before.vin) {
    const address = prevout?.scriptPubKey.address;
    const other = address && (await spender(parent, vout, prevout.value, address, prevout.height ?? 0));
    if (other && other !== txid) {
      return [heading, el("p", { class: "notice", id: "replaced" }, "Replaced by one that pays a higher fee, or is in a block already. This one can never be mined beside it: its coins are spent by ",
        transactionName(other))];
    }
  }
  return [heading, notice("It waited in the mempool and is gone, without a block: it was evicted for its low fee, or its coins are no longer there.")];
}

function page(tx, entry, fates, at, moved) {
  const coinbase = tx.vin.length === 1 && tx.vin[0].coinbase !== undefined;
  const unmade = tx.vin.length === 0 || coinbase;
  const paid = tx.vout.reduce((sum, output) => sum + output.value, 0);
  const fee = entry?.fees.base ?? tx.fee ?? null;
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
      el("section", null, el("h2", null, unmade ? "From nothing" : plural(tx.vin.length, "input")), inputs(tx, unmade, at.inputs)),
      el("section", null, el("h2", null, plural(tx.vout.length, "output"), " ", el("small", null, `${inCoins(paid)}`)),
        parts(at.outputs, SHOWN, "Outputs", tx.vout, (shown, from) => el("ol", { class: "coins" }, shown.map((one, i) => output(one, fates[from + i]))), moved))),
    el("details", { "data-key": "bytes" }, el("summary", null, "Bytes"), el("p", { class: "mono long" }, tx.hex)),
  ];
}

function inputs(tx, unmade, at) {
  if (unmade) return el("p", { class: "fine" }, "A coinbase: the reward for the block and the fees in it.");
  const row = ({ txid, vout, prevout }) => {
    const address = prevout?.scriptPubKey.address;
    const from = el("span", { class: "fine" }, "output ", String(vout), " of ", transactionName(txid, 6));
    return el("li", null, el("span", null, address ? addressName(address, 10) : "coin"), el("b", null, prevout ? amount(prevout.value) : "?"), from);
  };
  return parts(at, SHOWN, "Inputs", tx.vin, (shown) => el("ol", { class: "coins" }, shown.map(row)));
}

function output({ value, scriptPubKey }, fate) {
  if (scriptPubKey.type !== "data") {
    const state = fate === "unspent" ? el("span", { class: "badge done" }, "unspent")
      : fate === "spent" ? el("span", { class: "badge" }, "spent")
      : fate ? [el("span", { class: "badge" }, "spent"), " by ", transactionName(fate, 6)]
      : fate === undefined ? "…" : null;
    return el("li", null, addressName(scriptPubKey.address, 10), el("b", null, amount(value)), state && el("span", { class: "fine" }, state));
  }
  const data = fromHex(scriptPubKey.hex);
  const readable = text(data);
  return el("li", { class: "data" }, el("span", null, "data, ", plural(data.length, "byte")), value > 0 && el("b", null, coins(value)),
    readable !== null && el("pre", { dir: "auto" }, readable),
    el("details", null, el("summary", null, "hex"), el("p", { class: "mono long" }, scriptPubKey.hex)));
}
