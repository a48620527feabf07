//! Discovery, feelers, and the choice of peers.

use std::net::IpAddr;
use std::time::Duration;

use super::Node;
use crate::p2p::addrbook::PeerAddress;
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::discovery::HandshakeInfo;
use crate::p2p::interface::{OtherParty, SPEAKS_HTTP};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::SERVICE_BRIEF;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::peering::Peering;
use crate::primitives::time::UnixTime;

/// Time between two feelers.
pub(super) const FEELER_INTERVAL: Duration = Duration::from_secs(120);

impl Node {
    /// Advances lookups and checks, and dials for them.
    pub(super) fn advance_lookups(&mut self, now: Now) {
        loop {
            self.protocols.discovery.advance(now, &mut self.rng, &mut self.out);
            let dials = self.protocols.discovery.take_dials();
            if dials.is_empty() {
                return;
            }
            for (address, id) in dials {
                let book = &self.peering.book;
                if self.peering.dialer.is_paused()
                    || !book.can_dial(&address)
                    || book.is_own(&address)
                    || self.peering.bans.contains(address.ip(), now.unix)
                {
                    self.protocols.discovery.dial_failed(now, address, &mut self.out);
                } else {
                    self.peering.dialer.dial_briefly(now, address, id, &mut self.out);
                }
            }
        }
    }

    /// Whether a brief outbound connection should become a peer: one is needed, and no outbound peer is at its distance
    /// or in its subnet.
    pub(super) fn should_keep(&self, node: NodeId, address: PeerAddr) -> bool {
        let bucket = |id: &NodeId| self.config.id.distance(id).bucket();
        let is_crowded = address.is_public() && self.peering.peers.outbound_groups().contains(&address.group());
        self.peering.peers.automatic() < self.config.outbound_target
            && !is_crowded
            && !self.peering.peers.is_connected_to(&address)
            && self.peering.peers.outbound().all(|peer| bucket(&peer.id) != bucket(&node))
    }

    /// A dial reached a node that is already connected. Records its address as reachable, and sends the dial's questions over
    /// the older connection. `false` if no connection with it has completed the hello.
    pub(super) fn on_duplicate_dial(&mut self, now: Now, contact: Contact) -> bool {
        let Some((older, services)) = self.peering.peers.greeted(contact.id) else { return false };
        self.record_reachable(now, contact, services);
        self.protocols.discovery.on_reachable(now, contact);
        self.protocols.discovery.send_queries(now, older, &contact, &mut self.out);
        true
    }

    /// A dialled node answered: records its address as reachable.
    pub(super) fn record_reachable(&mut self, now: Now, contact: Contact, services: u64) {
        self.record_announced(now, contact.address, services);
        self.peering.book.succeeded(now, contact, services & !SERVICE_BRIEF);
    }

    /// A node says itself that it listens at an address.
    fn record_announced(&mut self, now: Now, address: PeerAddr, services: u64) {
        let announced = PeerAddress { address, services: services & !SERVICE_BRIEF, last_seen: now.unix };
        self.peering.book.add(now, &announced, address.ip());
    }

    /// A connection completed the handshake.
    pub(super) fn on_handshake_done(&mut self, now: Now, id: PeerId, services: u64) {
        let Some(peer) = self.peering.peers.get(id) else { return };
        let (contact, direction, brief) = (Contact { id: peer.id, address: peer.address }, peer.direction, peer.brief);
        let listens: Vec<PeerAddr> = peer.listens().collect();
        if direction == Direction::Outbound {
            self.record_reachable(now, contact, services);
        }
        listens.iter().for_each(|address| self.record_announced(now, *address, services));
        let browsers_at = listens.iter().copied().find(|address| matches!(address, PeerAddr::WebRtc { .. }));
        let listens_at = listens.into_iter().find(|address| self.peering.book.can_dial(address));
        let handshake = HandshakeInfo { id: contact.id, listens_at, browsers_at, direction, brief };
        self.protocols.discovery.connected(now, id, handshake, &mut self.out);
    }

    /// A peer sent contacts: adds their addresses to the book as hints.
    pub(super) fn on_nodes(&mut self, now: Now, id: PeerId, contacts: &[Contact]) {
        let Some(ip) = self.peering.peers.get(id).map(|peer| peer.address.ip()) else { return };
        if self.protocols.discovery.on_nodes(now, id, contacts, &mut self.out) {
            self.record_hints(now, ip, contacts);
        }
    }

    /// A peer named providers and contacts: the latter's addresses are hints, too.
    pub(super) fn on_providers(
        &mut self,
        now: Now,
        (id, ip): (PeerId, IpAddr),
        providers: &[Contact],
        nearer: &[Contact],
    ) {
        if self.protocols.discovery.on_providers(now, (id, ip), (providers, nearer), &mut self.out) {
            self.record_hints(now, ip, nearer);
        }
    }

    fn record_hints(&mut self, now: Now, source: IpAddr, contacts: &[Contact]) {
        for contact in contacts {
            let announced = PeerAddress { address: contact.address, services: 0, last_seen: UnixTime::EPOCH };
            self.peering.book.add(now, &announced, source);
        }
    }

    /// A dial failed, perhaps since something else than the node that was meant answers there.
    pub(super) fn on_connect_failed(&mut self, now: Now, address: PeerAddr, found: Option<OtherParty>) {
        // The owner can mend an address that the owner gave, and none that a peer told.
        if found == Some(OtherParty::Http) && self.peering.dialer.is_manual(&address) {
            tracing::warn!(%address, "a server {SPEAKS_HTTP}");
        }
        self.on_dial_failed(now, address);
    }

    /// A dial failed, or its connection ended before the handshake.
    pub(super) fn on_dial_failed(&mut self, now: Now, address: PeerAddr) {
        self.anchors.failed(&address);
        let was_feeler = self.protocols.discovery.dial_failed(now, address, &mut self.out);
        if was_feeler && !self.protocols.discovery.table().is_empty() {
            self.peering.book.remove_untried(&address);
        }
        self.peering.on_dial_failed(now, address);
    }

    /// Dials an untried address at intervals, so that reachable ones are known when they are needed.
    pub(super) fn try_feeler(&mut self, now: Now) {
        if self.next_feeler > now.mono {
            return;
        }
        self.next_feeler = now.mono + FEELER_INTERVAL;
        let Self { peering: Peering { book, dialer, peers, bans, .. }, protocols, rng, out, .. } = self;
        let allowed = |address: &PeerAddr| {
            !dialer.is_dialing(address) && !peers.is_connected_to(address) && !bans.contains(address.ip(), now.unix)
        };
        if let Some(address) = book.pick_untried(now, rng, allowed) {
            protocols.discovery.dial_feeler(now, address, out);
        }
    }
}
