//! A page finds nodes that have content through its nodes, some of which lie.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn::light::{
    Config, FIND_AGAIN, FIND_BURST, FIND_INTERVAL, Headers, Light, MAX_ASKED, MAX_DIALLED, MAX_TAKEN, PROVIDER_PATIENCE,
};
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::{Hello, Message, SERVICE_CONTENT, SERVICE_FULL};
use cairn::p2p::wants::ContentBlock;
use cairn::p2p::{Direction, Input, Now, Output, PeerAddr, PeerId, Protocol, Transports};
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn_testkit::params;

const KEY: NodeId = NodeId([9; 32]);

/// Node `n`, whose id is `n` too.
fn contact(n: u8) -> Contact {
    let address = PeerAddr::WebRtc { socket: ([8, 8, n, 1], 7_331).into(), certhash: [n; 32] };
    Contact { id: NodeId([n; 32]), address }
}

/// A page and the driver's side of its connections.
struct Bench {
    light: Light,
    now: Now,
    next: u64,
    /// Connections by their node.
    open: BTreeMap<PeerAddr, PeerId>,
    dialled: Vec<PeerAddr>,
    /// Who was asked for providers since the last look.
    asked: Vec<PeerAddr>,
}

impl Bench {
    /// A page that is connected to the nodes 1 to `nodes`.
    fn new(nodes: u8) -> Self {
        let params = params();
        let now = Now { mono: MonoTime::from_millis(1_000), unix: UnixTime::from_secs(u64::from(params.timestamp)) };
        let config = Config {
            peers: (1..=nodes).map(|n| (contact(n).address, None)).collect(),
            transports: Transports { tcp: false, webrtc: true },
            page: Some(NodeId([0; 32])),
            seed: [1; 32],
            ..Config::default()
        };
        let light = Light::new(Headers::new(params), config, now);
        let (open, dialled, asked) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut bench = Self { light, now, next: 0, open, dialled, asked };
        bench.look();
        for address in bench.take_dialled() {
            bench.connect(address);
        }
        bench
    }

    fn look(&mut self) {
        for output in self.light.drain().collect::<Vec<_>>() {
            match output {
                Output::Connect { address, .. } => self.dialled.push(address),
                Output::Disconnect { peer, .. } => self.open.retain(|_, open| *open != peer),
                Output::Send { peer, frame } => {
                    if let Ok(Message::GetProviders { .. }) = frame.message() {
                        self.asked.extend(self.open.iter().find(|(_, open)| **open == peer).map(|(at, _)| *at));
                    }
                }
                _ => {}
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.light.handle(self.now, input);
        self.look();
    }

    fn after(&mut self, span: Duration) {
        self.now.mono += span;
        self.handle(Input::Tick);
    }

    fn say(&mut self, address: PeerAddr, message: Message) {
        let peer = self.open[&address];
        self.handle(Input::Received { peer, message, at: self.now.mono });
    }

    /// A dial succeeds, and the node says hello.
    fn connect(&mut self, address: PeerAddr) {
        self.next += 1;
        let peer = PeerId(self.next);
        let PeerAddr::WebRtc { certhash, .. } = address else { panic!("{address}") };
        self.open.insert(address, peer);
        self.handle(Input::Connected { peer, address, direction: Direction::Outbound, id: NodeId(certhash) });
        let hello = Hello::new(params().genesis_hash, SERVICE_FULL | SERVICE_CONTENT);
        self.say(address, Message::Hello(hello));
    }

    fn fail(&mut self, address: PeerAddr) {
        self.handle(Input::ConnectFailed { address, found: None });
    }

    fn find(&mut self, key: Option<NodeId>) {
        self.light.find(self.now, key);
        self.look();
    }

    fn answer(&mut self, node: u8, providers: impl IntoIterator<Item = Contact>) {
        let providers = providers.into_iter().collect();
        self.say(contact(node).address, Message::Providers { providers, nearer: Vec::new() });
    }

    fn take_dialled(&mut self) -> Vec<PeerAddr> {
        std::mem::take(&mut self.dialled)
    }

    fn take_asked(&mut self) -> usize {
        std::mem::take(&mut self.asked).len()
    }
}

fn addresses(nodes: impl IntoIterator<Item = u8>) -> Vec<PeerAddr> {
    nodes.into_iter().map(|n| contact(n).address).collect()
}

#[test]
fn one_honest_node_among_liars_is_enough() {
    let mut bench = Bench::new(5);
    bench.find(Some(KEY));
    assert_eq!(bench.take_asked(), MAX_ASKED, "of five nodes");
    // Two liars name as many as a message holds, none of them there.
    bench.answer(1, (100..116).map(contact));
    bench.answer(2, (150..166).map(contact));
    let mut dialled = bench.take_dialled();
    assert_eq!(dialled, addresses([100, 101, 102, 103]));
    bench.answer(3, [contact(50)]);
    // The first that an answer names goes before the second that others name.
    bench.fail(dialled[0]);
    bench.fail(dialled[1]);
    let next = bench.take_dialled();
    assert_eq!(next, addresses([150, 50]));
    bench.connect(next[1]);
    let offers = |bench: &mut Bench| {
        bench.light.take_notices().iter().any(|notice| format!("{notice:?}").contains("OffersContent"))
    };
    assert!(offers(&mut bench));
    // Of the others no more than eight of each are dialled, four at a time, and none twice.
    dialled.extend(next);
    let mut failed = 2;
    while failed < dialled.len() {
        if dialled[failed] != contact(50).address {
            bench.fail(dialled[failed]);
        }
        failed += 1;
        dialled.extend(bench.take_dialled());
        assert!(dialled.len() - failed <= MAX_DIALLED);
    }
    assert_eq!(dialled.len(), 2 * MAX_TAKEN + 1);
    assert_eq!(bench.take_asked(), 0);
    // In the end it is left.
    assert_eq!(bench.open.len(), 6);
    bench.find(None);
    assert_eq!(bench.open.len(), 5);
}

#[test]
fn a_provider_that_sends_nothing_gives_way() {
    let mut bench = Bench::new(1);
    bench.find(Some(KEY));
    bench.answer(1, (10..16).map(contact));
    for address in bench.take_dialled() {
        bench.connect(address);
    }
    let tick = Duration::from_millis(1);
    bench.after(tick);
    let (hash, bytes) = (vec![1], vec![2]);
    bench.say(contact(10).address, Message::ContentBlock(ContentBlock { hash, bytes }.into()));
    bench.after(PROVIDER_PATIENCE - 2 * tick);
    assert_eq!(bench.take_dialled(), []);
    bench.after(tick);
    bench.after(Duration::ZERO);
    // As many as wait, and not the one that has sent a block since.
    assert_eq!(bench.take_dialled(), addresses([14, 15]));
    assert_eq!(bench.open.keys().copied().collect::<Vec<_>>(), addresses([1, 10, 13]));
}

#[test]
fn what_cannot_be_a_provider_is_not_dialled() {
    let mut bench = Bench::new(2);
    bench.find(Some(KEY));
    let own = Contact { id: NodeId([0; 32]), ..contact(20) };
    let tcp = Contact { address: ([8, 8, 8, 8], 7_331).into(), ..contact(21) };
    let page = Contact { address: PeerAddr::page([22; 32]), ..contact(22) };
    let private = |ip: [u8; 4]| Contact { address: contact(23).address.at(ip.into()), ..contact(23) };
    bench.answer(1, [own, tcp, page, private([10, 0, 0, 1]), private([127, 0, 0, 1]), contact(2), contact(24)]);
    assert_eq!(bench.take_dialled(), addresses([24]));
    // An answer to an earlier question counts for nothing, and one to no question is an offence.
    bench.find(Some(NodeId([8; 32])));
    bench.answer(2, [contact(30)]);
    assert_eq!(bench.take_dialled(), []);
    // It was asked the later question since.
    bench.answer(2, []);
    for _ in 0..9 {
        bench.answer(2, [contact(31)]);
    }
    assert!(bench.open.contains_key(&contact(2).address));
    // A thousand of them end the connection after the tenth.
    bench.answer(2, [contact(31)]);
    assert!(!bench.open.contains_key(&contact(2).address) && bench.take_dialled().is_empty());
}

#[test]
fn keys_are_looked_for_within_a_rate() {
    let mut bench = Bench::new(1);
    for n in 0..FIND_BURST {
        bench.find(Some(NodeId([n as u8; 32])));
        assert_eq!(bench.take_asked(), 1);
        bench.answer(1, []);
    }
    bench.find(Some(KEY));
    assert_eq!(bench.take_asked(), 0);
    bench.after(FIND_INTERVAL);
    assert_eq!(bench.take_asked(), 1);
    // A node that comes later is asked, too.
    bench.find(Some(NodeId([8; 32])));
    assert_eq!(bench.take_asked(), 0, "it owes an answer");
}

#[test]
fn a_provider_that_is_silent_does_not_keep_nodes_from_being_asked_again() {
    let mut bench = Bench::new(1);
    let tick = Duration::from_millis(1);
    bench.find(Some(KEY));
    bench.answer(1, [contact(10)]);
    bench.connect(contact(10).address);
    assert_eq!(std::mem::take(&mut bench.asked), addresses([1, 10]));
    bench.after(PROVIDER_PATIENCE / 2);
    let (hash, bytes) = (vec![1], vec![2]);
    bench.say(contact(10).address, Message::ContentBlock(ContentBlock { hash, bytes }.into()));
    // From its last block on.
    bench.after(PROVIDER_PATIENCE);
    bench.after(FIND_AGAIN - tick);
    assert_eq!(bench.take_asked(), 0);
    bench.after(tick);
    assert_eq!(bench.take_asked(), 1);
}

#[test]
fn nodes_that_name_no_provider_are_asked_again_later() {
    let mut bench = Bench::new(2);
    let tick = Duration::from_millis(1);
    bench.find(Some(KEY));
    assert_eq!(bench.take_asked(), 2);
    // The other never answers, which is no reason to wait.
    bench.answer(1, []);
    bench.after(FIND_AGAIN - tick);
    assert_eq!(bench.take_asked(), 0);
    bench.after(tick);
    assert_eq!(std::mem::take(&mut bench.asked), addresses([1]));
    bench.answer(1, []);
    bench.after(2 * FIND_AGAIN - tick);
    assert_eq!(bench.take_asked(), 0, "the second time it waits twice as long");
    bench.after(tick);
    assert_eq!(bench.take_asked(), 1);
}

#[test]
fn after_a_block_nodes_are_asked_again_as_soon_as_at_first() {
    let mut bench = Bench::new(2);
    let tick = Duration::from_millis(1);
    bench.find(Some(KEY));
    bench.answer(1, []);
    bench.after(FIND_AGAIN);
    bench.answer(1, []);
    assert_eq!(std::mem::take(&mut bench.asked), addresses([1, 2, 1]));
    let (hash, bytes) = (vec![1], vec![2]);
    bench.say(contact(2).address, Message::ContentBlock(ContentBlock { hash, bytes }.into()));
    bench.after(FIND_AGAIN - tick);
    assert_eq!(bench.take_asked(), 0);
    bench.after(tick);
    assert_eq!(bench.take_asked(), 1);
}
