// Runs the WebAssembly module, which does all checking: carries bytes between it and the data channels of nodes.

/** Bytes of a message on a data channel. */
const FRAME = 16 * 1024;
/** Connections to nodes at a time, with eight that are remembered, two that are found, and four that have content: a browser
 * counts closed ones for a while. */
const MAX_CONNECTIONS = 16;

/** A compiled module of the page. */
async function loadModule(name) {
    const packed = new Blob([fromBase64($(name).textContent.trim())]);
    const bytes = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    // Over http from another machine browsers offer no hash.
    if (crypto.subtle && hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))) !== HASHES[name]) {
        throw new Error(`the ${name} is not the one that this page was made with`);
    }
    return WebAssembly.compile(bytes);
}

const bytesOf = (text) => new TextEncoder().encode(text);

/** What a module's memory has for the page, and how the page puts bytes there. */
const memory = (exports) => ({
    output: () => new Uint8Array(exports.memory.buffer, exports.output(), exports.output_length()).slice(),
    put: (bytes) => {
        // First the room: making it may move the memory.
        const at = exports.room(bytes.length);
        new Uint8Array(exports.memory.buffer, at, bytes.length).set(bytes);
    },
});

/** Runs a client of these nodes, which calls the page of the id `sought` before others. `told` gets each line that it says, and `changed` is called when its status may differ. */
async function run(module, genesis, peers, sought, told, changed) {
    const { exports: client } = await WebAssembly.instantiate(module);
    const open = new Map();
    let timer;
    const { output, put } = memory(client);
    const text = () => new TextDecoder().decode(output());
    const putText = (words) => put(bytesOf(words));
    const times = () => [performance.now(), Math.floor(Date.now() / 1000)];

    let isStopped = false;
    const act = () => {
        // What was asked for before must not go on beside the next client.
        if (isStopped) return;
        for (let next; (next = client.next_output()) !== 0n; ) {
            const [kind, argument] = [Number(next >> 32n), Number(next & 0xffffffffn)];
            const bytes = output();
            if (kind === 1) reach(new TextDecoder().decode(bytes));
            else if (kind === 2) write(open.get(argument), bytes);
            else if (kind === 3) close(argument);
            else if (kind === 4) chain.keep(argument, bytes);
            else if (kind === 7) chain.begin(argument, bytes);
            else if (kind === 8) {
                const [, id, words] = /^(\w+)\n([^]*)$/.exec(new TextDecoder().decode(bytes));
                pages.step(argument, id, words);
            } else if (kind === 9) content.heard(argument, open.get(argument)?.name, bytes);
            else if (kind === 5) {
                clearTimeout(timer);
                timer = setTimeout(() => input(() => client.tick(...times())), argument);
            } else if (kind === 6) told(new TextDecoder().decode(bytes));
            else if (kind === 10) {
                const [, liar, lie] = /^(.*)\n([^]*)$/.exec(new TextDecoder().decode(bytes));
                told(`${liar} lied: it ${lie}`);
                // A page has another id the next time.
                if (liar.startsWith("/")) barNode(network, liar, lie);
            }
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
        content.gone(number);
        link.channel.onclose = link.channel.onmessage = link.connection.onconnectionstatechange = null;
        link.connection.close();
    };
    const isBarred = (address) => lieOf(network, address) !== undefined;
    const reach = async (address) => {
        // Another node named it.
        if (isBarred(address)) return unreached(address);
        let link;
        try {
            if ([...open.values()].filter(({ node }) => node).length >= MAX_CONNECTIONS) throw new Error("too many connections");
            link = await dial(address);
        } catch (error) {
            return failed(address, error);
        }
        if (isStopped) {
            link.connection.close();
            return;
        }
        link.node = address;
        attach(`${address} ${link.certificate}`, link);
    };
    /** Gives the client a channel that is open. */
    const attach = (words, link) => {
        putText(words);
        const number = client.opened(...times());
        open.set(number, link);
        link.name = words.split(" ")[0];
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

    const unreached = (address) =>
        input(() => {
            putText(address);
            client.dial_failed(...times());
        });
    const failed = (address, error) => {
        told(`${address}: ${error.message}`);
        unreached(address);
    };
    const pages = calls(
        () => [...open.values()].filter(({ node }) => node).flatMap(({ node }) => stunServer(node)).slice(0, 2),
        (id, words) =>
            input(() => {
                putText(`${id}\n${words}`);
                client.signal(...times());
            }),
        (id, link) => attach(`page/${id} ${essence(link.connection.localDescription.sdp).certificate} ${link.theirs}`, link),
        (id, error) => failed(`page/${id}`, error),
    );

    const seed = crypto.getRandomValues(new Uint8Array(32));
    const beginning = bytesOf(genesis);
    const start = new Uint8Array(seed.length + beginning.length);
    start.set(seed);
    start.set(beginning, seed.length);
    put(start);
    if (client.start() !== 1) throw new Error(text());
    const [network, id] = text().split(" ");
    const chain = await Chain.open(network);
    for (const bytes of chain.bytes()) {
        put(bytes);
        client.load();
    }
    for (const peer of peers.filter((peer) => !isBarred(peer))) {
        putText(peer);
        if (client.peer() !== 1) throw new Error(`${peer} is not an address`);
    }
    for (const peer of knownNodes(network).filter((peer) => !peers.includes(peer))) {
        putText(peer);
        client.peer();
    }
    client.tick(...times());
    if (sought) {
        putText(sought);
        client.seek();
    }
    chain.taken(client.height());
    act();
    return {
        /** The hash of the genesis block. */
        network,
        /** This page's id. */
        id,
        /** The nodes that it was given, without those that lied. */
        peers: () => peers.filter((peer) => !isBarred(peer)),
        /** Those that lied. */
        barred: () => peers.filter(isBarred),
        /** The numbers of open connections. */
        connections: () => [...open.keys()],
        /** Bytes that wait in a connection's channel. */
        unsent: (number) => open.get(number)?.channel.bufferedAmount ?? Infinity,
        /** Sends a message to a connection. */
        send(number, frame) {
            put(frame);
            input(() => client.send(number, ...times()));
        },
        /** Calls a function on bytes that only reads: its answer's bytes, and whether it is one or an error's text. */
        read(name, bytes, ...more) {
            put(bytes);
            const given = client[name](...more) === 1;
            return { given, answer: output() };
        },
        /** Calls a function on bytes that changes something. */
        call(name, bytes, ...more) {
            const answer = this.read(name, bytes, ...more, ...times());
            act();
            return answer;
        },
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
            isStopped = true;
            clearTimeout(timer);
            pages.stop();
            for (const number of [...open.keys()]) close(number);
        },
    };
}
