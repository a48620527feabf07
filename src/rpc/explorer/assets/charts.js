// Hash rate, difficulty and block times, out of the headers.

import { el, notice, replace } from "./dom.js";
import { difficultyOf, readHeaders, targetOf, workOf } from "./encoding.js";
import { count, difficulty, duration, moment, rate } from "./format.js";
import { watch } from "./live.js";
import { plot } from "./plot.js";
import { call } from "./rpc.js";

const SPANS = [100, 500, 2000];
const MOST = 2000; // Headers in one answer.

export const title = () => "Charts";

export function show(place, _, signal, failed) {
  let span = SPANS[1];
  let drawing = new AbortController();
  const figures = el("div", { class: "plots" });
  const button = (blocks) => el("button", {
    type: "button", "data-key": `span-${blocks}`, "data-span": blocks,
    onclick: () => {
      span = blocks;
      run();
    },
  }, count(blocks));
  const buttons = SPANS.map(button);
  const run = watch(["tip"], signal, async () => {
    const tip = await call("getblockcount");
    // Genesis may be of any age: block 1 is the first whose time says something.
    const from = Math.max(1, tip - Math.min(span, MOST) + 1);
    const headers = tip >= 1 ? readHeaders(await call("getheaders", from, MOST)) : [];
    if (signal.aborted) return;
    drawing.abort();
    drawing = new AbortController();
    if (!place.contains(figures)) {
      replace(place, el("h1", null, "Charts"),
        el("p", { class: "controls", role: "group", "aria-label": "Blocks shown" }, "Last ", buttons, " blocks"), figures);
    }
    for (const node of buttons) node.setAttribute("aria-pressed", String(Number(node.dataset.span) === span));
    replace(figures, headers.length < 3 ? notice("There are too few blocks yet.") : plots(headers, from, drawing.signal));
  }, failed);
  signal.addEventListener("abort", () => drawing.abort());
}

function plots(headers, from, signal) {
  const targets = headers.map((header) => targetOf(header.bits));
  const works = targets.map((target) => Number(workOf(target)));
  const difficulties = headers.map((header, i) => ({ time: header.time, value: difficultyOf(targets[i]) }));
  const waits = headers.slice(1).map((header, i) => {
    const wait = header.time - headers[i].time;
    return { time: header.time, value: Math.max(0, wait), label: `Block ${count(from + i + 1)}, ${moment(header.time)}: ${duration(wait)}` };
  });
  const mean = (headers.at(-1).time - headers[0].time) / (headers.length - 1);
  return [
    plot({ caption: "Hash rate", points: rates(headers, works), style: "line", show: rate }, signal),
    plot({ caption: "Difficulty", points: steady(difficulties), style: "line", show: difficulty }, signal),
    plot({ caption: "Time between blocks", points: steady(waits), style: "dots", show: duration, mark: { value: mean, label: `mean ${duration(mean)}` } }, signal),
  ];
}

/** Hashes a second around each block: the work of a window of blocks by the time they took. */
function rates(headers, works) {
  const width = Math.max(2, Math.min(60, Math.floor(headers.length / 5)));
  const found = [];
  for (let end = width; end < headers.length; end += 1) {
    const seconds = Math.max(1, headers[end].time - headers[end - width].time);
    const work = works.slice(end - width + 1, end + 1).reduce((sum, value) => sum + value, 0);
    found.push({ time: headers[end].time, value: work / seconds });
  }
  return steady(found);
}

/** Block times may run backwards by a little; a plot's do not. */
function steady(points) {
  let latest = 0;
  return points.map((point) => ({ ...point, time: (latest = Math.max(latest, point.time)) }));
}
