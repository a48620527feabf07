// What happens at the node, as it happens: `/events` while it is there, looks at the node now and then while it is not.

const FIRST_RETRY = 1_000;
const LAST_RETRY = 30_000;
const POLL = 5_000;
const REST = 250; // Between two runs of one watcher.

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

/** Begins to listen. A page that nobody looks at does not: browsers allow few connections to one server. */
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
 * time, and not more often than a few times a second. Errors go to `failed`.
 */
export function watch(names, signal, work, failed) {
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
    await new Promise((resolve) => setTimeout(resolve, REST));
    running = false;
    if (again) run();
  };
  for (const name of [...names, "refresh"]) on(name, run, signal);
  run();
  return run;
}
