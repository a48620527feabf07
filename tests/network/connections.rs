//! One node, driven by hand: connections, the handshake and bans.

use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::consensus::params::Params;
use cairn::mempool::{Limits, Mempool};
use cairn::p2p::frame::FrameError;
use cairn::p2p::handshake::HANDSHAKE_TIMEOUT;
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::{Hello, Item, Kind, MAX_INVENTORY, Message, SERVICE_FULL, SERVICE_PAGES};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::ping::PING_TIMEOUT;
use cairn::p2p::{Ban, Config, Direction, Event, Input, Node, Now, Output, PeerAddr, PeerId, Protocol, Reason, Subnet};
use cairn::primitives::hash::{BlockHash, Hash256};
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::storage::{MemoryStore, Store};

use crate::params;
use cairn_testkit::Ledger;

/// A node under a hand-set clock.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) now: Now,
    next: u64,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_store(config, Arc::new(MemoryStore::new()))
    }

    pub(crate) fn with_store(config: Config, store: Arc<dyn Store>) -> Self {
        Self::on(&params(), config, store)
    }

    pub(crate) fn on(params: &Arc<Params>, config: Config, store: Arc<dyn Store>) -> Self {
        Self::of(Chain::open(params.clone(), store).unwrap(), config)
    }

    pub(crate) fn of(chain: Chain, config: Config) -> Self {
        let params = chain.params().clone();
        let now =
            Now { mono: MonoTime::from_millis(1_000), unix: UnixTime::from_secs(u64::from(params.timestamp) + 10_000) };
        let mempool = Mempool::new(params, Limits::default());
        Self { node: Node::new(chain, mempool, config, now).unwrap(), now, next: 0 }
    }

    pub(crate) fn give(&mut self, input: Input) -> Vec<Output> {
        self.node.handle(self.now, input);
        self.node.drain().collect()
    }

    pub(crate) fn after(&mut self, span: Duration) -> Vec<Output> {
        self.now.mono += span;
        self.now.unix = self.now.unix.saturating_add(span);
        self.give(Input::Tick)
    }

    pub(crate) fn say(&mut self, peer: PeerId, message: Message) -> Vec<Output> {
        let at = self.now.mono;
        self.give(Input::Received { peer, message, at })
    }

    /// A peer dials in from an address.
    pub(crate) fn inbound(&mut self, address: &str) -> (PeerId, Vec<Output>) {
        self.next += 1;
        let peer = PeerId(self.next);
        let address = address.parse().unwrap();
        (peer, self.give(Input::Connected { peer, address, direction: Direction::Inbound, id: id(peer) }))
    }

    /// A peer dials in and says hello.
    pub(crate) fn guest(&mut self, address: &str) -> PeerId {
        self.greeted(address, hello())
    }

    /// A browser page dials in and says hello.
    pub(crate) fn page(&mut self, address: &str) -> PeerId {
        self.greeted(address, Hello { services: SERVICE_PAGES, ..hello() })
    }

    fn greeted(&mut self, address: &str, hello: Hello) -> PeerId {
        let (peer, outputs) = self.inbound(address);
        assert_eq!(reasons(&outputs), []);
        let outputs = self.say(peer, Message::Hello(hello));
        assert!(sent(&outputs).any(|message| matches!(message, Message::Hello(_))));
        peer
    }
}

pub(crate) fn hello() -> Hello {
    Hello { user_agent: "/by hand\u{7}/".to_owned(), ..Hello::new(params().genesis_hash, SERVICE_FULL) }
}

impl Bench {
    /// A peer's points of misbehaviour; `None` if it is gone.
    pub(crate) fn score(&self, peer: PeerId) -> Option<u32> {
        self.node.peers(self.now).iter().find(|info| info.id == peer).map(|info| info.score)
    }
}

/// A peer with its own id.
pub(crate) fn id(peer: PeerId) -> NodeId {
    NodeId(Hash256::of(&peer.0.to_le_bytes()).to_bytes())
}

pub(crate) fn reasons(outputs: &[Output]) -> Vec<Reason> {
    let reason = |output: &Output| match output {
        Output::Disconnect { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    outputs.iter().filter_map(reason).collect()
}

pub(crate) fn sent(outputs: &[Output]) -> impl Iterator<Item = Message> {
    outputs.iter().filter_map(|output| match output {
        Output::Send { frame, .. } => Some(frame.message().unwrap()),
        _ => None,
    })
}

/// What was sent to one peer.
pub(crate) fn sent_to(outputs: &[Output], to: PeerId) -> Vec<Message> {
    let message = |output: &'_ Output| matches!(output, Output::Send { peer, .. } if *peer == to);
    sent_of(outputs.iter().filter(|output| message(output)))
}

fn sent_of<'a>(outputs: impl Iterator<Item = &'a Output>) -> Vec<Message> {
    outputs.flat_map(|output| sent(std::slice::from_ref(output))).collect()
}

pub(crate) fn dials(outputs: &[Output]) -> Vec<PeerAddr> {
    let dial = |output: &Output| match output {
        Output::Connect { address, .. } => Some(*address),
        _ => None,
    };
    outputs.iter().filter_map(dial).collect()
}

#[test]
fn hello_comes_first_and_once() {
    let mut bench = Bench::new(Config::default());
    let (peer, _) = bench.inbound("10.0.0.1:5");
    assert_eq!(reasons(&bench.say(peer, Message::Ping(1))), [Reason::Misbehaved(Offence::OutOfTurn(Kind::Ping))]);
    let peer = bench.guest("10.0.1.1:5");
    assert_eq!(
        reasons(&bench.say(peer, Message::Hello(hello()))),
        [Reason::Misbehaved(Offence::OutOfTurn(Kind::Hello))]
    );
    let (_, outputs) = bench.inbound("10.0.1.1:6");
    assert_eq!(reasons(&outputs), [Reason::Banned]);
    assert_eq!(bench.node.peers(bench.now), []);
}

#[test]
fn a_caller_of_another_network_learns_which_it_reached() {
    let mut bench = Bench::new(Config::default());
    let (peer, _) = bench.inbound("10.0.0.1:5");
    let outputs = bench.say(peer, Message::Hello(Hello { genesis: BlockHash::ZERO, ..hello() }));
    let told: Vec<BlockHash> = sent(&outputs)
        .filter_map(|message| match message {
            Message::Hello(hello) => Some(hello.genesis),
            _ => None,
        })
        .collect();
    let (got, expected) = (BlockHash::ZERO, params().genesis_hash);
    assert_eq!((told, reasons(&outputs)), (vec![expected], vec![Reason::WrongGenesis { got, expected }]));
}

#[test]
fn a_silent_miner_is_disconnected() {
    let mut bench = Bench::new(Config::default());
    bench.inbound("10.0.0.1:5");
    assert_eq!(reasons(&bench.after(HANDSHAKE_TIMEOUT - Duration::from_millis(1))), []);
    assert_eq!(reasons(&bench.after(Duration::from_millis(1))), [Reason::HandshakeTimeout]);
}

#[test]
fn malformed_messages_ban_except_on_loopback() {
    let mut bench = Bench::new(Config::default());
    let error = FrameError::TooLong { kind: Kind::Headers as u8, got: u32::MAX as usize, max: 160_008 };
    for (address, banned) in [("10.0.0.1:5", 1), ("127.0.0.1:5", 0)] {
        let peer = bench.guest(address);
        let outputs = bench.give(Input::Malformed { peer, reason: error.clone() });
        assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::Malformed(error.clone()))]);
        let events = outputs.iter().filter(|output| matches!(output, Output::Event(Event::Banned { .. })));
        assert_eq!(events.count(), banned, "{address}");
    }
}

#[test]
fn places_are_shared_out_and_the_worst_gives_way() {
    let config = Config { max_inbound: 20, max_inbound_per_address: 3, ..Config::default() };
    let mut bench = Bench::new(config);
    for port in 1..=3 {
        bench.guest(&format!("10.0.0.1:{port}"));
    }
    let (_, outputs) = bench.inbound("10.0.0.1:4");
    assert_eq!(reasons(&outputs), [Reason::TooManyFromAddress]);
    for port in 1..=17 {
        bench.guest(&format!("127.0.0.1:{port}"));
    }
    let (newcomer, outputs) = bench.inbound("10.9.0.1:1");
    assert_eq!(reasons(&outputs), [Reason::Evicted]);
    let peers = bench.node.peers(bench.now);
    assert_eq!(peers.len(), 20);
    assert!(peers.iter().any(|peer| peer.id == newcomer));
    assert_eq!(peers.iter().filter(|peer| peer.address.ip().is_loopback()).count(), 16);
}

#[test]
fn manual_peers_are_dialled_again_and_again() {
    let address: PeerAddr = "10.0.0.1:7331".parse().unwrap();
    let mut bench = Bench::new(Config { connect: vec![address], ..Config::default() });
    assert_eq!(dials(&bench.node.drain().collect::<Vec<_>>()), [address]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        bench.give(Input::ConnectFailed { address, found: None });
        let from = bench.now.mono;
        while dials(&bench.after(Duration::from_millis(100))).is_empty() {}
        waits.push(bench.now.mono.saturating_since(from).as_millis());
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    assert!(bench.node.remove_node(bench.now, &address));
    bench.give(Input::ConnectFailed { address, found: None });
    assert!((0..100).all(|_| dials(&bench.after(Duration::from_secs(1))).is_empty()));
}

#[test]
fn addresses_of_other_transports_are_kept_and_not_dialled() {
    let mut bench = Bench::new(Config::default());
    let (peer, _) = bench.inbound("10.0.0.9:50000");
    let webrtc = PeerAddr::WebRtc { socket: ([1, 2, 3, 4], 4001).into(), certhash: [7; 32] };
    let listens = vec![webrtc, PeerAddr::tcp_port(7331)];
    let mut dialled = dials(&bench.say(peer, Message::Hello(Hello { listens, ..hello() })));
    // Both at the IP that the connection came from.
    let (tcp, webrtc) = (PeerAddr::from(([10, 0, 0, 9], 7331)), webrtc.at([10, 0, 0, 9].into()));
    let known: Vec<PeerAddr> = bench.node.known_addresses().iter().map(|record| record.address).collect();
    assert_eq!(known, [tcp, webrtc]);
    assert!(bench.node.disconnect_address(bench.now, webrtc), "they are one node's");

    assert!(!bench.node.add_node(bench.now, webrtc, None));
    bench.node.connect_once(bench.now, webrtc, None);
    dialled.extend((0..1_000).flat_map(|_| dials(&bench.after(Duration::from_secs(1)))));
    assert!(dialled.contains(&tcp) && dialled.iter().all(|address| *address == tcp), "{dialled:?}");
}

#[test]
fn bans_and_addresses_survive_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut bench = Bench::with_store(Config::default(), store.clone());
    let known: PeerAddr = "10.0.0.9:7331".parse().unwrap();
    bench.node.add_seed(bench.now, known, None);
    let subnet: Subnet = "10.7.0.0/16".parse().unwrap();
    let until = bench.now.unix.saturating_add(Duration::from_secs(100));
    bench.node.ban(bench.now, subnet, until);
    bench.node.handle(bench.now, Input::Stop);
    let mut again = Bench::with_store(Config::default(), store);
    let created = bench.now.unix;
    assert_eq!(again.node.bans(again.now), [(subnet, Ban { created, until, reason: "asked for".to_owned() })]);
    assert_eq!(again.node.known_addresses(), bench.node.known_addresses());
    assert_eq!(again.node.known_addresses().len(), 1);
    assert_eq!(reasons(&again.inbound("10.7.3.3:1").1), [Reason::Banned]);
    assert!(again.node.unban(&subnet) && !again.node.unban(&subnet));
    assert_eq!(reasons(&again.inbound("10.7.3.3:1").1), []);
}

/// Bodies are read and sent in portions, each after the previous one was sent.
#[test]
fn a_greedy_peer_gets_one_portion_at_a_time() {
    let mut bench = Bench::new(Config::default());
    let blocks = Ledger::on(&params()).extend(100, 0);
    for block in blocks.clone() {
        bench.node.submit_block(bench.now, block).unwrap();
    }
    let peer = bench.guest("10.0.0.1:5");
    let hash = bench.node.chain().tip().hash;
    let size = bench.node.chain().db().raw_block(&bench.node.chain().tip().key()).unwrap().unwrap().len();
    // What is named twice is sent once.
    let all: Vec<Item> = blocks.iter().chain(&blocks).map(|block| Item::Block(block.hash())).collect();
    let ask = || Message::GetData(all.clone());
    let blocks = |outputs: &[Output]| sent(outputs).filter(|m| matches!(m, Message::Block(_))).count();
    let flushes = |outputs: &[Output]| outputs.iter().filter(|o| matches!(o, Output::Flush { .. })).count();
    // Requests of all blocks again and again, until a portion is full.
    let mut got = 0;
    let mut asked = 0;
    while got * size < cairn::p2p::serve::PORTION_BYTES {
        asked += 100;
        let outputs = bench.say(peer, ask());
        got += blocks(&outputs);
        if flushes(&outputs) == 1 {
            break;
        }
    }
    let outputs = bench.say(peer, ask());
    asked += 100;
    assert_eq!(blocks(&outputs), 0, "the first portion has not left");
    let outputs = bench.say(peer, Message::GetData(vec![Item::Block(hash); 3 * MAX_INVENTORY]));
    assert_eq!(blocks(&outputs), 0);
    assert_eq!(bench.node.peers(bench.now)[0].score, Offence::RequestFlood.points());
    while got < asked {
        let outputs = bench.give(Input::Flushed { peer });
        assert!(blocks(&outputs) > 0);
        got += blocks(&outputs);
    }
    let unknown = Item::Block(BlockHash::of(b"unknown"));
    let outputs = bench.say(peer, Message::GetData(vec![unknown]));
    assert!(sent(&outputs).any(|message| message == Message::NotFound(vec![unknown])));
}

#[test]
fn peers_texts_are_made_printable() {
    let mut bench = Bench::new(Config::default());
    bench.guest("10.0.0.1:5");
    assert_eq!(bench.node.peers(bench.now)[0].user_agent, "/by hand?/");
}

#[test]
fn the_owner_may_disconnect_by_number_and_address() {
    let mut bench = Bench::new(Config::default());
    let (a, b) = (bench.guest("10.0.0.1:5"), bench.guest("10.0.0.2:5"));
    assert!(bench.node.disconnect(bench.now, a) && !bench.node.disconnect(bench.now, a));
    assert!(bench.node.disconnect_address(bench.now, "10.0.0.2:5".parse().unwrap()));
    let outputs: Vec<Output> = bench.node.drain().collect();
    assert_eq!(reasons(&outputs), [Reason::Requested, Reason::Requested]);
    assert_eq!(reasons(&bench.give(Input::Disconnected { peer: b })), []);
}

/// The node, as `Config::id` says, and another one with the smaller or the larger id.
fn rivals() -> (Bench, NodeId, NodeId) {
    let bench = Bench::new(Config { id: NodeId([0x80; 32]), ..Config::default() });
    (bench, NodeId([0x7f; 32]), NodeId([0x81; 32]))
}

impl Bench {
    /// A connection with a given node, dialled by either side.
    fn meets(&mut self, id: NodeId, address: &str, direction: Direction) -> (PeerId, Vec<Output>) {
        self.next += 1;
        let peer = PeerId(self.next);
        (peer, self.give(Input::Connected { peer, address: address.parse().unwrap(), direction, id }))
    }

    fn connections(&self) -> Vec<PeerId> {
        self.node.peers(self.now).iter().map(|peer| peer.id).collect()
    }
}

fn ended(outputs: &[Output]) -> Vec<(PeerId, Reason)> {
    let end = |output: &Output| match output {
        Output::Disconnect { peer, reason } => Some((*peer, reason.clone())),
        _ => None,
    };
    outputs.iter().filter_map(end).collect()
}

#[test]
fn of_two_that_dial_each_other_the_dial_of_the_smaller_stays_in_whatever_order_they_come() {
    use Direction::{Inbound, Outbound};
    let (_, smaller, larger) = rivals();
    for (other, stays) in [(smaller, Inbound), (larger, Outbound)] {
        for order in [[Inbound, Outbound], [Outbound, Inbound]] {
            for greeted in [false, true] {
                let (mut bench, ..) = rivals();
                let (older, outputs) = bench.meets(other, "10.0.0.1:7331", order[0]);
                assert_eq!(reasons(&outputs), []);
                if greeted {
                    bench.say(older, Message::Hello(hello()));
                }
                let (newer, mut outputs) = bench.meets(other, "10.0.0.1:7331", order[1]);
                let (kept, goes) = if order[0] == stays { (older, newer) } else { (newer, older) };
                if kept == newer {
                    assert_eq!(ended(&outputs), [], "it may have come for a question only");
                    outputs = bench.say(newer, Message::Hello(hello()));
                }
                assert_eq!(ended(&outputs), [(goes, Reason::Duplicate)], "{order:?} {stays:?} {greeted}");
                assert_eq!(bench.connections(), [kept]);
                // The closed connection is silent, and the other continues.
                assert!(bench.say(goes, Message::Hello(hello())).is_empty());
                if kept == older && !greeted {
                    bench.say(kept, Message::Hello(hello()));
                }
                assert!(bench.node.peers(bench.now)[0].ready);
            }
        }
    }
}

#[test]
fn of_two_that_one_side_dialled_the_older_stays_if_it_is_alive() {
    let (_, smaller, larger) = rivals();
    for (other, direction) in
        [smaller, larger].into_iter().flat_map(|id| [(id, Direction::Inbound), (id, Direction::Outbound)])
    {
        let (mut bench, ..) = rivals();
        let (older, _) = bench.meets(other, "10.0.0.1:7331", direction);
        let outputs = bench.say(older, Message::Hello(hello()));
        let ping = |outputs: &[Output]| {
            let mut pings = sent(outputs).filter_map(|m| if let Message::Ping(nonce) = m { Some(nonce) } else { None });
            pings.next()
        };
        // The first question comes with the hello.
        let nonce = ping(&outputs).or_else(|| ping(&bench.after(Duration::from_millis(1)))).expect("it is asked");
        bench.say(older, Message::Pong(nonce));
        bench.after(Duration::from_secs(1));
        let (newer, outputs) = bench.meets(other, "10.0.0.2:7331", direction);
        assert_eq!(ended(&outputs), [(newer, Reason::Duplicate)]);
        // The older one is asked at once, long before its turn, and answers.
        let nonce = ping(&outputs).or_else(|| ping(&bench.after(Duration::from_millis(1)))).expect("it is asked");
        bench.say(older, Message::Pong(nonce));
        assert_eq!(ended(&bench.after(PING_TIMEOUT)), []);
        assert_eq!(bench.connections(), [older]);

        // Once it stops answering, it is closed after a ping's time-out, and then the new connection is accepted.
        let (newer, outputs) = bench.meets(other, "10.0.0.3:7331", direction);
        assert_eq!(ended(&outputs), [(newer, Reason::Duplicate)]);
        let outputs = [bench.after(Duration::from_millis(1)), bench.after(PING_TIMEOUT)].concat();
        assert_eq!(ended(&outputs), [(older, Reason::PingTimeout)]);
        let (newest, outputs) = bench.meets(other, "10.0.0.4:7331", direction);
        assert_eq!(ended(&outputs), []);
        assert_eq!(bench.connections(), [newest]);
    }
}

/// Both dial at once, and the other's connection comes first. The own dial is closed, and has still shown who listens there.
#[test]
fn a_dial_that_is_closed_as_a_duplicate_makes_a_contact() {
    let (mut bench, smaller, _) = rivals();
    let address: PeerAddr = "10.0.0.1:7331".parse().unwrap();
    bench.node.add_seed(bench.now, address, None);
    assert_eq!(dials(&bench.after(Duration::from_secs(1))), [address]);
    let (theirs, _) = bench.meets(smaller, "10.0.0.1:50000", Direction::Inbound);
    bench.say(theirs, Message::Hello(Hello { listens: vec![address], ..hello() }));
    assert!(bench.node.contacts().is_empty(), "it only says that it listens there");
    let (own, outputs) = bench.meets(smaller, "10.0.0.1:7331", Direction::Outbound);
    assert_eq!(ended(&outputs), [(own, Reason::Duplicate)]);
    let contacts: Vec<Contact> = bench.node.contacts().contacts().copied().collect();
    assert_eq!(contacts, [Contact { id: smaller, address }]);
    let known = bench.node.known_addresses();
    assert!(known.iter().all(|record| record.is_tried() && record.failures == 0), "{known:?}");
}

/// As that of a name with an address of IPv4 and one of IPv6.
#[test]
fn a_node_with_two_addresses_is_not_dialled_in_turns() {
    let (mut bench, smaller, _) = rivals();
    let addresses: [PeerAddr; 2] = ["10.0.0.1:7331".parse().unwrap(), "[fd00::1]:7331".parse().unwrap()];
    addresses.iter().for_each(|address| bench.node.add_seed(bench.now, *address, None));
    let mut dialled = 0;
    for _ in 0..60 {
        for address in dials(&bench.after(Duration::from_secs(1))) {
            dialled += 1;
            let (own, outputs) = bench.meets(smaller, &address.to_string(), Direction::Outbound);
            if ended(&outputs).is_empty() {
                bench.say(own, Message::Hello(hello()));
            }
        }
    }
    // Besides the two, lookups dial it, ever more seldom.
    assert!((2..=8).contains(&dialled) && bench.connections().len() == 1, "{dialled}");
}

#[test]
fn a_refused_duplicate_evicts_no_peer() {
    let (_, smaller, _) = rivals();
    let config = Config { id: NodeId([0x80; 32]), max_inbound: 20, ..Config::default() };
    let mut bench = Bench::new(config);
    let (own, _) = bench.meets(smaller, "127.0.0.1:1", Direction::Inbound);
    for port in 2..=20 {
        bench.guest(&format!("127.0.0.1:{port}"));
    }
    let (again, outputs) = bench.meets(smaller, "10.9.0.1:1", Direction::Inbound);
    assert_eq!(ended(&outputs), [(again, Reason::Duplicate)]);
    assert_eq!(bench.connections().len(), 20);
    assert!(bench.connections().contains(&own));
}

#[test]
fn a_connection_to_the_own_id_is_closed() {
    let own: PeerAddr = "10.0.0.7:7331".parse().unwrap();
    let (mut bench, ..) = rivals();
    let me = bench.node.config().id;
    bench.node.add_seed(bench.now, own, None);
    for direction in [Direction::Inbound, Direction::Outbound] {
        let (peer, outputs) = bench.meets(me, &own.to_string(), direction);
        assert_eq!(ended(&outputs), [(peer, Reason::SelfConnection)]);
        assert_eq!(sent(&outputs).count(), 0);
        assert_eq!(
            bench.node.known_addresses().is_empty(),
            direction == Direction::Outbound,
            "where it dialled itself"
        );
    }
    assert_eq!(bench.connections(), []);
    bench.node.add_seed(bench.now, own, None);
    assert!((0..10).all(|_| dials(&bench.after(Duration::from_secs(10))).is_empty()), "never again");
}

#[test]
fn a_seed_with_an_id_accepts_no_other() {
    let (mut bench, smaller, _) = rivals();
    let seed: PeerAddr = "10.0.0.7:7331".parse().unwrap();
    bench.node.add_seed(bench.now, seed, Some(smaller));
    let mut outputs: Vec<Output> = bench.node.drain().collect();
    outputs.extend(bench.after(Duration::from_secs(1)));
    let asked = outputs.iter().find_map(|output| match output {
        Output::Connect { address, id } => Some((*address, *id)),
        _ => None,
    });
    assert_eq!(asked, Some((seed, Some(smaller))));
}

#[test]
fn a_required_id_replaces_another_node_at_its_address() {
    let (mut bench, smaller, larger) = rivals();
    let address: PeerAddr = "10.0.0.7:7331".parse().unwrap();
    bench.node.connect_once(bench.now, address, None);
    let (other, _) = bench.meets(larger, &address.to_string(), Direction::Outbound);
    assert!(bench.node.add_node(bench.now, address, Some(smaller)));
    let outputs: Vec<Output> = bench.node.drain().collect();
    assert_eq!(ended(&outputs), [(other, Reason::Requested)]);
    // Dialled until it is met, and met wherever that is.
    let dialled = |outputs: &[Output]| dials(outputs) == [address];
    assert!((0..20).any(|_| dialled(&bench.after(Duration::from_millis(100)))));
    bench.give(Input::ConnectFailed { address, found: None });
    assert!((0..20).any(|_| dialled(&bench.after(Duration::from_millis(100)))));
    bench.give(Input::ConnectFailed { address, found: None });
    let (elsewhere, _) = bench.meets(smaller, "10.0.0.8:1", Direction::Inbound);
    bench.say(elsewhere, Message::Hello(hello()));
    assert!((0..8).all(|_| dials(&bench.after(Duration::from_secs(1))).is_empty()));
}
