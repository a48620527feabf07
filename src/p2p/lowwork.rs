//! A branch with too little work to store.
//!
//! Headers at the easiest difficulty cost nothing to make and would fill the disk. So headers whose chain has less work
//! than ours (minus a margin) are not stored: they are checked as they arrive, keeping only the state for the next
//! check, until the chain has proven enough work; then they are requested again and stored. The hash of the last header
//! of each message is kept, to verify that the same headers come the second time, since a hash commits to all before
//! it. Making us store a header thus costs an attacker as much work as our whole chain has, and a reorganisation of any
//! depth still goes through. (The idea is Bitcoin Core's headers pre-synchronisation.)

use std::collections::VecDeque;

use crate::chain::{Chain, Entry};
use crate::consensus::error::RuleError;
use crate::consensus::headers::HeaderTail;
use crate::p2p::message::MAX_HEADERS;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;

/// Blocks that a branch may be behind our tip and still be stored immediately: another node's tip, or a recent fork.
pub const MARGIN_BLOCKS: u32 = 144;
/// How many times as long as our chain a branch may get while its work stays too little.
const MAX_LENGTH_FACTOR: u64 = 4;
/// Headers that such a branch may have in addition, for young chains.
const LENGTH_ALLOWANCE: u64 = 10_000;

/// Most headers of a branch that is not worth storing yet, beside a chain of `height` blocks.
pub fn max_length(height: Height) -> u64 {
    MAX_LENGTH_FACTOR * u64::from(height.as_u32()) + LENGTH_ALLOWANCE
}

/// The end of such a branch.
#[derive(Debug)]
pub(super) struct LowWorkBranch {
    /// The stored header that it branches off.
    fork: BlockHash,
    tail: HeaderTail,
    /// Headers since the fork.
    length: u64,
    /// Every [`MAX_HEADERS`]th of them, which is where answers end that begin at the fork.
    milestones: VecDeque<BlockHash>,
}

/// Least work of a stored branch.
pub(super) fn enough_work(chain: &Chain) -> Work {
    let tip = chain.tip();
    // Where headers are missing, the first that is there has less work than the margin leaves.
    let tree = chain.tree();
    let lowest = tree.header_gap().map_or(Height::GENESIS, |gap| gap.end);
    let margin = tip.height.saturating_sub(MARGIN_BLOCKS).max(lowest);
    tree.ancestor(&tip, margin).map_or(Work::ZERO, |entry| entry.work)
}

impl LowWorkBranch {
    /// The branch that begins after a stored header.
    pub(super) fn new(chain: &Chain, fork: &Entry) -> Self {
        Self { fork: fork.hash, tail: chain.tail(fork), length: 0, milestones: VecDeque::new() }
    }

    /// Its last header.
    pub(super) fn tip(&self) -> BlockHash {
        self.tail.tip_hash()
    }

    /// The stored header that it branches off.
    pub(super) fn fork(&self) -> BlockHash {
        self.fork
    }

    /// Work of the whole chain up to its end.
    pub(super) fn work(&self) -> Work {
        self.tail.work()
    }

    /// The proof by which its headers are recognised when they come again.
    pub(super) fn into_proof(mut self) -> Proof {
        let tip = self.tip();
        if self.milestones.back() != Some(&tip) {
            self.milestones.push_back(tip);
        }
        Proof(self.milestones)
    }

    /// Headers since the fork.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether it is longer than any honest chain with so little work would be.
    pub(super) fn is_too_long(&self, chain: &Chain) -> bool {
        self.length > max_length(chain.tip().height)
    }

    /// Checks the next header, whose hash is `hash` and whose parent must be the last, as storing it would.
    ///
    /// # Errors
    /// The first rule broken.
    pub(super) fn push(&mut self, header: &Header, hash: BlockHash, chain: &Chain) -> Result<(), RuleError> {
        self.tail.push_child(header, hash, chain.params())?;
        self.length += 1;
        if self.length.is_multiple_of(MAX_HEADERS as u64) {
            self.milestones.push_back(hash);
        }
        Ok(())
    }
}

/// A branch that has proven its work and is requested again: hashes of some of its headers, in order, the last
/// included.
#[derive(Debug, Default)]
pub(super) struct Proof(VecDeque<BlockHash>);

impl Proof {
    /// How many of these headers, each the parent of the next, are proven; those after them are not.
    pub(super) fn take(&mut self, hashes: &[BlockHash]) -> usize {
        let mut proven = 0;
        while let Some(next) = self.0.front()
            && let Some(place) = hashes[proven..].iter().position(|hash| hash == next)
        {
            self.0.pop_front();
            proven += place + 1;
        }
        proven
    }
}
