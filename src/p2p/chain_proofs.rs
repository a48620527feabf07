//! Proofs of the whole chain for light clients: of the tip by a sample of the headers, and of single headers below.
//!
//! The layout of both is that of [`succinct`](crate::receipt::succinct).

use std::collections::BTreeSet;

use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// Most headers that a query may ask for: those of a round of filter hashes, and some.
pub const MAX_SHOWN_HEADERS: usize = 2_048;
/// Most spans of heights in a query. Each costs the server some twenty nodes of the range.
pub const MAX_SPANS: usize = 64;
/// Most bytes of a proof: with a cheap tip and full blocks a sample comes to some 900 kB.
pub const MAX_CHAIN_PROOF_BYTES: usize = 1_000_000;

/// What a light client asks of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ChainQuery {
    /// A sample of the headers that proves the work of the sender's best chain, up to its tip or a block shortly before.
    Tip,
    /// Headers of the chain that `below` is in, at lower heights.
    Headers {
        /// A block that both have in their best chains.
        below: BlockHash,
        /// The heights: first ones and how many from each on, in ascending order, at most [`MAX_SPANS`].
        spans: Vec<(Height, u32)>,
    },
}

impl ChainQuery {
    /// Most bytes of an encoding.
    pub const MAX_LEN: usize = 4 + 32 + 8 + MAX_SPANS * 8;

    /// Asks for the first of the headers at the heights `wanted`: as many as one query may ask for.
    pub fn headers(below: BlockHash, wanted: impl IntoIterator<Item = Height>) -> Self {
        let mut spans: Vec<(Height, u32)> = Vec::new();
        for height in wanted.into_iter().take(MAX_SHOWN_HEADERS) {
            let is_full = spans.len() == MAX_SPANS;
            match spans.last_mut() {
                Some((first, count)) if first.saturating_add(*count) == height => *count += 1,
                _ if is_full => break,
                _ => spans.push((height, 1)),
            }
        }
        Self::Headers { below, spans }
    }

    /// The heights asked for, none for the tip's proof; `None` if no honest client asks so: too many, out of order, or genesis.
    pub fn heights(&self) -> Option<BTreeSet<Height>> {
        let Self::Headers { spans, .. } = self else { return Some(BTreeSet::new()) };
        let count = spans.iter().fold(0, |sum: u64, (_, count)| sum + u64::from(*count));
        let (mut end, mut all) = (Height::GENESIS.next(), BTreeSet::new());
        for (first, count) in spans {
            if *first < end || *count == 0 {
                return None;
            }
            end = first.checked_add(*count)?;
            // Nothing is gathered before all counts are known to be small.
            if count <= &(MAX_SHOWN_HEADERS as u32) {
                all.extend(first.until(end));
            }
        }
        (spans.len() <= MAX_SPANS && count <= MAX_SHOWN_HEADERS as u64).then_some(all)
    }
}

/// The answer to a [`ChainQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ChainAnswer {
    /// What was asked.
    pub query: ChainQuery,
    /// `None` if the sender does not have it: the block is not in its best chain, or it has no old blocks.
    pub proof: Option<Vec<u8>>,
}

impl ChainAnswer {
    /// Most bytes of an encoding.
    pub const MAX_LEN: usize = ChainQuery::MAX_LEN + 1 + 8 + MAX_CHAIN_PROOF_BYTES;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_asked_for_in_spans_up_to_the_bounds() {
        let heights = |all: &[u32]| all.iter().copied().map(Height::from_u32).collect::<BTreeSet<_>>();
        let wanted = heights(&[1, 2, 3, 7, 9, 10]);
        let query = ChainQuery::headers(BlockHash::ZERO, wanted.clone());
        let ChainQuery::Headers { spans, .. } = &query else { panic!("{query:?}") };
        assert_eq!(
            spans.iter().map(|(first, count)| (first.as_u32(), *count)).collect::<Vec<_>>(),
            [(1, 3), (7, 1), (9, 2)]
        );
        assert_eq!(query.heights(), Some(wanted));
        assert_eq!(ChainQuery::Tip.heights(), Some(BTreeSet::new()));

        let all = |count: u32, step: usize| (1..=count).step_by(step).map(Height::from_u32);
        let most = ChainQuery::headers(BlockHash::ZERO, all(3_000, 1));
        assert_eq!(most.heights().map(|all| all.len()), Some(MAX_SHOWN_HEADERS));
        let most = ChainQuery::headers(BlockHash::ZERO, all(3_000, 2));
        assert_eq!(most.heights().map(|all| all.len()), Some(MAX_SPANS));

        let of = |spans: &[(u32, u32)]| ChainQuery::Headers {
            below: BlockHash::ZERO,
            spans: spans.iter().map(|(first, count)| (Height::from_u32(*first), *count)).collect(),
        };
        let refused: [&[(u32, u32)]; 6] =
            [&[(0, 1)], &[(5, 0)], &[(5, 2), (6, 1)], &[(9, 1), (5, 1)], &[(1, 2_049)], &[(2, u32::MAX)]];
        assert!(refused.iter().all(|spans| of(spans).heights().is_none()));
        let many: Vec<(u32, u32)> = (1..=MAX_SPANS as u32 + 1).map(|n| (2 * n, 1)).collect();
        assert_eq!((of(&many).heights(), of(&many[1..]).heights().map(|all| all.len())), (None, Some(MAX_SPANS)));
    }
}
