// Measures how long the light client's page takes from its opening to a verified tip, and again with what it has kept: the
// median of some runs, each beginning with nothing kept, in a Chromium with this debugging port.
// Usage: opening.mjs PORT URL [RUNS]
import assert from "node:assert/strict";

const [port, url, runs = "5"] = process.argv.slice(2);
const tabs = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
const socket = new WebSocket(tabs.find(({ type }) => type === "page").webSocketDebuggerUrl);
await new Promise((resolve) => (socket.onopen = resolve));
const answers = new Map();
socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(data);
    answers.get(id)?.(result);
};
let last = 0;
const call = (method, params = {}) =>
    new Promise((resolve) => {
        answers.set(++last, resolve);
        socket.send(JSON.stringify({ id: last, method, params }));
    });
const run = async (expression) => (await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true })).result.value;

/** Milliseconds since the navigation at which the page shows that a node agrees with a tip above genesis. */
const verified = `new Promise((resolve) => {
    const look = () => {
        const text = (id) => document.getElementById(id)?.textContent;
        if (text("state") === "verified" && text("height") !== "0") resolve([performance.now(), text("height")]);
        else requestAnimationFrame(look);
    };
    look();
})`;
const open = async () => {
    // Another page between, so that the next is loaded anew.
    await call("Page.navigate", { url: "about:blank" });
    await call("Page.navigate", { url });
    for (;;) {
        const [time, height] = (await run(verified)) ?? [];
        if (time !== undefined) return { time, height };
    }
};
const median = (times) => times.toSorted((a, b) => a - b)[times.length >> 1].toFixed(0);

const [first, again] = [[], []];
let height;
for (let n = 0; n < Number(runs); n++) {
    await call("Storage.clearDataForOrigin", { origin: new URL(url).origin, storageTypes: "all" });
    const fresh = await open();
    first.push(fresh.time);
    height = fresh.height;
    again.push((await open()).time);
}
assert.equal(first.length, Number(runs));
console.log(`${height} blocks: ${median(first)} ms from the opening to a verified tip, ${median(again)} ms when it is opened again`);
process.exit(0);
