//! Opening and closing connections.
//!
//! There is one connection with each node, brief ones aside. If two nodes dial each other at the same time, both keep
//! the connection that the node with the smaller id dialled. Of two connections dialled by the same side, the older
//! stays, so that a node with two addresses is not dialled in turns. The older one is pinged immediately: if it is dead
//! and this side has not noticed, the other node is kept out only until that ping fails. An older connection is closed
//! only after the newer one's hello, which may turn out to be brief.

use super::Node;
use crate::p2p::bans::Subnet;
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::download::Kept;
use crate::p2p::eviction::{self, Candidate};
use crate::p2p::interface::{Event, Output, Reason};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::{
    Hello, Message, SERVICE_ARCHIVE, SERVICE_BRIEF, SERVICE_CHAIN_PROOFS, SERVICE_CONTENT, SERVICE_FULL, SERVICE_PAGES,
    SERVICE_PRUNED, SERVICE_STATE, TipClaim,
};
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::peers::Peer;

impl Node {
    pub(super) fn connected(
        &mut self,
        now: Now,
        id: PeerId,
        (node, address): (NodeId, PeerAddr),
        direction: Direction,
    ) {
        let manual = direction == Direction::Outbound && self.peering.dialer.is_manual(&address);
        let brief = direction == Direction::Outbound && self.peering.dialer.connected(&address) && !manual;
        if !self.is_active() {
            return self.refuse(now, id, (address, direction), Reason::Inactive);
        }
        if node == self.config.id {
            if direction == Direction::Outbound {
                self.peering.book.mark_own(address);
            }
            return self.refuse(now, id, (address, direction), Reason::SelfConnection);
        }
        let contact = Contact { id: node, address };
        if brief && self.on_duplicate_dial(now, contact) {
            return self.out.push(Output::Disconnect { peer: id, reason: Reason::Brief });
        }
        let older = self.peering.peers.lasting_with(node).next();
        if let Some((older, its)) = older {
            let dialled_by_smaller = (direction == Direction::Outbound) == (self.config.id < node);
            if its == direction || !dialled_by_smaller {
                self.peering.pings.ping_now(now, older);
                if direction == Direction::Outbound && self.on_duplicate_dial(now, contact) {
                    // The address is good, and yet a manual peer there is not dialled again at once.
                    self.peering.dialer.failed(now, &address);
                    return self.close_new(id, (address, direction), Reason::Duplicate);
                }
                return self.refuse(now, id, (address, direction), Reason::Duplicate);
            }
        }
        if direction == Direction::Inbound
            && let Some(reason) = self.admission_refusal(now, address)
        {
            return self.refuse(now, id, (address, direction), reason);
        }
        let brief = brief && !self.should_keep(node, address);
        let peer = Peer { manual, brief, ..Peer::new(now, node, address, direction) };
        self.peering.connected(now, id, peer);
        self.protocols.connected(now, id);
        if direction == Direction::Outbound {
            self.send_hello(id);
        }
    }

    /// Refuses a new connection. If this node dialled it, the dial has failed.
    fn refuse(&mut self, now: Now, id: PeerId, (address, direction): (PeerAddr, Direction), reason: Reason) {
        if direction == Direction::Outbound {
            self.on_dial_failed(now, address);
        }
        self.close_new(id, (address, direction), reason);
    }

    fn close_new(&mut self, id: PeerId, (address, direction): (PeerAddr, Direction), reason: Reason) {
        self.out.push(Output::Disconnect { peer: id, reason: reason.clone() });
        if direction == Direction::Outbound {
            self.out.event(Event::PeerDisconnected { peer: id, address, reason });
        }
    }

    /// Why an inbound connection is refused, if it is. If all places are taken, evicts another peer to make room.
    fn admission_refusal(&mut self, now: Now, address: PeerAddr) -> Option<Reason> {
        let ip = address.ip();
        if self.peering.bans.contains(ip, now.unix) {
            return Some(Reason::Banned);
        }
        if !ip.is_loopback() && self.peering.peers.inbound_from(Subnet::host(ip)) >= self.config.max_inbound_per_address
        {
            return Some(Reason::TooManyFromAddress);
        }
        if self.peering.peers.inbound() < self.config.max_inbound {
            return None;
        }
        let inbound = self.peering.peers.iter().filter(|(_, peer)| peer.direction == Direction::Inbound);
        let candidates = inbound.map(|(id, peer)| Candidate {
            peer: id,
            group: peer.address.group(),
            min_ping: self.peering.pings.min_round_trip(id),
            last_useful: peer.last_useful,
            connected_at: peer.connected_at.mono,
        });
        match eviction::choose(candidates.collect(), &mut self.rng) {
            Some(evicted) => {
                self.disconnected(now, evicted, Reason::Evicted);
                None
            }
            None => Some(Reason::Full),
        }
    }

    /// What this node offers, as `SERVICE_` bits.
    pub fn services(&self) -> u64 {
        let takes_browsers = self.config.listens.iter().any(|address| matches!(address, PeerAddr::WebRtc { .. }));
        let content = if self.config.content { SERVICE_CONTENT } else { 0 };
        let besides = content | if takes_browsers { SERVICE_PAGES } else { 0 };
        if self.protocols.state_sync.is_active() {
            // It will have the blocks since the state.
            return SERVICE_PRUNED | besides;
        }
        let keeps_all = self.chain.tree().keeps_all();
        let archives = !keeps_all && (self.config.archive_share > 0 || self.chain.tree().archived_blocks() > 0);
        let archive = if archives { SERVICE_ARCHIVE } else { 0 };
        besides | archive | SERVICE_STATE | if keeps_all { SERVICE_FULL | SERVICE_CHAIN_PROOFS } else { SERVICE_PRUNED }
    }

    fn send_hello(&mut self, peer: PeerId) {
        let (tip, genesis) = (self.chain.tip(), self.chain.params().genesis_hash);
        // A feeler disconnects soon, so do not advertise blocks.
        let offer = match self.peering.peers.get(peer) {
            Some(peer) if peer.brief && peer.direction == Direction::Outbound => Hello::new(genesis, SERVICE_BRIEF),
            _ => {
                let tip = TipClaim { height: tip.height, hash: tip.hash, work: tip.work };
                Hello { tip, ..Hello::new(genesis, self.services()) }
            }
        };
        let hello = Hello {
            bodies_from: self.chain.kept_from(),
            listens: self.config.listens.clone(),
            user_agent: self.config.user_agent.clone(),
            ..offer
        };
        self.out.send(peer, Message::Hello(hello));
    }

    /// Removes a connection from all sub-protocols, and closes it unless it is closed already.
    pub(super) fn disconnected(&mut self, now: Now, id: PeerId, reason: Reason) {
        let Some(peer) = self.peering.disconnected(id, &reason, &mut self.out) else { return };
        self.protocols.disconnected(now, id, &self.chain, &mut self.out);
        self.upkeep.disconnected(now.mono, id);
        if peer.direction == Direction::Outbound {
            if peer.was_of_use(&reason) {
                self.peering.dialer.ended(now, &peer.address);
            } else {
                self.on_dial_failed(now, peer.address);
            }
        }
        if !peer.brief {
            self.out.event(Event::PeerDisconnected { peer: id, address: peer.address, reason });
        }
    }

    pub(super) fn on_hello(&mut self, now: Now, id: PeerId, hello: Hello) {
        let kept = Kept::by(&hello);
        let (tip, services) = (hello.tip, hello.services);
        let genesis = self.chain.params().genesis_hash;
        let is_answered = |peer: &Peer| peer.direction == Direction::Inbound && peer.hello.is_none();
        if hello.genesis != genesis && self.peering.peers.get(id).is_some_and(is_answered) {
            // It is closed; from the hello it learns why.
            self.send_hello(id);
        }
        let Some(peer) = self.peering.on_hello(id, hello, &genesis, &mut self.out) else { return };
        let (node, address, direction) = (peer.id, peer.address, peer.direction);
        if direction == Direction::Inbound {
            peer.brief = services & SERVICE_BRIEF != 0;
        }
        let (brief, manual) = (peer.brief, peer.manual);
        if direction == Direction::Inbound {
            self.send_hello(id);
        }
        if brief {
            return self.on_handshake_done(now, id, services);
        }
        let needed = self.chain.tip().height.next();
        // One that archives will say which older blocks it has.
        let is_needed = !self.protocols.state_sync.is_active() && services & SERVICE_ARCHIVE == 0;
        if is_needed && direction == Direction::Outbound && !manual && kept.lowest(tip.height) > needed {
            // The few places are for peers with which the synchronisation goes on.
            return self.out.close(id, Reason::LacksBlocks { from: kept.lowest(tip.height), needed });
        }
        let others: Vec<PeerId> =
            self.peering.peers.lasting_with(node).map(|(other, _)| other).filter(|other| *other != id).collect();
        others.into_iter().for_each(|other| self.out.close(other, Reason::Duplicate));
        self.out.event(Event::PeerConnected { peer: id, address, direction });
        self.peering.ready(now, id);
        let (protocols, context) = self.parts();
        protocols.ready(now, id, direction, (node, services, tip, kept), context);
        self.on_handshake_done(now, id, services);
        if self.chain.count_archived_runs() > 0 {
            self.send_archive(&[id]);
        }
    }
}
