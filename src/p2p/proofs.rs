//! Proofs that transactions are in blocks, as those who keep headers only ask for them.

use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle::Branch;
use crate::primitives::tx::Transaction;
use crate::storage::TxLocation;

/// Most proofs in an answer.
pub const MAX_PROOFS: usize = 100;
/// Bytes of a proof besides its transaction: height, block, index, count, and at most 32 hashes.
const MAX_OVERHEAD: usize = 4 + 32 + 4 + 8 + 32 * 32;
/// Most bytes of an answer besides its transactions, whether it is a single long one or many short ones: query, flag, count,
/// and a proof's own.
pub(super) const MAX_ANSWER_OVERHEAD: usize = 4 + 32 + 8 + 1 + 8 + MAX_OVERHEAD;

/// What is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum ProofQuery {
    /// One transaction.
    Transaction(Txid),
    /// Those that paid a key or spent from it, from a place in the chain on, oldest first.
    Key {
        /// The key.
        key: PublicKey,
        /// The first place of interest.
        from: TxLocation,
    },
}

impl ProofQuery {
    /// Most bytes of an encoding.
    pub const MAX_LEN: usize = 4 + 32 + 8;
}

/// A transaction and the branch that ties it to a block of the sender's best chain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TxProof {
    /// The block's height.
    pub height: u32,
    /// The block.
    pub block: BlockHash,
    /// From the transaction to the root in the block's header.
    pub branch: Branch,
    /// The transaction.
    pub transaction: Transaction,
}

/// The answer to a [`ProofQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Proofs {
    /// What was asked.
    pub query: ProofQuery,
    /// What there is, at most [`MAX_PROOFS`].
    pub proofs: Vec<TxProof>,
    /// Whether there is more after the last of them.
    pub more: bool,
}
