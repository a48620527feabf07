//! Outbound peers remembered across restarts, so that an attacker who can make a node restart cannot replace all its
//! peers. (Heilman, Kendler, Zohar and Goldberg, *Eclipse Attacks on Bitcoin's Peer-to-Peer Network*, 2015,
//! countermeasure 4.)

use crate::p2p::connection::Direction;
use crate::p2p::kad::Contact;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::peers::Peers;

/// Most anchors: few, or an anchor would remain one for ever.
pub const MAX_ANCHORS: usize = 2;

/// The peers remembered.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    kept: Vec<Contact>,
    changed: bool,
}

impl Anchors {
    /// Those that were saved.
    pub(crate) fn load(kept: Vec<Contact>) -> Self {
        Self { kept: kept.into_iter().take(MAX_ANCHORS).collect(), changed: false }
    }

    /// The anchors, longest connected first.
    pub(crate) fn kept(&self) -> &[Contact] {
        &self.kept
    }

    /// Remembers the longest connected outbound peers; earlier anchors fill free places.
    pub(crate) fn update(&mut self, peers: &Peers) {
        let is_chosen = |peer: &&crate::p2p::peers::Peer| {
            peer.direction == Direction::Outbound && !peer.manual && !peer.brief && peer.hello.is_some()
        };
        let longest = peers.iter().map(|(_, peer)| peer).filter(is_chosen);
        let mut kept: Vec<Contact> = longest.map(|peer| Contact { id: peer.id, address: peer.address }).collect();
        let before: Vec<Contact> = self.kept.iter().filter(|anchor| !kept.contains(anchor)).copied().collect();
        kept.extend(before);
        kept.truncate(MAX_ANCHORS);
        self.changed |= kept != self.kept;
        self.kept = kept;
    }

    /// One could not be reached, or was of no use.
    pub(crate) fn failed(&mut self, address: &PeerAddr) {
        let before = self.kept.len();
        self.kept.retain(|anchor| anchor.address != *address);
        self.changed |= self.kept.len() != before;
    }

    /// Whether they changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}
