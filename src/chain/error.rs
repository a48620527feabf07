//! Why a header or block was refused, and whose fault that is.

use crate::consensus::error::{Blame, RuleError};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
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
    /// To reach it, the tip would have to go back to where blocks are pruned.
    #[error(
        "block {hash} is on a branch that leaves the best chain at height {fork}, but blocks below height {kept_from} are \
         pruned here, so that the node cannot go back there. If that branch is the right one, start the node again with an \
         empty data directory"
    )]
    TooDeep { hash: BlockHash, fork: Height, kept_from: Height },
    /// Without it, the tip would have to go back to where blocks are pruned.
    #[error("block {hash} is pruned, as are all below height {kept_from}: the node cannot go back behind it")]
    Pruned { hash: BlockHash, kept_from: Height },
    /// Asked to prune a node that keeps all blocks.
    #[error("Cannot prune blocks because node is not in prune mode.")]
    NotPruning,
    /// Asked to prune a chain whose blocks must all be kept.
    #[error("Blockchain is too short for pruning: it has height {height}, and at least {least} blocks are kept")]
    TooShort { height: Height, least: u32 },
    /// The next block commits to coins over which the root is not computed yet.
    #[error("state root pending: the root over the coins after the block at height {edge} is still being computed")]
    StatePending { edge: Height },
    /// The node starts from a state whose coins are not all here.
    #[error("the coins after the block at height {base} are still being loaded")]
    Loading { base: Height },
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
            | Self::TooDeep { .. }
            | Self::Pruned { .. }
            | Self::NotPruning
            | Self::TooShort { .. }
            | Self::StatePending { .. }
            | Self::Loading { .. }
            | Self::GenesisIsFixed => Blame::None,
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
