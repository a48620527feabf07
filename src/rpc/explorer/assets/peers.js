// The nodes that this one is connected to.

import { el, notice, replace, table } from "./dom.js";
import { ago, bytes, count, duration, plural } from "./format.js";
import { watch } from "./live.js";
import { call } from "./rpc.js";

export const title = () => "Peers";

export function show(place, _, signal, failed) {
  const run = watch(["peer", "tip"], signal, async () => {
    const [peers, totals] = await Promise.all([call("getpeerinfo"), call("getnettotals")]);
    if (signal.aborted) return;
    replace(place, el("h1", null, "Peers"),
      el("p", null, plural(peers.length, "connection"), `; ${bytes(totals.totalbytesrecv)} received and ${bytes(totals.totalbytessent)} sent since the start. The `, el("a", { href: "#/links" }, "map of links"), " shows how they hang together."),
      peers.length === 0
        ? notice("This node is alone.")
        : table("Peers", ["Address", "Direction", ["Height", "number"], ["Ping", "number"], ["Received", "number"], ["Sent", "number"], ["Connected", "number"], "Software", ["Score", "number"]], peers.map(row)));
  }, failed);
  const timer = setInterval(run, 5_000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function row(peer) {
  const heard = `last heard ${ago(peer.lastrecv)}`;
  return [
    el("span", { class: "mono", tabindex: "0", "data-item": true, "data-key": `peer-${peer.id}`, title: `node ${peer.nodeid}, bucket ${peer.bucket ?? "–"}, ${heard}` }, peer.listenaddr ?? peer.addr),
    peer.inbound ? "in" : "out",
    count(Math.max(peer.synced_blocks, peer.startingheight)),
    peer.pingtime === undefined ? "–" : `${(peer.pingtime * 1000).toFixed(0)} ms`,
    bytes(peer.bytesrecv),
    bytes(peer.bytessent),
    duration(Math.max(0, Math.floor(Date.now() / 1000) - peer.conntime)),
    peer.subver,
    String(peer.score),
  ];
}
