// Plots over time, drawn by hand: one line or many points, two axes, readable on a phone.

import { el, svg } from "./dom.js";

const HEIGHT = 220;
const LEFT = 78;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 26;
const LABEL = 60; // The width of a time.

/** Round numbers from 0, or from `low`, to at least `high`: about `wanted` of them. */
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((candidate) => candidate >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}

const STEPS = [1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 604800, 2592000, 31536000];

/** Times at which the clock of this machine shows round ones. */
function timeTicks(from, to, wanted) {
  const step = STEPS.find((candidate) => (to - from) / candidate <= wanted) ?? STEPS.at(-1);
  const zone = new Date(from * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let time = Math.ceil((from - zone) / step) * step + zone; time <= to; time += step) found.push(time);
  return { step, found };
}

function timeLabel(time, step) {
  const date = new Date(time * 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (step >= 86400) return `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${two(date.getHours())}:${two(date.getMinutes())}${step < 60 ? `:${two(date.getSeconds())}` : ""}`;
}

/**
 * A figure with its caption. `points` are `{time, value, href?, label}`; `style` is "line" or "dots"; `mark` is a
 * horizontal line `{value, label}`; `show` writes values. It is drawn again when its width changes, until `signal`.
 */
export function plot({ caption, points, style, show, mark }, signal) {
  const place = el("div", { class: "plot" });
  const figure = el("figure", null, el("figcaption", null, caption), place);
  const observer = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 100) place.replaceChildren(draw(width, { caption, points, style, show, mark }));
  });
  observer.observe(figure);
  signal.addEventListener("abort", () => observer.disconnect());
  return figure;
}

function draw(width, { caption, points, style, show, mark }) {
  const from = points[0].time;
  const to = Math.max(points.at(-1).time, from + 1);
  const sorted = points.map((point) => point.value).sort((a, b) => a - b);
  // A few stragglers do not flatten all the others: they are drawn at the upper edge.
  const top = style === "dots" ? sorted[Math.floor(0.98 * (sorted.length - 1))] : sorted.at(-1);
  const high = 1.08 * Math.max(top, mark?.value ?? 0) || 1;
  const x = (time) => LEFT + ((width - LEFT - RIGHT) * (time - from)) / (to - from);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(value, high) / high);

  const grid = ticks(0, high, 4).map((value) => [
    svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
    svg("text", { x: LEFT - 8, y: y(value) + 4, class: "left" }, show(value)),
  ]);
  const { step, found } = timeTicks(from, to, Math.max(2, Math.floor(width / 110)));
  const times = found.map((time) => svg("text", { x: x(time), y: HEIGHT - 6, class: x(time) > width - LABEL / 2 ? "below last" : "below" }, timeLabel(time, step)));
  const marked = mark && [
    svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(mark.value), y2: y(mark.value), class: "mark" }),
    svg("text", { x: width - RIGHT, y: y(mark.value) - 5, class: "marked" }, mark.label),
  ];
  const drawn = style === "line"
    ? svg("path", { class: "line", d: points.map((point, i) => `${i === 0 ? "M" : "L"}${x(point.time).toFixed(1)} ${y(point.value).toFixed(1)}`).join("") })
    : points.map((point) => svg("circle", { cx: x(point.time).toFixed(1), cy: y(point.value).toFixed(1), r: 2.6, class: "dot" }, svg("title", null, point.label)));
  const last = points.at(-1);
  const summary = `${caption}: from ${show(points[0].value)} to ${show(last.value)}, at most ${show(sorted.at(-1))}`;
  return svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": summary }, grid, times, drawn, marked);
}
