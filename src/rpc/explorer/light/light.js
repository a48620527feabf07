// The light client's page: it carries bytes between the WebAssembly module, which does all checking, and the data channels of
// nodes, and shows what the module says. Before this stands MODULE_HASH, the SHA-256 of the module.

/** Bytes of a message on a data channel. */
const FRAME = 16 * 1024;
/** Milliseconds until a dial has failed. */
const DIAL_TIMEOUT = 15_000;
/** Connections at a time: a browser counts closed ones for a while. */
const MAX_CONNECTIONS = 8;

const $ = (id) => document.getElementById(id);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** IP, port and certificate hash of a node's address; throws what is wrong with it. */
function parseAddress(text) {
    const found = /^\/ip([46])\/([^/]+)\/udp\/(\d{1,5})\/webrtc-direct\/certhash\/u([\w-]+)$/.exec(text);
    if (!found) throw new Error(`${text} is not an address: expected /ip4/IP/udp/PORT/webrtc-direct/certhash/HASH`);
    const multihash = fromBase64(found[4].replaceAll("-", "+").replaceAll("_", "/"));
    if (multihash.length !== 34 || multihash[0] !== 0x12 || multihash[1] !== 32) {
        throw new Error(`${found[4]} is not a SHA-256 multihash`);
    }
    return { family: found[1], ip: found[2], port: Number(found[3]), hash: multihash.subarray(2) };
}

/** The node's side of the session description, which no one has to send: docs/protocol.md has every line. */
function answer({ family, ip, port, hash }, fragment) {
    const fingerprint = Array.from(hash, (byte) => hex([byte]).toUpperCase()).join(":");
    return [
        "v=0",
        "o=- 0 0 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        `c=IN IP${family} ${ip}`,
        "a=mid:0",
        `a=ice-ufrag:${fragment}`,
        `a=ice-pwd:${fragment}`,
        `a=fingerprint:sha-256 ${fingerprint}`,
        "a=setup:passive",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        `a=candidate:1 1 udp 2130706431 ${ip} ${port} typ host`,
        "",
    ].join("\r\n");
}

/** A data channel to a node, once it is open, and the page's certificate on it. */
async function dial(address) {
    const node = parseAddress(address);
    const connection = new RTCPeerConnection();
    const channel = connection.createDataChannel("cairn", { negotiated: true, id: 0 });
    channel.binaryType = "arraybuffer";
    try {
        const ready = new Promise((resolve, reject) => {
            channel.onopen = resolve;
            channel.onclose = () => reject(new Error("the node closed the channel"));
            connection.onconnectionstatechange = () => {
                if (connection.connectionState === "failed") reject(new Error("no answer"));
            };
            setTimeout(() => reject(new Error("no answer in time")), DIAL_TIMEOUT);
        });
        // It is awaited below; until then a failure must not count as unheard.
        ready.catch(() => {});
        await connection.setLocalDescription(await connection.createOffer());
        const offer = connection.localDescription.sdp;
        const certificate = /^a=fingerprint:sha-256 ([\dA-Fa-f:]+)/m.exec(offer)[1].replaceAll(":", "");
        const password = /^a=ice-pwd:(\S+)/m.exec(offer)[1];
        const bytes = certificate.match(/../g).map((byte) => parseInt(byte, 16));
        const fragment = `1${btoa(String.fromCharCode(...bytes)).replace(/=+$/, "")}${password}`;
        await connection.setRemoteDescription({ type: "answer", sdp: answer(node, fragment) });
        await ready;
        return { connection, channel, certificate: certificate.toLowerCase() };
    } catch (error) {
        connection.close();
        throw error;
    }
}

/** The compiled module. */
async function loadModule() {
    const packed = new Blob([fromBase64($("module").textContent.trim())]);
    const bytes = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    // Over http from another machine browsers offer no hash.
    if (crypto.subtle && hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))) !== MODULE_HASH) {
        throw new Error("the module is not the one that this page was made with");
    }
    return WebAssembly.compile(bytes);
}

/** Runs a client of these nodes. `told` gets each line that it says, and `changed` is called when its status may differ. */
async function run(module, genesis, peers, told, changed) {
    const { exports: client } = await WebAssembly.instantiate(module);
    const open = new Map();
    let timer;
    const output = () => new Uint8Array(client.memory.buffer, client.output(), client.output_length()).slice();
    const text = () => new TextDecoder().decode(output());
    const put = (bytes) => {
        // First the room: making it may move the memory.
        const at = client.room(bytes.length);
        new Uint8Array(client.memory.buffer, at, bytes.length).set(bytes);
    };
    const putText = (words) => put(new TextEncoder().encode(words));
    const times = () => [performance.now(), Math.floor(Date.now() / 1000)];

    const act = () => {
        for (let next; (next = client.next_output()) !== 0n; ) {
            const [kind, argument] = [Number(next >> 32n), Number(next & 0xffffffffn)];
            const bytes = output();
            if (kind === 1) reach(new TextDecoder().decode(bytes));
            else if (kind === 2) write(open.get(argument), bytes);
            else if (kind === 3) close(argument);
            else if (kind === 5) {
                clearTimeout(timer);
                timer = setTimeout(() => input(() => client.tick(...times())), argument);
            } else if (kind === 6) told(new TextDecoder().decode(bytes));
        }
        changed();
    };
    const input = (call) => {
        call();
        act();
    };
    const write = (link, bytes) => {
        if (link?.channel.readyState !== "open") return;
        for (let at = 0; at < bytes.length; at += FRAME) link.channel.send(bytes.subarray(at, at + FRAME));
    };
    const close = (number) => {
        const link = open.get(number);
        open.delete(number);
        if (!link) return;
        link.channel.onclose = link.channel.onmessage = link.connection.onconnectionstatechange = null;
        link.connection.close();
    };
    const reach = async (address) => {
        let link;
        try {
            if (open.size >= MAX_CONNECTIONS) throw new Error("too many connections");
            link = await dial(address);
        } catch (error) {
            told(`${address}: ${error.message}`);
            input(() => {
                putText(address);
                client.dial_failed(...times());
            });
            return;
        }
        putText(`${address} ${link.certificate}`);
        const number = client.opened(...times());
        open.set(number, link);
        const ended = () => {
            if (!open.has(number)) return;
            close(number);
            input(() => client.closed(number, ...times()));
        };
        link.channel.onmessage = ({ data }) => {
            put(new Uint8Array(data));
            input(() => client.received(number, ...times()));
        };
        link.channel.onclose = ended;
        // The channel itself stays open when its link is gone.
        link.connection.onconnectionstatechange = () => {
            if (["failed", "closed"].includes(link.connection.connectionState)) ended();
        };
        act();
    };

    const seed = crypto.getRandomValues(new Uint8Array(32));
    const beginning = new TextEncoder().encode(genesis);
    const start = new Uint8Array(seed.length + beginning.length);
    start.set(seed);
    start.set(beginning, seed.length);
    put(start);
    if (client.start() !== 1) throw new Error(text());
    for (const peer of peers) {
        putText(peer);
        if (client.peer() !== 1) throw new Error(`${peer} is not an address`);
    }
    input(() => client.tick(...times()));
    return {
        status() {
            client.status();
            return text();
        },
        /** Asks for the proven balance of an address: `false` if it is none. */
        own(address) {
            putText(address);
            const taken = client.own(...times()) === 1;
            act();
            return taken;
        },
        stop() {
            clearTimeout(timer);
            for (const number of [...open.keys()]) close(number);
        },
    };
}

let client;
let module;

function show() {
    const lines = (client?.status() ?? "").split("\n").map((line) => line.split(" "));
    const tip = lines.find(([kind]) => kind === "tip");
    if (tip) {
        const [, height, hash, time, work] = tip;
        $("height").textContent = height;
        $("tip").textContent = hash;
        $("time").textContent = new Date(Number(time) * 1000).toISOString().replace("T", " ").replace(/\..*/, " UTC");
        $("work").textContent = `0x${work.replace(/^0+(?=.)/, "")}`;
    }
    const peers = lines.filter(([kind]) => kind === "peer");
    const agree = peers.filter(([, , standing]) => standing === "agrees").length;
    $("agree").textContent = `${agree} of ${peers.length}`;
    $("state").textContent = agree > 0 ? "verified" : "not verified";
    $("state").dataset.verified = String(agree > 0);
    $("peers").replaceChildren(
        ...peers.map(([, address, ...standing]) => {
            const row = document.createElement("li");
            const [name, what] = [document.createElement("code"), document.createElement("span")];
            name.textContent = address;
            what.textContent = standing.join(" ");
            row.append(name, " ", what);
            return row;
        }),
    );
    const balance = lines.find(([kind]) => kind === "balance");
    if (balance) {
        const [, grains, coins, edge, committed, followed] = balance;
        const whole = BigInt(grains) / 100_000_000n;
        const rest = (BigInt(grains) % 100_000_000n).toString().padStart(8, "0").replace(/0+$/, "");
        $("balance").textContent = `${whole}${rest ? `.${rest}` : ""}`;
        const root = committed === "-" ? "genesis" : `block ${committed}, which commits to all coins after block ${edge}`;
        $("proof").textContent = `${coins} coins, none left out: from ${root}, followed to block ${followed}.`;
    }
}

function tell(line) {
    const row = document.createElement("li");
    row.textContent = line;
    $("log").prepend(row);
    while ($("log").childElementCount > 50) $("log").lastChild.remove();
}

async function begin(peers) {
    client?.stop();
    client = undefined;
    try {
        peers.forEach(parseAddress);
        $("address").value = peers.join(" ");
        module ??= await loadModule();
        client = await run(module, $("genesis").textContent, peers, tell, show);
        show();
    } catch (error) {
        tell(error.message);
        $("state").textContent = error.message;
    }
}

/** The nodes that the link names, or else the one that served the page. */
function named() {
    const link = new URLSearchParams(location.hash.slice(1)).getAll("peer");
    if (link.length > 0) return link;
    // A node that listens at all its addresses does not know by which of them the page came.
    const host = location.hostname === "localhost" ? "127.0.0.1" : location.hostname;
    const own = $("page").dataset.peer.replace("/ip4/0.0.0.0/", `/ip4/${host}/`);
    return own === "" ? [] : [own];
}

$("dial").addEventListener("submit", (event) => {
    event.preventDefault();
    begin($("address").value.split(/\s+/).filter((peer) => peer !== ""));
});
$("own").addEventListener("submit", (event) => {
    event.preventDefault();
    $("balance").textContent = "";
    $("proof").textContent = client?.own($("whose").value.trim()) ? "asking" : "that is not an address of this network";
});
addEventListener("hashchange", () => begin(named()));
addEventListener("pagehide", () => client?.stop());
begin(named());
