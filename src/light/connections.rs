//! Opening and closing connections.

use super::{Light, Notice, PeerStatus};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::{
    Hello, Message, SERVICE_CHAIN_PROOFS, SERVICE_CONTENT, SERVICE_FULL, SERVICE_PAGES, TipClaim,
};
use crate::p2p::peers::Peer;
use crate::p2p::{Direction, Event, Now, Output, PeerAddr, PeerId, Protocol, Reason};

impl Light {
    /// A connection has come about.
    pub(super) fn connected(
        &mut self,
        now: Now,
        id: PeerId,
        (node, address): (NodeId, PeerAddr),
        direction: Direction,
    ) {
        let is_page = address.is_page();
        if (is_page || direction == Direction::Inbound) && !(is_page && self.protocols.pages.connected(&node)) {
            return self.out.push(Output::Disconnect { peer: id, reason: Reason::Full });
        }
        self.peering.dialer.connected(&address);
        // A page has no address that could be dialled instead, or banned.
        let manual = is_page || self.peering.dialer.is_manual(&address);
        // A node reached at two addresses counts once.
        let is_known = self.peering.peers.connection_with(node).is_some();
        let peer = Peer { manual, ..Peer::new(now, node, address, direction) };
        self.peering.connected(now, id, peer);
        if is_known {
            return self.out.close(id, Reason::Duplicate);
        }
        if self.protocols.finding.has_left(&address) {
            return self.out.close(id, Reason::Brief);
        }
        if direction == Direction::Outbound {
            self.send_hello(id, is_page);
        }
    }

    /// To a page goes what it may ask this client for.
    fn send_hello(&mut self, id: PeerId, to_page: bool) {
        let genesis = self.chain.params().genesis_hash;
        let is_page = if self.protocols.pages.takes_part() { SERVICE_PAGES | SERVICE_CONTENT } else { 0 };
        // A light client has no blocks, so it claims only genesis. To a page it has headers, and what proves them.
        let offer = match to_page {
            true => {
                let (height, hash) = self.tip();
                let tip = TipClaim { height, hash, work: self.chain.work() };
                Hello { tip, ..Hello::new(genesis, is_page | SERVICE_CHAIN_PROOFS) }
            }
            false => Hello::new(genesis, is_page),
        };
        let user_agent = concat!("/cairn-light:", env!("CARGO_PKG_VERSION"), "/").to_owned();
        self.out.send(id, Message::Hello(Hello { user_agent, ..offer }));
    }

    /// A peer has said hello.
    pub(super) fn on_hello(&mut self, now: Now, id: PeerId, hello: Hello) {
        let (tip, services) = (hello.tip, hello.services);
        let genesis = self.chain.params().genesis_hash;
        let Some(peer) = self.peering.on_hello(id, hello, &genesis, &mut self.out) else { return };
        let (node, address, direction) = (peer.id, peer.address, peer.direction);
        let is_page = address.is_page();
        if services & (if is_page { SERVICE_PAGES } else { SERVICE_FULL }) == 0 {
            return self.out.close(id, Reason::NotFull);
        }
        if direction == Direction::Inbound {
            self.send_hello(id, is_page);
        }
        if !is_page {
            self.gone_peers.remove(&address);
            self.peering.book.succeeded(now, Contact { id: node, address }, services);
            self.look_for_nodes(now, id);
        }
        self.out.event(Event::PeerConnected { peer: id, address, direction });
        self.peering.ready(now, id);
        self.protocols.ready(now, id, (tip, services, is_page), &self.chain, &mut self.out);
        if services & SERVICE_CONTENT != 0 && self.protocols.pages.takes_part() {
            self.notice(Notice::OffersContent(id));
        }
    }

    /// Asks a peer for nodes, if there are fewer than wanted.
    pub(super) fn look_for_nodes(&mut self, now: Now, id: PeerId) {
        self.looked_at = Some(now.mono);
        if self.peering.peers.automatic() < self.config.outbound_target {
            // Any nodes will do.
            self.out.send(id, Message::FindNode { target: NodeId::random(&mut self.rng) });
            self.asked_for_nodes.push(id);
        }
    }

    /// Removes a connection, and closes it unless it is closed already.
    pub(super) fn disconnected(&mut self, now: Now, id: PeerId, reason: Reason) {
        let Some(peer) = self.peering.disconnected(id, &reason, &mut self.out) else { return };
        self.protocols.disconnected(now, id, &self.chain, &mut self.out);
        self.asked_for_nodes.retain(|peer| *peer != id);
        let of_use = peer.was_of_use(&reason);
        let Peer { id: node, address, hello, .. } = peer;
        self.protocols.finding.gone(&address);
        match (address.is_page(), of_use) {
            (true, true) => {}
            (true, false) => self.protocols.pages.rest(now, node),
            (false, true) => self.peering.dialer.ended(now, &address),
            (false, false) => self.peering.on_dial_failed(now, address),
        }
        if let Reason::Misbehaved(offence) = &reason {
            // A liar is not asked again, even if its address was given.
            if self.peering.dialer.remove(&address) {
                self.peering.ban_address(now, address.ip(), offence, &mut self.out);
            }
            self.notice(Notice::Lied(address, offence.clone()));
        }
        // Pages come and go, each with a new id.
        if !address.is_page() {
            self.remember(address, hello.map(|hello| hello.tip), PeerStatus::Gone { reason: reason.clone() });
        }
        self.out.event(Event::PeerDisconnected { peer: id, address, reason });
    }
}
