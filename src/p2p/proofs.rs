//! Merkle proofs of transactions, for light clients.

use crate::consensus::check::NODE_SIZE;
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{BlockHash, MerkleRoot, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle::Branch;
use crate::primitives::tx::Transaction;
use crate::storage::TxLocation;

/// Most proofs in an answer.
pub const MAX_PROOFS: usize = 100;
/// Bytes of a proof besides its transaction: height, block, index, count, and at most 32 hashes.
pub(super) const MAX_OVERHEAD: usize = 4 + 32 + 4 + 8 + 32 * 32;
/// Most bytes of an answer besides its transactions, whether it is a single long one or many short ones: query, flag, count,
/// and a proof's own.
pub(super) const MAX_ANSWER_OVERHEAD: usize = 4 + 32 + 8 + 1 + 8 + MAX_OVERHEAD;

/// A request for proofs.
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
    pub height: Height,
    /// The block.
    pub block: BlockHash,
    /// From the transaction to the root in the block's header.
    pub branch: Branch,
    /// The transaction.
    pub transaction: Transaction,
}

impl TxProof {
    /// The transaction's id, if the branch leads from it to the Merkle root of its block.
    ///
    /// # Errors
    /// Why it does not.
    pub fn txid_under(&self, root: &MerkleRoot) -> Result<Txid, ProofFault> {
        if self.transaction.size() == NODE_SIZE {
            return Err(ProofFault::NodeSized);
        }
        let txid = self.transaction.txid();
        let is_under = self.branch.verify(&txid, root);
        if is_under { Ok(txid) } else { Err(ProofFault::NotInBlock { txid, block: self.block }) }
    }
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

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// It is not about the requested transaction or key.
    #[error("transaction {got} was not requested")]
    Other {
        /// The transaction shown.
        got: Txid,
    },
    /// What is shown as a transaction may be an inner node of the tree (CVE-2017-12842).
    #[error("a transaction of 64 bytes, which may be an inner node of the Merkle tree")]
    NodeSized,
    /// Its block is not on the best chain, perhaps through no fault of the peer.
    #[error("block {block} is not at height {height} of the best chain")]
    Elsewhere {
        /// The block.
        block: BlockHash,
        /// Its claimed height.
        height: Height,
    },
    /// The branch leads elsewhere.
    #[error("the branch of transaction {txid} does not lead to the Merkle root of block {block}")]
    NotInBlock {
        /// The transaction.
        txid: Txid,
        /// The block.
        block: BlockHash,
    },
}
