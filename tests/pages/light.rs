//! The light client's page: it dials real nodes over WebRTC from a real browser.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::process::{Node, Place, spec, wait_for};
use cairn::primitives::amount::COIN;

/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;
/// Where a node takes browsers.
pub const LISTEN: [&str; 2] = ["--listen-webrtc", "127.0.0.1:0"];

pub struct Scene {
    pub place: Place,
    pub owner: String,
}

impl Scene {
    pub fn new() -> Self {
        let place = Place::new();
        let owner = place.wallet("a");
        place.found(&spec(INSTANT, &[(&owner, 1_000 * COIN)]));
        Self { place, owner }
    }
}

/// Where browsers reach a node.
pub fn address(node: &Node) -> String {
    node.call("getnetworkinfo", &[])["webrtc"].as_str().expect("it takes browsers").to_owned()
}

/// Waits until the page shows a height that its peer agrees with.
pub fn wait_for_height(browser: &Browser, height: u64) {
    browser.wait(&format!("document.getElementById('height').textContent === '{height}'"));
    browser.wait("document.getElementById('state').textContent === 'verified'");
}

/// The page's peers and what it says of each.
fn peers(browser: &Browser) -> String {
    browser.text("#peers")
}

#[test]
fn a_page_verifies_the_chain_and_follows_it() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    node.generate(12, &scene.owner);
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 12);
    assert_eq!(browser.text("#tip"), node.tip().1);
    let chain = node.call("getblockchaininfo", &[]);
    let work = chain["chainwork"].as_str().unwrap().trim_start_matches('0').to_owned();
    assert_eq!(browser.text("#work"), format!("0x{work}"));
    assert_eq!(browser.text("#agree"), "1 of 1");

    // To the node it is a peer like others.
    let peer = node.call("getpeerinfo", &[])[0].take();
    let addr = peer["addr"].as_str().unwrap();
    assert!(
        addr.starts_with("/ip4/") && addr.contains("/udp/") && addr.contains("/webrtc-direct/certhash/u"),
        "{peer}"
    );
    assert_eq!((&peer["inbound"], &peer["network"]), (&json!(true), &json!("ipv4")), "{peer}");
    assert_eq!(peer["transport"], "webrtc", "{peer}");
    assert!(peer["subver"].as_str().unwrap().starts_with("/cairn-light:"), "{peer}");
    assert!(peer["bytesrecv"].as_u64() > Some(100) && peer["bytessent"].as_u64() > Some(12 * 80), "{peer}");

    // More than one message of headers, and blocks one by one.
    for _ in 0..2 {
        node.generate(1_250, &scene.owner);
    }
    wait_for_height(&browser, 2_512);
    for height in 2_513..2_516 {
        node.generate(1, &scene.owner);
        wait_for_height(&browser, height);
    }
    browser.is_well(&node.url());

    // A page that is left says so.
    browser.go("about:blank");
    wait_for("the node to see that the page is gone", || {
        (node.call("getconnectioncount", &[]) == json!(0)).then_some(())
    });
}

#[test]
fn a_page_proves_a_balance() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let payee = scene.place.wallet("payee");
    scene.place.run("a", &["wallet", "send", &payee, "1.5"]).ok();
    node.generate(3, &scene.owner);
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 3);
    let prove = |text: &str| {
        browser.run("document.getElementById('whose').value = arguments[0]", &[text.into()]);
        browser.click("#own button");
    };
    prove("tcairn1nothing");
    browser.wait("document.getElementById('proof').textContent.includes('not an address')");
    prove(&payee);
    browser.wait("document.getElementById('balance').textContent === '1.5'");
    assert!(browser.text("#proof").starts_with("1 coins, none left out"), "{}", browser.text("#proof"));
    browser.is_well(&node.url());
}

#[test]
fn the_explorer_shows_a_page_as_a_browser() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let connect = node.peer_address();
    let _other = scene.place.node("b", &["--connect", &connect]);
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 0);
    node.call("ping", &[]);
    let explorer = Browser::open(&node.url());
    explorer.view("#/peers");
    explorer.wait_for_text("2 connections, 1 of them with browsers");
    let row =
        "[...document.querySelectorAll('main tbody tr')].find((row) => row.children[1].textContent === 'browser')";
    // The ping, once it is there: its node measures it, and the view is drawn again every five seconds.
    explorer.wait(&format!("/^[0-9]+ ms$/.test({row}.children[4].textContent)"));
    let cells = explorer.run(&format!("return Array.from({row}.children, (cell) => cell.textContent)"), &[]);
    let cell = |place: usize| cells[place].as_str().unwrap();
    let peers = node.call("getpeerinfo", &[]);
    let peer = peers.as_array().unwrap().iter().find(|peer| peer["transport"] == "webrtc").unwrap();
    let port = peer["addr"].as_str().unwrap().split('/').nth(4).unwrap();
    assert_eq!((cell(0), cell(2)), (format!("127.0.0.1:{port}").as_str(), "in"), "{cells}");
    assert!(cell(5).ends_with('B') && cell(6).ends_with('B') && cell(7).ends_with(" s"), "{cells}");
    assert!(cell(8).starts_with("/cairn-light:"), "{cells}");
    let titles = explorer.run(&format!("return Array.from({row}.querySelectorAll('[title]'), (it) => it.title)"), &[]);
    let title = |place: usize| titles[place].as_str().unwrap();
    assert!(title(0).starts_with(peer["addr"].as_str().unwrap()) && title(1).starts_with("since "), "{titles}");
    let kinds = "Array.from(document.querySelectorAll('main tbody tr'), (row) => row.children[1].textContent)";
    let kinds = explorer.run(&format!("return {kinds}.sort().join()"), &[]);
    assert_eq!(kinds, "browser,node");
    explorer.is_well(&node.url());
}

#[test]
fn a_wrong_certificate_is_refused() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let right = address(&node);
    let (front, hash) = right.split_once("/uEi").unwrap();
    let other = if &hash[..1] == "A" { "B" } else { "A" };
    let wrong = format!("{front}/uEi{other}{}", &hash[1..]);
    let browser = Browser::open(&format!("{}light#peer={wrong}", node.url()));
    browser.wait("document.getElementById('peers').textContent.includes('unreachable')");
    assert!(peers(&browser).contains(&wrong));
    assert_eq!(browser.text("#state"), "not verified");
    // Not even Noise began.
    assert_eq!(node.call("getconnectioncount", &[]), json!(0));
    assert_eq!(node.call("getnettotals", &[])["totalbytesrecv"], json!(0));
    browser.is_well(&node.url());

    // Text that is no address is named.
    browser.view("#peer=/ip4/127.0.0.1/udp/1");
    browser.wait("document.getElementById('state').textContent.includes('is not an address')");
    browser.view(&format!("#peer={right}"));
    wait_for_height(&browser, 0);
}

#[test]
fn a_node_of_another_network_is_told_apart() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (node, stranger) = (scene.place.node("a", &LISTEN), other.place.node("a", &LISTEN));
    stranger.generate(5, &other.owner);
    let browser = Browser::open(&format!("{}light#peer={}&peer={}", node.url(), address(&node), address(&stranger)));
    wait_for_height(&browser, 0);
    browser.wait("document.getElementById('peers').textContent.includes('gone')");
    assert_eq!(browser.text("#agree"), "1 of 2");
}

#[test]
fn a_page_finds_its_node_again() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    node.generate(3, &scene.owner);
    let (at, page) = (address(&node), format!("{}light", node.url()));
    let browser = Browser::open(&page);
    wait_for_height(&browser, 3);
    node.kill();
    let port = at.split('/').nth(4).unwrap();
    let node = scene.place.node("a", &["--listen-webrtc", &format!("127.0.0.1:{port}")]);
    assert_eq!(address(&node), at, "the certificate is kept");
    node.generate(2, &scene.owner);
    // It is not answered as the one before, gives that up, and dials again.
    wait_for_height(&browser, 5);
    let connected = node.call("getpeerinfo", &[]);
    assert_eq!(connected.as_array().map(Vec::len), Some(1), "{connected}");
    assert_eq!(browser.run("return document.getElementById('tip').textContent", &[]), Value::from(node.tip().1));
}

#[test]
fn a_saved_page_opens_offline_and_dials_nodes_that_it_has_learnt() {
    let scene = Scene::new();
    let first = scene.place.node("a", &LISTEN);
    let connect = first.peer_address();
    let second = scene.place.node("b", &[&LISTEN[..], &["--connect", &connect]].concat());
    // Long enough to be proven: what is kept begins with the proof.
    for _ in 0..2 {
        first.generate(1_250, &scene.owner);
    }
    wait_for("the second node to follow", || (second.tip().0 == 2_500).then_some(()));

    // The page as a file, which has no server.
    let browser = Browser::open(&first.url());
    let page = browser.run_async("return await (await fetch('/light')).text()");
    let file = scene.place.path("light.html");
    std::fs::write(&file, page.as_str().unwrap()).unwrap();
    let (saved, link) = (format!("file://{}", file.display()), address(&first));
    browser.go(&format!("{saved}#peer={link}"));
    wait_for_height(&browser, 2_500);
    first.generate(1, &scene.owner);
    wait_for_height(&browser, 2_501);
    // The first node knows where the second takes browsers.
    browser.wait("document.getElementById('agree').textContent === '2 of 2'");
    assert!(peers(&browser).contains(&address(&second)), "{}", peers(&browser));
    first.kill();
    second.generate(1, &scene.owner);
    wait_for_height(&browser, 2_502);

    // Without any node, the page opens with what it has.
    let (learnt, tip) = (address(&second), second.tip().1);
    // Killed, it would lose the last blocks.
    assert!(second.terminate().success());
    browser.reload();
    browser.wait("document.getElementById('height').textContent === '2502'");
    browser.wait("document.getElementById('state').textContent.startsWith('as kept here')");
    assert_eq!(browser.text("#tip"), tip);
    let port = learnt.split('/').nth(4).unwrap();
    let second = scene.place.node("b", &["--listen-webrtc", &format!("127.0.0.1:{port}")]);
    second.generate(1, &scene.owner);
    wait_for_height(&browser, 2_503);
    // It went on from the kept proof: no other was sent.
    let sent = second.call("getpeerinfo", &[])[0]["bytessent"].as_u64().unwrap();
    assert!(sent < 20_000, "{sent} bytes");

    // What is damaged is fetched again.
    let damage = "const done = await new Promise((resolve) => {
        indexedDB.open('cairn', 1).onsuccess = ({ target }) => {
            const store = target.result.transaction('chain', 'readwrite').objectStore('chain');
            store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
                if (!cursor) return resolve('done');
                const bytes = cursor.value.bytes ?? cursor.value;
                bytes[bytes.length >> 1] ^= 1;
                cursor.update(cursor.value);
                cursor.continue();
            };
        };
    }); return done;";
    assert_eq!(browser.run_async(damage), "done");
    browser.reload();
    wait_for_height(&browser, 2_503);
    assert_eq!(browser.text("#tip"), second.tip().1);
}
