//! The table of connections.

use std::collections::{BTreeMap, BTreeSet};

use crate::p2p::bans::Subnet;
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::{self, Hello};
use crate::p2p::peer_addr::PeerAddr;
use crate::primitives::time::{MonoTime, UnixTime};

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its id.
    pub(crate) id: NodeId,
    pub(crate) address: PeerAddr,
    pub(crate) direction: Direction,
    /// A manual peer.
    pub(crate) manual: bool,
    /// A brief connection for queries, which is no peer.
    pub(crate) brief: bool,
    pub(crate) connected_at: Now,
    /// Seconds since 1970.
    pub(crate) last_received: UnixTime,
    pub(crate) last_sent: UnixTime,
    /// Its hello; `None` until it arrives.
    pub(crate) hello: Option<Hello>,
    /// When it last sent a block or transaction that was new and good, by [`Now::mono`]; `None` for never.
    pub(crate) last_useful: Option<MonoTime>,
}

impl Peer {
    /// A connection that has just come about.
    pub(crate) fn new(now: Now, id: NodeId, address: PeerAddr, direction: Direction) -> Self {
        Self {
            id,
            address,
            direction,
            manual: false,
            brief: false,
            connected_at: now,
            last_received: UnixTime::EPOCH,
            last_sent: UnixTime::EPOCH,
            hello: None,
            last_useful: None,
        }
    }

    /// Whether it is a browser page that other pages may call.
    pub(crate) fn is_page(&self) -> bool {
        let services = self.hello.as_ref().map_or(0, |hello| hello.services);
        matches!(self.address, PeerAddr::WebRtc { .. }) && message::is_page(services)
    }

    /// Whether it was dialled, and stays.
    fn is_outbound(&self) -> bool {
        self.direction == Direction::Outbound && !self.brief
    }

    /// Whether it was worth dialling, though it ended for `reason`.
    pub(crate) fn was_of_use(&self, reason: &Reason) -> bool {
        self.hello.is_some() && !matches!(reason, Reason::Misbehaved(_) | Reason::Stalled | Reason::LacksBlocks { .. })
    }

    /// Where it accepts connections, preferred address first: that which was dialled, then those of its hello, at the
    /// connection's IP. A dialled node that names another port of the same kind does so for another network.
    pub(crate) fn listens(&self) -> impl Iterator<Item = PeerAddr> {
        let dialled = (self.direction == Direction::Outbound).then_some(self.address);
        let named = self.hello.iter().flat_map(|hello| &hello.listens).map(|address| address.at(self.address.ip()));
        let news = named.filter(move |named| dialled.is_none_or(|dialled| !dialled.is_same_kind(named)));
        dialled.into_iter().chain(news.filter(PeerAddr::is_valid))
    }

    /// The first of [`Peer::listens`].
    pub(crate) fn listens_at(&self) -> Option<PeerAddr> {
        self.listens().next()
    }
}

/// All connections, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeMap<PeerId, Peer>);

impl Peers {
    pub(crate) fn insert(&mut self, id: PeerId, peer: Peer) {
        self.0.insert(id, peer);
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        self.0.remove(&id)
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.0.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.0.get_mut(&id)
    }

    /// Connections with a node that are not known to be brief: one, or two until the newer has said hello.
    pub(crate) fn lasting_with(&self, node: NodeId) -> impl Iterator<Item = (PeerId, Direction)> {
        self.iter().filter(move |(_, peer)| peer.id == node && !peer.brief).map(|(id, peer)| (id, peer.direction))
    }

    /// A connection with a node.
    pub(crate) fn connection_with(&self, node: NodeId) -> Option<(PeerId, &Peer)> {
        self.iter().find(|(_, peer)| peer.id == node)
    }

    /// A connection with a node that has said hello, rather a lasting one, and what the node offers.
    pub(crate) fn greeted(&self, node: NodeId) -> Option<(PeerId, u64)> {
        let greeted = self.iter().filter(|(_, peer)| peer.id == node && peer.hello.is_some());
        let (id, peer) = greeted.min_by_key(|(_, peer)| peer.brief)?;
        Some((id, peer.hello.as_ref()?.services))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.0.iter().map(|(id, peer)| (*id, peer))
    }

    /// Peers that have completed the handshake, brief ones aside.
    pub(crate) fn ready(&self) -> impl Iterator<Item = PeerId> {
        self.iter().filter(|(_, peer)| peer.hello.is_some() && !peer.brief).map(|(id, _)| id)
    }

    /// Peers that were dialled, and stay.
    pub(crate) fn outbound(&self) -> impl Iterator<Item = &Peer> {
        self.0.values().filter(|peer| peer.is_outbound())
    }

    /// Peers that dialled in.
    pub(crate) fn inbound(&self) -> usize {
        self.0.values().filter(|peer| peer.direction == Direction::Inbound).count()
    }

    /// Peers that dialled in from a host ([`Subnet::host`]).
    pub(crate) fn inbound_from(&self, host: Subnet) -> usize {
        let is_from = |peer: &&Peer| peer.direction == Direction::Inbound && host.contains(peer.address.ip());
        self.0.values().filter(is_from).count()
    }

    /// Number of outbound peers, manual ones aside.
    pub(crate) fn automatic(&self) -> usize {
        self.outbound().filter(|peer| !peer.manual).count()
    }

    /// Whether it is one of them.
    pub(crate) fn is_automatic(&self, id: PeerId) -> bool {
        self.get(id).is_some_and(|peer| peer.is_outbound() && !peer.manual)
    }

    /// Whether there is a connection, either way, with a node that listens at an address.
    pub(crate) fn is_connected_to(&self, address: &PeerAddr) -> bool {
        self.0.values().any(|peer| peer.listens().any(|listens| listens == *address))
    }

    /// Other peers at the addresses where they take browsers, if a peer is a browser.
    pub(crate) fn for_browser(&self, id: PeerId) -> Option<Vec<Contact>> {
        let is_browser = |address: &PeerAddr| matches!(address, PeerAddr::WebRtc { .. });
        let asks = self.get(id).filter(|peer| is_browser(&peer.address))?;
        let others = self.0.values().filter(|peer| peer.id != asks.id);
        let contact = |peer: &Peer| Some(Contact { id: peer.id, address: peer.listens().find(is_browser)? });
        Some(others.filter_map(contact).collect())
    }

    /// Address groups of outbound peers.
    pub(crate) fn outbound_groups(&self) -> BTreeSet<Subnet> {
        // Collected, they would be sorted, whose code is 0.5 % of the browser's module.
        let mut groups = BTreeSet::new();
        groups.extend(self.outbound().map(|peer| peer.address.group()));
        groups
    }
}
