//! Why a header or block was refused, and whose fault that is.

use crate::consensus::error::{Blame, RuleError};
use crate::primitives::hash::BlockHash;
use crate::storage::StoreError;

/// Why a header or block was refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ChainError {
    /// It, or a block before it, breaks a rule.
    #[error("block {hash}: {source}")]
    Rule { hash: BlockHash, source: RuleError },
    /// The header before it is not known.
    #[error("block {hash}: parent {parent} is unknown")]
    UnknownParent {
        hash: BlockHash,
        /// The header it refers to.
        parent: BlockHash,
    },
    /// Its body is already stored.
    #[error("block {hash} is known already")]
    Duplicate { hash: BlockHash },
    /// Asked about a block that is not in the tree.
    #[error("block {hash} is unknown")]
    UnknownBlock { hash: BlockHash },
    /// The operator refuses it or a block before it; the rules do not.
    #[error("this node's operator has marked block {hash}, or one before it, as invalid")]
    Refused { hash: BlockHash },
    /// Genesis cannot be invalidated.
    #[error("the genesis block cannot be made invalid")]
    GenesisIsFixed,
    /// The store failed; nothing is said about the block.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ChainError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Rule { source, .. } => source.blame(),
            Self::UnknownParent { .. }
            | Self::Duplicate { .. }
            | Self::UnknownBlock { .. }
            | Self::Refused { .. }
            | Self::GenesisIsFixed => Blame::Nobody,
            Self::Store(_) => Blame::Local,
        }
    }

    /// The block and the rule that it breaks, if its sender is at fault.
    pub fn fault(&self) -> Option<(BlockHash, &RuleError)> {
        match self {
            Self::Rule { hash, source } if self.blame() == Blame::Peer => Some((*hash, source)),
            _ => None,
        }
    }

    /// The rule broken, if that is what happened.
    pub fn rule(&self) -> Option<&RuleError> {
        match self {
            Self::Rule { source, .. } => Some(source),
            _ => None,
        }
    }
}
