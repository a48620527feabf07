//! The node: chain, mempool and all sub-protocols, put together.

mod commands;
mod compact;
mod connections;
mod content;
mod neighbours;

use std::collections::vec_deque::Drain;
use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::chain::Chain;
use crate::mempool::Mempool;
use crate::mempool::Recent;
use crate::p2p::addrbook::{AddrBook, PeerAddress};
use crate::p2p::anchors::Anchors;
use crate::p2p::bans::{BAN, Ban, Bans, Subnet};
use crate::p2p::blocks::Blocks;
use crate::p2p::budget::{Budgets, Cost};
use crate::p2p::command::Command;
use crate::p2p::config::Config;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::dialer::{Dialer, Situation};
use crate::p2p::discovery::Discovery;
use crate::p2p::download::Download;
use crate::p2p::filters::{Content, FilterRequest};
use crate::p2p::handshake::Handshakes;
use crate::p2p::interface::{Event, Input, Output, Protocol, Reason};
use crate::p2p::message::{Kind, Message, SERVICE_FULL};
use crate::p2p::misbehaviour::{Offence, Scores};
use crate::p2p::outbox::Outbox;
use crate::p2p::peers::Peers;
use crate::p2p::ping::Pings;
use crate::p2p::pushes::Pushes;
use crate::p2p::records;
use crate::p2p::relay::Relay;
use crate::p2p::requests::Requests;
use crate::p2p::serve::{Range, Server, Shelf};
use crate::p2p::sync::HeaderSync;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::meter;
use crate::primitives::time::{MonoTime, UnixTime};
use crate::storage::StoreError;

/// Transactions remembered as refused, so that they are not asked for again; forgotten when the tip moves, for then they
/// may be good.
pub const MAX_REFUSED: usize = 20_000;
/// Time between two savings of address book, bans and anchors.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// A node of the network, without its I/O. See the module [`crate::p2p`].
pub struct Node {
    config: Config,
    chain: Chain,
    mempool: Mempool,
    peers: Peers,
    handshakes: Handshakes,
    pings: Pings,
    book: AddrBook,
    dialer: Dialer,
    anchors: Anchors,
    discovery: Discovery,
    scores: Scores,
    bans: Bans,
    sync: HeaderSync,
    download: Download,
    relay: Relay,
    requests: Requests,
    pushes: Pushes,
    blocks: Blocks,
    /// A block that is to be connected, after others have heard of it.
    pending: Option<compact::Pending>,
    server: Server,
    budgets: Budgets,
    /// What is being handled has brought something that this node wanted: it is not charged.
    gained: bool,
    refused: Recent<Txid>,
    rng: ChaCha20Rng,
    out: Outbox,
    next_save: MonoTime,
    /// When an address that nobody tried is dialled next.
    next_feeler: MonoTime,
    /// When the tip is to be announced, if that was put off.
    announce_at: Option<MonoTime>,
    /// When it was announced last.
    announced: MonoTime,
    /// The chain has more to connect than one call may.
    unfinished: bool,
    /// The wake-up last asked for.
    wake: Option<MonoTime>,
}

impl Protocol for Node {
    type Command = Command;

    fn handle(&mut self, now: Now, input: Input) {
        let before = meter::effort();
        let payer = match &input {
            Input::Received { peer, message, .. } => Some((*peer, Cost::of_message(message))),
            _ => None,
        };
        self.gained = false;
        match input {
            Input::Connected { peer, address, direction, id } => self.connected(now, peer, (id, address), direction),
            Input::ConnectFailed { address } => {
                self.unreached(now, address);
                self.dial(now);
            }
            Input::Received { peer, message, at } => self.received(now, peer, message, at),
            Input::Malformed { peer, reason } => self.out.offence(peer, Offence::Malformed(reason)),
            Input::Flushed { peer } => self.server.flushed(peer),
            Input::Disconnected { peer } => self.out.close(peer, Reason::Closed),
            Input::Delayed { by } => self.extend_deadlines(by),
            Input::Tick => {}
            Input::Stop => self.save(now),
        }
        if let Some((peer, cost)) = payer
            && !self.gained
        {
            self.budgets.charge(now, peer, cost + Cost::of(meter::effort() - before));
        }
        let Self { server, chain, mempool, blocks, budgets, out, .. } = self;
        server.serve(now, Shelf { chain, mempool, blocks }, budgets, out);
        self.finish(now);
    }

    fn command(&mut self, now: Now, command: Command) {
        self.carry_out(now, command);
    }

    fn drain(&mut self) -> Drain<'_, Output> {
        self.out.drain()
    }

    fn budget_left(&self, now: Now, peer: PeerId) -> i64 {
        self.budgets.left(now, peer)
    }

    fn tip(&self) -> (u32, BlockHash) {
        let tip = self.chain.tip();
        (tip.height, tip.hash)
    }
}

impl Node {
    /// A node without connections; reads address book and bans.
    ///
    /// # Errors
    /// The store's.
    pub fn new(chain: Chain, mempool: Mempool, config: Config, now: Now) -> Result<Self, StoreError> {
        let (book, bans, anchors) = records::load(chain.db(), now)?;
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let mut node = Self {
            chain,
            mempool,
            peers: Peers::default(),
            handshakes: Handshakes::default(),
            pings: Pings::default(),
            dialer: Dialer::default(),
            discovery: Discovery::new(now, config.id, book.contacts()),
            anchors,
            book,
            scores: Scores::default(),
            bans,
            sync: HeaderSync::default(),
            download: Download::default(),
            requests: Requests::default(),
            pushes: Pushes::default(),
            blocks: Blocks::new(rng.random()),
            relay: Relay::new([rng.random(), rng.random()]),
            pending: None,
            server: Server::default(),
            budgets: Budgets::default(),
            gained: false,
            refused: Recent::new(MAX_REFUSED),
            rng,
            out: Outbox::default(),
            next_save: now.mono + SAVE_INTERVAL,
            next_feeler: now.mono + neighbours::FEELER_INTERVAL,
            announce_at: None,
            announced: MonoTime::START,
            unfinished: false,
            wake: None,
            config,
        };
        for address in node.config.connect.clone() {
            node.dialer.add(address, None);
        }
        for address in node.config.seeds.clone() {
            let said = PeerAddress { address, services: SERVICE_FULL, last_seen: UnixTime::EPOCH };
            node.book.add(now, &said, address.ip());
        }
        for anchor in node.anchors.kept().to_vec() {
            node.dialer.dial(now, anchor.address, Some(anchor.id), &mut node.out);
        }
        node.explore(now);
        node.dial(now);
        node.finish(now);
        Ok(node)
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The mempool.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// What every call ends with: due timers, judgements, the next wake-up.
    fn finish(&mut self, now: Now) {
        self.settle(now);
        let mut deadline = self.deadline();
        if deadline.is_some_and(|at| at <= now.mono) {
            self.tick(now);
            self.settle(now);
            deadline = self.deadline();
        }
        for peer in self.out.take_sent() {
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.last_sent = now.unix;
            }
        }
        let wake = deadline.map(|at| at.max(now.mono + Duration::from_millis(1)));
        if let Some(at) = wake
            && self.wake != wake
        {
            self.out.push(Output::WakeAt { at });
        }
        self.wake = wake;
    }

    fn deadline(&self) -> Option<MonoTime> {
        let deadlines = [
            self.handshakes.deadline(),
            self.pings.deadline(),
            self.dialer.deadline(&self.peers),
            self.discovery.deadline(),
            Some(self.next_feeler),
            self.sync.deadline(),
            self.download.deadline(),
            self.relay.deadline(),
            self.requests.deadline(),
            self.server.deadline(),
            Some(self.next_save),
            self.announce_at,
            self.pending.as_ref().map(|pending| pending.at),
            (self.unfinished || self.mempool.is_unfinished()).then_some(MonoTime::START),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now) {
        for peer in self.handshakes.expired(now) {
            self.out.close(peer, Reason::HandshakeTimeout);
        }
        self.pings.tick(now, &mut self.rng, &mut self.out);
        if self.pending.as_ref().is_some_and(|pending| pending.at <= now.mono) {
            self.connect_pending(now);
        }
        self.sync.tick(now, &self.chain, &mut self.out);
        self.download.tick(now, &self.chain, &self.sync, &mut self.out);
        self.relay.tick(now, &self.mempool, &mut self.out);
        self.requests.tick(now, &mut self.out);
        self.mempool.expire(now.unix);
        self.feel(now);
        self.explore(now);
        self.dial(now);
        if self.unfinished {
            self.resume(now);
        }
        if self.mempool.is_unfinished() {
            self.resume_mempool(now);
        }
        if self.announce_at.is_some_and(|at| at <= now.mono) {
            self.announce_tip(now);
        }
        if self.next_save <= now.mono {
            self.save(now);
        }
    }

    /// Keeps address book, bans and anchors for a later start.
    fn save(&mut self, now: Now) {
        self.next_save = now.mono + SAVE_INTERVAL;
        self.bans.expire(now.unix);
        self.anchors.update(&self.peers);
        if let Err(error) = records::save(self.chain.db(), &mut self.book, &mut self.bans, &mut self.anchors) {
            self.out.event(Event::StoreFailed { error: error.to_string() });
        }
    }

    /// Goes on with a long move of the tip, of which each call does a part, so that peers and clients are heard between.
    fn resume(&mut self, now: Now) {
        match self.chain.resume() {
            Ok(update) => self.moved(now, &update),
            Err(error) => {
                self.unfinished = false;
                self.out.event(Event::StoreFailed { error: error.to_string() });
            }
        }
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }

    fn dial(&mut self, now: Now) {
        let Self { dialer, config, peers, book, bans, discovery, rng, out, .. } = self;
        let table = Some(discovery.table());
        dialer.tick(now, &Situation { target: config.outbound_target, peers, book, bans, table }, rng, out);
    }

    /// Carries out judgements until there are none: a peer that goes may give others work.
    fn settle(&mut self, now: Now) {
        loop {
            if let Some((peer, offence)) = self.out.next_offence() {
                self.punish(now, peer, offence);
            } else if let Some((peer, reason)) = self.out.next_closing() {
                self.disconnected(now, peer, reason);
            } else {
                break;
            }
        }
    }

    /// Adds to a peer's score and, when that is enough, disconnects it and bans its address.
    ///
    /// Peers that this node was told to stay connected to are only disconnected, and so is loopback, which on a local
    /// network is everybody's address.
    fn punish(&mut self, now: Now, id: PeerId, offence: Offence) {
        let Some(peer) = self.peers.get(id) else { return };
        tracing::debug!(peer = %id, address = %peer.address, %offence, "misbehaviour");
        if !self.scores.add(now, id, &offence) {
            return;
        }
        let (ip, may_be_banned) = (peer.address.ip(), !peer.manual);
        self.out.close(id, Reason::Misbehaved(offence.clone()));
        if may_be_banned {
            self.ban_address(now, ip, &offence);
        }
    }

    /// Bans the host at an address for an offence, unless it is loopback.
    fn ban_address(&mut self, now: Now, ip: IpAddr, offence: &Offence) {
        if !ip.is_loopback() {
            let ban = Ban { created: now.unix, until: now.unix.saturating_add(BAN), reason: offence.to_string() };
            self.ban_subnet(Subnet::host(ip), ban);
        }
    }

    /// Bans, and ends the connections that falls on.
    fn ban_subnet(&mut self, subnet: Subnet, ban: Ban) {
        self.out.event(Event::Banned { subnet, until: ban.until });
        self.bans.insert(subnet, ban);
        for (id, peer) in self.peers.iter() {
            if subnet.contains(peer.address.ip()) && !peer.manual {
                self.out.close(id, Reason::Banned);
            }
        }
    }

    /// This thread was busy: every peer has as much longer for its answers. Names every field, here and in the
    /// parts that have deadlines, so that a new one is not forgotten.
    fn extend_deadlines(&mut self, by: Duration) {
        let Self {
            handshakes,
            pings,
            discovery,
            sync,
            download,
            requests,
            // When this node does something by itself.
            dialer: _,
            relay: _,
            server: _,
            next_save: _,
            next_feeler: _,
            announce_at: _,
            announced: _,
            pending: _,
            unfinished: _,
            wake: _,
            // What is gained over time, by this node's delays too.
            budgets: _,
            pushes: _,
            scores: _,
            // No timers. The download has those of the compact blocks that are being completed.
            config: _,
            chain: _,
            mempool: _,
            peers: _,
            book: _,
            anchors: _,
            bans: _,
            blocks: _,
            gained: _,
            refused: _,
            rng: _,
            out: _,
        } = self;
        handshakes.extend_deadlines(by);
        pings.extend_deadlines(by);
        discovery.extend_deadlines(by);
        sync.extend_deadlines(by);
        download.extend_deadlines(by);
        requests.extend_deadlines(by);
    }

    fn received(&mut self, now: Now, id: PeerId, message: Message, at: MonoTime) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.last_received = now.unix;
        let ip = peer.address.ip();
        let kind = message.kind();
        if peer.hello.is_none() != matches!(message, Message::Hello(_)) {
            return self.out.offence(id, Offence::OutOfTurn(kind));
        }
        // Whoever is here for questions alone is told nothing else, and has nothing else to say.
        let concerns = [Kind::Hello, Kind::Ping, Kind::FindNode, Kind::Nodes];
        if peer.brief && !concerns.contains(&kind) {
            return;
        }
        let Self { server, chain, out, .. } = self;
        match message {
            Message::Hello(hello) => self.greeted(now, id, hello),
            Message::Ping(nonce) => out.send(id, Message::Pong(nonce)),
            // How busy this thread is says nothing about the peer.
            Message::Pong(nonce) => self.pings.pong(at, id, nonce),
            Message::FindNode { target } => self.discovery.asked(now, (id, ip), target, out),
            Message::Nodes(contacts) => {
                self.told(now, id, &contacts);
                self.dial(now);
            }
            Message::Inventory(items) => self.inventory(now, id, items),
            Message::GetData(items) => server.get_data(id, items, out),
            Message::NotFound(items) => self.not_found(now, id, items),
            Message::GetHeaders { locator, stop } => {
                server.get_range(id, Range::Headers { locator, stop }, chain, out);
            }
            Message::Headers(headers) => self.headers(now, id, &headers),
            Message::Block(block) => self.block(now, id, block),
            Message::Transaction(tx) => self.transaction(now, id, tx),
            Message::GetFilterHeaders { start_height, stop } => {
                let request = FilterRequest { content: Content::Headers, start_height, stop };
                server.get_range(id, Range::Filters(request), chain, out);
            }
            Message::GetFilters { start_height, stop } => {
                let request = FilterRequest { content: Content::Filters, start_height, stop };
                server.get_range(id, Range::Filters(request), chain, out);
            }
            Message::FilterHeaders { .. } | Message::Filters(_) => out.offence(id, Offence::UnrequestedFilters),
            Message::GetProofs(query) => server.get_range(id, Range::Proofs(query), chain, out),
            // Full nodes ask for none.
            Message::Proofs(_) => out.offence(id, Offence::UnrequestedProofs),
            Message::CompactBlock(compact) => self.compact_block(now, id, &compact),
            Message::GetBlockTransactions { block, places } => {
                server.get_range(id, Range::BlockTransactions { block, places }, chain, out);
            }
            Message::BlockTransactions { block, transactions } => {
                self.block_transactions(now, id, block, transactions);
            }
            Message::SendCompact(wants) => self.blocks.send_compact(id, wants),
        }
    }
}
