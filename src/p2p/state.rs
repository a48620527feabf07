//! The coins of a state for nodes that start from it: a range of keys at a time, each with its own proof.
//!
//! A state is named by its block, at an edge. What the chain commits to is shown by an [`Opening`](crate::p2p::coins::Opening).

use crate::chain::Chain;
use crate::p2p::coins::max_proof_bytes;
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::BlockHash;
use crate::state::proof::ProveError;
use crate::state::{Key, KeyRange, Leaf, Page, SourceError, StateId, StateProofError};
use crate::storage::StoreError;

/// Coins of a page that is not the last: as many as the node's thread proves in some milliseconds, and a peer that has four of
/// them to send sends in time over a slow line.
pub const STATE_PAGE_COINS: usize = 1_000;

/// A request for the coins of a state in a range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RangeQuery {
    /// The block after which the state is.
    pub block: BlockHash,
    /// The first key.
    pub first: [u8; Key::LEN],
    /// The last key.
    pub last: [u8; Key::LEN],
    /// Whether the requester has coins of an earlier state there, and asks for the nodes over them alone, to compare.
    pub compares: bool,
}

/// The answer to a [`RangeQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RangeAnswer {
    /// What was asked.
    pub query: RangeQuery,
    /// `None` if the sender does not have that state, or cannot read it just now.
    pub page: Option<RangePage>,
}

/// The coins of a range, or the first [`STATE_PAGE_COINS`] of them; or the nodes over all of them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RangePage {
    /// A proof in the layout of [`crate::state::proof`]: that these are all, or of their total.
    pub proof: Vec<u8>,
    /// The key of the last coin, if others follow.
    pub end: Option<[u8; Key::LEN]>,
}

impl RangeQuery {
    /// Bytes of every encoding.
    pub const LEN: usize = 32 + 2 * Key::LEN + 1;

    /// Asks for the coins in a range of the state after a block.
    pub fn new(block: BlockHash, range: &KeyRange) -> Self {
        Self { block, first: *range.first().as_bytes(), last: *range.last().as_bytes(), compares: false }
    }

    /// Asks for the nodes over the coins in a range of the state after a block.
    pub fn comparing(block: BlockHash, range: &KeyRange) -> Self {
        Self { compares: true, ..Self::new(block, range) }
    }

    /// The range; `None` if it ends before it begins.
    pub fn range(&self) -> Option<KeyRange> {
        KeyRange::new(Key::from_bytes(self.first), Key::from_bytes(self.last))
    }
}

impl RangeAnswer {
    /// Most bytes of an encoding.
    pub const MAX_LEN: usize = RangeQuery::LEN + 1 + 8 + max_proof_bytes(STATE_PAGE_COINS) + 1 + Key::LEN;

    /// Answers a query from a state that the chain keeps.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn to(query: RangeQuery, chain: &Chain) -> Result<Self, StoreError> {
        Ok(Self { query, page: page(&query, chain)? })
    }
}

fn page(query: &RangeQuery, chain: &Chain) -> Result<Option<RangePage>, StoreError> {
    // While a state is loaded, what is there is of none.
    if chain.state_load().is_some() {
        return Ok(None);
    }
    let edge = chain.entry(&query.block).filter(|entry| chain.is_on_best_chain(entry)).map(|entry| entry.height);
    let (Some(edge), Some(range)) = (edge.filter(|edge| chain.params().is_edge(*edge)), query.range()) else {
        return Ok(None);
    };
    let epoch = chain.params().epoch_blocks;
    let read = chain.state_table().while_it_stays(|db| {
        db.with_state(edge, epoch, |source| match query.compares {
            true => source.prove_total(&range).map(|proof| (proof, None)),
            false => source.prove_page_of(STATE_PAGE_COINS, &range),
        })
    });
    let Some(found) = read.transpose()?.flatten() else { return Ok(None) };
    match found {
        Ok((proof, end)) => Ok(Some(RangePage { proof, end: end.map(|end| *end.as_bytes()) })),
        Err(ProveError::Source(SourceError::Read(error))) => Err(error),
        Err(error) => Err(chain.db().corrupt(format!("the state after block {}: {error}", query.block))),
    }
}

impl RangePage {
    /// The coins that it shows of a range of the state `id`, none left out, and what of the range is still to come.
    ///
    /// # Errors
    /// The first reason why it shows nothing.
    pub fn check(&self, id: &StateId, range: &KeyRange) -> Result<Page, StateProofError> {
        id.page_of(STATE_PAGE_COINS, range, self.end.map(Key::from_bytes).as_ref(), &self.proof)
    }

    /// Whether `coins` are those of a range of the state `id`, every one and no other, as a total of it shows.
    ///
    /// # Errors
    /// The first reason why it shows nothing.
    pub fn compare(&self, id: &StateId, range: &KeyRange, coins: &[Leaf]) -> Result<bool, StateProofError> {
        if let Some(end) = self.end.map(Key::from_bytes) {
            return Err(StateProofError::PageEnd { end });
        }
        id.is_all_of(range, coins, &self.proof)
    }
}
