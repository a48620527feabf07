// The nodes that this one is connected to.

import { el, notice, replace, table } from "./dom.js";
import { ago, bytes, count, duration, moment, plural } from "./format.js";
import { watch } from "./live.js";
import { call } from "./rpc.js";

export const title = () => "Peers";

export function show(place, _, signal, failed) {
  const run = watch(["peer", "tip"], signal, async () => {
    const [peers, totals] = await Promise.all([call("getpeerinfo"), call("getnettotals")]);
    if (signal.aborted) return;
    const browsers = peers.filter((peer) => kind(peer) === "browser").length;
    replace(place, el("h1", null, "Peers"),
      el("p", null, plural(peers.length, "connection"), browsers > 0 && `, ${count(browsers)} of them with browsers`, `; ${bytes(totals.totalbytesrecv)} received and ${bytes(totals.totalbytessent)} sent since the start. The `, el("a", { href: "#/links" }, "map of links"), " shows how they hang together."),
      peers.length === 0
        ? notice("This node is alone.")
        : table("Peers", ["Address", "Kind", "Direction", ["Height", "number"], ["Ping", "number"], ["Received", "number"], ["Sent", "number"], ["Connected", "number"], "Software", ["Score", "number"]], peers.map(row)));
  }, failed);
  const timer = setInterval(run, 5_000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** A page in a browser, a client that serves no peer, or a node. */
function kind(peer) {
  if (peer.transport === "webrtc") return "browser";
  return peer.servicesnames.length > 0 ? "node" : "client";
}

/** A browser's address is long: most of it is the hash of a certificate by which no other peer knows it. */
function short(address) {
  const [, family, ip, , port] = address.split("/");
  if (port === undefined) return address;
  return family === "ip6" ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function row(peer) {
  const address = peer.listenaddr ?? peer.addr;
  const about = `${address}, node ${peer.nodeid}, bucket ${peer.bucket ?? "–"}, last heard ${ago(peer.lastrecv)}`;
  return [
    el("span", { class: "mono", tabindex: "0", "data-item": true, "data-key": `peer-${peer.id}`, title: about }, short(address)),
    kind(peer),
    peer.inbound ? "in" : "out",
    count(Math.max(peer.synced_blocks, peer.startingheight)),
    peer.pingtime === undefined ? "–" : `${(peer.pingtime * 1000).toFixed(0)} ms`,
    bytes(peer.bytesrecv),
    bytes(peer.bytessent),
    el("span", { title: `since ${moment(peer.conntime)}` }, duration(Math.max(0, Math.floor(Date.now() / 1000) - peer.conntime))),
    peer.subver,
    String(peer.score),
  ];
}
