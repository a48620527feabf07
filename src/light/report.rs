//! What became of each peer that was to be asked.

use super::Light;
use crate::p2p::kad::NodeId;
use crate::p2p::message::TipClaim;
use crate::p2p::{PeerAddr, PeerId, Reason};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// Most disconnected peers remembered.
const MAX_REMEMBERED: usize = 1_000;

/// A peer's chain compared with the best known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerStatus {
    /// It is not connected yet, or has not sent all its headers.
    Asked,
    /// It has this very chain.
    Agrees,
    /// It has this chain up to a height, and nothing more.
    Behind {
        /// That height.
        height: Height,
    },
    /// It is on another branch with less work.
    OtherBranch {
        /// The height of its end.
        height: Height,
        /// Its end.
        hash: BlockHash,
    },
    /// It claims less work than this chain has, at a height below the headers that are kept. It may have this chain or another.
    Less {
        /// The height of its end.
        height: Height,
    },
    /// It is gone.
    Gone {
        /// Why.
        reason: Reason,
    },
    /// It cannot be reached.
    Unreachable,
    /// Another node is there than the one that was named by its id.
    OtherNode {
        /// That node's.
        id: NodeId,
    },
    /// HTTP is spoken there.
    Http,
}

/// A peer and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// Its address.
    pub address: PeerAddr,
    /// Its claimed tip, if it sent a hello.
    pub claim: Option<TipClaim>,
    /// Where it stands.
    pub standing: PeerStatus,
}

impl Light {
    /// Every peer that was asked or was to be asked.
    pub fn reports(&self) -> Vec<PeerReport> {
        // In the order of addresses, each once: a map's code would be 1 % of the browser's module.
        let mut reports: Vec<PeerReport> = Vec::new();
        let mut report = |report: PeerReport| match reports.binary_search_by_key(&report.address, |known| known.address)
        {
            Ok(place) => reports[place] = report,
            Err(place) => reports.insert(place, report),
        };
        for address in self.peering.dialer.manual() {
            report(PeerReport { address, claim: None, standing: PeerStatus::Asked });
        }
        for (address, (claim, standing)) in &self.gone_peers {
            report(PeerReport { address: *address, claim: *claim, standing: standing.clone() });
        }
        for (id, peer) in self.peering.peers.iter() {
            let (address, claim) = (peer.address, peer.hello.as_ref().map(|hello| hello.tip));
            report(PeerReport { address, claim, standing: self.standing(id) });
        }
        reports
    }

    fn standing(&self, peer: PeerId) -> PeerStatus {
        if !self.protocols.branches.has_settled(peer) {
            return PeerStatus::Asked;
        }
        let Some(shown) = self.protocols.branches.shown(peer) else {
            let hello = self.peering.peers.get(peer).and_then(|peer| peer.hello.as_ref());
            return PeerStatus::Less { height: hello.map_or(Height::GENESIS, |hello| hello.tip.height) };
        };
        if self.chain.hash(shown.height) != Some(shown.hash) {
            return PeerStatus::OtherBranch { height: shown.height, hash: shown.hash };
        }
        if shown.height == self.chain.height() {
            PeerStatus::Agrees
        } else {
            PeerStatus::Behind { height: shown.height }
        }
    }

    pub(super) fn remember(&mut self, address: PeerAddr, claim: Option<TipClaim>, standing: PeerStatus) {
        if self.gone_peers.len() < MAX_REMEMBERED || self.gone_peers.contains_key(&address) {
            self.gone_peers.insert(address, (claim, standing));
        }
    }
}
