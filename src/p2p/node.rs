//! The node: chain, mempool and all sub-protocols, put together.

use std::collections::vec_deque::Drain;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::chain::{Chain, ChainError, ChainUpdate};
use crate::consensus::error::Blame;
use crate::mempool::{Accepted, Mempool, MempoolError};
use crate::p2p::addrbook::AddrBook;
use crate::p2p::bans::{BAN_SECS, Ban, Bans, Subnet};
use crate::p2p::config::Config;
use crate::p2p::dialer::{Dialer, Situation};
use crate::p2p::download::{Delivery, Download};
use crate::p2p::eviction::{self, Candidate};
use crate::p2p::gossip::Gossip;
use crate::p2p::handshake::Handshakes;
use crate::p2p::interface::{Direction, Event, Input, Now, Output, PeerId, Reason};
use crate::p2p::message::{Hello, Item, Message, PROTOCOL_VERSION, PeerAddress, SERVICE_FULL, TipClaim};
use crate::p2p::misbehaviour::{Offence, Scores};
use crate::p2p::outbox::Outbox;
use crate::p2p::peers::{Peer, Peers};
use crate::p2p::ping::Pings;
use crate::p2p::records;
use crate::p2p::relay::Relay;
use crate::p2p::requests::Requests;
use crate::p2p::seen::Seen;
use crate::p2p::serve::Server;
use crate::p2p::sync::{HeaderSync, MAX_ANNOUNCED};
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::tx::Transaction;
use crate::storage::StoreError;

/// Transactions remembered as refused, so that they are not asked for again; forgotten when the tip moves, for then they
/// may be good.
pub const MAX_REFUSED: usize = 20_000;
/// Blocks that the tip may be behind the best header for new tips to be announced: during the first synchronisation
/// nobody wants to hear of every block.
const ANNOUNCE_WITHIN: u32 = 8;
/// Milliseconds between two savings of address book and bans.
const SAVE_INTERVAL_MILLIS: u64 = 60_000;

/// A node of the network, without its I/O. See the module [`crate::p2p`].
pub struct Node {
    pub(super) config: Config,
    pub(super) chain: Chain,
    pub(super) mempool: Mempool,
    pub(super) peers: Peers,
    handshakes: Handshakes,
    pub(super) pings: Pings,
    pub(super) book: AddrBook,
    pub(super) dialer: Dialer,
    gossip: Gossip,
    pub(super) scores: Scores,
    pub(super) bans: Bans,
    pub(super) sync: HeaderSync,
    pub(super) download: Download,
    relay: Relay,
    requests: Requests,
    server: Server,
    refused: Seen<Txid>,
    rng: ChaCha20Rng,
    pub(super) out: Outbox,
    next_save: u64,
    /// The chain has more to connect than one call may.
    unfinished: bool,
    /// The wake-up last asked for.
    wake: Option<u64>,
}

impl Node {
    /// A node without connections; reads address book and bans.
    ///
    /// # Errors
    /// The store's.
    pub fn new(chain: Chain, mempool: Mempool, config: Config, now: Now) -> Result<Self, StoreError> {
        let (book, bans) = records::load(chain.db(), now)?;
        let rng = ChaCha20Rng::from_seed(config.seed);
        let mut node = Self {
            chain,
            mempool,
            peers: Peers::default(),
            handshakes: Handshakes::default(),
            pings: Pings::default(),
            book,
            dialer: Dialer::default(),
            gossip: Gossip::default(),
            scores: Scores::default(),
            bans,
            sync: HeaderSync::default(),
            download: Download::default(),
            relay: Relay::default(),
            requests: Requests::default(),
            server: Server::default(),
            refused: Seen::new(MAX_REFUSED),
            rng,
            out: Outbox::default(),
            next_save: now.millis + SAVE_INTERVAL_MILLIS,
            unfinished: false,
            wake: None,
            config,
        };
        for address in node.config.connect.clone() {
            node.dialer.add(address);
        }
        for address in node.config.seeds.clone() {
            let said = PeerAddress { address, services: SERVICE_FULL, last_seen: 0 };
            node.book.add(now, &said, address.ip());
        }
        node.dial(now);
        node.finish(now);
        Ok(node)
    }

    /// Takes what happened. What is to be done about it is in [`Node::drain`].
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Connected { peer, address, direction } => self.connected(now, peer, address, direction),
            Input::ConnectFailed { address } => {
                self.dialer.failed(now, &address);
                self.book.failed(now, address);
                self.dial(now);
            }
            Input::Received { peer, message } => self.received(now, peer, message),
            Input::Malformed { peer, reason } => self.out.offence(peer, Offence::Malformed(reason)),
            Input::Flushed { peer } => self.server.flushed(peer, &self.chain, &self.mempool, &mut self.out),
            Input::Disconnected { peer } => self.out.close(peer, Reason::Closed),
            Input::Tick => {}
        }
        self.finish(now);
    }

    /// What is to be done, in order. To be emptied after every call that takes the node as mutable.
    pub fn drain(&mut self) -> Drain<'_, Output> {
        self.out.drain()
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The mempool.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Writes address book and bans down, as the node does by itself from time to time.
    ///
    /// # Errors
    /// The store's.
    pub fn save(&mut self, now: Now) -> Result<(), StoreError> {
        self.next_save = now.millis + SAVE_INTERVAL_MILLIS;
        self.bans.expire(now.unix);
        records::save(self.chain.db(), &mut self.book, &mut self.bans)
    }

    /// What every call ends with: due timers, judgements, the next wake-up.
    pub(super) fn finish(&mut self, now: Now) {
        self.settle(now);
        if self.deadline().is_some_and(|at| at <= now.millis) {
            self.tick(now);
            self.settle(now);
        }
        for peer in self.out.take_sent() {
            if let Some(peer) = self.peers.get_mut(peer) {
                peer.last_sent = now.unix;
            }
        }
        let wake = self.deadline().map(|at| at.max(now.millis + 1));
        if let Some(millis) = wake
            && self.wake != wake
        {
            self.out.push(Output::WakeAt { millis });
        }
        self.wake = wake;
    }

    fn deadline(&self) -> Option<u64> {
        let deadlines = [
            self.handshakes.deadline(),
            self.pings.deadline(),
            self.dialer.deadline(&self.peers),
            self.sync.deadline(),
            self.download.deadline(),
            self.relay.deadline(),
            self.requests.deadline(),
            Some(self.next_save),
            self.unfinished.then_some(0),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now) {
        for peer in self.handshakes.expired(now) {
            self.out.close(peer, Reason::HandshakeTimeout);
        }
        self.pings.tick(now, &mut self.rng, &mut self.out);
        self.sync.tick(now, &mut self.out);
        self.download.tick(now, &self.chain, &self.sync, &mut self.out);
        self.relay.tick(now, &self.mempool, &mut self.rng, &mut self.out);
        self.requests.tick(now, &mut self.out);
        self.dial(now);
        if self.unfinished {
            self.resume(now);
        }
        if self.next_save <= now.millis
            && let Err(error) = self.save(now)
        {
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

    pub(super) fn dial(&mut self, now: Now) {
        let Self { dialer, config, peers, book, bans, rng, out, .. } = self;
        dialer.tick(now, &Situation { target: config.outbound_target, peers, book, bans }, rng, out);
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
        let (ip, may_be_banned) = (peer.address.ip(), !peer.manual && !peer.address.ip().is_loopback());
        let ban = Ban { created: now.unix, until: now.unix.saturating_add(BAN_SECS), reason: offence.to_string() };
        self.out.close(id, Reason::Misbehaved(offence));
        if may_be_banned {
            self.ban_subnet(Subnet::single(ip), ban);
        }
    }

    /// Bans, and ends the connections that falls on.
    pub(super) fn ban_subnet(&mut self, subnet: Subnet, ban: Ban) {
        self.out.event(Event::Banned { subnet, until: ban.until });
        self.bans.insert(subnet, ban);
        for (id, peer) in self.peers.iter() {
            if subnet.contains(peer.address.ip()) && !peer.manual {
                self.out.close(id, Reason::Banned);
            }
        }
    }

    fn connected(&mut self, now: Now, id: PeerId, address: SocketAddr, direction: Direction) {
        let manual = direction == Direction::Outbound && self.dialer.is_manual(&address);
        if direction == Direction::Outbound {
            self.dialer.connected(&address);
        } else if let Some(reason) = self.no_place(now, address) {
            return self.out.push(Output::Disconnect { peer: id, reason });
        }
        let peer = Peer {
            address,
            direction,
            manual,
            connected_at: now,
            last_received: 0,
            last_sent: 0,
            hello: None,
            last_useful: 0,
        };
        self.peers.insert(id, peer);
        let nonce = (direction == Direction::Outbound).then(|| self.send_hello(id));
        self.handshakes.connected(now, id, direction, nonce);
    }

    /// Why somebody who dials in cannot stay; makes room by evicting another if all places are taken.
    fn no_place(&mut self, now: Now, address: SocketAddr) -> Option<Reason> {
        let ip = address.ip();
        if self.bans.contains(ip, now.unix) {
            return Some(Reason::Banned);
        }
        if !ip.is_loopback() && self.peers.inbound_from(ip) >= self.config.max_inbound_per_address {
            return Some(Reason::TooManyFromAddress);
        }
        if self.peers.inbound() < self.config.max_inbound {
            return None;
        }
        let inbound = self.peers.iter().filter(|(_, peer)| peer.direction == Direction::Inbound);
        let candidates = inbound.map(|(id, peer)| Candidate {
            peer: id,
            group: Subnet::group(peer.address.ip()),
            min_ping: self.pings.least(id),
            last_useful: peer.last_useful,
            connected_at: peer.connected_at.millis,
        });
        match eviction::choose(candidates.collect()) {
            Some(evicted) => {
                self.disconnected(now, evicted, Reason::Evicted);
                None
            }
            None => Some(Reason::Full),
        }
    }

    fn send_hello(&mut self, peer: PeerId) -> u64 {
        let nonce = self.rng.random();
        let tip = self.chain.tip();
        let hello = Hello {
            version: PROTOCOL_VERSION,
            genesis: self.chain.params().genesis_hash,
            services: SERVICE_FULL,
            tip: TipClaim { height: tip.height, hash: tip.hash, work: tip.work },
            listen_port: self.config.listen_port,
            nonce,
            user_agent: self.config.user_agent.clone(),
        };
        self.out.send(peer, Message::Hello(hello));
        nonce
    }

    /// Forgets a connection everywhere, and has it closed unless it is already.
    fn disconnected(&mut self, now: Now, id: PeerId, reason: Reason) {
        let Some(peer) = self.peers.remove(id) else { return };
        if reason != Reason::Closed {
            self.out.push(Output::Disconnect { peer: id, reason: reason.clone() });
        }
        self.handshakes.disconnected(id);
        self.pings.disconnected(id);
        self.gossip.disconnected(id);
        self.scores.forget(id);
        self.relay.disconnected(id);
        self.server.disconnected(id);
        self.requests.disconnected(now, id, &mut self.out);
        self.download.disconnected(id);
        self.sync.disconnected(now, id, &self.chain, &mut self.out);
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
        if peer.direction == Direction::Outbound {
            if peer.hello.is_some() && !matches!(reason, Reason::Misbehaved(_) | Reason::Stalled) {
                self.dialer.ended(now, &peer.address);
            } else {
                self.dialer.failed(now, &peer.address);
                self.book.failed(now, peer.address);
            }
        }
        self.out.event(Event::PeerDisconnected { peer: id, address: peer.address, reason });
        self.dial(now);
    }

    fn received(&mut self, now: Now, id: PeerId, message: Message) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.last_received = now.unix;
        let ip = peer.address.ip();
        let kind = message.kind();
        if peer.hello.is_none() != matches!(message, Message::Hello(_)) {
            return self.out.offence(id, Offence::OutOfTurn(kind.name()));
        }
        let Self { chain, mempool, out, .. } = self;
        match message {
            Message::Hello(hello) => self.greeted(now, id, hello),
            Message::Ping(nonce) => out.send(id, Message::Pong(nonce)),
            Message::Pong(nonce) => self.pings.pong(now, id, nonce),
            Message::GetAddresses => self.gossip.asked(id, ip, &self.book, &mut self.rng, out),
            Message::Addresses(addresses) => {
                self.gossip.told(now, (id, ip), addresses, &mut self.book, &mut self.rng, out);
                self.dial(now);
            }
            Message::Inventory(items) => self.inventory(now, id, items),
            Message::GetData(items) => self.server.get_data(id, items, chain, mempool, out),
            Message::NotFound(items) => self.not_found(now, id, items),
            Message::GetHeaders { locator, stop } => {
                self.server.get_headers(id, locator, stop, chain, mempool, out);
            }
            Message::Headers(headers) => self.headers(now, id, &headers),
            Message::Block(block) => self.block(now, id, block),
            Message::Transaction(tx) => self.transaction(now, id, tx),
        }
    }

    fn greeted(&mut self, now: Now, id: PeerId, hello: Hello) {
        match self.handshakes.finish(id, &hello, &self.chain.params().genesis_hash) {
            Some(Ok(())) => {}
            Some(Err(reason)) => {
                if reason == Reason::SelfConnection
                    && let Some(dialled) = self.handshakes.dialled_with(hello.nonce)
                {
                    if let Some(own) = self.peers.get(dialled).map(|peer| peer.address) {
                        self.book.is_own(own);
                    }
                    self.out.close(dialled, Reason::SelfConnection);
                }
                return self.out.close(id, reason);
            }
            None => return,
        }
        let (tip, services) = (hello.tip, hello.services);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let (address, direction) = (peer.address, peer.direction);
        peer.hello = Some(hello);
        let listens_at = peer.listens_at();
        if direction == Direction::Inbound {
            self.send_hello(id);
        }
        self.out.event(Event::PeerConnected { peer: id, address, direction });
        self.pings.connected(now, id);
        self.gossip.connected(now, id, direction, &mut self.out);
        self.relay.connected(now, id, &self.mempool, &mut self.rng);
        self.requests.connected(id);
        self.server.connected(id);
        self.download.connected(id);
        self.sync.connected(now, id, &tip, &self.chain, &mut self.out);
        match (direction, listens_at) {
            (Direction::Outbound, _) => {
                let said = PeerAddress { address, services, last_seen: clamp(now.unix) };
                self.book.add(now, &said, address.ip());
                self.book.succeeded(now, address, services);
            }
            (Direction::Inbound, Some(address)) => {
                let said = PeerAddress { address, services, last_seen: clamp(now.unix) };
                if self.book.add(now, &said, address.ip()) {
                    self.gossip.pass_on(id, said, &mut self.rng, &mut self.out);
                }
            }
            (Direction::Inbound, None) => {}
        }
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }

    fn inventory(&mut self, now: Now, id: PeerId, items: Vec<Item>) {
        let mut wanted = Vec::new();
        for item in items {
            match item {
                Item::Transaction(txid) => {
                    self.relay.knows(id, txid);
                    if !self.has_transaction(&txid) {
                        wanted.push(txid);
                    }
                }
                Item::Block(hash) => self.sync.announced(now, id, hash, &self.chain, &mut self.out),
            }
        }
        if !self.requests.announced(now, id, wanted, &mut self.out) {
            self.out.offence(id, Offence::InventoryFlood);
        }
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }

    /// Whether there is no point in asking for a transaction.
    fn has_transaction(&self, txid: &Txid) -> bool {
        self.mempool.contains(txid) || self.mempool.is_orphan(txid) || self.refused.contains(txid)
    }

    fn not_found(&mut self, now: Now, id: PeerId, items: Vec<Item>) {
        let mut transactions = Vec::new();
        for item in items {
            match item {
                Item::Transaction(txid) => transactions.push(txid),
                Item::Block(hash) => self.download.failed(now, id, &hash),
            }
        }
        self.requests.not_found(now, id, &transactions, &mut self.out);
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }

    fn headers(&mut self, now: Now, id: PeerId, headers: &[Header]) {
        if self.sync.received(now, id, headers, &mut self.chain, &mut self.out) {
            self.download.refresh();
        }
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }

    fn block(&mut self, now: Now, id: PeerId, block: Arc<Block>) {
        let hash = block.hash();
        let (parent, is_known) = (self.chain.entry(&block.header.previous), self.chain.entry(&hash).is_some());
        let Some(parent) = parent else {
            self.out.offence(id, Offence::UnrequestedBlock);
            return self.sync.announced(now, id, hash, &self.chain, &mut self.out);
        };
        // One that nobody asked for is taken if it would be the tip: its proof of work has cost more than we can lose.
        let own_work = block.header.bits.target().map(|target| target.work()).unwrap_or_default();
        let would_lead = parent.work + own_work > self.chain.tip().work;
        let wanted = self.download.wants(&hash);
        if !wanted && !would_lead {
            // The late answer to a request that another fulfilled is no offence.
            if !is_known {
                self.out.offence(id, Offence::UnrequestedBlock);
            }
            return;
        }
        if self.download.received(now, id, &hash) == Delivery::Unrequested && !wanted {
            self.download.refresh();
        }
        let result = self.accept(now, block);
        if let Some(entry) = self.chain.entry(&hash) {
            self.sync.has(id, entry, &self.chain);
        }
        match result {
            Ok(update) => {
                if let Some(peer) = self.peers.get_mut(id)
                    && !update.connected.is_empty()
                {
                    peer.last_useful = now.millis;
                }
                self.moved(now, &update);
            }
            Err(error) => self.refuse_block(now, id, &hash, &error),
        }
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }

    fn accept(&mut self, now: Now, block: Arc<Block>) -> Result<ChainUpdate, ChainError> {
        let mempool = &self.mempool;
        self.chain.accept_block(Arc::unwrap_or_clone(block), now.unix, &|txid| mempool.is_verified(txid))
    }

    fn refuse_block(&mut self, now: Now, id: PeerId, hash: &BlockHash, error: &ChainError) {
        self.download.failed(now, id, hash);
        match error.blame() {
            Blame::Peer => self.out.offence(id, Offence::BadBlock(error.to_string())),
            Blame::Local => self.out.event(Event::StoreFailed { error: error.to_string() }),
            Blame::Nobody => {}
        }
    }

    fn transaction(&mut self, now: Now, id: PeerId, tx: Arc<Transaction>) {
        let txid = tx.txid();
        self.relay.knows(id, txid);
        let wanted = self.requests.received(now, &txid, &mut self.out);
        if self.has_transaction(&txid) {
            return;
        }
        if !wanted {
            return self.out.offence(id, Offence::UnrequestedTransaction);
        }
        match self.mempool.accept(Arc::unwrap_or_clone(tx), &self.chain, now.unix) {
            Ok(accepted) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.last_useful = now.millis;
                }
                self.accepted(now, &accepted);
            }
            Err(MempoolError::MissingInputs { missing, kept: true, .. }) => {
                let mut parents: Vec<Txid> = missing.iter().map(|outpoint| outpoint.txid).collect();
                parents.sort_unstable();
                parents.dedup();
                parents.retain(|parent| !self.has_transaction(parent));
                // Whoever sent it has had its parents, or it would not have taken it.
                self.requests.announced(now, id, parents, &mut self.out);
            }
            Err(error) => {
                self.refused.insert(txid);
                match error.blame() {
                    Blame::Peer => self.out.offence(id, Offence::BadTransaction(error.to_string())),
                    Blame::Local => self.out.event(Event::StoreFailed { error: error.to_string() }),
                    Blame::Nobody => {}
                }
            }
        }
    }

    /// Tells of transactions that came into the mempool.
    pub(super) fn accepted(&mut self, now: Now, accepted: &Accepted) {
        let txids: Vec<Txid> = [accepted.txid].iter().chain(&accepted.promoted).copied().collect();
        for txid in &txids {
            self.out.event(Event::TransactionAccepted { txid: *txid });
        }
        self.relay.tell_all(now, &txids, &mut self.rng);
    }

    /// Follows the chain after it moved, and tells of it.
    pub(super) fn moved(&mut self, now: Now, update: &ChainUpdate) {
        for (hash, error) in &update.rejected {
            self.download.refresh();
            if let Some(peer) = self.download.bringer(hash)
                && error.blame() == Blame::Peer
            {
                self.out.offence(peer, Offence::BadBlock(error.to_string()));
            }
        }
        self.unfinished = update.unfinished;
        if update.is_empty() {
            return;
        }
        if !update.disconnected.is_empty() {
            self.download.refresh();
        }
        let resurrected = self.mempool.update(update, &self.chain, now.unix);
        self.relay.tell_all(now, &resurrected, &mut self.rng);
        self.refused.clear();
        let height = |hash: &BlockHash| self.chain.entry(hash).map_or(0, |entry| entry.height);
        for block in &update.disconnected {
            let hash = block.hash();
            self.out.event(Event::BlockDisconnected { hash, height: height(&hash) });
        }
        for block in &update.connected {
            let hash = block.hash();
            self.out.event(Event::BlockConnected { hash, height: height(&hash) });
        }
        let tip = self.chain.tip();
        self.out.event(Event::TipChanged { hash: tip.hash, height: tip.height });
        self.announce_tip();
    }

    /// Tells every peer that may not know of the tip: the headers since what it knows, if they are few.
    fn announce_tip(&mut self) {
        let tip = self.chain.tip();
        if self.chain.best_header().height.saturating_sub(tip.height) >= ANNOUNCE_WITHIN {
            return;
        }
        for peer in self.peers.ready() {
            if self.sync.knows(peer, tip, &self.chain) {
                continue;
            }
            let mut news: Vec<Header> = self
                .chain
                .branch(tip)
                .take_while(|entry| entry.height > 0 && !self.sync.knows(peer, entry, &self.chain))
                .take(MAX_ANNOUNCED + 1)
                .map(|entry| entry.header)
                .collect();
            if news.len() > MAX_ANNOUNCED {
                self.out.send(peer, Message::Inventory(vec![Item::Block(tip.hash)]));
            } else {
                news.reverse();
                self.out.send(peer, Message::Headers(news));
            }
            self.sync.tell(peer, tip.hash);
        }
    }
}

fn clamp(unix: u64) -> u32 {
    u32::try_from(unix).unwrap_or(u32::MAX)
}
