// What this browser keeps of a network: its chain in IndexedDB, nodes in localStorage, and those that lied in sessionStorage. The
// client checks the chain when it is loaded, so what is damaged costs no more than to be fetched again.

/** Bytes of a header. */
const HEADER = 80;
/** Parts of headers from which on they are written anew as one. */
const MAX_PARTS = 200;
/** Nodes that are remembered, those that agreed last first. */
const MAX_NODES = 8;

/** The chain: perhaps a beginning, after which headers come, in parts by the height of their first. */
class Chain {
    constructor(network, database) {
        this.network = network;
        this.database = database;
        this.beginning = null;
        this.parts = [];
    }
    /** What is kept of a network; nothing is, if the browser has no place for it. */
    static async open(network) {
        const done = (request) =>
            new Promise((resolve, reject) => {
                request.onsuccess = () => resolve(request.result);
                request.onerror = () => reject(request.error);
            });
        try {
            const opening = indexedDB.open("cairn", 1);
            opening.onupgradeneeded = () => opening.result.createObjectStore("chain");
            const chain = new Chain(network, await done(opening));
            const [keys, values] = await chain.change("readonly", (store) =>
                Promise.all([done(store.getAllKeys(chain.from(-1))), done(store.getAll(chain.from(-1)))]),
            );
            keys.forEach(([, start], place) => {
                if (start < 0) chain.beginning = values[place];
                else chain.parts.push({ start, bytes: values[place] });
            });
            return chain;
        } catch {
            return new Chain(network, null);
        }
    }
    /** The keys of a height and of all above; the beginning's height is -1. */
    from(height) {
        return IDBKeyRange.bound([this.network, height], [this.network, Infinity]);
    }
    change(mode, act) {
        return act(this.database.transaction("chain", mode).objectStore("chain"));
    }
    write(act) {
        // Without room nothing more is kept.
        if (this.database) this.change("readwrite", act);
    }
    /** All that is kept, as the client takes it. */
    bytes() {
        return [...(this.beginning ? [this.beginning.bytes] : []), ...this.parts.map((part) => part.bytes)];
    }
    /** Keeps a beginning in place of everything. */
    begin(above, bytes) {
        this.beginning = bytes.length > 0 ? { above, bytes } : null;
        this.parts = [];
        this.write((store) => {
            store.delete(this.from(-1));
            if (this.beginning) store.put(this.beginning, [this.network, -1]);
        });
    }
    /** Keeps headers in place of all above a height. */
    keep(above, bytes) {
        this.parts = this.parts.filter(({ start }) => start <= above);
        const last = this.parts.at(-1);
        const isCut = last && last.bytes.length > (above + 1 - last.start) * HEADER;
        if (isCut) last.bytes = last.bytes.slice(0, (above + 1 - last.start) * HEADER);
        if (bytes.length > 0) this.parts.push({ start: above + 1, bytes });
        const isWhole = this.parts.length > MAX_PARTS;
        if (isWhole) {
            const whole = new Uint8Array(this.parts.reduce((length, part) => length + part.bytes.length, 0));
            this.parts.reduce((place, part) => (whole.set(part.bytes, place), place + part.bytes.length), 0);
            this.parts = [{ start: this.parts[0].start, bytes: whole }];
        }
        this.write((store) => {
            store.delete(this.from(isWhole ? 0 : above + 1));
            for (const part of isWhole ? this.parts : this.parts.slice(isCut ? -2 : -1)) {
                store.put(part.bytes, [this.network, part.start]);
            }
        });
    }
    /** Drops what the client did not take: it has a chain of this height. */
    taken(height) {
        if (this.beginning && height < this.beginning.above) this.begin(0, new Uint8Array());
        const end = this.parts.at(-1);
        if (end && end.start + end.bytes.length / HEADER - 1 > height) this.keep(height, new Uint8Array());
    }
}

const nodesPlace = (network) => `cairn nodes ${network}`;

/** Nodes of a network that agreed before. */
const knownNodes = (network) => JSON.parse(localStorage.getItem(nodesPlace(network)) ?? "[]");

/** Remembers nodes that agree. */
function rememberNodes(network, agreeing) {
    const known = knownNodes(network);
    const all = [...new Set([...agreeing, ...known])].slice(0, MAX_NODES);
    if (all.join() !== known.join()) localStorage.setItem(nodesPlace(network), JSON.stringify(all));
}

/** Nodes that lied, of whom so many are known: the first that was caught goes. */
const MAX_LIARS = 100;

const liarsPlace = (network) => `cairn liars ${network}`;

/** What each node lied about since this tab was opened, by the hash of its certificate in hex. */
const liars = (network) => new Map(JSON.parse(sessionStorage.getItem(liarsPlace(network)) ?? "[]"));

/** What a node lied about since this tab was opened. */
const lieOf = (network, address) => liars(network).get(hex(parseAddress(address).hash));

/** Bars a node that lied as long as this tab is open, wherever its address comes from, and forgets the address. */
function barNode(network, liar, lie) {
    const all = [...liars(network).set(hex(parseAddress(liar).hash), lie)].slice(-MAX_LIARS);
    try {
        sessionStorage.setItem(liarsPlace(network), JSON.stringify(all));
        const others = knownNodes(network).filter((node) => lieOf(network, node) === undefined);
        localStorage.setItem(nodesPlace(network), JSON.stringify(others));
    } catch {
        // A full storage remembers less. The client itself calls no liar again.
    }
}
