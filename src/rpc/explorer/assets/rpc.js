// Calls to this node. Those made in one go travel in one request.

const MOST_IN_A_BATCH = 100; // What /public takes.
const PATIENCE = 30_000;
const STORED = "cairn.key";
const UNKNOWN = [-1, -3, -5, -8]; // Not here, not there, no such height, no such thing.

class RpcError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function post(path, body, headers, patience = PATIENCE) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
    // Otherwise the browser asks for a password by itself when one is refused.
    credentials: "omit",
    signal: AbortSignal.timeout(patience),
  });
  if (response.status === 401) throw new RpcError(401, "the user or password is wrong, or of an earlier run");
  if (response.status === 503) throw new RpcError(503, "the node has too much to do; try again");
  if (!(response.headers.get("Content-Type") ?? "").startsWith("application/json")) {
    throw new RpcError(response.status, (await response.text()).trim() || `HTTP status ${response.status}`);
  }
  return response.json();
}

let waiting = [];

async function flush() {
  const calls = waiting.splice(0, MOST_IN_A_BATCH);
  if (waiting.length > 0) queueMicrotask(flush);
  try {
    const requests = calls.map((call, id) => ({ jsonrpc: "2.0", id, method: call.method, params: call.params }));
    const answers = new Map((await post("/public", requests)).map((answer) => [answer.id, answer]));
    calls.forEach((call, id) => {
      const answer = answers.get(id);
      if (!answer) call.reject(new RpcError(0, "the node left the call unanswered"));
      else if (answer.error) call.reject(new RpcError(answer.error.code, answer.error.message));
      else call.resolve(answer.result);
    });
  } catch (error) {
    calls.forEach((call) => call.reject(error));
  }
}

/** A call that needs no credentials. */
export function call(method, ...params) {
  return new Promise((resolve, reject) => {
    waiting.push({ method, params, resolve, reject });
    if (waiting.length === 1) queueMicrotask(flush);
  });
}

/** The same; null if the node does not know what is asked for. */
export async function ask(method, ...params) {
  try {
    return await call(method, ...params);
  } catch (error) {
    if (error instanceof RpcError && UNKNOWN.includes(error.code)) return null;
    throw error;
  }
}

/** The header with the owner's credentials. */
function authorization() {
  const key = ownerKey();
  if (key === null) throw new RpcError(401, "this needs the node's user and password");
  return { Authorization: `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(key)))}` };
}

/** A call with the owner's credentials. */
export const callAsOwner = (method, ...params) => callAsOwnerWithin(PATIENCE, method, ...params);

/** The same that may take so many milliseconds. */
export async function callAsOwnerWithin(patience, method, ...params) {
  const answer = await post("/", { jsonrpc: "2.0", id: 1, method, params }, authorization(), patience);
  if (answer.error) throw new RpcError(answer.error.code, answer.error.message);
  return answer.result;
}

/** One of Kubo's commands, with the owner's credentials: the lines of its answer. */
export async function command(name, body) {
  const response = await fetch(`/api/v0/${name}`, { method: "POST", headers: authorization(), body, credentials: "omit" });
  const text = await response.text();
  if (!response.ok) throw new RpcError(response.status, response.status === 401 ? "the user or password is wrong" : text.slice(0, 500));
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** `USER:PASSWORD`, or null. It is kept for as long as the tab is open. */
export function ownerKey() {
  return sessionStorage.getItem(STORED);
}

export function setOwnerKey(key) {
  if (key === null) sessionStorage.removeItem(STORED);
  else sessionStorage.setItem(STORED, key);
}

/** Takes credentials out of the address bar, where `#key=USER:PASSWORD` brought them, before anyone sees them there. */
export function takeKeyFromAddress() {
  const given = /^#key=([^&]+)(?:&(\/.*))?$/.exec(location.hash);
  if (!given) return;
  history.replaceState(null, "", `${location.pathname}#${given[2] ?? "/"}`);
  try {
    setOwnerKey(decodeURIComponent(given[1]));
  } catch {
    setOwnerKey(given[1]); // Typed by hand, with a percent sign in it.
  }
}
