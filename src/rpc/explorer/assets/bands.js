// Fees: which rates wait, and the next block as it would be mined.

import { el, svg } from "./dom.js";
import { bytes, count, plural } from "./format.js";

export const rate = (entry) => entry.fees.base / entry.vsize;

/** What a transaction brings a miner who takes what it needs along with it. */
const minersRate = (entry) => Math.min(rate(entry), entry.fees.ancestor / entry.ancestorsize);

/** Of mempool entries `[txid, entry]`, those that fit into a block of `room` bytes, best paying first. */
export function nextBlock(entries, room) {
  const chosen = [];
  let size = 0;
  for (const [txid, entry] of [...entries].sort(([, a], [, b]) => minersRate(b) - minersRate(a))) {
    if (size + entry.vsize > room) continue;
    size += entry.vsize;
    chosen.push([txid, entry]);
  }
  return { chosen, size, fees: chosen.reduce((sum, [, entry]) => sum + entry.fees.base, 0) };
}

/** Bytes by fee rate, in bands that double: `{from, size, transactions}`, best paying first. */
function bands(entries) {
  const found = new Map();
  for (const [, entry] of entries) {
    const power = Math.max(0, Math.floor(Math.log2(Math.max(rate(entry), 1))));
    const band = found.get(power) ?? { from: 2 ** power, size: 0, transactions: 0 };
    band.size += entry.vsize;
    band.transactions += 1;
    found.set(power, band);
  }
  return [...found.values()].sort((a, b) => b.from - a.from);
}

const range = ({ from }) => `${count(from)} to ${count(2 * from)}`;

/** A histogram with its title and units. */
export function histogram(caption, entries) {
  const all = bands(entries);
  const most = Math.max(...all.map((band) => band.size));
  const rows = all.map((band) => el("li", null, el("span", null, range(band)),
    el("meter", { min: 0, max: most, value: band.size, "aria-hidden": "true" }),
    el("span", null, bytes(band.size)), el("span", { class: "fine" }, plural(band.transactions, "tx", "txs"))));
  return el("figure", { class: "histogram" }, el("figcaption", null, caption, " ", el("small", null, "bytes by fee rate, in grains a byte")),
    el("ol", { class: "bands" }, rows));
}

const WIDTH = 1000;
/** Some pixels beside the line around a band, where the bar is narrowest. */
const LEAST_WIDTH = 12;

/** A block as a bar: as much of it is filled as `size` of `room`, each band of fee rates in its shade, the best paying darkest. A
 * band of few bytes is drawn wider than its share, so that it is seen. */
export function blockBar(entries, size, room) {
  const all = bands(entries);
  const widths = all.map((band) => Math.max(LEAST_WIDTH, (WIDTH * band.size) / room));
  const scale = Math.min(1, WIDTH / widths.reduce((sum, width) => sum + width, 0));
  let x = 0;
  const parts = all.map((band, i) => {
    const width = widths[i] * scale;
    const part = svg("rect", { x: x.toFixed(2), y: 0, width: width.toFixed(2), height: 28, "fill-opacity": (1 - (0.7 * i) / all.length).toFixed(2) },
      svg("title", null, `${range(band)} grains a byte: ${bytes(band.size)}, ${plural(band.transactions, "transaction")}`));
    x += width;
    return part;
  });
  const told = all.map((band) => `${range(band)} grains a byte: ${bytes(band.size)}`).join("; ");
  return svg("svg", { class: "block-bar", viewBox: `0 0 ${WIDTH} 28`, preserveAspectRatio: "none", role: "img", "aria-label": `${bytes(size)} of ${bytes(room)} filled. ${told}` }, parts);
}
