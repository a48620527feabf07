// One address: its coins and what happened to them.

import { amount, el, facts, notice, pages, replace, table, transactionName, whole } from "./dom.js";
import { ago, coins, count, inCoins, moment, plural } from "./format.js";
import { watch } from "./live.js";
import { call } from "./rpc.js";

const PAGE = 100; // Entries read at a time.
const COINS = 1_000; // What /public lists at a time.
const COINS_SHOWN = 50;

export const title = (address) => `Address ${address.slice(0, 12)}…`;

export function show(place, address, signal, failed) {
  const head = el("section", { "aria-label": "Balance" });
  const list = el("section", { "aria-label": "History" });
  const more = el("button", { type: "button", "data-key": "older" }, "Older");
  const part = { at: 0 };
  let newest = [];
  let older = []; // What follows `newest` without a gap.
  let rest = false; // Whether there are entries older than those.
  const draw = () => {
    const entries = [...newest, ...older];
    replace(list, el("h2", null, "History"),
      entries.length === 0 ? notice("Nothing has happened here yet.") : table("History", ["Transaction", "When", ["Block", "number"], ["Change in coins", "number"]], entries.map(row)),
      newest.length === PAGE && newest.at(-1).height === null && notice(`Only the newest ${PAGE} of those that wait for a block are shown.`),
      rest ? el("p", { class: "controls" }, more) : null);
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      const last = [...newest, ...older].at(-1);
      const page = await read(address, last);
      // A block may have come meanwhile, and have moved what was the end of the list.
      if (signal.aborted || last?.txid !== [...newest, ...older].at(-1)?.txid) return;
      older.push(...page);
      rest = page.length === PAGE;
      draw();
    } catch (error) {
      failed(error);
    } finally {
      more.disabled = false;
    }
  });
  watch(["tip", "transaction"], signal, async () => {
    const valid = await call("validateaddress", address);
    if (!valid.isvalid) {
      replace(place, el("h1", null, "Address"), notice(`This is no address of this network: ${valid.error}.`));
      return;
    }
    const [balance, utxos, page] = await Promise.all([call("getaddressbalance", address), call("getaddressutxos", address, COINS), read(address)]);
    if (signal.aborted) return;
    const joined = join(page, [...newest, ...older]);
    // Where the two do not meet, or the chain is another, the list begins anew.
    older = joined ?? [];
    rest = joined ? rest : page.length === PAGE;
    newest = page;
    if (!place.contains(head)) replace(place, head, list);
    replace(head, ...summary(address, balance, utxos, part));
    draw();
  }, failed);
}

/** The newest entries, those that wait for a block before all; or those that follow `last`, which is one of an earlier page. */
async function read(address, last = null) {
  // Nothing is confirmed at so great a height: what follows those that wait are all that do not.
  const after = last && { height: last.height ?? 2 ** 32 - 1, position: last.position ?? 0 };
  return call("getaddresshistory", address, 0, PAGE, true, after);
}

/** What is left of `entries` after the end of `page`; null if they have nothing in common there. */
function join(page, entries) {
  const last = page.at(-1);
  const same = (entry) => ["txid", "height", "position", "time"].every((name) => entry[name] === last[name]);
  const at = last && last.height !== null ? entries.findIndex(same) : -1;
  return at < 0 ? null : entries.slice(at + 1);
}

function summary(address, balance, utxos, part) {
  return [
    el("h1", null, "Address"),
    facts(
      ["Address", whole(address)],
      ["Balance", el("strong", null, coins(balance.balance)), " coins"],
      ["Spendable now", `${inCoins(balance.spendable)}`],
      ["Immature", balance.immature > 0 ? `${inCoins(balance.immature)}, freshly mined` : null],
      ["Pending", balance.pending === 0 ? null : `${balance.pending > 0 ? "+" : ""}${inCoins(balance.pending)}`]),
    el("details", { "data-key": "coins" }, el("summary", null, plural(balance.coins, "coin"), " unspent"),
      pages(part, COINS_SHOWN, "Coins", ["Output", ["Coins", "number"], ["Confirmations", "number"], "State"], utxos, coin),
      utxos.length === COINS && notice(`Only ${count(COINS)} are shown.`)),
  ];
}

function coin(utxo) {
  const state = utxo.spentby ? ["being spent by ", transactionName(utxo.spentby, 6)] : utxo.spendable ? "spendable" : "immature";
  return [[transactionName(utxo.txid, 6), ` : ${utxo.vout}`], amount(utxo.value), count(utxo.confirmations), state];
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
    el("span", { class: change < 0 ? "less" : "more" }, change > 0 ? "+" : "", amount(change)),
  ];
}

