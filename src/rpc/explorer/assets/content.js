// Content: what is pinned and how to add to it, for the owner; and a block by its CID, with what it links to.

import { el, facts, notice, replace, table, whole } from "./dom.js";
import { linksOf, READABLE } from "./dag.js";
import { bytes, count, plural } from "./format.js";
import { signIn } from "./owner.js";
import { command, ownerKey, setOwnerKey } from "./rpc.js";

const MOST_SHOWN = 500;
const PATIENCE = 30_000;

export const title = (cid) => (cid ? "Block of content" : "Content");

export function show(place, cid, signal, failed) {
  if (cid) block(place, cid, signal).catch((error) => signal.aborted || failed(error));
  else draw(place, signal);
}

const cidName = (cid) => el("span", { class: "name" }, el("a", { href: `#/content/${cid}`, class: "mono long", "data-item": true, "data-key": cid }, cid));

/** Pins, and a place to drop files. */
async function draw(place, signal, note = "") {
  const said = el("p", { class: "said", role: "alert" }, note);
  const top = [el("h1", null, "Content"), el("p", null, "Files under the hash of their bytes, as in IPFS. Everybody who can reach this page can read a block by its CID; the search takes one.")];
  if (ownerKey() === null) {
    replace(place, ...top, signIn("Pins, and adding files, are the owner's.", () => draw(place, signal), said), said);
    return;
  }
  let pins = {};
  try {
    [{ Keys: pins }] = await command("pin/ls");
  } catch (error) {
    if (error.code === 401) setOwnerKey(null);
    if (signal.aborted) return;
    if (error.code === 401) draw(place, signal, error.message);
    else replace(place, ...top, notice(`Pins cannot be shown: ${error.message}`));
    return;
  }
  if (signal.aborted) return;
  const kept = Object.entries(pins ?? {}).filter(([, pin]) => pin.Type !== "indirect").sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = kept.slice(0, MOST_SHOWN);
  replace(place, ...top, adder(place, signal, said), said, el("h2", null, plural(kept.length, "pin")),
    shown.length > 0 && table("Pins", ["CID", "Kind"], shown.map(([cid, pin]) => [cidName(cid), pin.Type])),
    shown.length < kept.length && el("p", { class: "fine" }, `These are the first ${count(MOST_SHOWN)}.`));
}

function adder(place, signal, said) {
  const input = el("input", { type: "file", id: "files", multiple: true, "aria-label": "Files to add" });
  const area = el("div", { class: "drop" }, el("p", null, "Drop files here to add and pin them, or choose some:"), input);
  const add = async (files) => {
    if (files.length === 0) return;
    said.textContent = `Adding ${plural(files.length, "file")}…`;
    const body = new FormData();
    for (const file of files) body.append("file", file, encodeURIComponent(file.name));
    try {
      const added = await command("add?cid-version=1", body);
      await draw(place, signal, added.map(({ Name, Hash }) => `${decodeURIComponent(Name)} is ${Hash}`).join(", "));
    } catch (error) {
      said.textContent = error.message;
    }
  };
  input.addEventListener("change", () => add([...input.files]));
  area.addEventListener("dragover", (event) => event.preventDefault());
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    add([...event.dataTransfer.files]);
  });
  return area;
}

/** A block: its size, its links, and who has it. */
async function block(place, cid, signal) {
  const get = (path) => fetch(path, { credentials: "omit", signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]) });
  const providers = el("p", { role: "status" }, "Asking the network who has it…");
  const heading = [el("h1", null, "Block of content")];
  const found = await get(`/ipfs/${encodeURIComponent(cid)}?format=raw`);
  if (found.status === 400) {
    replace(place, ...heading, notice((await found.text()).trim().slice(0, 300)));
    return;
  }
  if (found.status === 404) replace(place, ...heading, facts(["CID", whole(cid)]), notice("This node does not have the block."), providers);
  else if (!found.ok) throw new Error((await found.text()).slice(0, 300));
  else {
    const node = linksOf(cid, new Uint8Array(await found.arrayBuffer()));
    if (signal.aborted) return;
    const links = node.links.slice(0, MOST_SHOWN);
    replace(place, ...heading,
      facts(["CID", whole(cid)], ["Kind", node.kind], ["Size", bytes(node.size)], ["Links", node.links.length > 0 ? count(node.links.length) : null],
        ["Bytes", node.kind !== READABLE ? null : el("a", { href: `/ipfs/${encodeURIComponent(cid)}?format=raw` }, "download")]),
      links.length > 0 && el("h2", null, "What it links to"),
      links.length > 0 && table("Links", ["Name", "CID", ["Bytes below", "number"]], links.map((link) => [link.name || "–", cidName(link.cid), bytes(link.size)])),
      links.length < node.links.length && el("p", { class: "fine" }, `These are the first ${count(MOST_SHOWN)}.`),
      el("h2", null, "Who has it"), providers);
  }
  const answer = await get(`/routing/v1/providers/${encodeURIComponent(cid)}`);
  if (!answer.ok) {
    replace(providers, "The network cannot be asked now.");
    return;
  }
  const { Providers: named } = await answer.json();
  const own = (provider) => (provider.Protocols ?? []).includes("transport-ipfs-gateway-http");
  if (signal.aborted) return;
  replace(providers, (named ?? []).length === 0 ? "No node says that it has this block." : el("ul", { class: "plain" }, named.map((provider) =>
    el("li", null, own(provider) ? "this node: " : "", el("span", { class: "mono long" }, (provider.Addrs ?? []).join(", ") || provider.ID)))));
}
