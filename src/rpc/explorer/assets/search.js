// One field for heights, hashes, ids and addresses.

import { ask } from "./rpc.js";

/** Where on this page a text leads, or null. */
async function resolve(text) {
  if (/^\d{1,10}$/.test(text)) {
    const hash = await ask("getblockhash", Number(text));
    return hash && `#/block/${hash}`;
  }
  if (/^[0-9a-fA-F]{64}$/.test(text)) {
    const id = text.toLowerCase();
    const [block, transaction] = await Promise.all([ask("getblockheader", id), ask("getrawtransaction", id, 0)]);
    return block ? `#/block/${id}` : transaction && `#/tx/${id}`;
  }
  const address = await ask("validateaddress", text);
  return address?.isvalid ? `#/address/${address.address}` : null;
}

export function start() {
  const form = document.getElementById("search");
  const query = document.getElementById("query");
  const found = document.getElementById("found");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = query.value.trim();
    if (!text) return;
    found.textContent = "";
    try {
      const there = await resolve(text);
      if (there) {
        query.value = "";
        query.blur();
        location.hash = there;
      } else {
        found.textContent = "This node knows no block, transaction or address of that name.";
      }
    } catch (error) {
      found.textContent = `The search failed: ${error.message}`;
    }
  });
  query.addEventListener("input", () => (found.textContent = ""));
}
