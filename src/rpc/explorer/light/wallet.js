// The page's wallet. Its keys are made and used in this page, in a module of their own. What is kept has the form of the file of
// `cairn wallet`: the secret under a passphrase.

/** Addresses without a payment after which no more are looked for. */
const GAP = 20;

let signerModule;

/** An instance of the module that has secrets, and nothing of strangers. What it had is gone with it. */
async function newSigner() {
    signerModule ??= await loadModule("signer");
    const { exports } = await WebAssembly.instantiate(signerModule);
    /** Calls a function on bytes: the answer, or null. */
    return (name, parts, ...more) => {
        const at = exports.room(parts.reduce((length, part) => length + part.length, 0));
        const input = new Uint8Array(exports.memory.buffer, at);
        parts.reduce((place, part) => (input.set(part, place), place + part.length), 0);
        if (exports[name](...more) !== 1) return null;
        return new Uint8Array(exports.memory.buffer, exports.output(), exports.output_length()).slice();
    };
}

/** The same in an instance for this one call. */
const transform = async (name, ...parts) => (await newSigner())(name, parts);

const numbers = (...values) => new Uint8Array(new Uint32Array(values).buffer);
const random = (length) => crypto.getRandomValues(new Uint8Array(length));
const wordList = () => $("words").textContent.trim().split(" ");

/** The words of a secret. */
async function wordsOf(entropy) {
    const [list, bytes] = [wordList(), await transform("word_indices", entropy)];
    return Array.from(new Uint16Array(bytes.buffer), (index) => list[index]).join(" ");
}

/** The secret of words; throws what is wrong with them. */
async function secretOf(text) {
    const list = wordList();
    const indices = text.toLowerCase().trim().split(/\s+/).map((word) => list.indexOf(word));
    const unknown = indices.indexOf(-1);
    if (unknown >= 0) throw new Error(`word ${unknown + 1} is not in the list of BIP-39`);
    if (![12, 24].includes(indices.length)) throw new Error(`a backup has 12 or 24 words, got ${indices.length}`);
    const entropy = await transform("word_bytes", new Uint8Array(new Uint16Array(indices).buffer));
    if (!entropy) throw new Error("the words' checksum is wrong");
    return entropy;
}

/** A secret under a passphrase, as the wallet's file has it. */
async function sealed(entropy, passphrase) {
    const [salt, nonce] = [random(16), random(12)];
    const bytes = await transform("seal", salt, nonce, numbers(entropy.length), entropy, bytesOf(passphrase));
    const [memory_kib, passes, lanes] = new Uint32Array(bytes.buffer, 0, 3);
    const ciphertext = hex(bytes.subarray(12));
    return { kind: "encrypted", argon2id: { memory_kib, passes, lanes }, salt: hex(salt), nonce: hex(nonce), ciphertext };
}

/** The secret of a file; throws if the passphrase is another. */
async function unsealed({ argon2id, salt, nonce, ciphertext }, passphrase) {
    const { memory_kib, passes, lanes } = argon2id;
    const bytes = fromHex(ciphertext);
    const costs = [numbers(memory_kib, passes, lanes), fromHex(salt), fromHex(nonce), numbers(bytes.length)];
    const entropy = await transform("unseal", ...costs, bytes, bytesOf(passphrase));
    if (!entropy) throw new Error("the passphrase does not open this wallet");
    return entropy;
}

const wallet = {
    client: undefined,
    /** `file`, as on a disk, and `sent`: payments that are not confirmed for long, in hex, by id. Null without a wallet. */
    kept: null,
    /** The instance that has the secret, until the wallet is locked. */
    signer: null,
    /** While a restored wallet's addresses are looked for: its words and how many of them are asked about. */
    scan: null,
    /** The payment under review: the transaction, and the outputs that it spends. */
    draft: null,

    place() {
        return `cairn wallet ${this.client.network}`;
    },
    keep() {
        if (this.kept) localStorage.setItem(this.place(), JSON.stringify(this.kept));
        else localStorage.removeItem(this.place());
    },
    /** A client has begun. */
    attach(client) {
        this.client = client;
        this.kept = JSON.parse(localStorage.getItem(this.place()) ?? "null");
        this.signer = this.scan = null;
        $("wallet").hidden = false;
        if (this.kept) this.watch(this.kept.file.keys);
        for (const payment of Object.values(this.kept?.sent ?? {})) client.call("pay", fromHex(payment), 1);
        this.draw();
    },
    /** Has the coins of these keys proven, in hex. */
    watch(keys) {
        const { given, answer } = this.client.call("watch", fromHex(keys.join("")));
        $("own-address").textContent = given ? new TextDecoder().decode(answer) : "";
    },
    /** The first keys of words, in hex, which a new signer has then. */
    async open(words, count) {
        const signer = await newSigner();
        const keys = hex(signer("unlock", [bytesOf(words)], count)).match(/.{64}/g);
        this.signer = signer;
        return keys;
    },
    async make(text, passphrase) {
        const isNew = text.trim() === "";
        const entropy = isNew ? random(16) : await secretOf(text);
        const words = await wordsOf(entropy);
        const secret = await sealed(entropy, passphrase);
        const keys = await this.open(words, isNew ? 1 : GAP);
        this.kept = { file: { format: "cairn-wallet", version: 1, keys: keys.slice(0, 1), secret }, sent: {} };
        this.keep();
        if (isNew) {
            $("words-new").textContent = words;
            $("backup").hidden = false;
        } else {
            this.scan = { words, keys };
        }
        this.watch(keys);
    },
    async unlock(passphrase) {
        const { file } = this.kept;
        const words = await wordsOf(await unsealed(file.secret, passphrase));
        const keys = await this.open(words, file.keys.length);
        if (keys.join() === file.keys.join()) return;
        this.lock();
        throw new Error("the addresses kept here do not come from this wallet's secret: what is kept was changed");
    },
    lock() {
        this.signer = this.scan = this.draft = null;
    },
    review() {
        const order = ["payee", "amount", "rate"].map((field) => $(field).value.trim());
        const { given, answer } = this.client.read("draft", bytesOf(order.join(" ")));
        if (!given) throw new Error(new TextDecoder().decode(answer));
        const end = answer.indexOf(10);
        const [fee, change, bytes] = new TextDecoder().decode(answer.subarray(0, end)).split(" ");
        $("terms").textContent = `${order[1]} to ${order[0]}, fee ${fee} for ${bytes} bytes, ${change} come back`;
        this.draft = answer.subarray(end + 1);
    },
    send() {
        const signed = this.signer("sign", [fromHex(this.client.network).reverse(), this.draft]);
        this.draft = null;
        if (!signed) throw new Error("the payment cannot be signed");
        const { given, answer } = this.client.call("pay", signed, 0);
        if (!given) throw new Error("the payment cannot be sent");
        this.kept.sent[new TextDecoder().decode(answer)] = hex(signed);
        this.keep();
        for (const field of ["payee", "amount"]) $(field).value = "";
    },
    /** How many of a restored wallet's addresses were paid, once their coins are proven up to the tip. */
    async scanned(used) {
        if (!this.scan) return;
        const { words, keys } = this.scan;
        this.scan = null;
        if (used + GAP > keys.length) {
            const more = await this.open(words, used + GAP);
            this.scan = { words, keys: more };
            this.watch(more);
        } else {
            this.kept.file.keys = await this.open(words, Math.max(used, 1));
            this.watch(this.kept.file.keys);
            this.keep();
        }
    },
    /** Takes the client's status. */
    show(lines) {
        const height = lines.find(([kind]) => kind === "tip")?.[1];
        const own = lines.find(([kind]) => kind === "wallet");
        if (own && this.kept) {
            const [, sum, immature, used, ...proven] = own;
            $("spendable").textContent = sum;
            $("immature").textContent = immature === "0" ? "" : `and ${immature} mined lately`;
            $("wallet-proof").textContent = completeness(proven);
            if (this.scan && proven.at(-1) === height) act(() => this.scanned(Number(used)));
        } else {
            $("spendable").textContent = $("immature").textContent = "";
            $("wallet-proof").textContent = this.kept ? "asking" : "";
        }
        const payments = lines.filter(([kind]) => kind === "payment").reverse();
        $("payments").replaceChildren(...payments.map((line) => this.row(line)));
    },
    row([, txid, state, ...more]) {
        const row = document.createElement("li");
        const [id, what] = [document.createElement("code"), document.createElement("span")];
        id.textContent = txid;
        what.textContent = {
            offered: "offered to the nodes",
            taken: `waits for a block at ${more[0]} nodes`,
            refused: `refused by ${more[0]} nodes`,
            mined: `in block ${more[0]}, its proof is asked for`,
            proven: `proven in block ${more[0]}, ${more[1]} confirmations`,
        }[state];
        row.append(id, " ", what);
        row.dataset.state = state;
        if (state === "proven") {
            const [details, head, body] = ["details", "summary", "pre"].map((name) => document.createElement(name));
            head.textContent = "Proof";
            details.open = this.shown === txid;
            const fill = () => (body.textContent = new TextDecoder().decode(this.client.read("proof", bytesOf(txid)).answer));
            if (details.open) fill();
            head.addEventListener("click", () => {
                this.shown = details.open ? undefined : txid;
                fill();
            });
            details.append(head, body);
            row.append(details);
            // It is found again in the chain; that this page made it need not be kept.
            if (Number(more[1]) > 100 && this.kept?.sent[txid]) {
                delete this.kept.sent[txid];
                this.keep();
            }
        }
        return row;
    },
    draw() {
        $("make").hidden = this.kept !== null;
        $("opened").hidden = this.kept === null;
        $("unlock").hidden = this.signer !== null;
        $("pay").hidden = $("lock").hidden = this.signer === null;
        $("review").hidden = this.draft === null;
    },
};

/** Carries out what a person asks of the wallet, and shows what goes wrong. */
async function act(what) {
    $("wallet-error").textContent = "one moment";
    // Drawn before the module computes, which takes a second for a passphrase.
    await new Promise((resolve) => setTimeout(resolve, 20));
    try {
        await what();
        $("wallet-error").textContent = "";
    } catch (error) {
        $("wallet-error").textContent = error.message;
    }
    wallet.draw();
    show();
}

/** A form of the wallet. */
function on(id, what) {
    $(id).addEventListener("submit", (event) => {
        event.preventDefault();
        act(what);
    });
}

/** What a field of a form holds; nothing is left in it. */
function taken(id) {
    const { value } = $(id);
    $(id).value = "";
    return value;
}

on("make", () => wallet.make(taken("words-old"), taken("passphrase-new")));
on("unlock", () => wallet.unlock(taken("passphrase")));
on("pay", () => wallet.review());
$("send").addEventListener("click", () => act(() => wallet.send()));
$("lock").addEventListener("click", () => act(() => wallet.lock()));
$("written").addEventListener("click", () => {
    $("backup").hidden = true;
    $("words-new").textContent = "";
});
$("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(wallet.kept.file, null, 2)}\n`]));
    link.download = "wallet.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
});
$("forget").addEventListener("click", () => {
    if (!confirm("Remove the wallet from this browser? Only its words or its saved file bring it back.")) return;
    act(() => {
        wallet.lock();
        wallet.kept = null;
        wallet.keep();
        wallet.watch([]);
    });
});
