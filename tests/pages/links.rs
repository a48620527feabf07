//! Bad connections between real browsers and real nodes: links that are cut for a while, tabs that freeze, browsers that are
//! killed, and a page that never reads. In the end the page has the tip again, and the node has no peer that is not there.

use std::time::{Duration, Instant};

use cairn::consensus::params::Params;
use cairn::p2p::PeerAddr;
use cairn::p2p::frame::Frame;
use cairn::p2p::message::{Hello, Message};
use cairn::p2p::noise::Identity;
use cairn::runtime::noise;
use cairn::runtime::webrtc::Dialler;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::browser::Browser;
use crate::light::{LISTEN, Scene, address, wait_for_height};
use crate::process::{Node, wait_for};
use crate::relay::Relay;

/// The numbers of a node's connections with pages.
fn pages(node: &Node) -> Vec<Value> {
    let peers = node.call("getpeerinfo", &[]);
    let pages = peers.as_array().unwrap().iter().filter(|peer| peer["transport"] == "webrtc");
    pages.map(|peer| peer["id"].clone()).collect()
}

/// Waits until a node has so many pages; answers how long that took.
fn wait_for_pages(node: &Node, count: usize) -> Duration {
    let start = Instant::now();
    wait_for(&format!("{count} pages"), || (pages(node).len() == count).then_some(()));
    start.elapsed()
}

/// A node with a page that comes through a relay.
struct Link {
    scene: Scene,
    node: Node,
    relay: Relay,
    browser: Browser,
}

impl Link {
    fn new() -> Self {
        let scene = Scene::new();
        let node = scene.place.node("a", &LISTEN);
        node.generate(3, &scene.owner);
        let relay = Relay::start(&address(&node));
        let link = relay.address(&address(&node));
        let browser = Browser::open(&format!("{}light#peer={link}", node.url()));
        wait_for_height(&browser, 3);
        Self { scene, node, relay, browser }
    }

    /// Cuts the link for a time, in which a block is found.
    fn cut_for(&self, time: Duration, meanwhile: impl FnOnce()) {
        self.relay.cut(true);
        let start = Instant::now();
        self.node.generate(1, &self.scene.owner);
        meanwhile();
        std::thread::sleep(time.saturating_sub(start.elapsed()));
        self.relay.cut(false);
    }
}

#[test]
fn a_cut_of_five_seconds_is_not_noticed() {
    let link = Link::new();
    let before = pages(&link.node);
    link.cut_for(Duration::from_secs(5), || ());
    wait_for_height(&link.browser, 4);
    assert_eq!((pages(&link.node), before.len()), (before, 1), "the same connection");
    assert_eq!(link.browser.text("#agree"), "1 of 1");
}

/// At both ends; the page dials again until it gets through.
#[test]
fn a_cut_of_twenty_seconds_ends_the_connection_for_another() {
    const CUT: Duration = Duration::from_secs(20);
    let link = Link::new();
    let before = pages(&link.node);
    link.cut_for(CUT, || {
        let gone = wait_for_pages(&link.node, 0);
        assert!(gone < CUT, "the node took {gone:?}");
        link.browser.wait("document.getElementById('state').textContent.startsWith('as kept here')");
        assert_eq!(link.browser.text("#height"), "3");
    });
    let healed = Instant::now();
    wait_for_height(&link.browser, 4);
    println!("cut for {CUT:?}: the page was back after {:.1} s", healed.elapsed().as_secs_f64());
    assert_eq!(link.browser.text("#tip"), link.node.tip().1);
    wait_for_pages(&link.node, 1);
    assert_ne!(pages(&link.node), before, "another connection");
    link.browser.wait("document.getElementById('agree').textContent === '1 of 1'");
}

#[test]
fn a_frozen_tab_is_let_go_and_comes_back() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    node.generate(3, &scene.owner);
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 3);
    browser.devtools("Page.setWebLifecycleState", &json!({ "state": "frozen" }));
    node.generate(1, &scene.owner);
    // Its browser still answers for the link, so it is a peer until it has left a ping unanswered.
    assert_eq!(pages(&node).len(), 1);
    let gone = wait_for_pages(&node, 0);
    println!("a frozen tab was let go after {:.1} s", gone.as_secs_f64());
    assert!(gone > Duration::from_secs(5) && gone < Duration::from_secs(75), "{gone:?}");
    node.generate(1, &scene.owner);
    browser.devtools("Page.setWebLifecycleState", &json!({ "state": "active" }));
    wait_for_height(&browser, 5);
    wait_for_pages(&node, 1);
}

#[test]
fn a_browser_that_is_killed_is_gone_soon() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let mut browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 0);
    assert_eq!(pages(&node).len(), 1);
    browser.kill();
    let gone = wait_for_pages(&node, 0);
    println!("a killed browser was let go after {:.1} s", gone.as_secs_f64());
    assert!(gone < Duration::from_secs(45), "{gone:?}");
}

/// The page asks for more headers than all queues hold, and takes nothing. It costs the node its send queue, and other
/// pages no time.
#[test]
fn a_page_that_never_reads_is_let_go_and_delays_no_other() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    for _ in 0..2 {
        node.generate(1_000, &scene.owner);
    }
    let params = Params::from_json(&std::fs::read_to_string(scene.place.path("genesis.json")).unwrap()).unwrap();
    let at: PeerAddr = address(&node).parse().unwrap();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let before = node.memory();
    let mut stream = tokio.block_on(async {
        let (session, carrier) = Dialler::new().unwrap().dial(at).await.unwrap();
        let (mut stream, theirs) = duplex(4 << 10);
        tokio::spawn(session.carry(theirs));
        let own = Identity::from_secret([1; 32]);
        let mut session = noise::initiate_over(&mut stream, &own, &carrier, None).await.unwrap();
        let genesis = params.genesis_hash;
        let hello = Hello::new(genesis, 0);
        let mut sealed = Vec::new();
        let ask = || Message::GetHeaders { locator: vec![genesis], stop: cairn::primitives::hash::BlockHash::ZERO };
        for message in std::iter::once(Message::Hello(hello)).chain((0..8).map(|_| ask())) {
            session.sealer.seal(&Frame::from(message).to_bytes(), &mut sealed).unwrap();
        }
        stream.write_all(&sealed).await.unwrap();
        stream
    });
    wait_for_pages(&node, 1);
    let [deaf] = &pages(&node)[..] else { panic!("more than one page") };
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 2_000);
    let start = Instant::now();
    wait_for("the page that does not read to be let go", || (!pages(&node).contains(deaf)).then_some(()));
    println!("a page that does not read was let go after {:.1} s", start.elapsed().as_secs_f64());
    assert!(node.memory() < before + (64 << 20), "{} bytes, {before} before", node.memory());
    node.generate(1, &scene.owner);
    wait_for_height(&browser, 2_001);
    // Nothing was lost for want of a reader here but what it did not take: the stream ends.
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        while stream.read(&mut buffer).await.unwrap() > 0 {}
    };
    tokio.block_on(async { tokio::time::timeout(Duration::from_secs(60), read).await }).expect("it ends");
}
