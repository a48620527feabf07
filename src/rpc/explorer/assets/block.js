// One block.

import { payee } from "./blocks.js";
import { addressName, amount, blockName, el, facts, notice, pages, replace, transactionName, whole } from "./dom.js";
import { isHash } from "./encoding.js";
import { bytes, count, difficulty, inCoins, moment, plural } from "./format.js";
import { watch } from "./live.js";
import { ask, call } from "./rpc.js";

const SHOWN = 100; // Transactions on a page of the table.
const MOST_STEPS = 50; // Blocks of a side branch that are followed.
const MOST_TIPS = 20;

/** What the statuses of getchaintips mean. */
const STATUSES = {
  "valid-fork": "every block of it is valid, and it has less work",
  "valid-headers": "its headers are valid, and it never had enough work for its blocks to be connected",
  "headers-only": "its headers are valid, and it never had enough work for its blocks to be fetched",
  invalid: "a block of it breaks a rule, or was ruled out by the owner of this node",
};

export const title = (name) => (/^\d+$/.test(name) ? `Block ${name}` : `Block …${name.slice(-8)}`);

export function show(place, name, signal, failed) {
  const part = { at: 0 };
  const isHeight = /^\d{1,10}$/.test(name);
  if (!isHeight && !isHash(name)) {
    replace(place, el("h1", null, "Block"), notice(`“${name}” names no block: a hash has 64 hex digits, and a height is a number.`));
    return;
  }
  watch(["tip"], signal, async () => {
    const hash = isHeight ? await ask("getblockhash", Number(name)) : name;
    const header = hash && (await ask("getblockheader", hash));
    // What the coins spent are worth is known once; confirmations come with the header.
    const block = header && (await read(hash));
    const lost = header && header.confirmations < 0 ? await story(header, block) : null;
    if (signal.aborted) return;
    if (!header) replace(place, notice(`This node knows no block ${name}.`));
    else replace(place, ...page(header, block, lost, part));
  }, failed);
}

let last = null;

async function read(hash) {
  if (last?.hash !== hash || last.incomplete) {
    // A block may be longer than an answer may be: then only its ids are read, and its coinbase.
    const whole = await ask("getblock", hash, 2);
    const ids = whole ? null : await ask("getblock", hash, 1);
    const block = whole ?? (ids && { ...ids, tx: [await ask("getrawtransaction", ids.tx[0], 1, hash), ...ids.tx.slice(1).map((txid) => ({ txid }))] });
    // Fees are known only once a block has been connected.
    last = { hash, block, incomplete: block === null || block.tx.some((tx, i) => i > 0 && tx.fee === undefined) };
  }
  return last.block;
}

/** How a block came to be on a side branch: where that left the best chain, how long it is, and what became of its transactions. */
async function story(header, block) {
  let fork = header;
  for (let step = 0; step < MOST_STEPS && fork && fork.confirmations < 0; step += 1) fork = await ask("getblockheader", fork.previousblockhash);
  const tips = (await call("getchaintips")).filter((tip) => tip.status !== "active" && tip.height >= header.height).slice(0, MOST_TIPS);
  const ends = await Promise.all(tips.map(async (tip) => ((await leadsTo(tip, header)) ? tip : null)));
  const moved = block ? await Promise.all(block.tx.slice(1, SHOWN + 1).map((tx) => ask("getrawtransaction", tx.txid, 1))) : [];
  return { fork: fork?.confirmations > 0 ? fork : null, tip: ends.find(Boolean), instead: await ask("getblockhash", header.height), moved };
}

async function leadsTo(tip, header) {
  let hash = tip.hash;
  for (let height = tip.height; height > header.height && tip.height - height < MOST_STEPS; height -= 1) {
    hash = (await call("getblockheader", hash)).previousblockhash;
  }
  return hash === header.hash;
}

function page(header, block, lost, part) {
  const arrow = (hash, rel, text) => hash ? el("a", { href: `#/block/${hash}`, rel, "data-key": rel }, text) : el("span", { class: "off" }, text);
  const genesis = !header.previousblockhash;
  const heading = el("header", { class: "heading" },
    el("h1", null, genesis ? "Genesis" : ["Block ", count(header.height)]),
    el("nav", { "aria-label": "Neighbours" }, arrow(header.previousblockhash, "prev", "← previous"), arrow(header.nextblockhash, "next", "next →")));
  const standing = lost ? el("strong", { class: "side" }, "on a side branch, not in the best chain") : plural(header.confirmations, "confirmation");
  const fees = block && block.tx.slice(1).every((tx) => tx.fee !== undefined) ? block.tx.slice(1).reduce((sum, tx) => sum + tx.fee, 0) : null;
  const miner = block && payee(block.tx[0]);
  const made = block?.tx[0].vout.reduce((sum, output) => sum + output.value, 0);
  const now = lost ? new Map(block?.tx.slice(1, SHOWN + 1).map((tx, i) => [tx.txid, lost.moved[i]])) : null;
  return [
    heading,
    facts(
      ["Hash", whole(header.hash)],
      ["Standing", standing],
      lost?.fork && ["Left the chain", "after block ", el("a", { href: `#/block/${lost.fork.hash}` }, count(lost.fork.height))],
      lost?.instead && ["In its place", blockName(lost.instead)],
      lost?.tip && ["Branch", `${plural(lost.tip.branchlen, "block")} long: ${STATUSES[lost.tip.status] ?? lost.tip.status}`],
      ["Time", `${moment(header.time)}`],
      ["Mined by", miner && !genesis ? addressName(miner, 12) : null],
      [genesis ? "Coins made" : "Reward", block && `${inCoins(made)}${lost ? ", lost with the block" : ""}`],
      ["Fees", fees === null || genesis ? null : `${inCoins(fees)}`],
      ["Transactions", block ? count(block.tx.length) : "the body is not here"],
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
    block && pages(part, SHOWN, "Transactions of the block",
      ["Transaction", ["Inputs", "number"], ["Outputs", "number"], ["Coins out", "number"], ["Fee in coins", "number"], ["Size", "number"], ...(now ? ["Now"] : [])],
      block.tx, (tx) => [...row(tx), ...(now ? [whereNow(tx, block, now)] : [])]),
  ];
}

function row(tx) {
  const link = transactionName(tx.txid);
  link.querySelector("a").dataset.item = "";
  link.querySelector("a").dataset.key = tx.txid;
  if (!tx.vin) return [link, "", "", "", "", ""];
  const out = tx.vout.reduce((sum, output) => sum + output.value, 0);
  const made = tx.vin.length === 1 && tx.vin[0].coinbase !== undefined;
  return [link, made ? "new coins" : count(tx.vin.length), count(tx.vout.length), amount(out), tx.fee === undefined ? "–" : amount(tx.fee), bytes(tx.size)];
}

/** Where a transaction of a block that was given up is now. */
function whereNow(tx, block, now) {
  if (tx === block.tx[0]) return "gone with the block";
  const found = now.get(tx.txid);
  if (found === undefined) return "";
  if (found === null) return "gone: its coins are spent otherwise";
  return found.blockhash ? ["in block ", el("a", { href: `#/block/${found.blockhash}` }, count(found.height))] : "waits again";
}
