// Verification in the browser: of a transaction's receipt, fetched from the node or pasted in.

import { el, replace } from "./dom.js";
import { fromHex, hash, showHash } from "./encoding.js";
import { count, plural } from "./format.js";
import { check, tampered } from "./proof.js";
import { call } from "./rpc.js";

const MOST_HEADERS = 10_000; // In one receipt: a node gives callers without credentials 12,000 at most.
const PAGE = 2_000; // Headers that a node gives at a time.
const HEADER_DIGITS = 160;
const NEWER = 100; // Headers that may have come while the others were read.

export const title = () => "Verify";

/** A transaction's receipt with all headers since genesis. Those of a long chain are read page by page. */
export async function receiptOf(txid) {
  const { blocks } = await call("getblockchaininfo");
  return blocks <= MOST_HEADERS ? call("getreceipt", txid) : receiptInPages(txid);
}

async function receiptInPages(txid) {
  const receipt = await call("getreceipt", txid, "succinct");
  const { tip } = receipt.evidence;
  const { blocks } = await call("getblockchaininfo");
  const pages = [];
  for (let height = 1; height <= blocks; height += PAGE) pages.push(await call("getheaders", height, PAGE));
  const headers = pages.join("");
  for (let newer = 0; newer < NEWER; newer += 1) {
    const end = headers.length - newer * HEADER_DIGITS;
    if (end < HEADER_DIGITS) break;
    const last = await hash(fromHex(headers.slice(end - HEADER_DIGITS, end)));
    if (showHash(last) === tip) return { ...receipt, evidence: { kind: "headers", headers: headers.slice(0, end), tip } };
  }
  throw new Error("the chain was reorganised while its headers were read; try again");
}

/** A button that saves a transaction's receipt as a file, as `cairn proof get` writes it. */
export function download(txid) {
  const button = el("button", { type: "button", id: "download", "data-key": "download" }, "Download receipt");
  const said = el("span", { class: "fine", role: "status" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const text = `${JSON.stringify(await receiptOf(txid), null, 2)}\n`;
      const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      el("a", { href: url, download: `receipt-${txid.slice(0, 16)}.json` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      said.textContent = "";
    } catch (error) {
      said.textContent = error.message;
    }
    button.disabled = false;
  });
  return [button, said];
}

/** A button that checks what `fetchReceipt` answers, `others` beside it, the steps of that and the verdict. */
export function panel(label, fetchReceipt, others = []) {
  const steps = el("ol", { class: "steps" });
  const verdict = el("p", { class: "verdict", role: "status" });
  const tamper = el("input", { type: "checkbox", id: "tamper", "data-key": "tamper" });
  const button = el("button", { type: "button", id: "verify", "data-key": "verify" }, label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    steps.replaceChildren();
    verdict.textContent = "Checking…";
    verdict.dataset.holds = "";
    try {
      const [receipt, info] = await Promise.all([fetchReceipt(), call("getblockchaininfo")]);
      const started = performance.now();
      const outcome = await check(tamper.checked ? tampered(receipt) : receipt, info.genesisblockhash, (step) => steps.append(row(step)));
      conclude(verdict, outcome, performance.now() - started, tamper.checked);
    } catch (error) {
      verdict.textContent = `There is nothing to check: ${error.message}`;
      verdict.dataset.holds = "no";
    }
    button.disabled = false;
  });
  const controls = el("p", { class: "controls" }, button, others,
    el("label", null, tamper, " Tamper: turn over one bit of the proof first"));
  return el("div", { class: "verify" }, controls, verdict, steps);
}

function row({ title: heading, text, lines, bad }) {
  return el("li", { class: bad ? "bad" : "good" },
    el("strong", null, heading), el("p", null, text),
    lines.length > 0 && el("dl", null, lines.map(([label, hash]) => el("div", null, el("dt", null, label), el("dd", { class: "mono long" }, hash)))));
}

function conclude(verdict, outcome, millis, changed) {
  verdict.dataset.holds = outcome.holds ? "yes" : "no";
  if (!outcome.holds) {
    replace(verdict, el("strong", null, "Refused: "), outcome.reason, changed ? ". One bit was turned over, so it should be refused." : ".");
    return;
  }
  replace(verdict, el("strong", null, "Proven. "), "The transaction is in block ", el("a", { href: `#/block/${outcome.block}` }, count(outcome.height)),
    `, with ${plural(outcome.confirmations, "confirmation")}, each the work of a block, in ${plural(outcome.headers, "header")}; ${count(outcome.work)} hashes of work since genesis. Checked here in ${millis.toFixed(0)} ms.`);
}

/** What this check leaves to be trusted. */
export function caveat() {
  return el("p", { class: "fine" }, "Every hash is computed by this browser. What stays to be trusted is the genesis block that this node names, and that difficulty followed the rule: ",
    el("code", null, "cairn proof verify"), " and ", el("a", { href: "verify.html" }, "verify.html"), " check both from this network's genesis.json, which verify.html must be given. If you do not trust this node, take the program or the page from Cairn's sources.");
}

/** The view: a receipt from a file or the clipboard. */
export function show(place) {
  const text = el("textarea", { id: "receipt", rows: "8", spellcheck: "false", placeholder: "{\"format\": \"cairn-receipt\", …}" });
  const file = el("input", { type: "file", accept: ".json,application/json", id: "receipt-file" });
  file.addEventListener("change", async () => {
    if (file.files[0]) text.value = await file.files[0].text();
  });
  const read = async () => {
    if (!text.value.trim()) throw new Error("no receipt was given");
    try {
      return JSON.parse(text.value);
    } catch {
      throw new Error("the text is no JSON");
    }
  };
  replace(place,
    el("h1", null, "Verify a receipt"),
    el("p", null, "A receipt holds a transaction, its Merkle branch and the headers since genesis. ", el("code", null, "cairn proof get TXID -o FILE"), " writes one. It stays in this browser."),
    el("label", { for: "receipt" }, "Receipt"), text,
    el("p", { class: "controls" }, el("label", { for: "receipt-file" }, "or from a file"), file),
    panel("Verify", read),
    caveat());
}
