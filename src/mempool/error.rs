//! Why a transaction is not in the pool.

use crate::consensus::error::{Blame, RuleError};
use crate::primitives::amount::{Amount, counted};
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::tx::OutPoint;
use crate::storage::StoreError;

/// Why a transaction was refused. Nothing else about the pool has changed, but that an orphan may be kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what was got and expected; the messages say the rest.
pub enum MempoolError {
    /// It breaks a rule that blocks must keep, or cannot be in the next block.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The chain's coins could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In the pool already.
    #[error("transaction {txid} is in the mempool already")]
    AlreadyKnown { txid: Txid },
    /// In a block of the best chain already.
    #[error("transaction {txid} is in block {height} already")]
    AlreadyConfirmed { txid: Txid, height: Height },
    /// Spends coins that neither the chain nor the pool has: unknown yet, or spent by a block.
    #[error("transaction {txid} spends {}, which is unknown or already spent", missing[0])]
    MissingInputs {
        txid: Txid,
        missing: Vec<OutPoint>,
        /// Kept among the orphans until they come.
        kept: bool,
    },
    /// A version that is not relayed.
    #[error("transaction version is {got}, only {expected} is relayed")]
    Version { got: u32, expected: u32 },
    /// More bytes than are relayed.
    #[error("transaction is {got} bytes, at most {max} are relayed")]
    TooLarge { got: usize, max: usize },
    /// Pays less than the minimum for its size, or than the minimum of a full pool.
    #[error("transaction pays {}, at least {} are needed for its {size} bytes", counted(got.as_grains(), "grain"), min.as_grains())]
    FeeTooLow { got: Amount, min: Amount, size: usize },
    /// At the end of too long a chain.
    #[error("transaction would stand in a chain of {got} unconfirmed transactions, at most {max} are allowed")]
    TooManyAncestors { got: usize, max: usize },
    /// An ancestor has too many descendants.
    #[error("{ancestor} and its descendants would be {got} unconfirmed transactions, at most {max} are allowed")]
    TooManyDescendants { ancestor: Txid, got: usize, max: usize },
    /// Returning from a block or an earlier run, its chain would take too many bytes.
    #[error(
        "transaction cannot return to the mempool: with its ancestors it has {got} bytes, at most {max} are allowed"
    )]
    ChainTooLarge { got: usize, max: usize },
    /// Spends a coin that a transaction in the pool spends, and pays no more a byte than that.
    #[error("transaction pays {} for {size} bytes, a fee rate no higher than that of {conflict}, which it would replace", counted(fee.as_grains(), "grain"))]
    ReplacementRate { conflict: Txid, fee: Amount, size: usize },
    /// Pays less than all it would replace and its own relay (BIP-125, rules 3 and 4).
    #[error("transaction pays {}, at least {} are needed to replace the others and pay for its own relay", counted(got.as_grains(), "grain"), min.as_grains())]
    ReplacementFee { got: Amount, min: Amount },
    /// Would replace too many (BIP-125, rule 5).
    #[error("transaction would replace {got} others, at most {max} are allowed")]
    TooManyReplaced { got: usize, max: usize },
    /// A replacement that needs an unconfirmed transaction that none of the replaced needed (BIP-125, rule 2).
    #[error("transaction would replace others, but spends from the unconfirmed {parent}, and they do not")]
    ReplacementNeedsMore { parent: Txid },
    /// Needs a transaction that it conflicts with.
    #[error("transaction depends on {ancestor}, which it would replace")]
    ReplacesAncestor { ancestor: Txid },
}

impl MempoolError {
    /// Whose fault it is. A peer may have another tip or policy, so it is blamed only for rules that hold at every tip.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Rule(RuleError::Locked { .. } | RuleError::ImmatureCoin { .. } | RuleError::MissingCoin { .. }) => {
                Blame::None
            }
            Self::Rule(rule) => rule.blame(),
            Self::Store(_) => Blame::Local,
            Self::AlreadyKnown { .. }
            | Self::AlreadyConfirmed { .. }
            | Self::MissingInputs { .. }
            | Self::Version { .. }
            | Self::TooLarge { .. }
            | Self::FeeTooLow { .. }
            | Self::TooManyAncestors { .. }
            | Self::TooManyDescendants { .. }
            | Self::ChainTooLarge { .. }
            | Self::ReplacementRate { .. }
            | Self::ReplacementFee { .. }
            | Self::TooManyReplaced { .. }
            | Self::ReplacementNeedsMore { .. }
            | Self::ReplacesAncestor { .. } => Blame::None,
        }
    }

    /// The rule broken, if the sender is at fault.
    pub fn fault(&self) -> Option<&RuleError> {
        match self {
            Self::Rule(rule) if self.blame() == Blame::Peer => Some(rule),
            _ => None,
        }
    }
}
