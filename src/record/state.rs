//! The state that a replay compares.

use sha2::{Digest as _, Sha256};

use crate::p2p::{Node, Now, Output};
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::height::Height;

/// A hash of all outputs so far.
pub(super) type Digest = [u8; 8];

/// The digest after a further input, which produced `outputs`.
pub(super) fn digest<'a>(before: Digest, node: &Node, outputs: impl Iterator<Item = &'a Output>) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(node.chain().tip().hash.as_bytes());
    hasher.update(node.mempool().revision().to_le_bytes());
    for output in outputs {
        match output {
            Output::Send { peer, frame } => {
                hasher.update(peer.0.to_le_bytes());
                hasher.update(frame.header());
                hasher.update(frame.payload());
            }
            // Only hashed, by this program, so any complete form will do.
            other => hasher.update(format!("{other:?}")),
        }
    }
    let hash: [u8; 32] = hasher.finalize().into();
    std::array::from_fn(|i| hash[i])
}

/// A node's state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// Height of the best chain's end.
    pub height: Height,
    /// Its hash.
    pub tip: BlockHash,
    /// Transactions in the mempool.
    pub mempool: u64,
    /// Their ids, in the order in which they came, hashed.
    pub mempool_hash: Hash256,
    /// Bans in force.
    pub bans: u64,
    /// They, with times and reasons, hashed.
    pub bans_hash: Hash256,
    /// Peers.
    pub peers: u64,
    /// They, with what they said and their scores, hashed.
    pub peers_hash: Hash256,
}

impl State {
    /// That of a node.
    pub fn of(node: &Node, now: Now) -> Self {
        let tip = node.chain().tip();
        let txids = node.mempool().txids();
        let bans = node.bans(now);
        let bans: Vec<_> = bans.iter().map(|(subnet, ban)| (subnet.to_string(), ban)).collect();
        let peers = node.peers(now);
        let peers: Vec<_> = peers
            .iter()
            .map(|peer| {
                let heights = (peer.synced_headers, peer.synced_blocks, &peer.in_flight);
                let times = (
                    peer.connected_at,
                    peer.last_received,
                    peer.last_sent,
                    peer.ping.map(|ping| ping.as_millis() as u64),
                );
                (peer.id.0, peer.node, peer.address, &peer.user_agent, heights, times, peer.score)
            })
            .collect();
        Self {
            height: tip.height,
            tip: tip.hash,
            mempool: txids.len() as u64,
            mempool_hash: Hash256::of(&codec::encode(&txids)),
            bans: bans.len() as u64,
            bans_hash: Hash256::of(&codec::encode(&bans)),
            peers: peers.len() as u64,
            peers_hash: Hash256::of(&codec::encode(&peers)),
        }
    }

    /// The difference of another state from this recorded one; `None` if they are equal.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let tip = |state: &Self| format!("the tip is {} at height {}", state.tip, state.height);
        let counted = |what: &str, count: u64| format!("{count} {what}");
        let (recorded, replayed) = if (self.height, self.tip) != (other.height, other.tip) {
            (tip(self), tip(other))
        } else if (self.mempool, self.mempool_hash) != (other.mempool, other.mempool_hash) {
            (counted("transactions in the mempool", self.mempool), counted("others", other.mempool))
        } else if (self.bans, self.bans_hash) != (other.bans, other.bans_hash) {
            (counted("bans", self.bans), counted("others", other.bans))
        } else if (self.peers, self.peers_hash) != (other.peers, other.peers_hash) {
            (counted("peers", self.peers), counted("others", other.peers))
        } else {
            return None;
        };
        Some(format!("recorded: {recorded}; replayed: {replayed}"))
    }
}
