//! Answers to queries for proofs, from the store.

use crate::chain::Chain;
use crate::p2p::budget::Cost;
use crate::p2p::proofs::{MAX_PROOFS, ProofQuery, Proofs, TxProof};
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::merkle::Tree;
use crate::primitives::meter;
use crate::storage::{StoreError, TxLocation};

/// Most bytes of an answer's proofs, a single larger one excepted.
const MAX_PROOFS_BYTES: usize = 500_000;
/// Cost after which an answer reads no more blocks: an answer costs no more than this and one block.
const MAX_ANSWER_COST: Cost = Cost(5_000_000);

/// A block that is being proven from: its transactions' ids are hashed once, and its tree is built once.
struct Open {
    height: Height,
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
    // Nothing can be proven from blocks that are pruned.
    let kept_from = TxLocation { height: chain.kept_from(), position: 0 };
    // One entry beyond the limit shows whether there are more.
    let places: Vec<TxLocation> = match query {
        ProofQuery::Transaction(txid) => {
            db.tx_location(&txid)?.filter(|place| *place >= kept_from).into_iter().collect()
        }
        ProofQuery::Key { key, from } => {
            let entries = db.address_history(&key, from.max(kept_from), MAX_PROOFS + 1)?;
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
            let Some(at) = db.key_at(place.height)? else { break };
            let Some(block) = db.block(&at)? else { break };
            let tree = Tree::new(block.txids());
            open = Some(Open { height: place.height, hash: at.hash, block, tree });
        }
        let Some(Open { height, hash, block, tree }) = &open else { break };
        let Some(branch) = tree.branch(place.position) else { break };
        let Some(transaction) = block.transactions.get(place.position as usize).cloned() else { break };
        let proof = TxProof { height: *height, block: *hash, branch, transaction };
        let size = codec::encoded_len(&proof);
        // A message has room for any transaction by itself.
        let fits = proofs.is_empty() || bytes + size <= MAX_PROOFS_BYTES;
        if !fits || proofs.len() == MAX_PROOFS {
            break;
        }
        bytes += size;
        proofs.push(proof);
    }
    let more = proofs.len() < places.len();
    Ok(Proofs { query, proofs, more })
}
