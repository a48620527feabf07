//! Makes proofs of the chain from the store: that of the tip apart from the node's thread, those of single headers on it.

use std::collections::BTreeSet;

use crate::chain::{Chain, ledger_root};
use crate::consensus::params::Params;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery, MAX_CHAIN_PROOF_BYTES};
use crate::p2p::frame::Frame;
use crate::p2p::message::Message;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;
use crate::receipt::succinct::{Source, prove, prove_headers};
use crate::storage::{BlockKey, Database, StoreError};

/// Blocks on top of a proven tip after which the next peer that asks has the proof made anew: each is 80 bytes more to send.
const REUSED_DEPTH: u32 = 16;

/// A proof of the best chain up to a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TipProof {
    /// The block.
    pub tip: BlockKey,
    /// The proof, in the layout of [`succinct`](crate::receipt::succinct).
    pub bytes: Vec<u8>,
}

/// A sample of the best chain up to the height `tip` that shows the block at height `block`, or none in particular if that is
/// the tip. The tip must not be genesis, and no block may have been pruned.
///
/// # Errors
/// The store's. A tip that moves meanwhile may look like a missing entry, or make a proof that does not hold.
pub fn sample(db: &Database, params: &Params, tip: Height, block: Height) -> Result<Vec<u8>, StoreError> {
    let missing = |what: &str, at: Height| db.corrupt(format!("{what} {at} of the best chain is missing"));
    let key_at = |at: Height| db.key_at(at)?.ok_or_else(|| missing("block", at));
    let body =
        |at: Height| -> Result<Block, StoreError> { db.block(&key_at(at)?)?.ok_or_else(|| missing("block", at)) };
    let source = Source {
        node: &|number| db.range_node(number)?.ok_or_else(|| db.corrupt(format!("range node {number} is missing"))),
        header: &|at| db.header(&key_at(at)?)?.ok_or_else(|| missing("header", at)),
        coinbase: &|at| {
            let block = body(at)?;
            let branch = Branch::new(block.txids(), 0);
            let ledger = ledger_root(db, params, at, &block.header.previous)?;
            let coinbase = block.transactions.into_iter().next().zip(branch);
            let (coinbase, branch) = coinbase.ok_or_else(|| missing("coinbase", at))?;
            Ok((coinbase, branch, ledger))
        },
    };
    prove(&source, tip, block)
}

/// The proof of the best chain up to its tip; `None` if that is genesis or moved meanwhile, if blocks are pruned, or if the
/// proof has more bytes than a message may.
///
/// # Errors
/// The store's.
pub fn prove_tip(db: &Database, params: &Params, tip: BlockKey) -> Result<Option<TipProof>, StoreError> {
    // The store has no snapshots, so what was read counts only if the tip is still the same.
    let is_there = || Ok::<_, StoreError>(db.tip()? == Some(tip.hash));
    if tip.height == Height::GENESIS || db.kept_from()? > Height::GENESIS || !is_there()? {
        return Ok(None);
    }
    let proof = sample(db, params, tip.height, tip.height);
    if !is_there()? {
        return Ok(None);
    }
    let bytes = proof?;
    Ok((bytes.len() <= MAX_CHAIN_PROOF_BYTES).then_some(TipProof { tip, bytes }))
}

/// The proof of the tip that peers are sent, and whether one is being made.
#[derive(Debug, Default)]
pub(super) struct TipProofs {
    proven: Option<(BlockKey, Frame)>,
    is_due: bool,
}

impl TipProofs {
    /// Whether a proof is to be made now, so that it can be sent: none is recent, and none is being made.
    pub(super) fn request(&mut self, chain: &Chain) -> bool {
        let tip = chain.tip().height;
        let is_recent = self.usable(chain).is_some_and(|(at, _)| at.height.saturating_add(REUSED_DEPTH) >= tip);
        let is_new = !is_recent && !self.is_due && chain.tree().keeps_all() && tip > Height::GENESIS;
        self.is_due |= is_new;
        is_new
    }

    /// Whether a proof is being made.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// A proof is made, or cannot be.
    pub(super) fn made(&mut self, proof: Option<TipProof>) {
        self.is_due = false;
        self.proven = proof.map(|TipProof { tip, bytes }| {
            (tip, Message::ChainProof(ChainAnswer { query: ChainQuery::Tip, proof: Some(bytes) }).into())
        });
    }

    /// The last proof, if its tip is still in the best chain.
    fn usable(&self, chain: &Chain) -> Option<&(BlockKey, Frame)> {
        self.proven.as_ref().filter(|(at, _)| chain.has(at))
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn answer(&self, query: ChainQuery, chain: &Chain) -> Result<Frame, StoreError> {
        if query == ChainQuery::Tip
            && let Some((_, frame)) = self.usable(chain)
        {
            return Ok(frame.clone());
        }
        let proof = match &query {
            ChainQuery::Tip => None,
            ChainQuery::Headers { below, .. } => match query.heights() {
                Some(wanted) => headers_below(below, &wanted, chain)?,
                None => None,
            },
        };
        Ok(Message::ChainProof(ChainAnswer { query, proof }).into())
    }
}

/// Proves headers of the chain that a block is in; `None` if that is not the best chain, a height is not below the block, or
/// blocks are pruned.
fn headers_below(below: &BlockHash, wanted: &BTreeSet<Height>, chain: &Chain) -> Result<Option<Vec<u8>>, StoreError> {
    let end = chain.entry(below).filter(|entry| chain.is_on_best_chain(entry)).map(|entry| entry.height);
    let Some(end) = end.filter(|end| wanted.last() < Some(end) && chain.tree().keeps_all()) else { return Ok(None) };
    let db = chain.db();
    let missing = |what: String| db.corrupt(format!("{what} is missing"));
    let source = Source {
        node: &|number| db.range_node(number)?.ok_or_else(|| missing(format!("range node {number}"))),
        header: &|at| chain.entry_at(at).map(|entry| entry.header).ok_or_else(|| missing(format!("header {at}"))),
        // None is sampled.
        coinbase: &|at| Err(missing(format!("coinbase {at}"))),
    };
    prove_headers(&source, end, wanted).map(Some)
}
