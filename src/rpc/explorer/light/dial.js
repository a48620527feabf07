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
