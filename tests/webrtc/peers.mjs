// Waits until the light client's page in a Chromium with this debugging port shows another page that agrees with it.
// Usage: peers.mjs PORT
import assert from "node:assert/strict";

const rows = "Array.from(document.querySelectorAll('#peers li'), (row) => row.textContent)";
const tabs = async () => (await fetch(`http://127.0.0.1:${process.argv[2]}/json`)).json();
const end = Date.now() + 60_000;
const pause = () => new Promise((resolve) => setTimeout(resolve, 200));

let tab;
while (!tab) {
    assert.ok(Date.now() < end, "Chromium does not open the page");
    tab = (await tabs().catch(() => [])).find(({ type, url }) => type === "page" && url.endsWith("/light"));
    await pause();
}
const socket = new WebSocket(tab.webSocketDebuggerUrl);
await new Promise((resolve) => (socket.onopen = resolve));
const show = () =>
    new Promise((resolve) => {
        socket.onmessage = ({ data }) => resolve(JSON.parse(data).result.result.value ?? []);
        socket.send(JSON.stringify({ id: 1, method: "Runtime.evaluate", params: { expression: rows, returnByValue: true } }));
    });
for (;;) {
    const peers = await show();
    if (peers.some((row) => row.startsWith("page/") && row.endsWith("agrees"))) break;
    assert.ok(Date.now() < end, `no page is found; the peers are ${peers.join("; ")}`);
    await pause();
}
process.exit(0);
