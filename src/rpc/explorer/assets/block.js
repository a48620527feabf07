// One block.

import { payee } from "./blocks.js";
import { addressName, blockName, el, facts, notice, replace, table, transactionName, whole } from "./dom.js";
import { bytes, coins, count, difficulty, inCoins, moment, plural } from "./format.js";
import { watch } from "./live.js";
import { ask } from "./rpc.js";

const SHOWN = 500; // Transactions in the table.

export const title = (name) => (/^\d+$/.test(name) ? `Block ${name}` : `Block …${name.slice(-8)}`);

export function show(place, name, signal, failed) {
  watch(["tip"], signal, async () => {
    const hash = /^\d{1,10}$/.test(name) ? await ask("getblockhash", Number(name)) : name;
    const header = hash && (await ask("getblockheader", hash));
    // What the coins spent are worth is known once; confirmations come with the header.
    const block = header && (await read(hash));
    if (signal.aborted) return;
    if (!header) replace(place, notice(`This node knows no block ${name}.`));
    else replace(place, ...page(header, block));
  }, failed);
}

let last = null;

async function read(hash) {
  if (last?.hash !== hash || last.incomplete) {
    const block = await ask("getblock", hash, 2);
    // Fees are known only once a block has been connected.
    last = { hash, block, incomplete: block === null || block.tx.some((tx, i) => i > 0 && tx.fee === undefined) };
  }
  return last.block;
}

function page(header, block) {
  const arrow = (hash, rel, text) => hash ? el("a", { href: `#/block/${hash}`, rel, "data-key": rel }, text) : el("span", { class: "off" }, text);
  const genesis = !header.previousblockhash;
  const heading = el("header", { class: "heading" },
    el("h1", null, genesis ? "Genesis" : ["Block ", count(header.height)]),
    el("nav", { "aria-label": "Neighbours" }, arrow(header.previousblockhash, "prev", "← previous"), arrow(header.nextblockhash, "next", "next →")));
  const standing = header.confirmations < 0
    ? el("strong", { class: "side" }, "on a side branch, not in the best chain")
    : plural(header.confirmations, "confirmation");
  const fees = block && block.tx.slice(1).every((tx) => tx.fee !== undefined) ? block.tx.slice(1).reduce((sum, tx) => sum + tx.fee, 0) : null;
  const miner = block && payee(block.tx[0]);
  const made = block?.tx[0].vout.reduce((sum, output) => sum + output.value, 0);
  return [
    heading,
    facts(
      ["Hash", whole(header.hash)],
      ["Standing", standing],
      ["Time", `${moment(header.time)}`],
      ["Mined by", miner && !genesis ? addressName(miner, 12) : null],
      [genesis ? "Coins made" : "Reward", block && `${inCoins(made)}`],
      ["Fees", fees === null || genesis ? null : `${inCoins(fees)}`],
      ["Transactions", block ? count(block.tx.length) : "the body is not here yet"],
      ["Size", block && bytes(block.size)]),
    el("details", { "data-key": "header" }, el("summary", null, "Header"),
      facts(
        ["Version", header.versionHex],
        ["Previous", header.previousblockhash ? blockName(header.previousblockhash, 16) : "none: this is genesis"],
        ["Merkle root", whole(header.merkleroot)],
        ["Time", `${header.time} (median of eleven: ${header.mediantime})`],
        ["Bits", `${header.bits}, difficulty ${difficulty(header.difficulty)}`],
        ["Target", whole(header.target)],
        ["Nonce", String(header.nonce)],
        ["Work of the chain", whole(header.chainwork)])),
    block && el("h2", null, plural(block.tx.length, "transaction")),
    block && table("Transactions of the block", ["Transaction", ["Inputs", "number"], ["Outputs", "number"], ["Coins out", "number"], ["Fee", "number"], ["Size", "number"]], block.tx.slice(0, SHOWN).map(row)),
    block && block.tx.length > SHOWN && notice(`and ${count(block.tx.length - SHOWN)} more`),
  ];
}

function row(tx) {
  const out = tx.vout.reduce((sum, output) => sum + output.value, 0);
  const made = tx.vin.length === 1 && tx.vin[0].coinbase !== undefined;
  const link = transactionName(tx.txid);
  link.querySelector("a").dataset.item = "";
  link.querySelector("a").dataset.key = tx.txid;
  return [link, made ? "new coins" : count(tx.vin.length), count(tx.vout.length), coins(out), tx.fee === undefined ? "–" : coins(tx.fee), bytes(tx.size)];
}

