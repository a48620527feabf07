// What became of outputs: unspent, or spent by which transaction.

import { ask, call } from "./rpc.js";

const PAGE = 100; // Entries of an address's history read at a time.
const MOST_PAGES = 5;
const MOST_READ = 60; // Transactions read in search of one spender.

/**
 * What became of output `n` of a transaction: `"unspent"`, the id of the transaction that spends it, `"spent"` if that is
 * not found within a few pages of the address's history, or null for an output that cannot be spent.
 */
export async function fate(tx, n) {
  const { value, scriptPubKey } = tx.vout[n];
  if (!scriptPubKey.address) return null;
  if (await call("gettxout", tx.txid, n)) return "unspent";
  return (await spender(tx.txid, n, value, scriptPubKey.address, tx.height ?? 0)) ?? "spent";
}

/** The transaction that spends an output of `value` grains to `address`, from a block not below `height`; null if not found. */
export async function spender(txid, n, value, address, height) {
  let after = null;
  let read = 0;
  for (let page = 0; page < MOST_PAGES && read < MOST_READ; page += 1) {
    const history = await call("getaddresshistory", address, height, PAGE, false, after);
    const candidates = history.filter((entry) => entry.spent >= value && entry.txid !== txid).slice(0, MOST_READ - read);
    read += candidates.length;
    const found = await Promise.all(candidates.map((entry) => ask("getrawtransaction", entry.txid, 1)));
    const spends = found.find((tx) => tx?.vin.some((input) => input.txid === txid && input.vout === n));
    if (spends) return spends.txid;
    const last = history.at(-1);
    if (history.length < PAGE || last.height === null) return null;
    after = { height: last.height, position: last.position };
  }
  return null;
}
