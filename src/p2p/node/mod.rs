//! The node: composes chain, mempool and all sub-protocols.

mod archive;
mod commands;
mod compact;
mod connections;
mod conservation;
mod content;
mod neighbours;
mod protocols;
mod snapshots;
mod upkeep;

use std::collections::vec_deque::Drain;
use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use self::protocols::{Context, Protocols};
use self::snapshots::Snapshots;
use crate::chain::Chain;
use crate::mempool::{Ahead, Mempool, Recent};
use crate::p2p::anchors::Anchors;
use crate::p2p::archive::{Lookups, Runs};
use crate::p2p::blocks::Blocks;
use crate::p2p::budget::{Budgets, Cost};
use crate::p2p::chain_proofs::ChainAnswer;
use crate::p2p::command::Command;
use crate::p2p::config::Config;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::discovery::Discovery;
use crate::p2p::download::Download;
use crate::p2p::filters::{Content, FilterRequest};
use crate::p2p::interface::{Event, Input, Output, Protocol, Reason};
use crate::p2p::late_headers::LateHeaders;
use crate::p2p::message::{Kind, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::peering::Peering;
use crate::p2p::pushes::Pushes;
use crate::p2p::records::{self, Saved};
use crate::p2p::relay::Relay;
use crate::p2p::requests::Requests;
use crate::p2p::serve::{Range, Server, Sources};
use crate::p2p::signalling::Signalling;
use crate::p2p::state::RangeAnswer;
use crate::p2p::state_sync::{Outcome, StateSync};
use crate::p2p::sync::HeaderSync;
use crate::p2p::upkeep::Upkeep;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::meter;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::HashedTransaction;
use crate::storage::StoreError;

/// Most refused transactions remembered, so that they are not requested again; forgotten when the tip moves, since they
/// may then be valid.
pub const MAX_REFUSED: usize = 20_000;
/// Time between two savings of address book, bans and anchors.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// A node of the network, without its I/O. See the module [`crate::p2p`].
pub struct Node {
    config: Config,
    chain: Chain,
    mempool: Mempool,
    peering: Peering,
    protocols: Protocols,
    anchors: Anchors,
    /// A block to be connected after it was pushed to peers.
    pending: Option<compact::Pending>,
    /// The present input brought useful data, so it is not charged.
    is_useful: bool,
    refused: Recent<Txid>,
    rng: ChaCha20Rng,
    out: Outbox,
    next_save: MonoTime,
    /// When the next feeler is due.
    next_feeler: MonoTime,
    /// When the tip is announced, if that was delayed.
    announce_at: Option<MonoTime>,
    /// When it was announced last.
    announced: MonoTime,
    /// The chain has more to connect than one call may.
    unfinished: bool,
    /// The next block waits for a state root.
    awaits_state: bool,
    snapshots: Snapshots,
    /// Of runs of old blocks.
    lookups: Lookups,
    upkeep: Upkeep,
}

impl Protocol for Node {
    type Command = Command;

    fn handle(&mut self, now: Now, input: Input) {
        let before = meter::effort();
        let payer = match &input {
            Input::Received { peer, message, .. } => Some((*peer, Cost::of_message(message))),
            Input::Transactions { peer, transactions, .. } => Some((*peer, Cost::of_messages(transactions.len()))),
            _ => None,
        };
        self.is_useful = false;
        match input {
            Input::Connected { peer, address, direction, id } => self.connected(now, peer, (id, address), direction),
            Input::ConnectFailed { address, found } => self.on_connect_failed(now, address, found),
            Input::Received { peer, message, at } => self.received(now, peer, message, at),
            Input::Transactions { peer, transactions, verified } => {
                self.transactions(now, peer, transactions, verified);
            }
            Input::Malformed { peer, reason } => self.out.offence(peer, Offence::Malformed(reason)),
            Input::Flushed { peer } => self.protocols.server.flushed(peer),
            Input::Disconnected { peer } => self.out.close(peer, Reason::Closed),
            Input::Delayed { by } => self.extend_deadlines(by),
            Input::Tick => {}
            Input::Stop => self.save(now),
        }
        if let Some((peer, cost)) = payer
            && !self.is_useful
        {
            self.protocols.budgets.charge(now, peer, cost + Cost::of(meter::effort() - before));
        }
        self.serve(now);
        self.finish(now);
    }

    fn command(&mut self, now: Now, command: Command) {
        self.carry_out(now, command);
    }

    fn drain(&mut self) -> Drain<'_, Output> {
        self.out.drain()
    }

    fn budget_left(&self, now: Now, peer: PeerId) -> i64 {
        self.protocols.budgets.left(now, peer)
    }

    fn signatures_of(&self, earlier: &[&HashedTransaction], transactions: &[HashedTransaction]) -> Ahead {
        let unknown = transactions.iter().filter(|tx| !self.has_transaction(&tx.txid()));
        self.mempool.ahead(earlier, unknown, &self.chain)
    }

    fn tip(&self) -> (Height, BlockHash) {
        let tip = self.chain.tip();
        (tip.height, tip.hash)
    }
}

impl Node {
    /// A node without connections; reads address book and bans.
    ///
    /// # Errors
    /// The store's.
    pub fn new(mut chain: Chain, mempool: Mempool, config: Config, now: Now) -> Result<Self, StoreError> {
        let Saved { book, bans, anchors, mut taken_up } = records::load(chain.db(), now, config.transports)?;
        chain.remove_unfinished_runs()?;
        taken_up.retain(|run| chain.has_run(run));
        chain.set_retention(config.retention);
        chain.set_archiving(config.archive_share > 0);
        if config.sync_state {
            chain.take_deep_headers();
        }
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        let upkeep = Upkeep::new(now.mono, config.archive_share, taken_up, &mut rng);
        let protocols = Protocols {
            discovery: Discovery::new(now, config.id, book.contacts()),
            sync: HeaderSync::default(),
            download: Download::new(chain.params().epoch_blocks),
            requests: Requests::default(),
            pushes: Pushes::default(),
            blocks: Blocks::new(rng.random()),
            relay: Relay::new([rng.random(), rng.random()]),
            server: Server::default(),
            budgets: Budgets::default(),
            state_sync: StateSync::new(now, config.sync_state, config.accept_slow_chain, &chain),
            late_headers: LateHeaders::default(),
            signalling: Signalling::default(),
        };
        let mut node = Self {
            chain,
            mempool,
            peering: Peering::new(book, bans),
            protocols,
            anchors,
            pending: None,
            is_useful: false,
            refused: Recent::new(MAX_REFUSED),
            rng,
            out: Outbox::default(),
            next_save: now.mono + SAVE_INTERVAL,
            next_feeler: now.mono + neighbours::FEELER_INTERVAL,
            announce_at: None,
            announced: MonoTime::START,
            unfinished: false,
            awaits_state: false,
            snapshots: Snapshots::default(),
            lookups: Lookups::default(),
            upkeep,
            config,
        };
        node.announce_archive(now);
        for address in node.config.connect.clone() {
            node.peering.dialer.add(address, None);
        }
        for address in node.config.seeds.clone() {
            node.peering.add_seed(now, address, None);
        }
        for anchor in node.anchors.kept().to_vec() {
            node.peering.dialer.dial(now, anchor.address, Some(anchor.id), &mut node.out);
        }
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

    /// Answers a slice of the peers' requests.
    fn serve(&mut self, now: Now) {
        let Self { protocols: Protocols { server, blocks, budgets, .. }, chain, mempool, out, .. } = self;
        server.serve(now, Sources { chain, mempool, blocks }, budgets, out);
    }

    /// The end of every call: due timers, offences and closings, the next wake-up.
    fn finish(&mut self, now: Now) {
        self.carry_out_judgements(now);
        let mut deadline = self.deadline();
        if deadline.is_some_and(|at| at <= now.mono) {
            self.tick(now);
            self.carry_out_judgements(now);
            deadline = self.deadline();
        }
        for peer in self.out.take_sent() {
            if let Some(peer) = self.peering.peers.get_mut(peer) {
                peer.last_sent = now.unix;
            }
        }
        self.out.wake_at(now, deadline);
        self.assert_conserved();
    }

    fn deadline(&self) -> Option<MonoTime> {
        let deadlines = [
            self.peering.deadline(),
            self.protocols.deadline(),
            Some(self.next_feeler),
            Some(self.next_save),
            self.lookups.deadline(),
            self.upkeep.deadline(),
            self.announce_at,
            self.pending.as_ref().map(|pending| pending.at),
            (self.unfinished || self.mempool.is_unfinished() || self.chain.is_pruning_due()).then_some(MonoTime::START),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now) {
        self.peering.tick(now, &mut self.rng, &mut self.out);
        if self.pending.as_ref().is_some_and(|pending| pending.at <= now.mono) {
            self.connect_pending(now);
        }
        let (protocols, context) = self.parts();
        protocols.tick(now, context);
        self.mempool.expire(now.unix);
        self.try_feeler(now);
        if self.unfinished {
            self.resume(now);
        }
        if self.mempool.is_unfinished() {
            self.resume_mempool(now);
        }
        let outcome = self.protocols.state_sync.write_step(&mut self.chain);
        self.on_state_sync(now, outcome);
        if self.chain.is_pruning_due() {
            self.prune(now);
        }
        if self.announce_at.is_some_and(|at| at <= now.mono) {
            self.announce_tip(now);
        }
        if self.next_save <= now.mono {
            self.save(now);
        }
    }

    /// Saves address book, bans and anchors.
    fn save(&mut self, now: Now) {
        self.next_save = now.mono + SAVE_INTERVAL;
        self.peering.bans.expire(now.unix);
        self.anchors.update(&self.peering.peers);
        if let Err(error) =
            records::save(self.chain.db(), &mut self.peering.book, &mut self.peering.bans, &mut self.anchors)
        {
            self.out.event(Event::StoreFailed { error: error.to_string() });
        }
    }

    /// Continues a long reorganisation, a part for each call, so that peers and clients are served between.
    fn resume(&mut self, now: Now) {
        match self.chain.resume() {
            Ok(update) => self.on_chain_update(now, &update),
            Err(error) => {
                self.unfinished = false;
                self.out.event(Event::StoreFailed { error: error.to_string() });
            }
        }
    }

    fn dial(&mut self, now: Now) {
        let Self { peering, protocols, config, rng, out, .. } = self;
        peering.dial(now, config.outbound_target, Some(protocols.discovery.table()), rng, out);
    }

    fn parts(&mut self) -> (&mut Protocols, Context<'_>) {
        let Self { protocols, chain, mempool, rng, out, .. } = self;
        (protocols, Context { chain, mempool, rng, out })
    }

    /// Carries out judgements until there are none, looks for nodes and dials where something has changed, then asks for
    /// blocks. Handlers only note that something has changed: what follows from it happens here alone.
    fn carry_out_judgements(&mut self, now: Now) {
        self.settle(now);
        loop {
            let Self { protocols: Protocols { sync, state_sync, .. }, chain, out, .. } = self;
            let outcome = state_sync.advance(now, chain, sync, out);
            sync.hold(now, state_sync.holds_headers(chain), chain, out);
            let is_again = matches!(outcome, Ok(Outcome::HeadersDue));
            self.on_state_sync(now, outcome);
            if !is_again {
                break;
            }
        }
        let Self { protocols: Protocols { download, sync, state_sync, late_headers, .. }, chain, out, .. } = self;
        if !state_sync.is_active() {
            download.schedule(now, chain, sync, out);
        }
        late_headers.advance(now, chain, out);
        self.advance_archive(now);
        // A lookup of an archived run may close connections.
        self.settle(now);
    }

    /// Carries out offences, closings, lookups and dials until there are no more.
    fn settle(&mut self, now: Now) {
        loop {
            if let Some((peer, offence)) = self.out.next_offence() {
                self.peering.penalise(now, peer, offence, &mut self.out);
            } else if let Some((peer, reason)) = self.out.next_closing() {
                self.disconnected(now, peer, reason);
            } else if self.protocols.discovery.has_changed() || self.peering.dialer.has_changed() {
                self.advance_lookups(now);
                self.dial(now);
            } else {
                break;
            }
        }
    }

    /// The chain may have another beginning.
    fn on_state_sync(&mut self, now: Now, outcome: Result<Outcome, StoreError>) {
        match outcome {
            Ok(Outcome::None | Outcome::HeadersDue) => return,
            Ok(Outcome::GaveUp | Outcome::Started) => {}
            // What is known of the peers' chains, and what can be come back to, went with the headers.
            Ok(Outcome::Restarted) => {
                self.disconnect_all(now);
                (self.pending, self.announce_at, self.snapshots) = (None, None, Snapshots::default());
                self.restart_upkeep(now);
                self.mempool.become_again(Mempool::new(self.chain.params().clone(), self.mempool.limits().clone()));
            }
            Err(error) => return self.out.event(Event::StoreFailed { error: error.to_string() }),
        }
        self.refused.clear();
        self.protocols.download.refresh();
        // Blocks whose bodies came early.
        self.unfinished = true;
        let tip = self.chain.tip();
        self.out.event(Event::TipChanged { hash: tip.hash, height: tip.height });
        if self.chain.is_state_due() {
            self.out.event(Event::StateDue);
        }
    }

    /// This thread was busy: every peer has as much longer for its answers.
    fn extend_deadlines(&mut self, by: Duration) {
        let Self {
            peering,
            protocols,
            upkeep,
            // The node's own timers.
            next_save: _,
            next_feeler: _,
            announce_at: _,
            announced: _,
            pending: _,
            unfinished: _,
            awaits_state: _,
            lookups: _,
            // No timers.
            config: _,
            chain: _,
            mempool: _,
            anchors: _,
            is_useful: _,
            refused: _,
            snapshots: _,
            rng: _,
            out: _,
        } = self;
        peering.extend_deadlines(by);
        protocols.extend_deadlines(by);
        upkeep.extend_deadlines(by);
    }

    /// Notes that a peer sent a message of this kind. The peer's address, if the message is to be handled.
    fn heard(&mut self, now: Now, id: PeerId, kind: Kind) -> Option<IpAddr> {
        let peer = self.peering.peers.get_mut(id)?;
        peer.last_received = now.unix;
        if peer.hello.is_none() != (kind == Kind::Hello) {
            self.out.offence(id, Offence::OutOfTurn(kind));
            return None;
        }
        // A brief connection only carries queries.
        let concerns = [Kind::Hello, Kind::Ping, Kind::FindNode, Kind::Nodes];
        let providers = [Kind::AddProvider, Kind::ProviderAdded, Kind::GetProviders, Kind::Providers];
        (!peer.brief || concerns.contains(&kind) || providers.contains(&kind)).then(|| peer.address.ip())
    }

    fn received(&mut self, now: Now, id: PeerId, message: Message, at: MonoTime) {
        let Some(ip) = self.heard(now, id, message.kind()) else { return };
        let Self { protocols: Protocols { server, .. }, chain, rng, out, .. } = self;
        match message {
            Message::Hello(hello) => self.on_hello(now, id, hello),
            Message::Ping(nonce) => out.send(id, Message::Pong(nonce)),
            // Measured from the read of the socket, so that this thread's load does not count.
            Message::Pong(nonce) => self.peering.pings.pong(at, id, nonce),
            Message::FindNode { target } => {
                let browsers = self.peering.peers.for_browser(id);
                self.protocols.discovery.on_find_node(now, (id, ip), (target, browsers), out);
            }
            Message::Nodes(contacts) => self.on_nodes(now, id, &contacts),
            Message::AddProvider(keys) => self.protocols.discovery.on_add_provider(now, id, &keys, out),
            Message::ProviderAdded { kept } => self.protocols.discovery.on_provider_added(now, id, kept, out),
            Message::GetProviders { key } if self.peering.peers.get(id).is_some_and(|peer| peer.is_page()) => {
                self.protocols.discovery.on_page_asks(now, (id, ip), key, rng, out);
            }
            Message::GetProviders { key } => {
                self.protocols.discovery.on_get_providers(now, (id, ip), key, rng, out);
            }
            Message::Providers { providers, nearer } => self.on_providers(now, (id, ip), &providers, &nearer),
            // Without an exchange: it takes them before they come here.
            Message::WantBlocks(_) => {}
            Message::HaveBlocks(_) | Message::ContentBlock(_) => out.offence(id, Offence::UnrequestedContent),
            Message::Inventory(items) => self.inventory(now, id, items),
            Message::GetData(items) => server.get_data(id, items, out),
            Message::NotFound(items) => self.not_found(now, id, items),
            Message::GetHeaders { locator, stop } => {
                server.get_range(id, Range::Headers { locator, stop }, chain, out);
            }
            Message::Headers(headers) => self.headers(now, id, &headers),
            Message::Archive(runs) => self.protocols.download.archived(id, Runs::from_bytes(runs)),
            Message::NoHeaders { .. } => self.protocols.sync.no_headers(now, id, chain, out),
            Message::Block(block) => self.block(now, id, block),
            Message::Transaction(tx) => self.transaction(now, id, HashedTransaction::new(tx)),
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
            // Full nodes request none.
            Message::Proofs(_) | Message::Coins(_) => out.offence(id, Offence::UnrequestedProofs),
            Message::ChainProof(answer) => self.chain_proof(now, id, answer),
            Message::Opening { block, opening } => {
                self.protocols.state_sync.opening(now, id, block, opening.as_deref(), out);
            }
            Message::GetStateRange(query) => server.get_range(id, Range::State(query), chain, out),
            Message::StateRange(answer) => self.state_range(now, id, &answer),
            Message::GetOpening(block) => server.get_range(id, Range::Opening(block), chain, out),
            Message::GetCoins(query) => server.get_range(id, Range::Coins(query), chain, out),
            Message::GetChainProof(query) => server.get_range(id, Range::Chain(query), chain, out),
            Message::CompactBlock(compact) => self.compact_block(now, id, &compact),
            Message::GetBlockTransactions { block, places } => {
                server.get_range(id, Range::BlockTransactions { block, places }, chain, out);
            }
            Message::BlockTransactions { block, transactions } => {
                self.block_transactions(now, id, block, transactions);
            }
            Message::SendCompact(wants) => self.protocols.blocks.send_compact(id, wants),
            Message::GetPages => self.protocols.signalling.on_get_pages(now, id, rng, out),
            Message::Signal { page, signal } => self.protocols.signalling.on_signal(now, id, page, signal, out),
            // A node calls no page.
            Message::Pages(_) | Message::NoPage { .. } => out.offence(id, Offence::UnrequestedNodes),
        }
    }

    fn chain_proof(&mut self, now: Now, id: PeerId, answer: ChainAnswer) {
        let Self { protocols: Protocols { state_sync, late_headers, .. }, chain, out, .. } = self;
        if state_sync.awaits_proof(id) {
            self.is_useful = true;
            return state_sync.chain_proof(now, answer, chain, out);
        }
        match late_headers.answer(now, id, answer, chain, out) {
            Ok(is_useful) => self.is_useful |= is_useful,
            Err(error) => out.event(Event::StoreFailed { error: error.to_string() }),
        }
    }

    fn state_range(&mut self, now: Now, id: PeerId, answer: &RangeAnswer) {
        let Self { protocols: Protocols { state_sync, .. }, chain, out, .. } = self;
        match state_sync.coins(now, id, answer, chain, out) {
            Ok(is_useful) => self.is_useful |= is_useful,
            Err(error) => out.event(Event::StoreFailed { error: error.to_string() }),
        }
    }
}
