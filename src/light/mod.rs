//! A client that keeps headers only, trusts nobody, and asks for proof of everything.
//!
//! [`Light`] is the other implementation of [`Protocol`]: it dials full nodes, checks every header by the network's rules,
//! and keeps the chain with most work. What is said about transactions is believed when a Merkle branch or a whole block
//! leads to the root in one of those headers. One honest peer among liars is enough; what nobody can prove to somebody
//! without bodies, that a block's transactions are valid, the miners vouch for with their work.

mod headers;
mod proofs;
mod sync;
mod watch;

use std::collections::vec_deque::Drain;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub use headers::{ExtendError, Headers};
pub use proofs::{Answer, Found, Question, check};
pub use watch::{Payment, Stage};

use self::proofs::Questions;
use self::sync::HeaderSync;
use self::watch::Watch;
use crate::consensus::params::Params;
use crate::p2p::addrbook::{AddrBook, PeerAddress};
use crate::p2p::bans::{BAN, Ban, Bans, Subnet};
use crate::p2p::dialer::{Dialer, Situation};
use crate::p2p::handshake::Handshakes;
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::{Hello, Item, Message, PROTOCOL_VERSION, SERVICE_FULL, TipClaim};
use crate::p2p::misbehaviour::{Offence, Scores};
use crate::p2p::outbox::Outbox;
use crate::p2p::peers::{Peer, Peers};
use crate::p2p::ping::Pings;
use crate::p2p::{Direction, Event, Input, Now, Output, PeerId, Protocol, Reason, Reply};
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::PublicKey;
use crate::primitives::target::Work;
use crate::primitives::time::{MonoTime, UnixTime};
use crate::storage::StoreError;

/// Notices kept for the owner; the oldest go first.
const MAX_NOTICES: usize = 10_000;
/// Peers whose end is remembered.
const MAX_REMEMBERED: usize = 1_000;

/// Settings of a light client.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Full nodes to ask, and who has to be there.
    pub peers: Vec<(SocketAddr, Option<NodeId>)>,
    /// Nodes to join through when others are to be found, and who has to be there.
    pub seeds: Vec<(SocketAddr, Option<NodeId>)>,
    /// How many nodes to find and ask besides `peers`.
    pub outbound_target: usize,
    /// The file of headers; `None` keeps none.
    pub headers: Option<PathBuf>,
    /// Where all randomness comes from.
    pub seed: [u8; 32],
}

/// What the client has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Every peer has sent all headers it has.
    Synced,
    /// A question is answered.
    Answered(Question, Answer),
    /// A payment to or from a key that is watched.
    Payment(Payment),
    /// The keys that are watched have been followed up to the tip.
    Watched {
        /// Its height.
        height: u32,
    },
    /// A peer was caught lying, and let go.
    Lied(SocketAddr, Offence),
}

/// Where a peer's chain stands to the best known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has not been reached, or has not said all it has.
    Asked,
    /// It has this very chain.
    Agrees,
    /// It has this chain up to a height, and nothing more.
    Behind {
        /// That height.
        height: u32,
    },
    /// Its chain is another, with less work.
    OtherBranch {
        /// The height of its end.
        height: u32,
        /// Its end.
        hash: BlockHash,
    },
    /// It is gone.
    Gone {
        /// Why.
        reason: Reason,
    },
    /// It cannot be reached.
    Unreachable,
}

/// A peer, and what came of asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// Its address.
    pub address: SocketAddr,
    /// What it said it had, if it said anything.
    pub claim: Option<TipClaim>,
    /// Where it stands.
    pub standing: Standing,
}

/// What an owner asks of a light client. Each is carried out by the method of [`Light`] named with it.
#[derive(Debug)]
pub enum Command {
    /// [`Light::ask`].
    Ask(Question, Reply<()>),
    /// [`Light::watch`]: keys, the first height, and confirmations.
    Watch(BTreeSet<PublicKey>, u32, u32, Reply<()>),
    /// [`Light::take_notices`].
    TakeNotices(Reply<Vec<Notice>>),
}

/// The client, without its I/O.
pub struct Light {
    config: Config,
    chain: Headers,
    peers: Peers,
    handshakes: Handshakes,
    pings: Pings,
    book: AddrBook,
    bans: Bans,
    dialer: Dialer,
    scores: Scores,
    sync: HeaderSync,
    questions: Questions,
    watch: Option<Watch>,
    rng: ChaCha20Rng,
    out: Outbox,
    notices: VecDeque<Notice>,
    /// Peers that are gone or were never there.
    past: BTreeMap<SocketAddr, (Option<TipClaim>, Standing)>,
    was_synced: bool,
    /// The tip up to which keys were last told to have been followed.
    watched: Option<BlockHash>,
    wake: Option<MonoTime>,
}

impl Light {
    /// A client without connections; reads the headers kept earlier.
    ///
    /// # Errors
    /// The file's.
    pub fn new(params: Arc<Params>, config: Config, now: Now) -> Result<Self, StoreError> {
        let chain = Headers::open(params, config.headers.as_deref())?;
        let mut light = Self {
            chain,
            peers: Peers::default(),
            handshakes: Handshakes::default(),
            pings: Pings::default(),
            book: AddrBook::default(),
            bans: Bans::default(),
            dialer: Dialer::default(),
            scores: Scores::default(),
            sync: HeaderSync::default(),
            questions: Questions::default(),
            watch: None,
            rng: ChaCha20Rng::from_seed(config.seed),
            out: Outbox::default(),
            notices: VecDeque::new(),
            past: BTreeMap::new(),
            was_synced: false,
            watched: None,
            wake: None,
            config,
        };
        for (address, id) in light.config.peers.clone() {
            light.dialer.add(address, id);
        }
        for (address, id) in light.config.seeds.clone() {
            light.dialer.expect(address, id);
            let said = PeerAddress { address, services: SERVICE_FULL, last_seen: UnixTime::EPOCH };
            light.book.add(now, &said, address.ip());
        }
        light.finish(now);
        Ok(light)
    }

    /// The best chain known.
    pub fn chain(&self) -> &Headers {
        &self.chain
    }

    /// Asks the peers, one after the other; [`Notice::Answered`] has what came of it.
    pub fn ask(&mut self, now: Now, question: Question) {
        self.questions.ask(question);
        self.finish(now);
    }

    /// Follows keys from the block at `from` on, in place of those followed so far; [`Notice::Payment`] tells what happens to
    /// them. Peers do not learn the keys.
    pub fn watch(&mut self, now: Now, keys: BTreeSet<PublicKey>, from: u32, min_confirmations: u32) {
        self.watch = Some(Watch::new(keys, from, min_confirmations));
        self.watched = None;
        self.finish(now);
    }

    /// What was found out since this was last called.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.drain(..).collect()
    }

    /// Whether every peer that was to be asked has sent all headers it has, or is gone, and one at least has.
    pub fn is_synced(&self) -> bool {
        let waits = |address: &SocketAddr| !self.past.contains_key(address) && !self.peers.is_connected_to(address);
        let ready = self.peers.ready().count();
        ready > 0
            && self.sync.is_settled()
            && ready == self.peers.iter().count()
            && !self.dialer.manual().any(|a| waits(&a))
    }

    /// Whether no peer is left to ask: no connection, none under way, and every address given was tried in vain.
    pub fn is_alone(&self) -> bool {
        let tried = |address: SocketAddr| self.past.contains_key(&address);
        let found = self.config.outbound_target > 0;
        self.peers.iter().next().is_none()
            && self.dialer.manual().all(tried)
            && self.config.seeds.iter().all(|(seed, _)| tried(*seed))
            // What seeds told of is being dialled.
            && (!found || self.dialer.is_idle())
    }

    /// Whether a peer is connected and has said hello.
    pub fn is_connected(&self) -> bool {
        self.peers.ready().next().is_some()
    }

    /// Every peer that was asked or was to be asked.
    pub fn reports(&self) -> Vec<PeerReport> {
        let mut reports = BTreeMap::new();
        for address in self.dialer.manual() {
            reports.insert(address, PeerReport { address, claim: None, standing: Standing::Asked });
        }
        for (address, (claim, standing)) in &self.past {
            reports.insert(*address, PeerReport { address: *address, claim: *claim, standing: standing.clone() });
        }
        for (id, peer) in self.peers.iter() {
            let (address, claim) = (peer.address, peer.hello.as_ref().map(|hello| hello.tip));
            reports.insert(address, PeerReport { address, claim, standing: self.standing(id) });
        }
        reports.into_values().collect()
    }

    fn standing(&self, peer: PeerId) -> Standing {
        let Some(shown) = self.sync.shown(peer).filter(|_| self.sync.has_settled(peer)) else { return Standing::Asked };
        if self.chain.hash(shown.height) != Some(shown.hash) {
            return Standing::OtherBranch { height: shown.height, hash: shown.hash };
        }
        if shown.height == self.chain.height() { Standing::Agrees } else { Standing::Behind { height: shown.height } }
    }

    fn notice(&mut self, notice: Notice) {
        if self.notices.len() == MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
        self.out.event(Event::Noticed);
    }

    fn remember(&mut self, address: SocketAddr, claim: Option<TipClaim>, standing: Standing) {
        if self.past.len() < MAX_REMEMBERED || self.past.contains_key(&address) {
            self.past.insert(address, (claim, standing));
        }
    }

    fn connected(&mut self, now: Now, id: PeerId, (node, address): (NodeId, SocketAddr)) {
        self.dialer.connected(&address);
        let manual = self.dialer.is_manual(&address);
        // A node that is reached at two addresses vouches for nothing twice.
        let is_known = self.peers.with(node).is_some();
        let peer = Peer {
            id: node,
            address,
            direction: Direction::Outbound,
            manual,
            brief: false,
            connected_at: now,
            last_received: UnixTime::EPOCH,
            last_sent: UnixTime::EPOCH,
            hello: None,
            last_useful: None,
        };
        self.peers.insert(id, peer);
        if is_known {
            return self.out.close(id, Reason::Duplicate);
        }
        let params = self.chain.params();
        // Nobody should come for what a light client does not have, so it claims nothing but genesis.
        let hello = Hello {
            version: PROTOCOL_VERSION,
            genesis: params.genesis_hash,
            services: 0,
            tip: TipClaim { height: 0, hash: params.genesis_hash, work: Work::ZERO },
            listen_port: 0,
            user_agent: concat!("/cairn-light:", env!("CARGO_PKG_VERSION"), "/").to_owned(),
        };
        self.out.send(id, Message::Hello(hello));
        self.handshakes.connected(now, id);
    }

    fn greeted(&mut self, now: Now, id: PeerId, hello: Hello) {
        match self.handshakes.finish(id, &hello, &self.chain.params().genesis_hash) {
            Some(Ok(())) => {}
            Some(Err(reason)) => return self.out.close(id, reason),
            None => return,
        }
        let (tip, services) = (hello.tip, hello.services);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let (node, address) = (peer.id, peer.address);
        peer.hello = Some(hello);
        if services & SERVICE_FULL == 0 {
            return self.out.close(id, Reason::NotFull);
        }
        self.past.remove(&address);
        self.book.succeeded(now, Contact { id: node, address }, services);
        self.out.event(Event::PeerConnected { peer: id, address, direction: Direction::Outbound });
        self.pings.connected(now, id);
        if self.config.outbound_target > 0 {
            // Any nodes will do.
            self.out.send(id, Message::FindNode { target: NodeId::random(&mut self.rng) });
        }
        self.sync.connected(now, id, tip, &self.chain, &mut self.out);
    }

    fn disconnected(&mut self, now: Now, id: PeerId, reason: Reason) {
        let Some(peer) = self.peers.remove(id) else { return };
        let Peer { address, hello, .. } = peer;
        if reason != Reason::Closed {
            self.out.push(Output::Disconnect { peer: id, reason: reason.clone() });
        }
        self.handshakes.disconnected(id);
        self.pings.disconnected(id);
        self.scores.forget(id);
        self.questions.disconnected(id);
        if let Some(watch) = &mut self.watch {
            watch.disconnected(id);
        }
        self.sync.disconnected(now, id, &self.chain, &mut self.out);
        let useful = hello.is_some() && !matches!(reason, Reason::Misbehaved(_) | Reason::Stalled);
        if useful {
            self.dialer.ended(now, &address);
        } else {
            self.dialer.failed(now, &address);
            self.book.failed(now, address);
        }
        if let Reason::Misbehaved(offence) = &reason {
            // A liar is not asked again, even if its address was given.
            self.dialer.remove(&address);
            if !address.ip().is_loopback() {
                let until = now.unix.saturating_add(BAN);
                let ban = Ban { created: now.unix, until, reason: offence.to_string() };
                self.bans.insert(Subnet::host(address.ip()), ban);
            }
            self.notice(Notice::Lied(address, offence.clone()));
        }
        self.remember(address, hello.map(|hello| hello.tip), Standing::Gone { reason: reason.clone() });
        self.out.event(Event::PeerDisconnected { peer: id, address, reason });
    }

    fn received(&mut self, now: Now, id: PeerId, message: Message, at: MonoTime) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let ip = peer.address.ip();
        if peer.hello.is_none() != matches!(message, Message::Hello(_)) {
            return self.out.offence(id, Offence::OutOfTurn(message.kind()));
        }
        match message {
            Message::Hello(hello) => self.greeted(now, id, hello),
            Message::Ping(nonce) => self.out.send(id, Message::Pong(nonce)),
            Message::Pong(nonce) => self.pings.pong(at, id, nonce),
            Message::FindNode { .. } => self.out.send(id, Message::Nodes(Vec::new())),
            Message::Nodes(contacts) => {
                if self.config.outbound_target > 0 {
                    for Contact { address, .. } in contacts {
                        self.book.add(now, &PeerAddress { address, services: 0, last_seen: UnixTime::EPOCH }, ip);
                    }
                }
            }
            Message::Inventory(items) => {
                for item in items {
                    match item {
                        Item::Block(hash) | Item::CompactBlock(hash) => {
                            self.sync.announced(now, id, hash, &self.chain, &mut self.out)
                        }
                        Item::Transaction(txid) => {
                            if let Some(watch) = &mut self.watch {
                                watch.announced(id, txid, &mut self.out);
                            }
                        }
                    }
                }
            }
            Message::Headers(headers) => {
                if let Some(fork) = self.sync.received(now, id, &headers, &mut self.chain, &mut self.out) {
                    self.moved(fork);
                }
            }
            Message::FilterHeaders { stop, hashes, .. } => {
                if let Some(watch) = &mut self.watch {
                    watch.hashes(id, stop, hashes);
                }
            }
            Message::Filters(filters) => {
                if let Some(watch) = &mut self.watch {
                    watch.filters(id, filters, &self.chain, &mut self.out);
                }
            }
            Message::Block(block) => {
                self.questions.block(id, &block, &self.chain, &mut self.out);
                if let Some(watch) = &mut self.watch {
                    watch.block(id, &block, &self.chain, &mut self.out);
                }
            }
            Message::Transaction(tx) => {
                if let Some(watch) = &mut self.watch {
                    watch.transaction(&tx);
                }
            }
            Message::NotFound(items) => {
                self.questions.not_found(id, &items);
                if let Some(watch) = &mut self.watch {
                    watch.not_found(id, &items, &self.chain);
                }
            }
            Message::Proofs(proofs) => self.questions.received(now, id, proofs, &self.chain, &mut self.out),
            // It has nothing that anybody could ask for.
            Message::GetHeaders { .. } => self.out.send(id, Message::Headers(Vec::new())),
            Message::GetData(items) => self.out.send(id, Message::NotFound(items)),
            Message::GetProofs(_) | Message::GetFilterHeaders { .. } | Message::GetFilters { .. } => {}
            // It asks for none, and gives none.
            Message::CompactBlock(_)
            | Message::GetBlockTransactions { .. }
            | Message::BlockTransactions { .. }
            | Message::SendCompact(_) => {}
        }
    }

    /// The best chain changed above `fork`.
    fn moved(&mut self, fork: u32) {
        let (height, hash) = self.tip();
        tracing::debug!(height, %hash, fork, "headers");
        if let Some(watch) = &mut self.watch {
            watch.moved(fork, &self.chain);
        }
        self.out.event(Event::TipChanged { hash, height });
    }

    /// What every call ends with: due timers, judgements, the next wake-up.
    fn finish(&mut self, now: Now) {
        self.settle(now);
        if self.deadline().is_some_and(|at| at <= now.mono) {
            for peer in self.handshakes.expired(now) {
                self.out.close(peer, Reason::HandshakeTimeout);
            }
            self.pings.tick(now, &mut self.rng, &mut self.out);
            self.sync.tick(now, &mut self.out);
            self.questions.tick(now);
            if let Some(watch) = &mut self.watch {
                watch.tick(now);
            }
            self.settle(now);
        }
        let Self { dialer, config, peers, book, bans, rng, out, .. } = self;
        dialer.tick(now, &Situation { target: config.outbound_target, peers, book, bans, table: None }, rng, out);
        let synced = self.is_synced();
        if synced && !self.was_synced {
            self.notice(Notice::Synced);
        }
        self.was_synced = synced;
        if synced {
            // Peers are asked in the order in which they came; a proof is checked against all that is known by then.
            let ready: Vec<PeerId> = self.peers.ready().collect();
            if let Some(watch) = &mut self.watch {
                watch.proceed(now, &ready, &self.chain, &mut self.out);
                let (height, tip) = (self.chain.height(), self.chain.tip_hash());
                let caught_up = watch.next() > height;
                let news = watch.take_news();
                news.into_iter().for_each(|payment| self.notice(Notice::Payment(payment)));
                if caught_up && self.watched != Some(tip) {
                    self.watched = Some(tip);
                    self.notice(Notice::Watched { height });
                }
            }
            for (question, answer) in self.questions.proceed(now, &ready, &mut self.out) {
                self.notice(Notice::Answered(question, answer));
            }
        }
        self.out.take_sent();
        let wake = self.deadline().map(|at| at.max(now.mono + Duration::from_millis(1)));
        if let Some(at) = wake
            && self.wake != wake
        {
            self.out.push(Output::WakeAt { at });
        }
        self.wake = wake;
    }

    /// Carries out judgements until there are none.
    fn settle(&mut self, now: Now) {
        loop {
            if let Some((peer, offence)) = self.out.next_offence() {
                if self.peers.get(peer).is_some() && self.scores.add(now, peer, &offence) {
                    self.out.close(peer, Reason::Misbehaved(offence));
                }
            } else if let Some((peer, reason)) = self.out.next_closing() {
                self.disconnected(now, peer, reason);
            } else {
                break;
            }
        }
    }

    /// This thread was busy: every peer has as much longer for its answers. Names every field, as in a full node.
    fn extend_deadlines(&mut self, by: Duration) {
        let Self {
            handshakes,
            pings,
            sync,
            questions,
            watch,
            // When this client does something by itself.
            dialer: _,
            wake: _,
            scores: _,
            // No timers.
            config: _,
            chain: _,
            peers: _,
            book: _,
            bans: _,
            rng: _,
            out: _,
            notices: _,
            past: _,
            was_synced: _,
            watched: _,
        } = self;
        handshakes.extend_deadlines(by);
        pings.extend_deadlines(by);
        sync.extend_deadlines(by);
        questions.extend_deadlines(by);
        watch.iter_mut().for_each(|watch| watch.extend_deadlines(by));
    }

    fn deadline(&self) -> Option<MonoTime> {
        let deadlines = [
            self.handshakes.deadline(),
            self.pings.deadline(),
            self.dialer.deadline(&self.peers),
            self.sync.deadline(),
            self.questions.deadline(),
            self.watch.as_ref().and_then(Watch::deadline),
        ];
        deadlines.into_iter().flatten().min()
    }
}

impl Protocol for Light {
    type Command = Command;

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected { peer, address, direction: Direction::Outbound, id } => {
                self.connected(now, peer, (id, address));
            }
            Input::Connected { peer, .. } => self.out.push(Output::Disconnect { peer, reason: Reason::Full }),
            Input::ConnectFailed { address } => {
                self.dialer.failed(now, &address);
                self.book.failed(now, address);
                self.remember(address, None, Standing::Unreachable);
            }
            Input::Received { peer, message, at } => self.received(now, peer, message, at),
            Input::Malformed { peer, reason } => self.out.offence(peer, Offence::Malformed(reason)),
            Input::Disconnected { peer } => self.out.close(peer, Reason::Closed),
            Input::Delayed { by } => self.extend_deadlines(by),
            Input::Flushed { .. } | Input::Tick => {}
            Input::Stop => {
                if let Err(error) = self.chain.sync() {
                    self.out.event(Event::StoreFailed { error: error.to_string() });
                }
            }
        }
        self.finish(now);
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Ask(question, reply) => {
                self.ask(now, question);
                reply.send(());
            }
            Command::Watch(keys, from, confirmations, reply) => {
                self.watch(now, keys, from, confirmations);
                reply.send(());
            }
            Command::TakeNotices(reply) => reply.send(self.take_notices()),
        }
    }

    fn drain(&mut self) -> Drain<'_, Output> {
        self.out.drain()
    }

    /// A light client serves nobody, and asks what it likes.
    fn budget_left(&self, _: Now, _: PeerId) -> i64 {
        0
    }

    fn tip(&self) -> (u32, BlockHash) {
        (self.chain.height(), self.chain.tip_hash())
    }
}
