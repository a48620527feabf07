// Blocks of the best chain from a height down, page by page.

import { newest } from "./blocks.js";
import { addressName, blockName, el, notice, replace, table } from "./dom.js";
import { bytes, count, moment } from "./format.js";
import { watch } from "./live.js";
import { ask, call } from "./rpc.js";

const SHOWN = 25;

export const title = () => "Blocks";

export function show(place, from, signal, failed) {
  watch(["tip"], signal, async () => {
    const tip = await call("getblockcount");
    const top = /^\d{1,10}$/.test(from) ? Math.min(Number(from), tip) : tip;
    const hash = await ask("getblockhash", top);
    const blocks = hash ? await newest(hash, top, SHOWN) : [];
    if (signal.aborted || blocks.length === 0) return;
    const lowest = blocks.at(-1).height;
    const arrow = (height, rel, text) => height === null
      ? el("span", { class: "off" }, text)
      : el("a", { href: height >= tip ? "#/blocks" : `#/blocks/${height}`, rel, "data-key": rel }, text);
    const arrows = () => el("nav", { "aria-label": "Pages" },
      arrow(top < tip ? top + SHOWN : null, "next", "← newer"), arrow(lowest > 0 ? lowest - 1 : null, "prev", "older →"));
    replace(place,
      el("header", { class: "heading" }, el("h1", null, "Blocks ", el("small", null, `${count(top)} to ${count(lowest)}`)), arrows()),
      table("Blocks", ["Height", ["Transactions", "number"], ["Size", "number"], "Time", "Hash", "Mined by"], blocks.map(row)),
      blocks.length < SHOWN && lowest === 0 ? notice("Genesis is the first.") : el("p", { class: "controls" }, arrows()));
  }, failed);
}

function row(block) {
  return [
    el("a", { href: `#/block/${block.hash}`, class: "height", "data-item": true, "data-key": block.hash }, count(block.height)),
    block.transactions === null ? "no body" : count(block.transactions),
    block.size === null ? "" : bytes(block.size),
    moment(block.time),
    blockName(block.hash, 6),
    block.miner ? addressName(block.miner, 8) : "–",
  ];
}
