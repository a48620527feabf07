//! Offences of peers, their points, and the threshold of a ban.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::consensus::error::RuleError;
use crate::p2p::coins::OpeningFault;
use crate::p2p::compact::CompactError;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::frame::FrameError;
use crate::p2p::message::Kind;
use crate::p2p::proofs::ProofFault;
use crate::p2p::wants::ContentFault;
use crate::primitives::hash::BlockHash;
use crate::primitives::target::Work;
use crate::primitives::time::MonoTime;
use crate::receipt::succinct::SuccinctError;
use crate::state::StateProofError;

/// Points at which a peer is disconnected and its address banned.
pub const BAN_POINTS: u32 = 100;
/// Time in which one point is forgiven, so that small faults over weeks do not add up.
const FORGIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// A breach of the protocol, which no honest node commits, up to date or not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// Sent bytes that are no message.
    #[error("sent bytes that are not a message: {0}")]
    Malformed(FrameError),
    /// Sent something else before hello, or hello twice.
    #[error("sent a {} message out of turn", .0.name())]
    OutOfTurn(Kind),
    /// Sent a header that breaks a rule.
    #[error("sent a bad header: block {hash}: {rule}")]
    BadHeader {
        /// The block.
        hash: BlockHash,
        /// The rule.
        rule: RuleError,
    },
    /// Sent headers that are not each the parent of the next.
    #[error("sent headers that do not form a chain")]
    UnlinkedHeaders,
    /// Sent headers whose parent is unknown.
    #[error("sent headers without a known parent")]
    UnconnectedHeaders,
    /// Sent many headers that lead to less work than the chain here has.
    #[error("sent endless headers with little work")]
    LowWorkHeaders,
    /// Sent headers that were not asked for and announce nothing new.
    #[error("sent unrequested headers")]
    UnrequestedHeaders,
    /// Sent a block that breaks a rule, or a body that does not match its header.
    #[error("sent a bad block: block {hash}: {rule}")]
    BadBlock {
        /// The block.
        hash: BlockHash,
        /// The rule.
        rule: RuleError,
    },
    /// Sent a block that was not asked for.
    #[error("sent an unrequested block")]
    UnrequestedBlock,
    /// Sent a transaction that breaks a rule at every tip.
    #[error("sent a bad transaction: {0}")]
    BadTransaction(RuleError),
    /// A page sent such a transaction: it may be another page's, and pages cannot check signatures.
    #[error("passed on a bad transaction: {0}")]
    BadRelayedTransaction(RuleError),
    /// Pushed too many transactions that are known, refused, or without their parents.
    #[error("pushed too many useless transactions")]
    PushFlood,
    /// Sent an invalid compact block, or other transactions than those requested.
    #[error("sent a bad compact block: {0}")]
    BadCompactBlock(CompactError),
    /// Sent transactions of a block that were not asked for.
    #[error("sent unrequested transactions of a block")]
    UnrequestedBlockTransactions,
    /// Asked for transactions of a block out of order, or beyond its end.
    #[error("asked for transactions that a block does not have")]
    BadPlaces,
    /// Claimed more work than its headers have.
    #[error("claimed work {claimed} but showed {shown}")]
    EmptyClaim {
        /// The claimed work.
        claimed: Work,
        /// The work of its headers.
        shown: Work,
    },
    /// Sent an invalid or unrelated proof.
    #[error("sent a false proof: {0}")]
    FalseProof(ProofFault),
    /// Sent another commitment than the coinbase's.
    #[error("sent a false opening of a commitment: {0}")]
    FalseOpening(OpeningFault),
    /// Sent a proof of coins that does not hold.
    #[error("sent a false proof of coins: {0}")]
    FalseCoins(StateProofError),
    /// Sent a proof of its chain, or of headers in it, that does not hold.
    #[error("sent a false proof of its chain: {0}")]
    FalseChainProof(SuccinctError),
    /// Sent filter hashes other than those that the chain commits to.
    #[error("sent other filter hashes than those that block {block} commits to")]
    FalseFilterHeaders {
        /// The block.
        block: BlockHash,
    },
    /// Sent a filter that does not match its hash, or is malformed.
    #[error("sent a false filter of block {block}")]
    FalseFilter {
        /// The block.
        block: BlockHash,
    },
    /// Sent proofs that were not asked for.
    #[error("sent unrequested proofs")]
    UnrequestedProofs,
    /// Announced more transactions than its share.
    #[error("announced too much at once")]
    InventoryFlood,
    /// Sent nodes that were not asked for.
    #[error("sent unrequested nodes")]
    UnrequestedNodes,
    /// Sent other bytes than those of a block of content.
    #[error("sent other bytes than those of the content block {}", hex::encode(hash))]
    FalseContent {
        /// The block's multihash.
        hash: Vec<u8>,
    },
    /// Sent content that was not asked for.
    #[error("sent unrequested content")]
    UnrequestedContent,
    /// Sent filters or filter headers, which a full node never asks for.
    #[error("sent unrequested filters")]
    UnrequestedFilters,
    /// Sent more requests than may wait, or one larger than an answer may be.
    #[error("asked for too much at once")]
    RequestFlood,
}

impl From<ContentFault> for Offence {
    fn from(fault: ContentFault) -> Self {
        match fault {
            ContentFault::False { hash } => Self::FalseContent { hash },
            ContentFault::Unrequested => Self::UnrequestedContent,
            ContentFault::Flood => Self::RequestFlood,
        }
    }
}

impl Offence {
    /// Its points: [`BAN_POINTS`] bans at the first offence.
    pub fn points(&self) -> u32 {
        match self {
            Self::Malformed(_)
            | Self::OutOfTurn(_)
            | Self::BadHeader { .. }
            | Self::UnlinkedHeaders
            | Self::LowWorkHeaders
            | Self::EmptyClaim { .. }
            | Self::FalseProof(_)
            | Self::FalseOpening(_)
            | Self::FalseCoins(_)
            | Self::FalseChainProof(_)
            | Self::FalseFilterHeaders { .. }
            | Self::FalseFilter { .. }
            | Self::FalseContent { .. }
            | Self::BadBlock { .. }
            | Self::BadCompactBlock(_)
            | Self::BadPlaces
            | Self::BadTransaction(_) => BAN_POINTS,
            // Answers that cross with a time-out look like these, so only repetition counts.
            Self::UnconnectedHeaders | Self::RequestFlood | Self::UnrequestedNodes | Self::InventoryFlood => 10,
            Self::BadRelayedTransaction(_) => 10,
            Self::UnrequestedBlock
            | Self::UnrequestedContent
            | Self::UnrequestedBlockTransactions
            | Self::UnrequestedHeaders
            | Self::UnrequestedFilters
            | Self::UnrequestedProofs => 5,
            Self::PushFlood => 1,
        }
    }
}

/// The points of every peer that has any.
#[derive(Debug, Default)]
pub(crate) struct Scores(BTreeMap<PeerId, (u32, MonoTime)>);

impl Scores {
    /// Adds an offence's points; `true` if the threshold is reached.
    pub(crate) fn add(&mut self, now: Now, peer: PeerId, offence: &Offence) -> bool {
        let score = self.get(now, peer).saturating_add(offence.points());
        self.0.insert(peer, (score, now.mono));
        score >= BAN_POINTS
    }

    /// A peer's points.
    pub(crate) fn get(&self, now: Now, peer: PeerId) -> u32 {
        let Some((score, since)) = self.0.get(&peer) else { return 0 };
        let forgiven = now.mono.saturating_since(*since).as_secs() / FORGIVENESS_INTERVAL.as_secs();
        score.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    /// Peers that have ever had points, in order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.0.keys().copied()
    }

    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::time::UnixTime;

    #[test]
    fn points_add_up_and_are_forgiven() {
        let at = |secs: u64| Now { mono: MonoTime::from_millis(secs * 1_000), unix: UnixTime::EPOCH };
        let mut scores = Scores::default();
        assert!((0..9).all(|_| !scores.add(at(0), PeerId(1), &Offence::UnconnectedHeaders)));
        assert_eq!((scores.get(at(0), PeerId(1)), scores.get(at(0), PeerId(2))), (90, 0));
        assert_eq!(scores.get(at(100), PeerId(1)), 80);
        assert!(!scores.add(at(100), PeerId(1), &Offence::UnconnectedHeaders));
        assert!(scores.add(at(100), PeerId(1), &Offence::UnconnectedHeaders));
        assert!(scores.add(at(0), PeerId(3), &Offence::Malformed(FrameError::Empty)));
    }
}
