//! Peer management shared by full nodes and light clients: connections, handshakes, pings, scores, bans and dials.

use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use crate::p2p::addrbook::{AddrBook, PeerAddress};
use crate::p2p::bans::{BAN, Ban, Bans, Subnet};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::dialer::{DialContext, Dialer};
use crate::p2p::handshake::Handshakes;
use crate::p2p::interface::{Event, Output, Reason};
use crate::p2p::kad::{NodeId, Table};
use crate::p2p::message::{Hello, SERVICE_FULL};
use crate::p2p::misbehaviour::{Offence, Scores};
use crate::p2p::outbox::Outbox;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::peers::{Peer, Peers};
use crate::p2p::ping::Pings;
use crate::primitives::hash::BlockHash;
use crate::primitives::time::{MonoTime, UnixTime};

/// The sub-protocols that both have. Each stage of a connection names every field, so that a new one does not compile before
/// it is decided what it does there.
#[derive(Debug, Default)]
pub(crate) struct Peering {
    pub(crate) peers: Peers,
    pub(crate) handshakes: Handshakes,
    pub(crate) pings: Pings,
    pub(crate) scores: Scores,
    pub(crate) book: AddrBook,
    pub(crate) bans: Bans,
    pub(crate) dialer: Dialer,
}

impl Peering {
    /// With addresses and bans of an earlier run.
    pub(crate) fn new(book: AddrBook, bans: Bans) -> Self {
        Self { dialer: Dialer::new(book.transports()), book, bans, ..Self::default() }
    }

    /// A connection was made.
    pub(crate) fn connected(&mut self, now: Now, id: PeerId, peer: Peer) {
        // Pings begin after hello, scores with an offence. The others keep addresses, not connections.
        let Self { peers, handshakes, pings: _, scores: _, book: _, bans: _, dialer: _ } = self;
        peers.insert(id, peer);
        handshakes.connected(now, id);
    }

    /// Handles a connection's hello. Returns the peer, unless the handshake was done before or failed.
    pub(crate) fn on_hello(
        &mut self,
        id: PeerId,
        hello: Hello,
        genesis: &BlockHash,
        out: &mut Outbox,
    ) -> Option<&mut Peer> {
        if let Err(reason) = self.handshakes.finish(id, &hello, genesis)? {
            out.close(id, reason);
            return None;
        }
        let peer = self.peers.get_mut(id)?;
        peer.hello = Some(hello);
        Some(peer)
    }

    /// A connection has completed the handshake and is not brief.
    pub(crate) fn ready(&mut self, now: Now, id: PeerId) {
        let Self { pings, peers: _, handshakes: _, scores: _, book: _, bans: _, dialer: _ } = self;
        pings.connected(now, id);
    }

    /// Removes a connection, and closes it unless it is closed already. `None` if it is unknown.
    pub(crate) fn disconnected(&mut self, id: PeerId, reason: &Reason, out: &mut Outbox) -> Option<Peer> {
        let Self { peers, handshakes, pings, scores, dialer, book: _, bans: _ } = self;
        let peer = peers.remove(id)?;
        if *reason != Reason::Closed {
            out.push(Output::Disconnect { peer: id, reason: reason.clone() });
        }
        handshakes.disconnected(id);
        pings.disconnected(id);
        scores.forget(id);
        dialer.reconsider();
        Some(peer)
    }

    /// Timers that are due. [`Peering::dial`] then dials.
    pub(crate) fn tick(&mut self, now: Now, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        let Self { handshakes, pings, dialer, peers: _, scores: _, book: _, bans: _ } = self;
        for peer in handshakes.expired(now) {
            out.close(peer, Reason::HandshakeTimeout);
        }
        pings.tick(now, rng, out);
        dialer.reconsider();
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let Self { handshakes, pings, dialer, peers, scores: _, book: _, bans: _ } = self;
        [handshakes.deadline(), pings.deadline(), dialer.deadline(peers)].into_iter().flatten().min()
    }

    /// Extend the deadlines of peers' answers. Dials are this node's own affair, and points are forgiven in its delays too.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        let Self { handshakes, pings, dialer: _, scores: _, peers: _, book: _, bans: _ } = self;
        handshakes.extend_deadlines(by);
        pings.extend_deadlines(by);
    }

    /// Dials as needed: up to `target` automatic peers, from the table of contacts if there is one.
    pub(crate) fn dial(
        &mut self,
        now: Now,
        target: usize,
        table: Option<&Table>,
        rng: &mut ChaCha20Rng,
        out: &mut Outbox,
    ) {
        let Self { dialer, peers, book, bans, handshakes: _, pings: _, scores: _ } = self;
        dialer.tick(now, &DialContext { target, peers, book, bans, table }, rng, out);
    }

    /// Takes an address to join through, where `id` has to be if it is given.
    pub(crate) fn add_seed(&mut self, now: Now, address: PeerAddr, id: Option<NodeId>) {
        self.dialer.expect(address, id);
        let said = PeerAddress { address, services: SERVICE_FULL, last_seen: UnixTime::EPOCH };
        self.book.add(now, &said, address.ip());
        self.dialer.reconsider();
    }

    /// A dial came to nothing, or its connection was of no use.
    pub(crate) fn on_dial_failed(&mut self, now: Now, address: PeerAddr) {
        self.dialer.failed(now, &address);
        self.book.failed(now, address);
    }

    /// Adds to a peer's score and, when that is enough, disconnects it and bans its address.
    ///
    /// Manual peers are only disconnected, and so are loopback peers, since all nodes of a local network share that
    /// address.
    pub(crate) fn penalise(&mut self, now: Now, id: PeerId, offence: Offence, out: &mut Outbox) {
        let Some(peer) = self.peers.get(id) else { return };
        tracing::debug!(peer = %id, address = %peer.address, %offence, "misbehaviour");
        if !self.scores.add(now, id, &offence) {
            return;
        }
        let (ip, may_be_banned) = (peer.address.ip(), !peer.manual);
        out.close(id, Reason::Misbehaved(offence.clone()));
        if may_be_banned {
            self.ban_address(now, ip, &offence, out);
        }
    }

    /// Bans the host at an address for an offence, unless it is loopback.
    pub(crate) fn ban_address(&mut self, now: Now, ip: IpAddr, offence: &Offence, out: &mut Outbox) {
        if !ip.is_loopback() {
            let ban = Ban { created: now.unix, until: now.unix.saturating_add(BAN), reason: offence.to_string() };
            self.ban_subnet(Subnet::host(ip), ban, out);
        }
    }

    /// Bans a subnet, and disconnects its peers but those to stay connected to.
    pub(crate) fn ban_subnet(&mut self, subnet: Subnet, ban: Ban, out: &mut Outbox) {
        out.event(Event::Banned { subnet, until: ban.until });
        self.bans.insert(subnet, ban);
        for (id, peer) in self.peers.iter() {
            if subnet.contains(peer.address.ip()) && !peer.manual {
                out.close(id, Reason::Banned);
            }
        }
    }
}
