//! A light client: keeps only some headers, trusts no peer, and verifies proofs.
//!
//! [`Light`] is the other implementation of [`Protocol`]: it dials full nodes, has the chain with most work proven by a sample of
//! its headers, if it is long, and follows it from there, checking every header by the network's rules. What such a proof
//! shows and what not is said in [`receipt::succinct`](crate::receipt::succinct). A transaction counts as proven when a Merkle
//! branch or a whole block matches the root in one of those headers. One honest peer among liars is enough. The validity of a
//! block's transactions cannot be proven without bodies; it rests on the miners' work.

mod connections;
mod finding;
mod handover;
mod headers;
mod holdings;
pub mod library;
mod lookups;
mod messages;
mod openings;
mod pages;
mod proofs;
mod protocols;
mod report;
mod request;
mod sharing;
mod sync;
mod watch;

use std::collections::vec_deque::Drain;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub use finding::{FIND_AGAIN, FIND_BURST, FIND_INTERVAL, MAX_ASKED, MAX_DIALLED, MAX_TAKEN, PROVIDER_PATIENCE};
pub use handover::{RELAY_BURST, RELAY_INTERVAL};
pub use headers::{Headers, Kept, PROOF_AHEAD};
pub use holdings::{NotProven, Proven, Scope};
pub use pages::{ASK_INTERVAL, CALL_BURST, CALL_INTERVAL, CALL_TIMEOUT, Call, MAX_CALLERS, REST, TARGET};
pub use proofs::{Answer, Found, Question, check};
pub use report::{PeerReport, PeerStatus};
pub use watch::{Payment, Since, Stage};

use self::holdings::Holdings;
use self::pages::Pages;
use self::protocols::Protocols;
use self::watch::Watch;
use crate::consensus::coins::Coin;
use crate::mempool::Ahead;
use crate::p2p::addrbook::AddrBook;
use crate::p2p::bans::Bans;
use crate::p2p::kad::NodeId;
use crate::p2p::message::{Kind, Message, SERVICE_CHAIN_PROOFS, SERVICE_PAGES, TipClaim};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::peering::Peering;
use crate::p2p::peers::Peer;
use crate::p2p::wants::ContentFault;
use crate::p2p::{
    Direction, Event, Input, Now, OtherParty, Output, PeerAddr, PeerId, Protocol, Reason, Reply, Transports,
};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::{HashedTransaction, OutPoint, Transaction};

/// Notices kept for the owner; the oldest go first.
const MAX_NOTICES: usize = 10_000;
/// Between asking peers for nodes, if there are too few: a peer answers one such question a second, and takes more for a flood.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Settings of a light client.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Full nodes to ask, with required ids.
    pub peers: Vec<(PeerAddr, Option<NodeId>)>,
    /// Nodes to join through when peers are to be found, with required ids.
    pub seeds: Vec<(PeerAddr, Option<NodeId>)>,
    /// What the driver can dial.
    pub transports: Transports,
    /// Blocks by which a peer's chain must be longer for a proof of it to be asked for in place of its headers; `u32::MAX` for never.
    /// [`PROOF_AHEAD`] if it is not given.
    pub proof_ahead: Option<u32>,
    /// How many nodes to find and ask besides `peers`.
    pub outbound_target: usize,
    /// This client's id, if it is a browser page that other pages may call.
    pub page: Option<NodeId>,
    /// Where all randomness comes from.
    pub seed: [u8; 32],
}

/// Results for the owner.
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
        height: Height,
    },
    /// What [`Light::own`] asked for is proven as of an edge of the chain; its coins are followed from there on.
    Proven,
    /// It cannot be proven.
    NotProven(NotProven),
    /// A peer asked for a transaction and was sent it, and says whether it took it.
    HandedOver {
        /// The transaction.
        txid: Txid,
        /// The peer.
        peer: PeerAddr,
        /// Whether the peer says that it has it now.
        taken: bool,
    },
    /// A peer was disconnected for what it did, most often a lie.
    Lied(PeerAddr, Offence),
    /// A step of a call with the page of this id is to be done.
    Call(NodeId, Call),
    /// To a page alone: a peer offers content.
    OffersContent(PeerId),
    /// To a page alone: what a peer says about content, for a [`library`].
    Content(PeerId, Message),
}

/// The owner's commands. The named method of [`Light`] carries out each.
#[derive(Debug)]
pub enum Command {
    /// [`Light::ask`].
    Ask(Question, Reply<()>),
    /// [`Light::watch`]: keys, the first height, and confirmations.
    Watch(BTreeSet<PublicKey>, Height, u32, Reply<()>),
    /// [`Light::own`].
    Own(Scope, Reply<()>),
    /// [`Light::hand_over`].
    HandOver(Transaction, Reply<()>),
    /// [`Light::go_on`].
    GoOn(Reply<()>),
    /// [`Light::take_notices`].
    TakeNotices(Reply<Vec<Notice>>),
}

/// What keys own.
#[derive(Debug, Clone)]
pub struct Holding {
    /// What was proven as of an edge of the chain.
    pub proven: Proven,
    /// Payments in blocks since then, in the order of the chain.
    pub since: Vec<Since>,
    /// The coins after the block `tip`.
    pub coins: BTreeMap<OutPoint, Coin>,
    /// The last block that was looked at.
    pub tip: Height,
}

/// The client, without its I/O.
pub struct Light {
    config: Config,
    chain: Headers,
    peering: Peering,
    protocols: Protocols,
    rng: ChaCha20Rng,
    out: Outbox,
    notices: VecDeque<Notice>,
    /// Peers that disconnected or were never reached.
    gone_peers: BTreeMap<PeerAddr, (Option<TipClaim>, PeerStatus)>,
    was_synced: bool,
    /// Whether peers that have not sent their headers are waited for no longer.
    goes_on: bool,
    /// The tip of the last [`Notice::Watched`].
    watched: Option<BlockHash>,
    /// When a peer was last asked for nodes.
    looked_at: Option<MonoTime>,
    /// The peers that owe an answer with nodes, one that owes several as often: others are refused.
    asked_for_nodes: Vec<PeerId>,
    /// Bytes of the messages received, by kind.
    received: Vec<(Kind, u64)>,
}

impl Light {
    /// A client without connections that continues a chain.
    pub fn new(chain: Headers, config: Config, now: Now) -> Self {
        let mut light = Self {
            chain,
            peering: Peering::new(AddrBook::load([], config.transports), Bans::default()),
            protocols: Protocols::default(),
            rng: ChaCha20Rng::from_seed(config.seed),
            out: Outbox::default(),
            notices: VecDeque::new(),
            gone_peers: BTreeMap::new(),
            was_synced: false,
            goes_on: false,
            watched: None,
            looked_at: None,
            asked_for_nodes: Vec::new(),
            received: Vec::new(),
            config,
        };
        light.protocols.pages = Pages::new(light.config.page);
        light.protocols.branches.set_proof_ahead(light.config.proof_ahead.unwrap_or(PROOF_AHEAD));
        for (address, id) in light.config.peers.clone() {
            light.peering.dialer.add(address, id);
        }
        for (address, id) in light.config.seeds.clone() {
            light.peering.add_seed(now, address, id);
        }
        light.finish(now);
        light
    }

    /// The best chain known.
    pub fn chain(&self) -> &Headers {
        &self.chain
    }

    /// Asks the peers, one after the other; [`Notice::Answered`] has the result.
    pub fn ask(&mut self, now: Now, question: Question) {
        self.protocols.questions.ask(question);
        self.finish(now);
    }

    /// Watches keys from the block at `from` on, in place of earlier ones; [`Notice::Payment`] reports payments. Peers
    /// do not learn the keys.
    pub fn watch(&mut self, now: Now, keys: BTreeSet<PublicKey>, from: Height, min_confirmations: u32) {
        self.protocols.holdings = None;
        self.protocols.watch = Some(Watch::new(keys, from, min_confirmations));
        self.protocols.branches.follow();
        self.watched = None;
        self.finish(now);
    }

    /// Proves what keys own as of an edge of the chain, and follows their coins from there to the tip and on, in place of
    /// what was watched or asked before. [`Notice::Proven`], [`Notice::Watched`] and [`Notice::NotProven`] tell of it, and
    /// [`Light::holding`] has the result. The peer that is asked learns the keys.
    pub fn own(&mut self, now: Now, scope: Scope) {
        self.protocols.holdings = Some(Holdings::new(scope));
        self.protocols.branches.follow();
        self.protocols.watch = None;
        self.watched = None;
        self.finish(now);
    }

    /// What the keys of [`Light::own`] own, as far as their coins have been followed; `None` if nothing is proven.
    pub fn holding(&self) -> Option<Holding> {
        let (proven, tip) = (self.protocols.holdings.as_ref()?.proven()?.clone(), self.followed_to()?);
        let (since, coins) = match &self.protocols.watch {
            Some(watch) => (watch.mined().collect(), watch.coins().clone()),
            None => (Vec::new(), BTreeMap::new()),
        };
        Some(Holding { proven, since, coins, tip })
    }

    /// Height of the last block up to which the coins of [`Light::own`] have been followed, if they are proven.
    pub fn followed_to(&self) -> Option<Height> {
        let proven = self.protocols.holdings.as_ref()?.proven()?;
        Some(self.protocols.watch.as_ref().map_or(proven.edge.0, |watch| watch.next().saturating_sub(1)))
    }

    /// Height of the block that has a payment of the keys that are followed.
    pub fn mined_at(&self, txid: &Txid) -> Option<Height> {
        self.protocols.watch.as_ref()?.mined_at(txid)
    }

    /// Offers a transaction to all peers; [`Notice::HandedOver`] tells of each that asked for it.
    pub fn hand_over(&mut self, now: Now, tx: Transaction) {
        let ready: Vec<PeerId> = self.peering.peers.ready().collect();
        self.protocols.handover.offer(tx, &ready, &mut self.out);
        self.finish(now);
    }

    /// The browser describes its side of a call with a page, as [`Notice::Call`] asked.
    pub fn describe(&mut self, now: Now, page: NodeId, description: Vec<u8>) {
        self.protocols.pages.describe(page, description, &mut self.out);
        self.finish(now);
    }

    /// Calls the page of this id, through whatever node knows it, before those that nodes name.
    pub fn seek(&mut self, page: NodeId) {
        self.protocols.pages.seek(page);
    }

    /// Who called in a call with a page that has no connection yet; `None` if there is none.
    pub fn call_direction(&self, page: &NodeId) -> Option<Direction> {
        self.protocols.pages.direction(page)
    }

    /// A call with a page has come to nothing.
    pub fn call_failed(&mut self, now: Now, page: NodeId) {
        self.protocols.pages.rest(now, page);
        self.finish(now);
    }

    /// A peer broke the rules of the exchange of content, as a [`library`] says.
    pub fn penalise_content(&mut self, now: Now, peer: PeerId, fault: ContentFault) {
        self.out.offence(peer, fault.into());
        self.finish(now);
    }

    /// Bytes of the messages received so far, by kind, each once.
    pub fn received_bytes(&self) -> &[(Kind, u64)] {
        &self.received
    }

    /// From now on, works with the peers that have said hello, and waits for no others.
    pub fn go_on(&mut self, now: Now) {
        self.goes_on = true;
        self.finish(now);
    }

    /// Notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.drain(..).collect()
    }

    /// Whether every node has sent all its headers or is gone, and at least one has sent them; of pages, if there is no node.
    pub fn is_synced(&self) -> bool {
        let waits =
            |address: &PeerAddr| !self.gone_peers.contains_key(address) && !self.peering.peers.is_connected_to(address);
        let is_node = |(_, peer): &(PeerId, &Peer)| !peer.address.is_page();
        let (ready, nodes) = (self.nodes().len(), self.peering.peers.iter().filter(is_node).count());
        ready == nodes
            && (ready > 0 || self.is_connected())
            && self.protocols.branches.is_settled()
            && !self.peering.dialer.manual().any(|a| waits(&a))
    }

    /// Whether no peer is left to ask: no connection, none under way, and every address given was tried in vain.
    pub fn is_alone(&self) -> bool {
        let tried = |address: PeerAddr| self.gone_peers.contains_key(&address);
        let found = self.config.outbound_target > 0;
        self.peering.peers.iter().next().is_none()
            && self.peering.dialer.manual().all(tried)
            && self.config.seeds.iter().all(|(seed, _)| tried(*seed) || !self.config.transports.can_dial(seed))
            // Addresses from the seeds are being dialled.
            && (!found || self.peering.dialer.is_idle())
    }

    /// Whether a peer is connected and has said hello.
    pub fn is_connected(&self) -> bool {
        self.peering.peers.ready().next().is_some()
    }

    /// Full nodes that have said hello: only they have blocks, coins and filters.
    fn nodes(&self) -> Vec<PeerId> {
        let is_node = |id: &PeerId| self.peering.peers.get(*id).is_some_and(|peer| !peer.address.is_page());
        self.peering.peers.ready().filter(is_node).collect()
    }

    fn notice(&mut self, notice: Notice) {
        if self.notices.len() == MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
        self.out.event(Event::Noticed);
    }

    /// Asks for the headers below those kept that are needed next.
    fn look_up_headers(&mut self, now: Now, ready: &[PeerId]) {
        let Self { protocols: Protocols { lookups, questions, holdings, watch, .. }, chain, peering, out, .. } = self;
        let serves = |peer: &PeerId| {
            let hello = peering.peers.get(*peer).and_then(|peer| peer.hello.as_ref());
            hello.is_some_and(|hello| hello.services & SERVICE_CHAIN_PROOFS != 0)
        };
        let serving: Vec<PeerId> = ready.iter().copied().filter(serves).collect();
        let wanted = || {
            let holdings = holdings.iter().flat_map(|holdings| holdings.unknown(chain));
            let watched = watch.iter().flat_map(|watch| watch.unknown(chain));
            // Collected, they would be sorted, whose code is 0.5 % of the browser's module.
            let mut wanted = BTreeSet::new();
            wanted.extend(questions.unknown(chain).chain(holdings).chain(watched));
            wanted
        };
        lookups.advance(now, &serving, wanted, chain, out);
    }

    /// The best chain changed above `fork`.
    fn on_reorganisation(&mut self, now: Now, fork: Height) {
        let (height, hash) = self.tip();
        tracing::debug!(height = height.as_u32(), %hash, fork = fork.as_u32(), "headers");
        let Protocols { holdings, watch, .. } = &mut self.protocols;
        if holdings.as_mut().is_some_and(|holdings| holdings.on_reorganisation(fork)) {
            (*watch, self.watched) = (None, None);
        }
        if let Some(watch) = watch {
            watch.on_reorganisation(fork, &self.chain);
        }
        self.out.event(Event::TipChanged { hash, height });
        self.announce_tip(fork);
        // Peers may have met others since.
        if self.looked_at.is_none_or(|at| at + LOOK_INTERVAL <= now.mono) {
            self.nodes().into_iter().for_each(|peer| self.look_for_nodes(now, peer));
        }
    }

    /// The end of every call: due timers, offences and closings, the next wake-up.
    fn finish(&mut self, now: Now) {
        self.carry_out_judgements(now);
        self.advance_finding(now);
        self.carry_out_judgements(now);
        if self.deadline().is_some_and(|at| at <= now.mono) {
            self.peering.tick(now, &mut self.rng, &mut self.out);
            self.protocols.tick(now, &mut self.out);
            self.carry_out_judgements(now);
        }
        self.peering.dial(now, self.config.outbound_target, None, &mut self.rng, &mut self.out);
        self.call_pages(now);
        let synced = self.is_synced() || (self.goes_on && self.is_connected());
        if synced && !self.was_synced {
            self.notice(Notice::Synced);
        }
        self.was_synced = synced;
        // Peers are asked in the order in which they came; a proof is checked against all that is known by then.
        let ready = self.nodes();
        if synced && !ready.is_empty() {
            self.advance_holdings(now, &ready);
            if let Some(watch) = &mut self.protocols.watch {
                watch.advance(now, &ready, &self.chain, &mut self.out);
                let (height, tip) = (self.chain.height(), self.chain.tip_hash());
                let caught_up = watch.next() > height;
                let news = watch.take_payments();
                news.into_iter().for_each(|payment| self.notice(Notice::Payment(payment)));
                if caught_up && self.watched != Some(tip) {
                    self.watched = Some(tip);
                    self.notice(Notice::Watched { height });
                }
            }
            // Last of those that want headers: no timer comes for a header that no peer was asked for.
            self.look_up_headers(now, &ready);
            for (question, answer) in self.protocols.questions.advance(now, &ready, &mut self.out) {
                self.notice(Notice::Answered(question, answer));
            }
        }
        if let Some(Kept { beginning, above, headers }) = self.chain.take_changes() {
            self.out.push(Output::KeepHeaders { beginning, above, headers });
        }
        self.out.take_sent();
        let deadline = self.deadline();
        self.out.wake_at(now, deadline);
    }

    /// Looks for other pages, and hands on what is to be done about calls with them.
    fn call_pages(&mut self, now: Now) {
        let relays = |id: &PeerId| {
            let hello = self.peering.peers.get(*id).and_then(|peer| peer.hello.as_ref());
            hello.is_some_and(|hello| hello.services & SERVICE_PAGES != 0)
        };
        let nodes: Vec<PeerId> = self.nodes().into_iter().filter(relays).collect();
        let connected = self.connected_pages();
        self.protocols.pages.advance(now, &nodes, &connected, &mut self.out);
        for (page, call) in self.protocols.pages.take_news() {
            self.notice(Notice::Call(page, call));
        }
    }

    /// Pages with a connection, and who called.
    fn connected_pages(&self) -> Vec<(NodeId, Direction)> {
        let pages = self.peering.peers.iter().filter(|(_, peer)| peer.address.is_page());
        pages.map(|(_, peer)| (peer.id, peer.direction)).collect()
    }

    /// Asks for proofs of what keys own, and follows the keys from there.
    fn advance_holdings(&mut self, now: Now, ready: &[PeerId]) {
        let Protocols { holdings: Some(holdings), watch, .. } = &mut self.protocols else { return };
        match holdings.advance(now, ready, &self.chain, &mut self.out) {
            Ok(false) => {}
            Ok(true) => {
                if let (Some(proven), Scope::Keys(_) | Scope::Coin(..)) = (holdings.proven(), holdings.scope()) {
                    let start = (holdings.scope().keys(), proven.coins.clone());
                    *watch = Some(Watch::after(proven.edge.0, proven.committed_at, start));
                }
                self.notice(Notice::Proven);
            }
            Err(why) => {
                self.protocols.holdings = None;
                self.notice(Notice::NotProven(why));
            }
        }
    }

    /// Carries out offences and closings until there are none.
    fn carry_out_judgements(&mut self, now: Now) {
        loop {
            if let Some((peer, offence)) = self.out.next_offence() {
                self.peering.penalise(now, peer, offence, &mut self.out);
            } else if let Some((peer, reason)) = self.out.next_closing() {
                self.disconnected(now, peer, reason);
            } else {
                break;
            }
        }
    }

    fn deadline(&self) -> Option<MonoTime> {
        self.peering.deadline().into_iter().chain(self.protocols.deadline()).min()
    }
}

impl Protocol for Light {
    type Command = Command;

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected { peer, address, direction, id } => self.connected(now, peer, (id, address), direction),
            Input::ConnectFailed { address, found } => {
                self.peering.on_dial_failed(now, address);
                self.protocols.finding.gone(&address);
                let standing = match found {
                    None => PeerStatus::Unreachable,
                    Some(OtherParty::Node(id)) => PeerStatus::OtherNode { id },
                    Some(OtherParty::Http) => PeerStatus::Http,
                };
                self.remember(address, None, standing);
            }
            Input::Received { peer, message, at } => self.received(now, peer, message, at),
            Input::Transactions { peer, transactions, .. } => {
                for tx in transactions {
                    self.received(now, peer, Message::Transaction(tx.into_shared()), now.mono);
                }
            }
            Input::Malformed { peer, reason } => self.out.offence(peer, Offence::Malformed(reason)),
            Input::Disconnected { peer } => self.out.close(peer, Reason::Closed),
            // This thread was busy: every peer has as much longer for its answers.
            Input::Delayed { by } => {
                self.peering.extend_deadlines(by);
                self.protocols.extend_deadlines(by);
            }
            Input::Flushed { .. } | Input::Tick | Input::Stop => {}
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
            Command::Own(scope, reply) => {
                self.own(now, scope);
                reply.send(());
            }
            Command::HandOver(tx, reply) => {
                self.hand_over(now, tx);
                reply.send(());
            }
            Command::GoOn(reply) => {
                self.go_on(now);
                reply.send(());
            }
            Command::TakeNotices(reply) => reply.send(self.take_notices()),
        }
    }

    fn drain(&mut self) -> Drain<'_, Output> {
        self.out.drain()
    }

    /// A light client serves only a few pages, each within an allowance, so it keeps no budgets.
    fn budget_left(&self, _: Now, _: PeerId) -> i64 {
        0
    }

    fn signatures_of(&self, _: &[&HashedTransaction], _: &[HashedTransaction]) -> Ahead {
        // It has no coins to check them against.
        Ahead::default()
    }

    fn tip(&self) -> (Height, BlockHash) {
        (self.chain.height(), self.chain.tip_hash())
    }
}
