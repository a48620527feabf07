// The page: shows what the client says.

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
    const agreeing = peers.filter(([, , standing]) => standing === "agrees").map(([, address]) => address);
    const agree = agreeing.length;
    const nodes = agreeing.filter((address) => address.startsWith("/"));
    if (nodes.length > 0) rememberNodes(client.network, nodes);
    $("agree").textContent = `${agree} of ${peers.length}`;
    const isKept = tip !== undefined && tip[1] !== "0";
    $("state").textContent = agree > 0 ? "verified" : isKept ? "as kept here, no node agrees now" : "not verified";
    $("state").dataset.verified = String(agree > 0);
    const shown = new Set(peers.map(([, address]) => address));
    const barred = (client?.barred() ?? []).filter((address) => !shown.has(address));
    $("peers").replaceChildren(
        ...[...peers, ...barred.map((address) => ["peer", address])].map(([, address, ...standing]) => {
            const row = document.createElement("li");
            const [name, what] = [document.createElement("code"), document.createElement("span")];
            name.textContent = address;
            const lie = address.startsWith("/") ? lieOf(client.network, address) : undefined;
            what.textContent = lie === undefined ? standing.join(" ") : `barred while this page is open: it ${lie}`;
            row.append(name, " ", what);
            return row;
        }),
    );
    const balance = lines.find(([kind]) => kind === "balance");
    if (balance) {
        $("balance").textContent = balance[1];
        $("proof").textContent = completeness(balance.slice(2));
    }
    wallet.show(lines);
}

let due;

/** Shows it soon: once for many messages. */
function showSoon() {
    due ??= setTimeout(() => {
        due = undefined;
        show();
    }, 50);
}

/** What vouches for coins. */
function completeness([coins, edge, committed, followed]) {
    const root = committed === "-" ? "genesis" : `block ${committed}, which commits to all coins after block ${edge}`;
    return `${coins} coins, none left out: from ${root}, followed to block ${followed}.`;
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
        module ??= await loadModule("module");
        client = await run(module, $("genesis").textContent, peers, linked("page"), tell, showSoon);
        wallet.attach(client);
        content.attach(client);
        show();
    } catch (error) {
        tell(error.message);
        $("state").textContent = error.message;
    }
}

/** What the page's link says. */
const linked = (name) => new URLSearchParams(location.hash.slice(1)).get(name) ?? undefined;

/** The nodes that the link names, or else the one that served the page. */
function named() {
    const link = new URLSearchParams(location.hash.slice(1)).getAll("peer");
    if (link.length > 0) return link;
    // A node that listens at all its addresses does not know by which of them the page came.
    const host = location.hostname === "localhost" ? "127.0.0.1" : location.hostname;
    const own = $("page").dataset.peer.replace("/ip4/0.0.0.0/", `/ip4/${host}/`);
    return own === "" ? [] : [own];
}

/** Begins with what the page's link names. */
async function open() {
    await begin(named());
    content.open();
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
addEventListener("hashchange", open);
addEventListener("pagehide", () => client?.stop());
open();
