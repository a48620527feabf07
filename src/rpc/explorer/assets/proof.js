// The check of a receipt (docs/receipts.md), step by step, from nothing but its bytes.

import { equal, hash, join, numberOf, readHash, readHeaders, showHash, showTarget, fromHex, targetOf, workOf } from "./encoding.js";
import { plural } from "./format.js";

const AT_A_TIME = 500; // Headers hashed between two looks at the screen.

/** Why a proof does not hold. */
class Refused extends Error {}

function demand(holds, reason) {
  if (!holds) throw new Refused(reason);
}

/**
 * Checks a receipt against the genesis block of that hash (text). `step` is told `{title, text, lines}` as it goes;
 * lines are `[label, hash]`. Answers `{holds, reason}` or `{holds, txid, block, height, headers, confirmations, work}`.
 */
export async function check(receipt, genesis, step) {
  try {
    return { holds: true, ...(await follow(receipt, genesis, step)) };
  } catch (error) {
    // Whatever is malformed shows as some error: it is no proof either way.
    step({ title: "Refused", text: error.message, lines: error.lines ?? [], bad: true });
    return { holds: false, reason: error.message };
  }
}

async function follow(receipt, genesis, step) {
  demand(receipt !== null && typeof receipt === "object", "this is no receipt");
  demand(receipt.format === "cairn-receipt", "this is no receipt: its format is not cairn-receipt");
  demand(receipt.network === genesis, `it is of another network, whose genesis block is ${String(receipt.network)}`);
  demand(receipt.evidence?.kind === "headers", `its evidence is of kind ${String(receipt.evidence?.kind)}, which this page does not check; cairn proof verify does`);
  step({ title: "Network", text: "The receipt names this network's genesis block.", lines: [["genesis", genesis]] });

  const transaction = fromHex(String(receipt.transaction));
  demand(transaction.length !== 64, "a transaction of 64 bytes could be an inner node of a tree (CVE-2017-12842)");
  const txid = await hash(transaction);
  step({ title: "Transaction id", text: `SHA-256 twice over the ${transaction.length} bytes of the transaction.`, lines: [["txid", showHash(txid)]] });

  const root = await climb(txid, receipt, step);
  const headers = readHeaders(String(receipt.evidence.headers));
  const { height } = receipt;
  demand(Number.isInteger(height) && height >= 1 && height <= headers.length, `it has no header at height ${String(height)}`);
  const header = headers[height - 1];
  const block = await hash(header.bytes);
  demand(equal(root, header.merkleRoot), `the branch ends at ${showHash(root)}, but the header of block ${height} has the Merkle root ${showHash(header.merkleRoot)}`);
  step({ title: "Merkle root", text: `The branch ends at the root that stands in the header of block ${height}.`, lines: [["root in the header", showHash(header.merkleRoot)]] });

  const target = targetOf(header.bits);
  demand(numberOf(block) <= target, `the block's hash ${showHash(block)} is above its target ${showTarget(target)}`);
  step({ title: "Proof of work", text: "The header's hash, as a number, is not above the target that its bits stand for.", lines: [["block hash", showHash(block)], ["target", showTarget(target)]] });

  const work = await connect(headers, genesis, receipt.evidence.tip);
  step({
    title: "Chain",
    text: `Of ${plural(headers.length, "header")}, each names the one before it, from genesis to the tip, and each one's hash meets its target.`,
    lines: [["genesis", genesis], ["tip", receipt.evidence.tip]],
  });
  return { txid: showHash(txid), block: showHash(block), height, headers: headers.length - height + 1, confirmations: confirmationsOf(headers, height), work };
}

/** From the transaction's id up to the root. */
async function climb(txid, receipt, step) {
  demand(Array.isArray(receipt.branch) && receipt.branch.length <= 32, "it has no Merkle branch");
  demand(Number.isInteger(receipt.index) && receipt.index >= 0 && receipt.index < 2 ** 32, "it does not say where in the block the transaction is");
  let node = txid;
  let index = receipt.index;
  for (const [level, text] of receipt.branch.entries()) {
    const neighbour = readHash(text);
    const right = index % 2 === 1;
    // Otherwise a block could be made to seem to hold a transaction twice.
    demand(!(right && equal(node, neighbour)), "a left neighbour equals the node itself (CVE-2012-2459)");
    const [a, b] = right ? [neighbour, node] : [node, neighbour];
    node = await hash(join(a, b));
    index = Math.floor(index / 2);
    step({
      title: `Merkle branch, level ${level + 1} of ${receipt.branch.length}`,
      text: `Hashed together with its neighbour on the ${right ? "left" : "right"}.`,
      lines: [["left", showHash(a)], ["right", showHash(b)], ["parent", showHash(node)]],
    });
  }
  demand(index === 0, "the transaction's place lies outside of a tree of this depth");
  if (receipt.branch.length === 0) {
    step({ title: "Merkle branch", text: "The transaction is alone in its block: its id is the root.", lines: [["root", showHash(node)]] });
  }
  return node;
}

/**
 * Confirmations, which are counted in work: one is that of the largest block in the last sixteenth of the work before the
 * payment's, or of the payment's. Headers by themselves may be had for nothing.
 */
function confirmationsOf(headers, height) {
  const works = headers.map((header) => workOf(targetOf(header.bits)));
  const sum = (list) => list.reduce((total, work) => total + work, 0n);
  const window = sum(works.slice(0, height - 1)) / 16n;
  let unit = works[height - 1];
  for (let [at, back] = [height - 2, 0n]; at >= 0 && back <= window; at -= 1) {
    if (works[at] > unit) unit = works[at];
    back += works[at];
  }
  return Number(sum(works.slice(height - 1)) / unit);
}

/** Follows the headers from genesis to the tip; answers their work. */
async function connect(headers, genesis, tip) {
  let previous = readHash(genesis);
  let work = 0n;
  for (let from = 0; from < headers.length; from += AT_A_TIME) {
    const some = headers.slice(from, from + AT_A_TIME);
    const hashes = await Promise.all(some.map((header) => hash(header.bytes)));
    some.forEach((header, i) => {
      const height = from + i + 1;
      demand(equal(header.previous, previous), `the header at height ${height} names another block before it`);
      const target = targetOf(header.bits);
      demand(target > 0n && numberOf(hashes[i]) <= target, `the header at height ${height} lacks proof of work`);
      work += workOf(target);
      previous = hashes[i];
    });
  }
  demand(showHash(previous) === tip, `the last header's hash is ${showHash(previous)}, the receipt says ${String(tip)}`);
  return work;
}

/** The same receipt with one bit of its branch turned over; of its transaction, if the branch is empty. */
export function tampered(receipt) {
  const flip = (hex) => (parseInt(hex[0], 16) ^ 1).toString(16) + hex.slice(1);
  if (receipt.branch.length === 0) return { ...receipt, transaction: flip(receipt.transaction) };
  const [first, ...rest] = receipt.branch;
  return { ...receipt, branch: [flip(first), ...rest] };
}

