// Blocks as a tree, newest on top: the best chain is the straight trunk at the left, branches stand to its right.

import { el, svg } from "./dom.js";

const ROW = 44;
const LANE = 18;
const DOT = 5.5;

const x = (lane) => 14 + lane * LANE;
const y = (row) => ROW / 2 + row * ROW;

/** `main` and each of `branches[].blocks` run from their end down. `describe(block, status)` says what stands beside one. */
export function tree(main, branches, describe) {
  const all = main.map((block) => ({ block, lane: 0, status: null }));
  const seen = new Set(main.map((block) => block.hash));
  branches.forEach(({ blocks, status }, i) => {
    // Branches may share their lower part, which is drawn once.
    for (const block of blocks.filter((block) => !seen.has(block.hash))) {
      seen.add(block.hash);
      all.push({ block, lane: i + 1, status });
    }
  });
  all.sort((a, b) => b.block.height - a.block.height || a.lane - b.lane);
  const places = new Map(all.map((entry, row) => [entry.block.hash, { ...entry, row }]));
  const lanes = 1 + Math.max(0, ...all.map((entry) => entry.lane));
  const width = x(lanes - 1) + 14;

  const lines = [...places.values()].map(({ block, lane, row }) => {
    const below = places.get(block.previous);
    // What lies below the picture goes on downwards.
    const to = below ?? (block.previous === null ? null : { lane, row: all.length });
    return to && svg("path", { d: path(lane, row, to.lane, to.row), class: lane === 0 ? "trunk" : "branch" });
  });
  const dots = [...places.values()].map(({ lane, row }) =>
    svg("circle", { cx: x(lane), cy: y(row), r: row === 0 ? DOT + 1.5 : DOT, class: lane === 0 ? "trunk" : "branch" }));
  const picture = svg("svg", { width, height: all.length * ROW, viewBox: `0 0 ${width} ${all.length * ROW}`, "aria-hidden": "true" }, lines, dots);
  const items = all.map(({ block, lane, status }) =>
    el("li", { class: lane === 0 ? null : "side" }, describe(block, lane === 0 ? null : status)));
  return el("div", { class: "tree" }, picture, el("ol", { class: "blocks" }, items));
}

/** From a block to the one before it: straight down in its own lane, then over at the end. */
function path(lane, row, toLane, toRow) {
  if (lane === toLane) return `M${x(lane)} ${y(row)}V${y(toRow)}`;
  const bend = y(toRow) - ROW * 0.75;
  return `M${x(lane)} ${y(row)}V${Math.max(bend, y(row))}C${x(lane)} ${y(toRow)} ${x(toLane)} ${bend} ${x(toLane)} ${y(toRow)}`;
}
