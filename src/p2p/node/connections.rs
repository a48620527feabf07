//! Connections coming and going.
//!
//! With one node there is one connection, brief ones left out. Two that dial each other at a time must agree which of the
//! two stays without asking: the one that the node with the smaller id dialled. Of two that the same side dialled, the
//! older stays, so that one node with two addresses is not dialled in turns. If the older one is dead and only this side has
//! not noticed, then its owner is kept out no longer than a ping takes to fail, for the older one is asked at once. An
//! older one that has to go does so when the newer one has said hello: that may have come for a question only.

use std::net::SocketAddr;

use super::Node;
use crate::p2p::bans::Subnet;
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::eviction::{self, Candidate};
use crate::p2p::interface::{Event, Output, Reason};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::{Hello, Message, PROTOCOL_VERSION, SERVICE_BRIEF, SERVICE_FULL, TipClaim};
use crate::p2p::peers::Peer;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;

impl Node {
    pub(super) fn connected(
        &mut self,
        now: Now,
        id: PeerId,
        (node, address): (NodeId, SocketAddr),
        direction: Direction,
    ) {
        let manual = direction == Direction::Outbound && self.dialer.is_manual(&address);
        let brief = direction == Direction::Outbound && self.dialer.connected(&address) && !manual;
        if node == self.config.id {
            if direction == Direction::Outbound {
                self.book.is_own(address);
            }
            return self.refuse(now, id, (address, direction), Reason::SelfConnection);
        }
        if brief && let Some((older, _)) = self.peers.with(node).filter(|(_, peer)| peer.hello.is_some()) {
            return self.is_there(now, id, older, Contact { id: node, address });
        }
        let older = self.peers.staying_with(node).next();
        if let Some((older, its)) = older {
            let dialled_by_smaller = (direction == Direction::Outbound) == (self.config.id < node);
            if its == direction || !dialled_by_smaller {
                self.pings.hurry_one(now, older);
                return self.refuse(now, id, (address, direction), Reason::Duplicate);
            }
        }
        if direction == Direction::Inbound
            && let Some(reason) = self.no_place(now, address)
        {
            return self.refuse(now, id, (address, direction), reason);
        }
        let brief = brief && !self.wants(node, address);
        let peer = Peer {
            id: node,
            address,
            direction,
            manual,
            brief,
            connected_at: now,
            last_received: UnixTime::EPOCH,
            last_sent: UnixTime::EPOCH,
            hello: None,
            last_useful: None,
        };
        self.peers.insert(id, peer);
        if direction == Direction::Outbound {
            self.send_hello(id);
        }
        self.handshakes.connected(now, id);
        self.budgets.connected(now, id);
    }

    /// Ends a connection before it begins.
    fn refuse(&mut self, now: Now, id: PeerId, (address, direction): (SocketAddr, Direction), reason: Reason) {
        self.out.push(Output::Disconnect { peer: id, reason: reason.clone() });
        if direction == Direction::Outbound {
            self.unreached(now, address);
            self.out.event(Event::PeerDisconnected { peer: id, address, reason });
            self.dial(now);
        }
    }

    /// Why somebody who dials in cannot stay; makes room by evicting another if all places are taken.
    fn no_place(&mut self, now: Now, address: SocketAddr) -> Option<Reason> {
        let ip = address.ip();
        if self.bans.contains(ip, now.unix) {
            return Some(Reason::Banned);
        }
        if !ip.is_loopback() && self.peers.inbound_from(Subnet::host(ip)) >= self.config.max_inbound_per_address {
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

    fn send_hello(&mut self, peer: PeerId) {
        let (tip, genesis) = (self.chain.tip(), self.chain.params().genesis_hash);
        // Nobody should come for blocks to whom goes again.
        let (services, tip) = match self.peers.get(peer) {
            Some(peer) if peer.brief && peer.direction == Direction::Outbound => {
                (SERVICE_BRIEF, TipClaim { height: 0, hash: genesis, work: Work::ZERO })
            }
            _ => (SERVICE_FULL, TipClaim { height: tip.height, hash: tip.hash, work: tip.work }),
        };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            genesis,
            services,
            tip,
            listen_port: self.config.listen_port,
            user_agent: self.config.user_agent.clone(),
        };
        self.out.send(peer, Message::Hello(hello));
    }

    /// Forgets a connection everywhere, and has it closed unless it is already.
    pub(super) fn disconnected(&mut self, now: Now, id: PeerId, reason: Reason) {
        let Some(peer) = self.peers.remove(id) else { return };
        if reason != Reason::Closed {
            self.out.push(Output::Disconnect { peer: id, reason: reason.clone() });
        }
        self.handshakes.disconnected(id);
        self.budgets.disconnected(id);
        self.pings.disconnected(id);
        self.discovery.disconnected(now, id);
        self.scores.forget(id);
        self.relay.disconnected(id);
        self.server.disconnected(id);
        self.pushes.disconnected(id);
        self.blocks.disconnected(id);
        self.requests.disconnected(now, id, &mut self.out);
        self.download.disconnected(id);
        self.sync.disconnected(now, id, &self.chain, &mut self.out);
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
        if peer.direction == Direction::Outbound {
            if peer.hello.is_some() && !matches!(reason, Reason::Misbehaved(_) | Reason::Stalled) {
                self.dialer.ended(now, &peer.address);
            } else {
                self.unreached(now, peer.address);
            }
        }
        if !peer.brief {
            self.out.event(Event::PeerDisconnected { peer: id, address: peer.address, reason });
        }
        self.explore(now);
        self.dial(now);
    }

    pub(super) fn greeted(&mut self, now: Now, id: PeerId, hello: Hello) {
        match self.handshakes.finish(id, &hello, &self.chain.params().genesis_hash) {
            Some(Ok(())) => {}
            Some(Err(reason)) => return self.out.close(id, reason),
            None => return,
        }
        let (tip, services) = (hello.tip, hello.services);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let (node, address, direction) = (peer.id, peer.address, peer.direction);
        peer.hello = Some(hello);
        if direction == Direction::Inbound {
            peer.brief = services & SERVICE_BRIEF != 0;
        }
        let brief = peer.brief;
        if direction == Direction::Inbound {
            self.send_hello(id);
        }
        if brief {
            return self.acquainted(now, id, services);
        }
        let others: Vec<PeerId> =
            self.peers.staying_with(node).map(|(other, _)| other).filter(|other| *other != id).collect();
        others.into_iter().for_each(|other| self.out.close(other, Reason::Duplicate));
        self.out.event(Event::PeerConnected { peer: id, address, direction });
        self.pings.connected(now, id);
        self.relay.connected(now, id, services & SERVICE_FULL != 0, &self.mempool, &mut self.rng);
        self.requests.connected(now, id, &mut self.out);
        self.pushes.connected(now, id);
        self.blocks.connected(id, direction);
        self.server.connected(id);
        self.download.connected(id);
        self.sync.connected(now, id, &tip, &self.chain, &mut self.out);
        self.acquainted(now, id, services);
        self.download.schedule(now, &self.chain, &self.sync, &mut self.out);
    }
}
