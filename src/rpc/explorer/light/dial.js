// Dials nodes: from an address to an open data channel. Before this stands HASHES, the SHA-256 of each module.

/** Milliseconds until a dial has failed. */
const DIAL_TIMEOUT = 15_000;

const $ = (id) => document.getElementById(id);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
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

/** The other side's session description, which it does not send: docs/protocol.md has every line. */
function remote({ hash, fragment, password, setup, candidates, lite = [], at = "IP4 0.0.0.0" }) {
    const fingerprint = Array.from(hash, (byte) => hex([byte]).toUpperCase()).join(":");
    return [
        "v=0",
        "o=- 0 0 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        ...lite,
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        `c=IN ${at}`,
        "a=mid:0",
        `a=ice-ufrag:${fragment}`,
        `a=ice-pwd:${password}`,
        `a=fingerprint:sha-256 ${fingerprint}`,
        `a=setup:${setup}`,
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        ...candidates.map((candidate) => `a=candidate:${candidate}`),
        "",
    ].join("\r\n");
}

/** What the other side has to know of a page's session description. */
function essence(sdp) {
    const find = (pattern) => pattern.exec(sdp)[1];
    return {
        certificate: find(/^a=fingerprint:sha-256 ([\dA-Fa-f:]+)/m).replaceAll(":", "").toLowerCase(),
        fragment: find(/^a=ice-ufrag:(\S+)/m),
        password: find(/^a=ice-pwd:(\S+)/m),
        candidates: Array.from(sdp.matchAll(/^a=candidate:(\S+ 1 udp .*)$/gim), ([, candidate]) => candidate.trim()),
    };
}

/** A connection with its data channel, which `ready` says is open. */
function connect(iceServers) {
    const connection = new RTCPeerConnection({ iceServers });
    const channel = connection.createDataChannel("cairn", { negotiated: true, id: 0 });
    channel.binaryType = "arraybuffer";
    const ready = new Promise((resolve, reject) => {
        channel.onopen = resolve;
        channel.onclose = () => reject(new Error("the other side closed the channel"));
        connection.onconnectionstatechange = () => {
            if (connection.connectionState === "failed") reject(new Error("no answer"));
        };
        setTimeout(() => reject(new Error("no answer in time")), DIAL_TIMEOUT);
    });
    // It is awaited later; until then a failure must not count as unheard.
    ready.catch(() => {});
    return { connection, channel, ready };
}

/** A data channel to a node, once it is open, and the page's certificate on it. */
async function dial(address) {
    const { family, ip, port, hash } = parseAddress(address);
    const link = connect([]);
    try {
        await link.connection.setLocalDescription(await link.connection.createOffer());
        const { certificate, password } = essence(link.connection.localDescription.sdp);
        const fragment = `1${btoa(String.fromCharCode(...fromHex(certificate))).replace(/=+$/, "")}${password}`;
        const node = {
            hash,
            fragment,
            password: fragment,
            setup: "passive",
            candidates: [`1 1 udp 2130706431 ${ip} ${port} typ host`],
            lite: ["a=ice-lite"],
            at: `IP${family} ${ip}`,
        };
        await link.connection.setRemoteDescription({ type: "answer", sdp: remote(node) });
        await link.ready;
        return { ...link, certificate };
    } catch (error) {
        link.connection.close();
        throw error;
    }
}
