// What the owner can do: mine, and on test networks pay, fork, pause nodes and come back to snapshots. Each part is there if
// the node offers it. Every call carries the owner's credentials, which no page of another site knows.

import { addressName, blockName, el, facts, replace, transactionName } from "./dom.js";
import { count, plural, rate } from "./format.js";
import { watch } from "./live.js";
import { call, callAsOwner, callAsOwnerWithin, ownerKey, setOwnerKey } from "./rpc.js";

const TRIES = 2_000_000; // Hashes in a call: less than a second.
const MOST_HASHES = 2 ** 32; // Above this, one computer finds no block while the owner waits.
const HASHES_OF_DIFFICULTY_1 = 2 ** 32;
const PAUSED = -1; // The code of what is refused for want of a node that runs.
const GRAINS = 100_000_000;
const FORKING = 600_000; // A fork takes as long as its blocks.

export const title = () => "Owner";

export function show(place, _, signal, failed) {
  const said = el("p", { class: "said", role: "status" });
  const unread = el("p", { role: "status" }); // Why the node could not be read. What an action has said stays.
  const parts = el("div");
  const typed = new Map(); // What was typed into each field.
  let drawn = null;
  let begun = 0, ended = 0; // Actions. The parts are busy until they show what the last one has led to.
  let isPressed = false; // A button that is drawn anew between press and release is not clicked.
  const again = () => dispatchEvent(new Event("hashchange"));
  if (ownerKey() === null) {
    replace(place, el("h1", null, "Owner"), signIn("These controls are the owner's.", again, said), said);
    return;
  }
  /** Credentials that are refused are forgotten. */
  const refused = (error) => {
    replace(said, error.message);
    if (error.code === 401) {
      setOwnerKey(null);
      again();
    }
  };
  /** A button that does something, once at a time, and says what came of it. */
  const button = (key, label, work) => el("button", {
    type: "button", "data-key": key, id: key,
    onclick: async (event) => {
      const { target } = event;
      target.disabled = true;
      begun += 1;
      parts.setAttribute("aria-busy", "true");
      replace(said, "…");
      try {
        replace(said, await work());
      } catch (error) {
        refused(error);
      }
      target.disabled = false;
      drawn = null;
      ended += 1;
      run();
    },
  }, label);
  const part = (heading, ...content) => el("section", { class: "owners" }, el("h2", null, heading), content);
  const input = (id, label, properties) => {
    const kept = typed.has(id) ? { value: typed.get(id) } : {};
    const field = el("input", { id, autocomplete: "off", spellcheck: "false", "data-key": id, ...properties, ...kept });
    field.addEventListener("input", () => typed.set(id, field.value));
    return [field, el("label", null, label, field)];
  };

  const miner = (mining) => {
    const [payee, field] = input("payee", "Address to pay", { value: mining.address ?? "" });
    const start = async () => {
      await callAsOwner("setgenerate", true, 1, payee.value.trim());
      return "Mining.";
    };
    const stop = async () => {
      await callAsOwner("setgenerate", false);
      return "Mining has stopped.";
    };
    const one = async () => {
      while (!signal.aborted) {
        const [hash] = await callAsOwner("generatetoaddress", 1, payee.value.trim(), TRIES);
        if (hash) return ["Mined ", blockName(hash)];
      }
      return "";
    };
    const isQuick = mining.next.difficulty * HASHES_OF_DIFFICULTY_1 <= MOST_HASHES;
    return part("Mining", facts(
      ["This node", mining.generate ? `${plural(mining.genproclimit, "thread")}, ${rate(mining.hashespersec)}` : "does not mine"],
      ["Next block", `height ${count(mining.next.height)}`], ["Paid last", mining.address && addressName(mining.address)]),
    field, el("p", { class: "controls" }, isQuick && button("mine", "Mine a block", one),
      mining.generate ? button("stop", "Stop mining", stop) : button("start", "Start mining", start)));
  };

  const faucet = () => {
    const [payee, to] = input("to", "Address to pay", {});
    const [coins, amount] = input("coins", "Coins", { type: "number", min: "0", step: "any", value: "10" });
    return part("Faucet", el("p", { class: "fine" }, "Pays from the test network's wallet."), to, amount,
      el("p", { class: "controls" }, button("pay", "Pay", async () =>
        ["Paid by ", transactionName(await callAsOwner("sendtestcoins", payee.value.trim(), Math.round(Number(coins.value) * GRAINS)))])));
  };

  const fork = (links) => {
    if (links.nodes.length < 2) return null;
    const [blocks, depth] = input("depth", "Blocks to give up", { type: "number", min: "1", max: "10000", value: "1" });
    return part("Fork", el("p", { class: "fine" }, "Cuts the network in two, mines in both halves and heals it, until all nodes agree. Closing this page ends it early."), depth,
      el("p", { class: "controls" }, button("fork", "Fork", async () => {
        const done = await callAsOwnerWithin(FORKING, "forktestnet", Number(blocks.value));
        return [`${plural(done.depth, "block")} given up, up to `, blockName(done.old.hash), "; all nodes agree on ", blockName(done.new.hash)];
      })));
  };

  const nodes = (links) => part("Nodes", el("ul", { class: "plain" }, links.nodes.map((node) => el("li", { class: "controls" },
    `${node.name}: height ${count(node.height)}${node.paused ? ", paused" : ""}`,
    node.paused
      ? button(`resume-${node.name}`, "Resume", async () => (await callAsOwner("resumenode", node.name), `${node.name} goes on.`))
      : button(`pause-${node.name}`, "Pause", async () => (await callAsOwner("pausenode", node.name), `${node.name} stands still.`))))),
  el("p", { class: "fine" }, "Links are cut on the ", el("a", { href: "#/links" }, "map of links"), "."));

  const kept = (snapshots) => {
    const [name, field] = input("snapshot", "Name", { maxlength: "64", placeholder: "before" });
    return part("Snapshots", snapshots.length > 0 && el("ul", { class: "plain" }, snapshots.map((one) => el("li", { class: "controls" },
      `${one.name}: height ${count(one.height)}`,
      button(`revert-${one.name}`, "Revert", async () => {
        const { milliseconds } = await callAsOwner("revertsnapshot", one.name);
        return `Back at ${one.name}, in ${milliseconds.toFixed(0)} ms.`;
      }),
      button(`drop-${one.name}`, "Forget", async () => (await callAsOwner("dropsnapshot", one.name), `${one.name} is forgotten.`))))),
    field, el("p", { class: "controls" }, button("take", "Take a snapshot", async () => (await callAsOwner("takesnapshot", name.value.trim()), `${name.value.trim()} is taken.`))));
  };

  replace(place, el("h1", null, "Owner"), said, unread, parts);
  const run = watch(["tip", "peer"], signal, async () => {
    // A paused node says only that it is.
    const unlessPaused = (error) => {
      if (error.code !== PAUSED) throw error;
      return null;
    };
    const asked = [call("getlinks"), call("getmininginfo").catch(unlessPaused), callAsOwner("listsnapshots").catch(unlessPaused)];
    const known = ended;
    let answers;
    try {
      answers = await Promise.all(asked);
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === 401) refused(error);
      else replace(unread, error.message);
      return;
    }
    if (signal.aborted) return;
    replace(unread);
    const [links, mining, snapshots] = answers;
    const seen = JSON.stringify([mining?.generate, mining?.address, mining?.next, links.nodes.map((node) => [node.name, node.paused, node.height]), snapshots]);
    if (isPressed) return;
    if (begun === ended && known === ended) parts.removeAttribute("aria-busy");
    // What is being typed stays as it is.
    if (seen === drawn || document.activeElement.matches("input") && parts.contains(document.activeElement)) return;
    drawn = seen;
    replace(parts, mining && miner(mining), links.managed && [faucet(), fork(links)], links.chaos && [nodes(links), snapshots && kept(snapshots)]);
  }, failed);
  parts.addEventListener("pointerdown", ({ button }) => { isPressed = button === 0; });
  for (const end of ["pointerup", "pointercancel"]) {
    addEventListener(end, () => {
      if (!isPressed) return;
      isPressed = false;
      setTimeout(run); // After the click, which comes next.
    }, { signal });
  }
  const timer = setInterval(run, 5_000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** For those who did not come by the link with the credentials in it. */
export function signIn(why, done, said) {
  const user = el("input", { id: "user", autocomplete: "username", value: "__cookie__" });
  const password = el("input", { id: "password", type: "password", autocomplete: "current-password" });
  const form = el("form", { class: "sign-in" },
    el("p", { class: "fine" }, why, " User and password are in the file .cookie of the node's data directory."),
    el("label", null, "User", user), el("label", null, "Password", password), el("button", null, "Sign in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setOwnerKey(`${user.value}:${password.value}`);
    try {
      await callAsOwner("uptime");
      said.textContent = "";
      done();
    } catch (error) {
      setOwnerKey(null);
      said.textContent = error.message;
    }
  });
  return form;
}
