// Content: fetches a file or a directory's list by its CID from the client's peers, and shares files with those that
// ask. The module that has content checks and makes all blocks; it is loaded when a person or a peer needs it. What peers
// say comes from the client.

/** Most messages of peers that wait while the module loads. All are wants: the page has asked for nothing yet. */
const MAX_EARLY = 64;
const WANT_BLOCKS = 36;
/** The first byte of a fault, of one that sent a false block. */
const FALSE_BLOCK = 0;
/** Bytes that wait in a channel before the next block is given to it. */
const MAX_UNSENT = 1 << 20;
/** Bytes of a file that is shared that the module is given at a time. */
const SLICE = 1 << 20;
/** Bytes of a file that are shown as text, and of the largest picture that is shown. */
const MAX_SHOWN = [64 << 10, 16 << 20];
/** What a picture begins with: only these are shown as such, so no other format can claim to be one. */
const PICTURES = {
    "image/png": /^\x89PNG\r\n/,
    "image/jpeg": /^\xff\xd8\xff/,
    "image/gif": /^GIF8/,
    "image/webp": /^RIFF....WEBP/s,
};

const content = {
    client: undefined,
    /** The module, once it is loaded. */
    module: undefined,
    loading: undefined,
    /** Why it rests until the page is loaded again. */
    broken: undefined,
    /** What is not handled yet: the number of a connection, and what its peer says, or nothing if it has ended. */
    queue: [],
    /** Peers that were heard of, by the number of their connection. */
    names: new Map(),
    /** What is fetched: a file's parts so far and its first bytes, or a directory's entries; the peers that sent false blocks. */
    file: undefined,
    url: undefined,
    /** Files that are shared: CID, name and bytes of each, and whether the browser keeps it. */
    shared: [],
    /** How often it was said that nothing more is to be shared. */
    cleared: 0,

    /** A client has begun. It numbers its connections from the beginning. */
    attach(client) {
        this.stop();
        this.names.clear();
        this.client = client;
        $("content").hidden = false;
        this.drawShared();
        if (shelf.turnTo(client.network)) this.restore();
    },
    load() {
        this.loading ??= (async () => {
            const { exports } = await WebAssembly.instantiate(await loadModule("library"));
            this.module = { exports, ...memory(exports) };
            this.try(() => this.drain());
        })();
        this.loading.catch((error) => this.fail(error));
        return this.loading;
    },
    /** Does something with the module, for callers that go on whatever comes of it. */
    try(what) {
        if (!this.module) return undefined;
        try {
            return what();
        } catch (error) {
            return this.fail(error);
        }
    },
    /** A trap may leave the module half changed, so it is not used again. */
    fail(error) {
        if (this.broken) return;
        this.broken = new Error(`content rests until the page is loaded again: ${error.message}`);
        this.module = undefined;
        this.loading = Promise.reject(this.broken);
        this.loading.catch(() => {});
        clearTimeout(this.again);
        clearTimeout(this.serving);
        [this.queue, this.shared] = [[], []];
        this.drawShared();
        if (this.file && !this.file.ended) this.ended(0, this.broken.message);
        tell(this.broken.message);
    },
    /** The client says what a peer says: a message, or nothing if the peer offers content. */
    heard(number, name, bytes) {
        if (this.broken) return;
        if (!this.module && bytes.length > 0) {
            if (bytes[0] !== WANT_BLOCKS || this.queue.length >= MAX_EARLY) return;
            this.load().catch(() => {});
        }
        this.names.set(number, name);
        this.later(number, bytes);
    },
    /** A connection of the client has ended. */
    gone(number) {
        this.queue = this.queue.filter(([queued]) => queued !== number);
        if (this.module) this.later(number);
    },
    /** Handles it in a turn of its own. The client is at work now, and a packet may hold thousands of messages. */
    later(number, bytes) {
        this.queue.push([number, bytes]);
        if (this.module && this.queue.length === 1) queueMicrotask(() => this.try(() => this.drain()));
    },
    drain() {
        for (const [number, bytes] of this.queue.splice(0)) {
            if (bytes) this.module.put(bytes);
            this.module.exports[bytes ? "received" : "gone"](number, performance.now());
        }
        this.act();
        this.serve();
    },
    /** Calls a function on bytes: the answer's text; throws an error's. */
    ask(name, bytes, ...more) {
        const answer = this.try(() => {
            this.module.put(bytes);
            const isGiven = this.module.exports[name](...more) === 1;
            return { isGiven, text: new TextDecoder().decode(this.module.output()) };
        });
        if (!answer) throw this.broken;
        if (!answer.isGiven) throw new Error(answer.text);
        return answer.text;
    },
    act() {
        for (let next; (next = this.module.exports.next_output()) !== 0n; ) {
            const [kind, argument] = [Number(next >> 32n), Number(next & 0xffffffffn)];
            const bytes = this.module.output();
            if (kind === 1) this.client?.send(argument, bytes);
            else if (kind === 2) {
                if (bytes[0] === FALSE_BLOCK) this.file?.liars.add(this.names.get(argument));
                this.client?.call("penalise", bytes, argument);
            } else if (kind === 3) {
                // As a part of its own, which the browser may keep on the disk.
                this.file.parts.push(new Blob([bytes]));
                if (this.file.first.length === 0) this.file.first = bytes.slice(0, MAX_SHOWN[0]);
            } else if (kind === 4) this.again ??= setTimeout(() => this.try(() => this.tick()), 0);
            else if (kind === 6) this.file.entries.push(entryOf(bytes));
            else if (kind === 7) {
                this.file.isSought = true;
                this.client?.call("find", bytes);
            } else if (kind === 5) this.ended(argument, new TextDecoder().decode(bytes));
        }
        this.draw();
    },
    tick() {
        clearTimeout(this.again);
        this.again = undefined;
        this.module.exports.tick(performance.now());
        this.act();
    },
    /** Gives peers what they want, each a block in turn, as far as their channels take it. */
    serve() {
        clearTimeout(this.serving);
        for (let sent = true; sent; ) {
            sent = false;
            for (const number of this.client?.connections() ?? []) {
                if (this.client.unsent(number) > MAX_UNSENT) continue;
                if (this.module.exports.serve(number, performance.now()) !== 1) continue;
                this.client.send(number, this.module.output());
                sent = true;
            }
        }
        if (this.module.exports.owes() === 1) this.serving = setTimeout(() => this.try(() => this.serve()), 50);
    },

    /** Fetches what a text names, a CID with or without a path, in place of another file. */
    async fetch(text, name) {
        this.stop();
        $("fetch-state").textContent = "one moment";
        await this.load();
        // Another may have begun meanwhile.
        this.stop();
        this.ask("fetch", bytesOf(text), performance.now());
        const timer = setInterval(() => this.try(() => this.tick()), 1_000);
        const since = performance.now();
        const path = text.replace(/\/+$/, "");
        const nothing = { parts: [], first: new Uint8Array(), entries: [], liars: new Set() };
        this.file = { name: name ?? path.split("/").at(-1), path, since, timer, ...nothing };
        $("stop").hidden = false;
        this.try(() => this.act());
    },
    stop() {
        if (this.file) clearInterval(this.file.timer);
        this.leave();
        this.file = undefined;
        this.try(() => this.module.exports.stop());
        if (this.url) URL.revokeObjectURL(this.url);
        this.url = undefined;
        $("stop").hidden = $("fetched").hidden = true;
        for (const id of ["fetch-state", "fetch-from", "fetched-text", "entries"]) $(id).textContent = "";
        $("fetched-picture").removeAttribute("src");
    },
    /** Leaves nodes that were dialled for the fetch. */
    leave() {
        if (!this.file?.isSought) return;
        this.file.isSought = false;
        this.client?.call("find", new Uint8Array());
    },
    /** Shows how far the fetch has come. */
    draw() {
        if (!this.file) return;
        this.module.exports.progress();
        const lines = new TextDecoder().decode(this.module.output()).split("\n").map((line) => line.split(" "));
        const [[read, size], ...given] = lines;
        if (!this.file.ended) {
            const asking = this.file.isSought ? "asking, and looking for nodes that have it" : "asking";
            $("fetch-state").textContent = size === "-" ? asking : `${read} of ${size} bytes`;
        }
        const rows = given.map(([number, bytes]) => [this.names.get(Number(number)), `sent ${bytes} bytes`]);
        for (const liar of this.file.liars) rows.push([liar, "sent a false block, and was dropped"]);
        $("fetch-from").replaceChildren(
            ...rows.map(([name, what]) => {
                const [row, code] = ["li", "code"].map((tag) => document.createElement(tag));
                code.textContent = name;
                row.append(code, ` ${what}`);
                return row;
            }),
        );
    },
    /** The fetch has ended: with a file, 1, with a directory's list, 2, or with neither, and that is why. */
    ended(whole, why) {
        const { file } = this;
        clearInterval(file.timer);
        this.leave();
        file.ended = true;
        $("stop").hidden = true;
        if (whole === 0) {
            $("fetch-state").textContent = why;
            return;
        }
        const seconds = ((performance.now() - file.since) / 1_000).toFixed(2);
        if (whole === 2) {
            $("fetch-state").textContent = `${file.entries.length} entries in ${seconds} s, each block checked`;
            $("entries").replaceChildren(...file.entries.map((entry) => this.entryRow(file.path, entry)));
            return;
        }
        const start = String.fromCharCode(...file.first.slice(0, 16));
        const picture = Object.keys(PICTURES).find((type) => PICTURES[type].test(start));
        // Nothing of it is ever a document here: it has no other type than a picture's, and no script runs in a picture.
        const blob = new Blob(file.parts, { type: picture ?? "application/octet-stream" });
        $("fetch-state").textContent = `${blob.size} bytes in ${seconds} s, each block checked`;
        this.url = URL.createObjectURL(blob);
        $("save-file").href = this.url;
        $("save-file").download = file.name;
        $("save-file").textContent = `Save ${file.name}`;
        const isShown = picture !== undefined && blob.size <= MAX_SHOWN[1];
        $("fetched-picture").hidden = !isShown;
        if (isShown) $("fetched-picture").src = this.url;
        else $("fetched-text").textContent = textOf(file.first, blob.size);
        $("fetched").hidden = false;
    },
    /** An entry of a directory, with a button that fetches it. */
    entryRow(path, { cid, size, name, isPlain }) {
        const [row, button] = ["li", "button"].map((tag) => document.createElement(tag));
        button.type = "button";
        button.textContent = name;
        button.addEventListener("click", () => {
            $("cid").value = isPlain ? `${path}/${name}` : cid;
            report("fetch-state", () => this.fetch($("cid").value, name));
        });
        row.append(button, ` ${size} bytes with all blocks`);
        return row;
    },

    /** Shares again what the browser has kept. What is damaged is kept no longer. What cannot be shared now, because pages of this site
     * have kept too much together, stays for the next time. */
    async restore() {
        const { cleared } = this;
        for (const { cid, name, file } of await shelf.all()) {
            shareLater(() => this.share(new File([file], name), cleared, cid));
        }
    },
    /** Shares a file, unless nothing more is to be shared since: reads it, has its blocks made, keeps it unless it is `kept` under
     * this CID, and shows its CID. */
    async share(file, cleared, kept) {
        if (this.shared.length >= MAX_FILES) throw new Error(`${file.name} is not shared: a page shares at most ${MAX_FILES} files`);
        await this.load();
        if (this.cleared !== cleared) return;
        this.try(() => this.module.exports.share());
        const parts = [];
        for (let at = 0; at < file.size; at += SLICE) {
            let bytes;
            try {
                bytes = new Uint8Array(await file.slice(at, at + SLICE).arrayBuffer());
            } catch (error) {
                this.try(() => this.module.exports.give_up());
                throw new Error(`${file.name} is not shared: it changed meanwhile, or cannot be read (${error.message})`);
            }
            if (this.cleared !== cleared) return;
            // The browser keeps what was read, whatever becomes of the file.
            if (!kept) parts.push(new Blob([bytes]));
            this.ask("write", bytes);
        }
        const cid = this.ask("finish", new Uint8Array());
        if (kept && cid !== kept) {
            if (!this.shared.some((other) => other.cid === cid)) this.forget(cid);
            await shelf.drop(kept);
            throw new Error(`${file.name} is not shared any more: this browser kept other bytes`);
        }
        const isKept = kept !== undefined || (await shelf.keep({ cid, name: file.name, file: new Blob(parts) }));
        if (this.cleared !== cleared) return shelf.drop(cid);
        this.shared = this.shared.filter((other) => other.cid !== cid);
        this.shared.push({ cid, name: file.name, size: file.size, isKept });
        this.drawShared();
    },
    /** Shares a file no longer, also when the page is opened again. */
    async unshare(cid) {
        this.shared = this.shared.filter((file) => file.cid !== cid);
        this.forget(cid);
        // Its row goes once it is gone from the disk.
        await shelf.drop(cid);
        this.drawShared();
    },
    forget(cid) {
        this.try(() => {
            this.module.put(bytesOf(cid));
            this.module.exports.unshare();
        });
    },
    drawShared() {
        $("shared").replaceChildren(...this.shared.map((file) => this.row(file)));
        $("unshare").hidden = this.shared.length === 0;
    },
    /** A file that is shared, with a link that names this page and its nodes. */
    row({ cid, name, size, isKept }) {
        const [row, code, link, stop] = ["li", "code", "a", "button"].map((tag) => document.createElement(tag));
        code.textContent = cid;
        const peers = this.client.peers().map((peer) => `&peer=${peer}`).join("");
        const names = `cid=${cid}&name=${encodeURIComponent(name)}&page=${this.client.id}`;
        link.href = `${location.href.split("#")[0]}#${names}${peers}`;
        link.textContent = "link for another page";
        stop.type = "button";
        stop.textContent = "Stop sharing";
        stop.addEventListener("click", () => report("share-error", () => this.unshare(cid)));
        row.append(code, ` ${name}, ${size} bytes${isKept ? "" : ", until this page is left"} `, link, " ", stop);
        return row;
    },
    async clear() {
        this.try(() => this.module.exports.clear());
        this.cleared += 1;
        this.shared = [];
        // The rows go once the files are gone from the disk.
        await shelf.clear();
        this.drawShared();
    },
    /** Fetches what the page's link names. */
    open() {
        const cid = linked("cid");
        if (!cid) return;
        $("cid").value = cid;
        report("fetch-state", () => this.fetch(cid, linked("name")));
    },
};

/** An entry of a directory: its CID, the bytes of its blocks, its name, and whether that can stand in a path. */
function entryOf(bytes) {
    const [cid, size, ...rest] = new TextDecoder().decode(bytes).split("\n");
    const name = rest.join("\n");
    return { cid, size, name, isPlain: name !== "" && name === name.trim() && !/[\/\ufffd]/.test(name) };
}

/** The beginning of a file as text, if it is one. */
function textOf(first, size) {
    try {
        // A character may be cut at the end of what is shown.
        const text = new TextDecoder("utf-8", { fatal: true }).decode(first, { stream: first.length < size });
        if (text.includes("\0")) return "";
        return first.length < size ? `${text}…` : text;
    } catch {
        return "";
    }
}

/** Does something, and shows what goes wrong. */
async function report(place, what) {
    try {
        await what();
    } catch (error) {
        $(place).textContent = error.message;
    }
}

let sharing = Promise.resolve();

/** Shares one file after the other. */
function shareLater(share) {
    sharing = sharing.then(() => report("share-error", share));
}

function shareAll(files) {
    $("share-error").textContent = "";
    const { cleared } = content;
    for (const file of files) shareLater(() => content.share(file, cleared));
}

$("fetch").addEventListener("submit", (event) => {
    event.preventDefault();
    report("fetch-state", () => content.fetch($("cid").value.trim()));
});
$("stop").addEventListener("click", () => {
    content.stop();
    $("fetch-state").textContent = "stopped";
});
$("files").addEventListener("change", () => {
    shareAll([...$("files").files]);
    $("files").value = "";
});
$("unshare").addEventListener("click", () => report("share-error", () => content.clear()));
$("content").addEventListener("dragover", (event) => event.preventDefault());
$("content").addEventListener("drop", (event) => {
    event.preventDefault();
    shareAll([...event.dataTransfer.files]);
});
