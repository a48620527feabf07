// Calls between pages: what two browsers tell each other through a node, until there is a data channel between them.

/** Most bytes of a description. */
const MAX_DESCRIPTION = 2048;
/** Milliseconds that a browser has to find out at which addresses it can be reached. */
const GATHER_TIMEOUT = 2_000;
/** Most addresses of another page to which packets are sent. */
const MAX_CANDIDATES = 16;
/** A candidate for UDP at an IP address or a name of mDNS: nothing else is a stranger's to choose. */
const CANDIDATE = /^[\w+/]+ 1 udp \d+ (?:[\da-f.:]+|[\da-f-]+\.local) \d+ typ (?:host|srflx)\b[ -~]*$/i;

/** Where a node answers plain STUN, unless it is on this machine. */
function stunServer(address) {
    const { family, ip, port } = parseAddress(address);
    if (ip.startsWith("127.") || ip === "::1") return [];
    return [{ urls: `stun:${family === "6" ? `[${ip}]` : ip}:${port}` }];
}

/** This side of a connection as text: certificate, fragment, password, and an address a line. */
async function describe(connection) {
    if (connection.iceGatheringState !== "complete") {
        await new Promise((resolve) => {
            connection.onicegatheringstatechange = () => connection.iceGatheringState === "complete" && resolve();
            setTimeout(resolve, GATHER_TIMEOUT);
        });
    }
    const { certificate, fragment, password, candidates } = essence(connection.localDescription.sdp);
    const lines = [certificate, fragment, password];
    for (const candidate of candidates.slice(0, MAX_CANDIDATES)) {
        if ([...lines, candidate].join("\n").length <= MAX_DESCRIPTION) lines.push(candidate);
    }
    return lines.join("\n");
}

/** Another page's side as a session description, and its certificate; throws if the text is none. */
function described(text, setup) {
    const [certificate, fragment, password, ...candidates] = text.split("\n");
    const isWord = (word) => /^[A-Za-z\d+/]{4,256}$/.test(word ?? "");
    const isWhole = /^[\da-f]{64}$/.test(certificate) && isWord(fragment) && isWord(password);
    if (!isWhole || candidates.length > MAX_CANDIDATES || !candidates.every((candidate) => CANDIDATE.test(candidate))) {
        throw new Error("a page sent no description");
    }
    return { certificate, sdp: remote({ hash: fromHex(certificate), fragment, password, setup, candidates }) };
}

/** Takes part in calls: `signal` sends a description, `opened` gets a channel, and `failed` is told of a call without one. */
function calls(servers, signal, opened, failed) {
    const links = new Map();
    const end = (id) => {
        links.get(id)?.connection.close();
        links.delete(id);
    };
    const isCurrent = (id, link) => links.get(id) === link;
    const wait = async (id, link) => {
        await link.ready;
        if (!isCurrent(id, link)) return;
        links.delete(id);
        opened(id, link);
    };
    /** By the numbers of the module's output: describe, take, complete, end. */
    const steps = [
        async (id, link) => {
            await link.connection.setLocalDescription(await link.connection.createOffer());
            const text = await describe(link.connection);
            if (isCurrent(id, link)) signal(id, text);
        },
        async (id, link, text) => {
            const { certificate, sdp } = described(text, "actpass");
            link.theirs = certificate;
            await link.connection.setRemoteDescription({ type: "offer", sdp });
            await link.connection.setLocalDescription(await link.connection.createAnswer());
            const own = await describe(link.connection);
            if (isCurrent(id, link)) signal(id, own);
            await wait(id, link);
        },
        async (id, link, text) => {
            const { certificate, sdp } = described(text, "active");
            link.theirs = certificate;
            await link.connection.setRemoteDescription({ type: "answer", sdp });
            await wait(id, link);
        },
    ];
    return {
        async step(number, id, text) {
            const act = steps[number];
            if (number !== 2) end(id);
            if (!act) return;
            let link = links.get(id);
            if (number === 2 && !link) return;
            try {
                if (number !== 2) {
                    link = connect(servers());
                    links.set(id, link);
                }
                await act(id, link, text);
            } catch (error) {
                link?.connection.close();
                if (!isCurrent(id, link)) return;
                links.delete(id);
                failed(id, error);
            }
        },
        stop: () => [...links.keys()].forEach(end),
    };
}
