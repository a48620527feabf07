// What happens at the node, as it happens: `/events` while it is there, looks at the node now and then while it is not.

import { el } from "./dom.js";
import { moment } from "./format.js";

const FIRST_RETRY = 1_000;
const LAST_RETRY = 30_000;
const POLL = 5_000;
const REST = 250; // Between two runs of one watcher, unless it asks for a longer one.

const told = new EventTarget();
let source = null;
let retry = FIRST_RETRY;
let timer = null;
let poll = null;

function emit(name, data) {
  told.dispatchEvent(new CustomEvent(name, { detail: data }));
}

function show(state) {
  const label = document.getElementById("live");
  if (label.textContent !== state) label.textContent = state;
  label.dataset.state = state;
  const gone = document.getElementById("gone");
  if (state === "live") {
    gone.replaceChildren();
  } else if (!gone.hasChildNodes()) {
    const now = el("button", { type: "button", id: "retry", onclick: reconnect }, "Try now");
    gone.append(el("span", null, el("strong", null, "This node does not answer"), ` since ${moment(Date.now() / 1000).slice(11)}. `,
      "What is shown may be out of date. The page tries again by itself."), now);
  }
}

function connect() {
  timer = null;
  source = new EventSource("/events");
  source.addEventListener("open", () => {
    retry = FIRST_RETRY;
    clearInterval(poll);
    poll = null;
    show("live");
    emit("refresh");
  });
  source.addEventListener("error", () => {
    source.close();
    if (timer !== null || document.hidden) return;
    show("reconnecting");
    poll ??= setInterval(() => emit("refresh"), POLL);
    // Not all pages at the same moment after a restart.
    timer = setTimeout(connect, retry * (0.75 + Math.random() / 2));
    retry = Math.min(2 * retry, LAST_RETRY);
  });
  source.addEventListener("missed", () => emit("refresh"));
  for (const name of ["tip", "block", "transaction", "peer"]) {
    source.addEventListener(name, (event) => emit(name, JSON.parse(event.data)));
  }
}

function disconnect() {
  source?.close();
  clearTimeout(timer);
  clearInterval(poll);
  timer = null;
  poll = null;
}

function reconnect() {
  disconnect();
  connect();
}

/** Begins to listen. A hidden page does not: browsers allow few connections to one server. */
export function start() {
  connect();
  document.addEventListener("visibilitychange", () => {
    disconnect();
    if (!document.hidden) connect();
  });
  addEventListener("pagehide", disconnect);
}

/** Has `heard(data)` called for each event of that name, until `signal` aborts. */
export function on(name, heard, signal) {
  told.addEventListener(name, (event) => heard(event.detail), { signal });
}

/**
 * Runs `work` now, and again after events of these names or when everything should be read anew: never twice at a
 * time, and with a rest of some milliseconds in between. Errors go to `failed`.
 */
export function watch(names, signal, work, failed, rest = REST) {
  let running = false;
  let again = false;
  const run = async () => {
    if (signal.aborted) return;
    if (running) {
      again = true;
      return;
    }
    running = true;
    again = false;
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
    await new Promise((resolve) => setTimeout(resolve, rest));
    running = false;
    if (again) run();
  };
  for (const name of [...names, "refresh"]) on(name, run, signal);
  run();
  return run;
}
