// Runs the WebAssembly module as a page would, with TCP in the place of WebRTC: it syncs with a node, keeps the headers, and a
// second instance goes on from them. Usage: drive.mjs MODULE GENESIS PEER HEIGHT
import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { readFile } from "node:fs/promises";
import net from "node:net";

const [path, genesis, peer, expected] = process.argv.slice(2);
const module = await WebAssembly.compile(await readFile(path));
assert.deepEqual(WebAssembly.Module.imports(module), [], "the module imports something");
const genesisBytes = await readFile(genesis);

/** A client that runs until it is synced: its height, the headers that it keeps, and what it told. */
async function sync({ beginning, above, headers }) {
    const { exports: client } = await WebAssembly.instantiate(module);
    const put = (bytes) => {
        // First the room: making it may move the memory.
        const at = client.room(bytes.length);
        new Uint8Array(client.memory.buffer, at, bytes.length).set(bytes);
    };
    const putText = (text) => put(new TextEncoder().encode(text));
    const output = () => Buffer.from(client.memory.buffer, client.output(), client.output_length());
    const times = () => [performance.now(), Math.floor(Date.now() / 1000)];

    put(Buffer.concat([webcrypto.getRandomValues(new Uint8Array(32)), genesisBytes]));
    assert.equal(client.start(), 1, output().toString());
    putText(peer);
    assert.equal(client.peer(), 1);
    for (const kept of [beginning, headers].filter((kept) => kept.length > 0)) {
        put(kept);
        client.load();
    }
    const sockets = new Map();
    const told = [];
    let timer;
    let received = 0;
    return new Promise((resolve, reject) => {
        const act = () => {
            for (let next; (next = client.next_output()) !== 0n; ) {
                const [kind, argument] = [Number(next >> 32n), Number(next & 0xffffffffn)];
                // A copy: the module's memory may move when it grows.
                const bytes = Buffer.from(output());
                if (kind === 1) dial(bytes.toString());
                else if (kind === 2) sockets.get(argument)?.write(bytes);
                else if (kind === 3) sockets.get(argument)?.destroy();
                else if (kind === 4) headers = Buffer.concat([headers.subarray(0, (argument - above) * 80), bytes]);
                else if (kind === 7) [beginning, above] = [bytes, argument];
                else if (kind === 5) {
                    clearTimeout(timer);
                    timer = setTimeout(() => input(() => client.tick(...times())), argument);
                } else if (kind === 6) told.push(bytes.toString());
                // It has no part for content.
                else if (kind !== 9) reject(new Error(`an output of kind ${kind}`));
            }
            if (client.is_synced()) {
                clearTimeout(timer);
                for (const socket of sockets.values()) socket.destroy();
                resolve({ height: client.height(), kept: { beginning, above, headers }, told, received });
            }
        };
        const input = (call) => {
            try {
                call();
                act();
            } catch (error) {
                reject(error);
            }
        };
        const dial = (address) => {
            const [host, port] = address.split(":");
            const socket = net.connect(Number(port), host);
            let number = 0;
            socket.on("connect", () =>
                input(() => {
                    putText(address);
                    number = client.opened(...times());
                    sockets.set(number, socket);
                }),
            );
            socket.on("data", (bytes) =>
                input(() => {
                    received += bytes.length;
                    put(bytes);
                    client.received(number, ...times());
                }),
            );
            socket.on("error", () => {});
            socket.on("close", () =>
                input(() => {
                    if (number > 0) return client.closed(number, ...times());
                    putText(address);
                    client.dial_failed(...times());
                }),
            );
        };
        input(() => client.tick(...times()));
    });
}

const first = await sync({ beginning: Buffer.alloc(0), above: 0, headers: Buffer.alloc(0) });
assert.equal(first.height, Number(expected));
assert.ok(first.kept.beginning.length > 0, "so long a chain is proven");
assert.equal(first.kept.headers.length, 80 * (first.height - first.kept.above), "the headers behind the proof are kept once");
assert.ok(first.told.includes("Synced"), first.told.join("; "));
const second = await sync(first.kept);
assert.equal(second.height, first.height);
assert.deepEqual(second.kept, first.kept);
assert.ok(second.received < 80 * 2000, `${second.received} bytes came again`);
console.log(`the module synced to height ${first.height} (${first.received} bytes), and again (${second.received} bytes)`);
process.exit(0);
