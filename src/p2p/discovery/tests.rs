//! Brief connections and their bound.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::p2p::interface::Reason;
use crate::p2p::kad::ALPHA;
use crate::primitives::time::UnixTime;

/// What is looked for. Ids of [`near`] nodes are the nearest to it.
const TARGET: NodeId = NodeId([0; 32]);

fn contact(id: [u8; 32]) -> Contact {
    Contact { id: NodeId(id), address: ([10, 0, id[0], id[31]], 7331).into() }
}

fn near(n: u8) -> Contact {
    let mut id = [0; 32];
    id[31] = n;
    contact(id)
}

fn far(n: u8) -> Contact {
    let mut id = [0x80; 32];
    id[31] = n;
    contact(id)
}

/// A node, and the drivers' side of its connections.
struct Bench {
    now: Now,
    discovery: Discovery,
    rng: ChaCha20Rng,
    out: Outbox,
    /// Dials under way.
    dialled: Vec<(PeerAddr, Option<NodeId>)>,
    connections: BTreeSet<PeerId>,
    /// Connections of late dials.
    came_late: BTreeSet<PeerId>,
    /// Whom it sent something to.
    asked: Vec<PeerId>,
    next: u64,
}

impl Bench {
    fn new(contacts: impl IntoIterator<Item = Contact>) -> Self {
        let now = Now { mono: MonoTime::START, unix: UnixTime::EPOCH };
        let mut discovery = Discovery::new(now, NodeId([0x40; 32]), contacts);
        // Only what a test asks for is looked up.
        discovery.next_refresh = now.mono + REFRESH_INTERVAL;
        Self {
            now,
            discovery,
            rng: ChaCha20Rng::seed_from_u64(7),
            out: Outbox::default(),
            dialled: Vec::new(),
            connections: BTreeSet::new(),
            came_late: BTreeSet::new(),
            asked: Vec::new(),
            next: 0,
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now.mono += Duration::from_millis(millis);
    }

    fn late_dials(&self) -> usize {
        self.discovery.pending_dials.len() - self.discovery.timely_dials()
    }

    /// A dial under way succeeds.
    fn connect(&mut self, id: NodeId, address: PeerAddr) -> PeerId {
        let late = self.late_dials();
        self.dialled.retain(|(dialled, _)| *dialled != address);
        let peer = PeerId(self.next);
        self.next += 1;
        self.connections.insert(peer);
        let (listens_at, direction) = (Some(address), Direction::Outbound);
        let handshake = HandshakeInfo { id, listens_at, browsers_at: None, direction, brief: true };
        self.discovery.connected(self.now, peer, handshake, &mut self.out);
        if late > self.late_dials() {
            self.came_late.insert(peer);
        }
        peer
    }

    /// A brief connection, as of a feeler: it lingers.
    fn linger(&mut self, contact: Contact) -> PeerId {
        self.feel(contact.address);
        self.connect(contact.id, contact.address)
    }

    /// As many as there are places, a millisecond after each other.
    fn fill(&mut self) -> Vec<PeerId> {
        let linger = |n| {
            self.wait(1);
            self.linger(far(n))
        };
        let all = (0..MAX_PENDING_DIALS as u8).map(linger).collect();
        assert_eq!(self.advance(), []);
        all
    }

    /// Has it do something, and then closes what it wants closed: nothing that has a question open, unless that is late.
    fn act(&mut self, act: impl FnOnce(&mut Self)) -> Vec<PeerId> {
        let is_late = |conversation: &Conversation| conversation.end().is_some_and(|end| end <= self.now.mono);
        let all = self.discovery.conversations.iter();
        let mut busy: Vec<PeerId> =
            all.filter(|(_, one)| !one.open.is_empty() && !is_late(one)).map(|(peer, _)| *peer).collect();
        let before = self.asked.len();
        act(self);
        self.dialled.extend(self.discovery.take_dials());
        // Some are taken to be forgotten.
        self.dialled.retain(|(address, _)| self.discovery.pending_dials.contains_key(address));
        self.asked.extend(self.out.take_sent());
        busy.extend(&self.asked[before..]);
        let mut closed = Vec::new();
        while let Some((peer, reason)) = self.out.next_closing() {
            assert!(reason == Reason::Brief && !busy.contains(&peer), "{peer} is closed with a question open");
            if self.connections.remove(&peer) {
                self.discovery.disconnected(self.now, peer, &mut self.out);
                closed.push(peer);
            }
        }
        let (dials, late, brief) = (self.dialled.len(), self.late_dials(), self.connections.len());
        let came_late = self.connections.intersection(&self.came_late).count();
        assert!(dials - late + brief <= MAX_PENDING_DIALS + came_late, "{dials} dials, {brief} connections");
        assert!(dials + brief <= MAX_PENDING_DIALS + MAX_LATE_DIALS, "{dials} dials, {brief} connections");
        assert!(self.discovery.peers().eq(self.connections.iter().copied()));
        closed
    }

    /// A feeler, unless the address is dialled already.
    fn feel(&mut self, address: PeerAddr) -> Vec<PeerId> {
        if self.dialled.iter().any(|(dialled, _)| *dialled == address) {
            return Vec::new();
        }
        self.act(|bench| bench.discovery.dial_feeler(bench.now, address, &mut bench.out))
    }

    /// What a node does at the end of each call. Returns the connections that it closes.
    fn advance(&mut self) -> Vec<PeerId> {
        let mut closed = Vec::new();
        while self.discovery.has_changed() {
            closed.extend(self.act(|bench| bench.discovery.advance(bench.now, &mut bench.rng, &mut bench.out)));
        }
        closed
    }

    /// Answers its first open question.
    fn answer(&mut self, peer: PeerId, told: &[Contact]) {
        assert!(self.discovery.on_nodes(self.now, peer, told, &mut self.out));
    }
}

fn ids(dialled: &[(PeerAddr, Option<NodeId>)]) -> Vec<Option<NodeId>> {
    dialled.iter().map(|(_, id)| *id).collect()
}

#[test]
fn a_lookup_does_not_wait_for_connections_that_linger() {
    let mut bench = Bench::new((1..=16).map(near));
    let lingering = bench.fill();
    bench.discovery.look_for(TARGET).unwrap();
    assert_eq!(bench.advance(), lingering[..ALPHA], "those are closed that have been idle for longest");
    assert_eq!(ids(&bench.dialled), [1, 2, 3].map(|n| Some(near(n).id)));
}

#[test]
fn a_connection_with_an_open_question_is_not_closed_for_room() {
    let mut bench = Bench::new((1..=16).map(near));
    let mut lingering = bench.fill();
    let idle = lingering.remove(9);
    for peer in &lingering {
        bench.discovery.conversations.get_mut(peer).unwrap().open.push_back(Question::Nodes(u64::MAX));
    }
    bench.discovery.look_for(TARGET).unwrap();
    assert_eq!(bench.advance(), [idle]);
    assert_eq!(ids(&bench.dialled), [1].map(|n| Some(near(n).id)));
    assert_eq!(bench.feel(far(99).address), [], "a feeler waits for its next turn");
    bench.answer(lingering[5], &[]);
    assert_eq!(bench.advance(), [lingering[5]], "it is idle now");
    assert_eq!(ids(&bench.dialled), [1, 2].map(|n| Some(near(n).id)));
}

#[test]
fn a_node_with_a_lingering_connection_is_asked_over_it() {
    let mut bench = Bench::new((2..=16).map(near));
    let lingering = bench.fill();
    bench.wait(1);
    let nearest = bench.linger(near(1));
    bench.advance();
    assert_eq!(bench.asked, []);
    bench.discovery.look_for(TARGET).unwrap();
    assert_eq!(bench.advance(), lingering[1..ALPHA]);
    assert_eq!(bench.asked, [nearest]);
    assert_eq!(ids(&bench.dialled), [2, 3].map(|n| Some(near(n).id)));
}

/// No lookup waits for an answer longer than two seconds, so nothing else waits for the places either.
#[test]
fn nodes_that_are_silent_hold_their_places_as_long_as_a_question_may_take() {
    let mut bench = Bench::new((1..=16).map(near));
    let silent = bench.fill();
    let ask = |bench: &mut Bench, peer: &PeerId| {
        let conversation = bench.discovery.conversations.get_mut(peer).unwrap();
        conversation.open.push_back(Question::Nodes(u64::MAX));
        conversation.last = bench.now.mono;
    };
    silent.iter().for_each(|peer| ask(&mut bench, peer));
    let asked_at = bench.now.mono;
    bench.discovery.look_for(TARGET).unwrap();
    assert_eq!(bench.advance(), []);
    assert_eq!(bench.dialled, []);
    // Each is asked once more meanwhile.
    bench.wait(1_000);
    for peer in &silent {
        bench.discovery.question(bench.now, *peer, Question::Delivery(u64::MAX), &mut bench.out);
    }
    assert_eq!(bench.discovery.deadline(), Some(asked_at + QUERY_TIMEOUT));
    bench.wait(1_000);
    bench.discovery.tick();
    assert_eq!(bench.advance(), silent);
    assert_eq!(ids(&bench.dialled), [1, 2, 3].map(|n| Some(near(n).id)));
}

#[test]
fn dials_hold_their_places_as_long_as_a_question_may_take() {
    let mut bench = Bench::new((1..=16).map(near));
    for n in 0..MAX_PENDING_DIALS as u8 {
        bench.feel(far(n).address);
    }
    bench.discovery.look_for(TARGET).unwrap();
    bench.advance();
    assert_eq!(bench.dialled.len(), MAX_PENDING_DIALS);
    for round in 1..=5 {
        assert_eq!(bench.discovery.deadline(), Some(bench.now.mono + QUERY_TIMEOUT));
        bench.wait(2_000);
        bench.discovery.tick();
        bench.advance();
        assert_eq!(bench.dialled.len(), MAX_PENDING_DIALS + ALPHA * round);
    }
}

#[test]
fn others_are_asked_as_soon_as_a_question_is_late() {
    let mut bench = Bench::new((1..=16).map(near));
    bench.discovery.look_for(TARGET).unwrap();
    bench.advance();
    for (address, id) in bench.dialled.clone() {
        let peer = bench.connect(id.unwrap(), address);
        bench.discovery.conversations.get_mut(&peer).unwrap().brief = false;
    }
    assert_eq!(bench.advance(), []);
    assert_eq!((bench.asked.len(), bench.dialled.len()), (ALPHA, 0));
    assert_eq!(bench.discovery.deadline(), Some(bench.now.mono + QUERY_TIMEOUT));
    bench.wait(2_000);
    bench.discovery.tick();
    bench.advance();
    assert_eq!(ids(&bench.dialled), [4, 5, 6].map(|n| Some(near(n).id)));
}

#[test]
fn there_are_never_more_than_there_are_places_for() {
    for seed in 0..16 {
        let mut bench = Bench::new((1..=16).flat_map(|n| [near(n), far(n)]));
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..2_000 {
            bench.wait(rng.random_range(0..150));
            let dialled = bench.dialled.choose(&mut rng).copied();
            let asked =
                bench.discovery.conversations.iter().find(|(_, one)| !one.open.is_empty()).map(|(peer, _)| *peer);
            match (rng.random_range(0..10), dialled, asked) {
                (0, ..) => drop(bench.discovery.look_for(NodeId::random(&mut rng))),
                (1, ..) => drop(bench.feel(far(rng.random()).address)),
                (2, Some((address, _)), _) => {
                    bench.dialled.retain(|(dialled, _)| *dialled != address);
                    bench.discovery.dial_failed(bench.now, address, &mut bench.out);
                }
                (3..=6, Some((address, id)), _) => {
                    bench.connect(id.unwrap_or_else(|| NodeId::random(&mut rng)), address);
                }
                (7..=8, _, Some(peer)) => {
                    bench.answer(peer, &[near(rng.random()), far(rng.random()), far(rng.random())])
                }
                _ => bench.discovery.tick(),
            }
            bench.advance();
        }
        assert!(bench.next > 200, "seed {seed}: only {} connections", bench.next);
    }
}
