// The map of links: nodes in a circle, links between them, and a board to cut, slow and heal a link.

import { blockName, el, replace, svg } from "./dom.js";
import { count, plural } from "./format.js";
import { watch } from "./live.js";
import { signIn } from "./owner.js";
import { call, callAsOwner, ownerKey, setOwnerKey } from "./rpc.js";

const SIZE = 400;
const CENTRE = SIZE / 2;
const RADIUS = 140;
const KNOB = 0.4; // Where on a link its handle sits.
const SLOW = { delay_ms: 800 };
const LOSSY = { loss: 0.3 };
const HEALED = { cut: false, delay_ms: 0, loss: 0, bandwidth: 0 };

export const title = () => "Links";

export function show(place, _, signal, failed) {
  const map = el("div", { class: "map" });
  const side = el("section", { class: "board", "aria-label": "Link", "aria-live": "polite" });
  const text = el("p", null);
  let chosen = null;
  let drawn = null;
  const draw = () => {
    replace(map, picture(drawn, chosen, choose));
    replace(side, ...board(drawn, chosen, act, draw));
  };
  const choose = (key) => {
    chosen = key;
    draw();
  };
  const run = watch(["tip", "peer"], signal, async () => {
    const answer = await call("getlinks");
    if (signal.aborted) return;
    const before = JSON.stringify(drawn);
    drawn = network(answer);
    if (!place.contains(map)) replace(place, el("h1", null, "Links"), text, el("div", { class: "network" }, map, side));
    replace(text, ...caption(drawn));
    if (JSON.stringify(drawn) !== before) draw();
  }, failed);
  /** Changes the chosen link at each end that is in this process. */
  const act = async (settings) => {
    const link = drawn.links.get(chosen);
    for (const { node, peer } of link.ends) await callAsOwner("setlink", peer, settings, node);
    await run();
  };
  const timer = setInterval(run, 2_000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Nodes by name, and links by the names of both ends, out of what each node tells of its own. */
function network({ chaos, nodes }) {
  const points = new Map(nodes.map((node) => [node.name, { ...node, own: true }]));
  const links = new Map();
  for (const node of nodes) {
    for (const link of node.links) {
      const other = link.name ?? link.listenaddr ?? link.addr;
      if (!points.has(other)) points.set(other, { name: other, own: false, height: null, tip: null });
      const [a, b] = [node.name, other].sort();
      const key = `${a} – ${b}`;
      const found = links.get(key) ?? { key, a, b, up: false, cut: false, delay_ms: 0, loss: 0, bandwidth: 0, ends: [] };
      found.up ||= link.peer !== null;
      found.cut ||= link.cut;
      found.delay_ms = Math.max(found.delay_ms, link.delay_ms);
      found.loss = Math.max(found.loss, link.loss);
      found.bandwidth = Math.max(found.bandwidth, link.bandwidth);
      const peer = link.name ?? link.listenaddr ?? String(link.peer);
      if (!found.ends.some((end) => end.node === node.name)) found.ends.push({ node: node.name, peer });
      links.set(key, found);
    }
  }
  // What only one end tells of concerns the other one too, if it is of this process.
  for (const link of links.values()) {
    for (const [node, peer] of [[link.a, link.b], [link.b, link.a]]) {
      if (points.get(node).own && points.get(peer).own && !link.ends.some((end) => end.node === node)) link.ends.push({ node, peer });
    }
  }
  return { chaos, points: [...points.values()], links: new Map([...links].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))) };
}

function stateOf(link) {
  if (link.cut) return "cut";
  if (!link.up) return "down";
  if (link.loss > 0) return "lossy";
  return link.delay_ms > 0 || link.bandwidth > 0 ? "slow" : "open";
}

function describe(link) {
  const parts = [];
  if (link.cut) parts.push("cut");
  else parts.push(link.up ? "connected" : "no connection");
  if (link.delay_ms > 0) parts.push(`${count(link.delay_ms)} ms of delay`);
  if (link.loss > 0) parts.push(`${Math.round(100 * link.loss)} % of messages lost`);
  if (link.bandwidth > 0) parts.push(`at most ${plural(link.bandwidth, "byte")} a second`);
  return parts.join(", ");
}

function caption({ chaos, points, links }) {
  const tips = new Set(points.filter((point) => point.tip).map((point) => point.tip));
  return [
    `${plural(points.length, "node")}, ${plural(links.size, "link")}. `,
    tips.size > 1 ? `The nodes of this process stand at ${tips.size} different tips. ` : "",
    chaos ? "Choose a link to cut it, slow it down or heal it." : "This node was started without --chaos, so links are shown but cannot be changed.",
  ];
}

function picture({ points, links }, chosen, choose) {
  const tips = [...new Set(points.filter((point) => point.tip).sort((a, b) => b.height - a.height).map((point) => point.tip))];
  const angle = (i) => (2 * Math.PI * i) / points.length - Math.PI / 2;
  const places = new Map(points.map((point, i) => [point.name, { x: CENTRE + RADIUS * Math.cos(angle(i)), y: CENTRE + RADIUS * Math.sin(angle(i)) }]));
  const line = (link) => {
    const [from, to] = [places.get(link.a), places.get(link.b)];
    const ends = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
    const pick = () => choose(link.key);
    // Not in the middle, where links cross.
    const knob = { cx: from.x + KNOB * (to.x - from.x), cy: from.y + KNOB * (to.y - from.y), r: 7, class: "knob" };
    return svg("g", {
      class: `link ${stateOf(link)}${link.key === chosen ? " chosen" : ""}`, role: "button", tabindex: "0",
      "data-item": true, "data-key": `link-${link.key}`, "data-link": link.key, "data-state": stateOf(link),
      "aria-label": `Link ${link.a} to ${link.b}: ${describe(link)}`, "aria-pressed": String(link.key === chosen),
      onclick: pick,
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick();
      },
    }, svg("title", null, `${link.key}: ${describe(link)}`), svg("line", { ...ends, class: "hit" }), svg("line", { ...ends, class: "wire" }), svg("circle", knob));
  };
  const node = (point) => {
    const { x, y } = places.get(point.name);
    const tip = point.tip ? Math.min(tips.indexOf(point.tip), 3) : "other";
    return svg("g", { class: `node tip-${tip}` }, svg("title", null, point.tip ? `${point.name} at height ${point.height}, tip ${point.tip}` : `${point.name}, outside of this process`),
      svg("circle", { cx: x, cy: y, r: point.own ? 26 : 14 }),
      point.own && svg("text", { x, y: y + 5, class: "height" }, count(point.height)),
      svg("text", { x, y: y + (y < CENTRE - 1 ? -34 : 46), class: "label" }, point.name));
  };
  return svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "group", "aria-label": "Map of links" }, [...links.values()].map(line), points.map(node));
}

function board(drawn, chosen, act, draw) {
  const link = drawn.links.get(chosen);
  if (!link) return [el("h2", null, "No link chosen"), el("p", { class: "fine" }, "Click one, or reach it with Tab or j and k, and press Enter.")];
  const tips = drawn.points.filter((point) => point.tip && (point.name === link.a || point.name === link.b));
  const said = el("p", { class: "said", role: "alert" });
  const heading = [el("h2", null, link.key), el("p", { id: "link-state", "data-state": stateOf(link) }, describe(link)),
    el("ul", { class: "plain" }, tips.map((point) => el("li", null, `${point.name}: height ${count(point.height)}, `, blockName(point.tip, 6))))];
  if (!drawn.chaos) return heading;
  if (ownerKey() === null) return [...heading, signIn("Changing links is the owner's.", draw, said), said];
  const button = (id, label, settings, pressed) => el("button", {
    type: "button", id, "data-key": id, "aria-pressed": String(pressed),
    onclick: async (event) => {
      event.target.disabled = true;
      try {
        await act(settings);
      } catch (error) {
        if (error.code === 401) setOwnerKey(null);
        said.textContent = error.message;
      }
      event.target.disabled = false;
    },
  }, label);
  return [...heading, el("p", { class: "controls" },
    button("cut", "Cut", { cut: !link.cut }, link.cut),
    button("slow", `Slow: ${SLOW.delay_ms} ms`, link.delay_ms > 0 ? { delay_ms: 0 } : SLOW, link.delay_ms > 0),
    button("lossy", `Lossy: ${100 * LOSSY.loss} %`, link.loss > 0 ? { loss: 0 } : LOSSY, link.loss > 0),
    button("heal", "Heal", HEALED, false)), said];
}
