//! Proofs that transactions are in blocks, asked for by those who keep headers only, and answered from the store.

use crate::chain::Chain;
use crate::p2p::budget::Cost;
use crate::p2p::message::MAX_TRANSACTION_BYTES;
use crate::primitives::block::Block;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle::{Branch, Tree};
use crate::primitives::meter;
use crate::primitives::tx::Transaction;
use crate::storage::{StoreError, TxLocation};

/// Most proofs in an answer.
pub const MAX_PROOFS: usize = 100;
/// Most bytes of an answer's proofs, a single larger one excepted.
const MAX_PROOFS_BYTES: usize = 500_000;
/// What may be done for one answer before another block is read for it: an answer costs no more than that and one block.
const MAX_ANSWER_COST: Cost = Cost(5_000_000);
/// Bytes of a proof besides its transaction: height, block, index, count, and at most 32 hashes.
const MAX_OVERHEAD: usize = 4 + 32 + 4 + 8 + 32 * 32;
/// Most bytes of an answer: the query, the flag, the count, and a proof of the longest transaction or many of short ones.
pub(super) const MAX_ANSWER_BYTES: usize = 4 + 32 + 8 + 1 + 8 + MAX_TRANSACTION_BYTES + MAX_OVERHEAD;

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

/// A block that is being proven from: its transactions' ids are hashed once, and its tree is built once.
struct Open {
    height: u32,
    hash: BlockHash,
    block: Block,
    tree: Tree,
}

/// Answers a query.
///
/// # Errors
/// The store's.
pub(super) fn answer(query: ProofQuery, chain: &Chain) -> Result<Proofs, StoreError> {
    let db = chain.db();
    let before = meter::effort();
    // One entry more than may be told shows whether there is more.
    let places: Vec<TxLocation> = match query {
        ProofQuery::Transaction(txid) => db.tx_location(&txid)?.into_iter().collect(),
        ProofQuery::Key { key, from } => {
            let entries = db.address_history(&key, from, MAX_PROOFS + 1)?;
            entries.iter().map(|entry| TxLocation { height: entry.height, position: entry.position }).collect()
        }
    };
    let (mut proofs, mut bytes) = (Vec::new(), 0);
    let mut open: Option<Open> = None;
    for place in &places {
        if open.as_ref().is_none_or(|open| open.height != place.height) {
            if !proofs.is_empty() && Cost::of(meter::effort() - before) >= MAX_ANSWER_COST {
                break;
            }
            let Some(hash) = db.hash_at(place.height)? else { break };
            let Some(block) = db.block(&hash)? else { break };
            let tree = Tree::new(block.txids());
            open = Some(Open { height: place.height, hash, block, tree });
        }
        let Some(Open { height, hash, block, tree }) = &open else { break };
        let Some(branch) = tree.branch(place.position) else { break };
        let Some(transaction) = block.transactions.get(place.position as usize).cloned() else { break };
        let proof = TxProof { height: *height, block: *hash, branch, transaction };
        let size = codec::encoded_len(&proof);
        let fits = if proofs.is_empty() { size <= MAX_TRANSACTION_BYTES } else { bytes + size <= MAX_PROOFS_BYTES };
        if !fits || proofs.len() == MAX_PROOFS {
            break;
        }
        bytes += size;
        proofs.push(proof);
    }
    let more = proofs.len() < places.len();
    Ok(Proofs { query, proofs, more })
}
