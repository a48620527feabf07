// One field for heights, hashes, ids and addresses, whole or in part.

import { el } from "./dom.js";
import { hash, fromHex, isHash, showHash } from "./encoding.js";
import { count, plural } from "./format.js";
import { ask, call } from "./rpc.js";

const HEADERS = 2_000; // Of the newest blocks: what a node gives in one answer.
const BLOCKS = 50; // Of these the transactions are looked through, too.
const WAITING = 1_000;
const MOST_SHOWN = 8;
const HEADER_DIGITS = 160;

/** Where on this page the whole name of something leads, or null. */
async function resolve(text) {
  if (/^\d{1,10}$/.test(text)) {
    const hash = await ask("getblockhash", Number(text));
    return hash && `#/block/${hash}`;
  }
  if (isHash(text)) {
    const id = text.toLowerCase();
    const [block, transaction] = await Promise.all([ask("getblockheader", id), ask("getrawtransaction", id, 0)]);
    return block ? `#/block/${id}` : transaction && `#/tx/${id}`;
  }
  if (/^(Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{20,})$/.test(text)) return `#/content/${text}`;
  const address = await ask("validateaddress", text);
  return address?.isvalid ? `#/address/${address.address}` : null;
}

const LEAST = 4; // Digits of a part. Fewer fit too many names.

/** Digits of a hash's beginning or end, as people copy them from a list: `[isRight]`, or null. */
function partOf(text) {
  const [, before, start, after, end] = /^(…?)([0-9a-f]{0,63})(…?)([0-9a-f]{0,63})$/.exec(text.toLowerCase()) ?? [];
  if (start === undefined || start.length + end.length < LEAST) return null;
  if (after) return (name) => name.startsWith(start) && name.endsWith(end);
  return before ? (name) => name.endsWith(start) : (name) => name.startsWith(start) || name.endsWith(start);
}

/** Recent blocks and transactions with a part in their names: `{href, label}`. The node has no index by parts. */
async function lookThrough(isRight) {
  const tip = await call("getblockcount");
  const from = Math.max(0, tip - HEADERS + 1);
  const [headers, tips, waiting] = await Promise.all([call("getheaders", from, HEADERS), call("getchaintips"), call("getrawmempool", false, WAITING)]);
  const found = waiting.filter(isRight).map((txid) => ({ href: `#/tx/${txid}`, name: txid, label: "waiting transaction" }));
  const hashes = [];
  for (let at = 0; at < headers.length; at += HEADER_DIGITS) {
    hashes.push(showHash(await hash(fromHex(headers.slice(at, at + HEADER_DIGITS)))));
  }
  hashes.forEach((name, i) => isRight(name) && found.push({ href: `#/block/${name}`, name, label: `block ${count(from + i)}` }));
  for (const tip of tips) {
    if (tip.status !== "active" && isRight(tip.hash)) found.push({ href: `#/block/${tip.hash}`, name: tip.hash, label: `side branch, block ${count(tip.height)}` });
  }
  const blocks = await Promise.all(hashes.slice(-BLOCKS).map((name) => ask("getblock", name, 1)));
  for (const block of blocks.filter(Boolean)) {
    for (const txid of block.tx.filter(isRight)) found.push({ href: `#/tx/${txid}`, name: txid, label: `transaction in block ${count(block.height)}` });
  }
  return found;
}

function choice(found) {
  const shown = found.slice(0, MOST_SHOWN).map(({ href, name, label }) => el("li", null, el("a", { href, class: "mono long" }, name), ` ${label}`));
  return [el("p", null, `${plural(found.length, "name")} fit${found.length > MOST_SHOWN ? `; these are the first ${MOST_SHOWN}` : ""}:`), el("ul", null, shown)];
}

export function start() {
  const form = document.getElementById("search");
  const query = document.getElementById("query");
  const found = document.getElementById("found");
  const go = (there) => {
    query.value = "";
    query.blur();
    location.hash = there;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = query.value.trim();
    if (!text) return;
    found.textContent = "";
    try {
      const there = await resolve(text);
      if (there) {
        go(there);
        return;
      }
      const isRight = partOf(text);
      const digits = text.replaceAll("…", "");
      if (isRight) found.textContent = "Looking through recent blocks…";
      const names = isRight ? await lookThrough(isRight) : [];
      if (names.length === 1) go(names[0].href);
      else if (names.length > 1) found.replaceChildren(...choice(names));
      else if (isRight) found.textContent = `No whole name, and no part of one among the waiting transactions, the newest ${count(HEADERS)} blocks, and the transactions of the newest ${BLOCKS}.`;
      else if (/^[0-9a-f…]+$/i.test(text) && digits.length < LEAST && !/^\d+$/.test(text)) found.textContent = `A part of a hash or an id needs ${LEAST} digits at least.`;
      else found.textContent = "This node knows no block, transaction or address of that name.";
    } catch (error) {
      found.textContent = `The search failed: ${error.message}`;
    }
  });
  query.addEventListener("input", () => (found.textContent = ""));
}
