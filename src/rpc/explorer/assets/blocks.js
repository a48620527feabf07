// Blocks, read once: what is in a block never changes, only whether the best chain holds it.

import { ask, call } from "./rpc.js";

const MOST_KEPT = 400;
const kept = new Map();

function keep(hash, value) {
  kept.set(hash, value);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
}

/** A block in short: `{hash, height, time, previous, transactions, size, miner}`; size and miner are null without a body. */
async function summary(hash) {
  const known = kept.get(hash);
  if (known) return known;
  const [header, block] = await Promise.all([call("getblockheader", hash), ask("getblock", hash, 1)]);
  const coinbase = block && (await ask("getrawtransaction", block.tx[0], 1, hash));
  const found = {
    hash,
    height: header.height,
    time: header.time,
    previous: header.previousblockhash ?? null,
    transactions: block ? block.tx.length : null,
    size: block ? block.size : null,
    miner: coinbase ? payee(coinbase) : null,
  };
  if (block) keep(hash, found);
  return found;
}

/** The address that a coinbase pays first. */
export function payee(coinbase) {
  return coinbase.vout.find((output) => output.scriptPubKey.address)?.scriptPubKey.address ?? null;
}

/** Summaries from `tip` back, `most` of them at most and none below height `lowest`, newest first. */
export async function back(tip, most, lowest = 0) {
  const found = [];
  for (let hash = tip; hash !== null && found.length < most; ) {
    const block = await summary(hash);
    if (block.height < lowest) break;
    found.push(block);
    hash = block.previous;
  }
  return found;
}

/** The best chain's last blocks, newest first: asked for together, not one after the other. */
export async function newest(tip, height, most) {
  const heights = Array.from({ length: Math.min(most, height) }, (_, i) => height - 1 - i).slice(0, most - 1);
  const hashes = await Promise.all(heights.map((at) => ask("getblockhash", at)));
  await Promise.all([tip, ...hashes].filter(Boolean).map(summary));
  // From what is now kept; along the links, for the chain may have changed meanwhile.
  return back(tip, most);
}
