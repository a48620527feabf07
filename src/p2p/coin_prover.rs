//! Answers to questions about coins, from the states that the store keeps.

use crate::chain::{Chain, committed_by};
use crate::p2p::coins::{CoinAnswer, CoinQuery, Opening};
use crate::p2p::proofs::TxProof;
use crate::primitives::block::Block;
use crate::primitives::hash::StateRoot;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;
use crate::state::proof::ProveError;
use crate::state::{SourceError, StateId};
use crate::storage::{BlockKey, StoreError};

/// What a block's coinbase commits to; `None` if the block is genesis or not on the best chain.
///
/// # Errors
/// The store's.
pub(super) fn opening(at: &BlockKey, block: &Block, chain: &Chain) -> Result<Option<Opening>, StoreError> {
    if !chain.has(at) || at.height == Height::GENESIS {
        return Ok(None);
    }
    let (Some(transaction), Some(branch)) = (block.transactions.first().cloned(), Branch::new(block.txids(), 0)) else {
        return Ok(None);
    };
    let committed = committed_by(chain.db(), chain.params(), at.height, &block.header.previous)?;
    Ok(Some(Opening { coinbase: TxProof { height: at.height, block: at.hash, branch, transaction }, committed }))
}

/// Answers a question, if its state is one of those kept.
///
/// # Errors
/// The store's.
pub(super) fn answer(query: CoinQuery, chain: &Chain) -> Result<CoinAnswer, StoreError> {
    let (db, epoch) = (chain.db(), chain.params().epoch_blocks);
    let Some((edge, id)) = kept_state(&query.root, chain)? else { return Ok(CoinAnswer { query, proof: None }) };
    let proof = match db.with_state(edge, epoch, |source| query.prove(source))? {
        Some(Ok(proof)) => Some(proof),
        Some(Err(ProveError::Source(SourceError::Read(error)))) => return Err(error),
        // The table moved while it was read.
        None | Some(Err(_)) => None,
    };
    // If the table moved, what was read may be of no state at all.
    Ok(CoinAnswer { query, proof: proof.filter(|proof| query.check(&id, proof).is_ok()) })
}

/// The edge whose state has this root, if that state can be read.
fn kept_state(root: &StateRoot, chain: &Chain) -> Result<Option<(Height, StateId)>, StoreError> {
    let (db, epoch) = (chain.db(), chain.params().epoch_blocks);
    let head = db.state_head()?;
    for edge in (head.oldest.as_u32()..=head.height.as_u32()).step_by(epoch as usize).map(Height::from_u32) {
        let id = db.edge(edge)?.map(|state| state.id(edge));
        if let Some(id) = id.filter(|id| id.root == *root) {
            return Ok(Some((edge, id)));
        }
    }
    Ok(None)
}
