//! The owner's [`Command`]s and queries. After each call that takes the node as mutable,
//! [`Protocol::drain`](crate::p2p::Protocol::drain) returns the outputs.

use super::Node;
use crate::chain::{ChainError, ChainUpdate};
use crate::mempool::{Accepted, MempoolError, SavedError};
use crate::p2p::addrbook::Record;
use crate::p2p::bans::{Ban, Subnet};
use crate::p2p::budget::Cost;
use crate::p2p::chain_prover::TipProof;
use crate::p2p::command::Command;
use crate::p2p::config::{Config, PeerInfo};
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::interface::{Event, Input, Output, Protocol, Reason};
use crate::p2p::kad::{NodeId, Table};
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::wants::ContentFault;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Transaction;
use crate::storage::BlockKey;

impl Node {
    pub(super) fn carry_out(&mut self, now: Now, command: Command) {
        match command {
            Command::SubmitBlock(block, reply) => reply.send(self.submit_block(now, block)),
            Command::SubmitHeader(header, reply) => reply.send(self.submit_header(now, header)),
            Command::SubmitTransaction(tx, reply) => reply.send(self.submit_transaction(now, tx)),
            Command::RestoreMempool(saved, reply) => reply.send(self.restore_mempool(now, &saved)),
            Command::Invalidate(hash, reply) => reply.send(self.invalidate(now, &hash)),
            Command::Reconsider(hash, reply) => reply.send(self.reconsider(now, &hash)),
            Command::PruneBelow(height, reply) => reply.send(self.prune_below(now, height)),
            Command::StateReady(block, reply) => {
                self.state_ready(now, &block);
                reply.send(());
            }
            Command::ProofMade(proof, reply) => {
                self.proof_made(now, proof);
                reply.send(());
            }
            Command::Ping(reply) => {
                self.ping(now);
                reply.send(());
            }
            Command::AddNode(address, id, reply) => reply.send(self.add_node(now, address, id)),
            Command::AddSeed(address, id, reply) => {
                self.add_seed(now, address, id);
                reply.send(());
            }
            Command::RemoveNode(address, reply) => reply.send(self.remove_node(now, &address)),
            Command::ConnectOnce(address, id, reply) => {
                self.connect_once(now, address, id);
                reply.send(());
            }
            Command::Disconnect(peer, reply) => reply.send(self.disconnect(now, peer)),
            Command::DisconnectAddress(address, reply) => reply.send(self.disconnect_address(now, address)),
            Command::Ban(subnet, until, reply) => {
                self.ban(now, subnet, until);
                reply.send(());
            }
            Command::Unban(subnet, reply) => reply.send(self.unban(&subnet)),
            Command::ClearBans(reply) => {
                self.clear_bans();
                reply.send(());
            }
            Command::Tick(reply) => {
                self.handle(now, Input::Tick);
                reply.send(());
            }
            Command::TakeSnapshot(name, reply) => reply.send(self.take_snapshot(name)),
            Command::Revert(name, reply) => reply.send(self.revert(now, &name)),
            Command::DropSnapshot(name, reply) => reply.send(self.drop_snapshot(&name)),
            Command::SetActive(is_active, reply) => {
                self.set_active(now, is_active);
                reply.send(());
            }
            Command::FindNode(target, reply) => reply.send(self.find_node(now, target)),
            Command::FindProviders(key, reply) => reply.send(self.find_providers(now, key)),
            Command::PenaliseContent(peer, fault, reply) => {
                self.penalise_content(now, peer, fault);
                reply.send(());
            }
            Command::Announce(key, reply) => reply.send(self.announce(now, key)),
            Command::Provide(keys, reply) => reply.send(self.provide(now, &keys)),
            Command::StopProviding(keys, reply) => {
                self.stop_providing(now, &keys);
                reply.send(());
            }
        }
    }

    /// Accepts a block mined here or submitted over RPC, and announces it if it is the new tip.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn submit_block(&mut self, now: Now, block: Block) -> Result<ChainUpdate, ChainError> {
        let mempool = &self.mempool;
        let result = self.chain.accept_block(block, now.unix, &|txid| mempool.is_verified(txid));
        self.follow(now, result)
    }

    /// Accepts a header submitted over RPC. Requests its block if that could be the best.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn submit_header(&mut self, now: Now, header: Header) -> Result<(), ChainError> {
        let result = self.chain.accept_header(header, now.unix).map(drop);
        self.reconsider_downloads(now);
        result
    }

    /// Validates and relays a transaction made here or submitted over RPC.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn submit_transaction(&mut self, now: Now, tx: Transaction) -> Result<Accepted, MempoolError> {
        let accepted = self.mempool.accept(tx, &self.chain, now.unix)?;
        let is_news = !self.protocols.requests.received(now, &accepted.txid, &mut self.out);
        self.accepted(now, &accepted, is_news);
        self.finish(now);
        Ok(accepted)
    }

    /// Restores a mempool saved by an earlier run ([`Mempool::save`](crate::mempool::Mempool::save)); later calls check
    /// it in parts. Returns how many transactions it has.
    ///
    /// # Errors
    /// Why the bytes cannot be restored.
    pub fn restore_mempool(&mut self, now: Now, saved: &[u8]) -> Result<usize, SavedError> {
        let count = self.mempool.restore(saved)?;
        self.finish(now);
        Ok(count)
    }

    /// The state after a block at an edge is computed: blocks that waited for it are connected.
    pub fn state_ready(&mut self, now: Now, block: &BlockKey) {
        if let Err(error) = self.chain.state_ready(block) {
            self.out.event(Event::StoreFailed { error: error.to_string() });
        }
        // A resumed activation notes whether it still waits.
        self.unfinished |= self.awaits_state;
        self.finish(now);
    }

    /// The proof of the best chain for which peers wait is made, or cannot be: they are answered.
    pub fn proof_made(&mut self, now: Now, proof: Option<TipProof>) {
        self.protocols.server.proof_made(proof);
        self.serve(now);
        self.finish(now);
    }

    /// Declares a block and all after it invalid.
    ///
    /// # Errors
    /// As [`Chain::invalidate`](crate::chain::Chain::invalidate).
    pub fn invalidate(&mut self, now: Now, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let result = self.chain.invalidate(hash);
        self.follow(now, result)
    }

    /// Reverses [`Node::invalidate`].
    ///
    /// # Errors
    /// As [`Chain::reconsider`](crate::chain::Chain::reconsider).
    pub fn reconsider(&mut self, now: Now, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let result = self.chain.reconsider(hash);
        self.follow(now, result)
    }

    /// Has blocks below a height pruned, a part at each later call. Returns the lowest height that will be kept.
    ///
    /// # Errors
    /// As [`Chain::prune_below`](crate::chain::Chain::prune_below).
    pub fn prune_below(&mut self, now: Now, height: Height) -> Result<Height, ChainError> {
        let kept_from = self.chain.prune_below(height);
        self.finish(now);
        kept_from
    }

    fn follow(&mut self, now: Now, result: Result<ChainUpdate, ChainError>) -> Result<ChainUpdate, ChainError> {
        match &result {
            Ok(update) => self.on_chain_update(now, update),
            // The caller gets the error too, but the node has to stop.
            Err(ChainError::Store(error)) => self.out.event(Event::StoreFailed { error: error.to_string() }),
            Err(_) => {}
        }
        self.reconsider_downloads(now);
        result
    }

    /// Called when the best header may have changed, which even a refusal can cause.
    pub(super) fn reconsider_downloads(&mut self, now: Now) {
        self.protocols.download.refresh();
        self.finish(now);
    }

    /// The outputs that [`Protocol::drain`] will return.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.out.queued()
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All connections except brief ones, in the order of their numbers.
    pub fn peers(&self, now: Now) -> Vec<PeerInfo> {
        self.peering
            .peers
            .iter()
            .filter(|(_, peer)| !peer.brief)
            .map(|(id, peer)| {
                let hello = peer.hello.as_ref();
                PeerInfo {
                    id,
                    node: peer.id,
                    bucket: self.config.id.distance(&peer.id).bucket(),
                    address: peer.address,
                    listens_at: peer.listens_at(),
                    direction: peer.direction,
                    manual: peer.manual,
                    ready: hello.is_some(),
                    connected_at: peer.connected_at.unix,
                    last_received: peer.last_received,
                    last_sent: peer.last_sent,
                    version: hello.map_or(0, |hello| hello.version),
                    services: hello.map_or(0, |hello| hello.services),
                    user_agent: hello.map_or_else(String::new, |hello| printable(&hello.user_agent)),
                    start_tip: hello.map(|hello| hello.tip),
                    synced_headers: self
                        .protocols
                        .sync
                        .best(id, &self.chain)
                        .map_or(Height::GENESIS, |entry| entry.height),
                    synced_blocks: self
                        .protocols
                        .sync
                        .common_height(id, &self.chain.tip(), &self.chain)
                        .unwrap_or(Height::GENESIS),
                    in_flight: self.protocols.download.in_flight(id),
                    ping: self.peering.pings.last_round_trip(id),
                    min_ping: self.peering.pings.min_round_trip(id),
                    score: self.peering.scores.get(now, id),
                }
            })
            .collect()
    }

    /// The cost of a peer to this node's thread since it connected; `None` if it is gone.
    pub fn spent(&self, peer: PeerId) -> Option<Cost> {
        self.protocols.budgets.spent(peer)
    }

    /// Connections that have completed the handshake: inbound and outbound.
    pub fn connection_counts(&self) -> (usize, usize) {
        let ready = || self.peering.peers.iter().filter(|(_, peer)| peer.hello.is_some() && !peer.brief);
        let inbound = ready().filter(|(_, peer)| peer.direction == Direction::Inbound).count();
        (inbound, ready().count() - inbound)
    }

    /// Pings all peers now instead of at the next interval; [`Node::peers`] has the round trips.
    pub fn ping(&mut self, now: Now) {
        self.peering.pings.ping_all_now(now);
        self.finish(now);
    }

    /// Addresses of manual peers, in order.
    pub fn added_nodes(&self) -> Vec<PeerAddr> {
        self.peering.dialer.manual().collect()
    }

    /// Stays connected to an address from now on, with a required `id` if given. `false` if it did so already, the driver
    /// cannot dial it, or there are too many.
    pub fn add_node(&mut self, now: Now, address: PeerAddr, id: Option<NodeId>) -> bool {
        let added = self.peering.dialer.add(address, id);
        // Another node may have been connected there before the id was required.
        let others = self.peering.peers.iter().filter(|(_, peer)| {
            peer.direction == Direction::Outbound && peer.address == address && id.is_some_and(|id| id != peer.id)
        });
        others.for_each(|(peer, _)| self.out.close(peer, Reason::Requested));
        self.finish(now);
        added
    }

    /// Adds an address to join through, such as a seed's: it is dialled when a place is free, like other known
    /// addresses. It must have `id`, if given.
    pub fn add_seed(&mut self, now: Now, address: PeerAddr, id: Option<NodeId>) {
        self.peering.add_seed(now, address, id);
        self.finish(now);
    }

    /// Stops trying to stay connected to an address; an existing connection is kept. `false` if it did not try.
    pub fn remove_node(&mut self, now: Now, address: &PeerAddr) -> bool {
        let removed = self.peering.dialer.remove(address);
        self.finish(now);
        removed
    }

    /// Dials an address once, with a required `id` if given; not at all if the driver cannot.
    pub fn connect_once(&mut self, now: Now, address: PeerAddr, id: Option<NodeId>) {
        self.peering.dialer.dial(now, address, id, &mut self.out);
        self.finish(now);
    }

    /// Ends a connection. `false` if there is none of this number.
    pub fn disconnect(&mut self, now: Now, peer: PeerId) -> bool {
        let known = self.peering.peers.get(peer).is_some();
        self.out.close(peer, Reason::Requested);
        self.finish(now);
        known
    }

    /// Ends every connection with an address, either the connection's or that at which the peer listens. `false` if there
    /// is none.
    pub fn disconnect_address(&mut self, now: Now, address: PeerAddr) -> bool {
        let meant = self
            .peering
            .peers
            .iter()
            .filter(|(_, peer)| peer.address == address || peer.listens().any(|listens| listens == address));
        let meant: Vec<PeerId> = meant.map(|(id, _)| id).collect();
        meant.iter().for_each(|peer| self.out.close(*peer, Reason::Requested));
        self.finish(now);
        !meant.is_empty()
    }

    /// Refuses a subnet until a time, and ends its connections.
    pub fn ban(&mut self, now: Now, subnet: Subnet, until: UnixTime) {
        let ban = Ban { created: now.unix, until, reason: "asked for".to_owned() };
        self.peering.ban_subnet(subnet, ban, &mut self.out);
        self.finish(now);
    }

    /// Ends the ban of exactly this subnet. `false` if there is none.
    pub fn unban(&mut self, subnet: &Subnet) -> bool {
        self.peering.bans.remove(subnet)
    }

    /// Bans in force, in the order of subnets.
    pub fn bans(&self, now: Now) -> Vec<(Subnet, Ban)> {
        let in_force = self.peering.bans.iter().filter(|(_, ban)| ban.until > now.unix);
        in_force.map(|(subnet, ban)| (*subnet, ban.clone())).collect()
    }

    /// Ends all bans.
    pub fn clear_bans(&mut self) {
        self.peering.bans.clear();
    }

    /// The address book, in the order of addresses.
    pub fn known_addresses(&self) -> Vec<Record> {
        self.peering.book.records().cloned().collect()
    }

    /// The nodes that this one has found, by distance.
    pub fn contacts(&self) -> &Table {
        self.protocols.discovery.table()
    }

    /// Starts a lookup of the nodes nearest to an id and returns its number: it ends with an
    /// [`Event::NodesFound`](crate::p2p::Event::NodesFound) of that number. `None` if too many are under way.
    pub fn find_node(&mut self, now: Now, target: NodeId) -> Option<u64> {
        let number = self.protocols.discovery.look_for(target);
        self.finish(now);
        number
    }

    /// Starts a lookup of those who have the content of a key, and of the nodes nearest to it, and returns its number. Each
    /// provider is an [`Event::ProviderNamed`](crate::p2p::Event::ProviderNamed) when it is named first, and the lookup ends
    /// with an [`Event::NodesFound`](crate::p2p::Event::NodesFound). `None` if too many are under way.
    pub fn find_providers(&mut self, now: Now, key: NodeId) -> Option<u64> {
        let number = self.protocols.discovery.look_for_providers(key);
        self.finish(now);
        number
    }

    /// Announces the content of a key once. An [`Event::Announced`](crate::p2p::Event::Announced) says what came of it; without
    /// any contact it waits for one. `false` if this node provides too much.
    pub fn announce(&mut self, now: Now, key: NodeId) -> bool {
        let taken = self.protocols.discovery.announcer().announce(now.mono, key);
        self.finish(now);
        taken
    }

    /// Announces the content of keys now and every [`ANNOUNCE_INTERVAL`](crate::p2p::providers::ANNOUNCE_INTERVAL). Returns how many
    /// of them are provided: those beyond [`MAX_OWN_KEYS`](crate::p2p::announcer::MAX_OWN_KEYS) are not.
    pub fn provide(&mut self, now: Now, keys: &[NodeId]) -> usize {
        let announcer = self.protocols.discovery.announcer();
        let provided = keys.iter().filter(|key| announcer.provide(now.mono, **key)).count();
        self.finish(now);
        provided
    }

    /// Reverses [`Node::provide`]. What others keep expires.
    pub fn stop_providing(&mut self, now: Now, keys: &[NodeId]) {
        let announcer = self.protocols.discovery.announcer();
        keys.iter().for_each(|key| announcer.stop(key));
        self.finish(now);
    }

    /// A peer broke the rules of the exchange of content, which another thread carries out.
    pub fn penalise_content(&mut self, now: Now, peer: PeerId, fault: ContentFault) {
        self.out.offence(peer, fault.into());
        self.finish(now);
    }

    /// How many keys this node provides, and how many records it keeps for others.
    pub fn provided(&self) -> (usize, usize) {
        self.protocols.discovery.provided()
    }
}

/// Replaces the characters of a peer's text that a terminal might interpret.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}
