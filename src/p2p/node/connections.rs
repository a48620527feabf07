//! Connections coming and going.

use std::net::SocketAddr;

use rand::RngExt;

use super::Node;
use crate::p2p::bans::Subnet;
use crate::p2p::eviction::{self, Candidate};
use crate::p2p::interface::{Direction, Event, Now, Output, PeerId, Reason};
use crate::p2p::kad::NodeId;
use crate::p2p::message::{Hello, Message, PROTOCOL_VERSION, PeerAddress, SERVICE_FULL, TipClaim};
use crate::p2p::peers::Peer;

impl Node {
    pub(super) fn connected(
        &mut self,
        now: Now,
        id: PeerId,
        (node, address): (NodeId, SocketAddr),
        direction: Direction,
    ) {
        let manual = direction == Direction::Outbound && self.dialer.is_manual(&address);
        if direction == Direction::Outbound {
            self.dialer.connected(&address);
        } else if let Some(reason) = self.no_place(now, address) {
            return self.out.push(Output::Disconnect { peer: id, reason });
        }
        let peer = Peer {
            id: node,
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
    pub(super) fn disconnected(&mut self, now: Now, id: PeerId, reason: Reason) {
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
                self.dialer.failed(now, &peer.address);
                self.book.failed(now, peer.address);
            }
        }
        self.out.event(Event::PeerDisconnected { peer: id, address: peer.address, reason });
        self.dial(now);
    }

    pub(super) fn greeted(&mut self, now: Now, id: PeerId, hello: Hello) {
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
        self.relay.connected(now, id, services & SERVICE_FULL != 0, &self.mempool, &mut self.rng);
        self.requests.connected(id);
        self.pushes.connected(now, id);
        self.blocks.connected(id, direction);
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
}

fn clamp(unix: u64) -> u32 {
    u32::try_from(unix).unwrap_or(u32::MAX)
}
