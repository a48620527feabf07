// One address: its coins and what happened to them.

import { el, facts, notice, replace, table, transactionName, whole } from "./dom.js";
import { ago, coins, count, moment, plural } from "./format.js";
import { watch } from "./live.js";
import { call } from "./rpc.js";

const PAGE = 50; // Entries that a page should have at least, if there are as many.
const MOST = 1000; // Entries asked for at a time.
const COINS = 200;

export const title = (address) => `Address ${address.slice(0, 12)}…`;

export function show(place, address, signal, failed) {
  const head = el("section", { "aria-label": "Balance" });
  const list = el("section", { "aria-label": "History" });
  const older = [];
  let lowest = null; // Entries below this height have not been read.
  const more = el("button", { type: "button", "data-key": "older" }, "Older");
  let newest = [];
  const draw = () => {
    const entries = [...newest, ...older.filter((entry) => !newest.some((other) => other.txid === entry.txid))];
    replace(list, el("h2", null, "History"),
      entries.length === 0 ? notice("Nothing has happened here yet.") : table("History", ["Transaction", "When", ["Block", "number"], ["Change", "number"]], entries.map(row)),
      lowest > 0 ? el("p", { class: "controls" }, more) : null);
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      const page = await read(address, lowest);
      if (signal.aborted) return;
      older.push(...page.entries);
      lowest = page.lowest;
      draw();
    } catch (error) {
      failed(error);
    }
    more.disabled = false;
  });
  watch(["tip", "transaction"], signal, async () => {
    const valid = await call("validateaddress", address);
    if (!valid.isvalid) {
      replace(place, el("h1", null, "Address"), notice(`This is no address of this network: ${valid.error}.`));
      return;
    }
    const [balance, utxos, height] = await Promise.all([call("getaddressbalance", address), call("getaddressutxos", address, COINS + 1), call("getblockcount")]);
    const page = await read(address, height + 1);
    if (signal.aborted) return;
    newest = page.entries;
    lowest ??= page.lowest;
    // A chain that grew has pushed the end of the first page down into what has been read already, or else to be read.
    if (older.length === 0) lowest = page.lowest;
    if (!place.contains(head)) replace(place, head, list);
    replace(head, ...summary(address, balance, utxos));
    draw();
  }, failed);
}

/** The entries below height `end`, newest first, from as many blocks as it takes to have a page of them. */
async function read(address, end) {
  let span = 256;
  for (;;) {
    const from = Math.max(0, end - span);
    const found = await call("getaddresshistory", address, from, MOST);
    const last = found.at(-1)?.height ?? null;
    const cut = found.length === MOST && last !== null && last < end - 1;
    if (cut && span > 1) {
      span = Math.ceil(span / 4);
      continue;
    }
    const entries = found.filter((entry) => entry.height === null || entry.height < end).reverse();
    if (entries.length >= PAGE || from === 0) return { entries, lowest: from };
    if (span > 1_000_000_000) return { entries, lowest: 0 };
    span *= 4;
  }
}

function summary(address, balance, utxos) {
  return [
    el("h1", null, "Address"),
    facts(
      ["Address", whole(address)],
      ["Balance", el("strong", null, coins(balance.balance)), " coins"],
      ["Spendable now", `${coins(balance.spendable)} coins`],
      ["Immature", balance.immature > 0 ? `${coins(balance.immature)} coins, freshly mined` : null],
      ["Pending", balance.pending === 0 ? null : `${balance.pending > 0 ? "+" : ""}${coins(balance.pending)} coins`]),
    el("details", { "data-key": "coins" }, el("summary", null, plural(balance.coins, "coin"), " unspent"),
      table("Coins", ["Output", ["Coins", "number"], ["Confirmations", "number"], "State"], utxos.slice(0, COINS).map(coin)),
      utxos.length > COINS && notice(`Only ${COINS} are shown.`)),
  ];
}

function coin(utxo) {
  const state = utxo.spentby ? ["being spent by ", transactionName(utxo.spentby, 6)] : utxo.spendable ? "spendable" : "immature";
  return [[transactionName(utxo.txid, 6), ` : ${utxo.vout}`], coins(utxo.value), count(utxo.confirmations), state];
}

function row(entry) {
  const change = entry.received - entry.spent;
  const link = transactionName(entry.txid);
  link.querySelector("a").dataset.item = "";
  link.querySelector("a").dataset.key = entry.txid;
  return [
    link,
    el("span", { title: moment(entry.time) }, ago(entry.time)),
    entry.height === null ? el("span", { class: "badge waiting" }, "waiting") : el("a", { href: `#/block/${entry.height}` }, count(entry.height)),
    el("span", { class: change < 0 ? "less" : "more" }, `${change > 0 ? "+" : ""}${coins(change)}`),
  ];
}

