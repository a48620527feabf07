//! Tips of all branches.

use super::BlockTree;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// What is known of a branch. The names are Bitcoin Core's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TipStatus {
    /// The best chain.
    Active,
    /// Connected once, and left for a better one.
    ValidFork,
    /// All bodies are here, but were never connected.
    ValidHeaders,
    /// Some bodies are missing.
    HeadersOnly,
    /// A block on it broke a rule, or is refused by the operator.
    Invalid,
}

impl TipStatus {
    /// Bitcoin Core's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::ValidFork => "valid-fork",
            Self::ValidHeaders => "valid-headers",
            Self::HeadersOnly => "headers-only",
            Self::Invalid => "invalid",
        }
    }
}

/// The tip of one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainTip {
    /// The branch's last block.
    pub hash: BlockHash,
    /// That block's height.
    pub height: Height,
    /// Blocks since it left the best chain; 0 for the best chain itself.
    pub branch_len: u32,
    /// What is known of it.
    pub status: TipStatus,
}

impl BlockTree {
    /// The end of every branch that leaves the best chain where that is in memory, highest first.
    pub fn tips(&self) -> Vec<ChainTip> {
        let (entries, tip) = (|| self.index.entries(), self.tip());
        let first = self.index.root().id;
        let mut has_child = vec![false; (self.index.end() - first) as usize];
        entries().skip(1).for_each(|entry| has_child[(entry.parent - first) as usize] = true);
        let is_tip = |id: u32| !has_child[(id - first) as usize] || id == tip.id;
        let mut tips: Vec<ChainTip> = entries()
            .filter(|entry| is_tip(entry.id))
            .map(|entry| {
                let fork = self.index.fork(&entry, &tip);
                let status = if entry.id == tip.id {
                    TipStatus::Active
                } else if entry.is_invalid() {
                    TipStatus::Invalid
                } else if entry.is_validated() {
                    TipStatus::ValidFork
                } else if entry.is_complete() {
                    TipStatus::ValidHeaders
                } else {
                    TipStatus::HeadersOnly
                };
                ChainTip {
                    hash: entry.hash,
                    height: entry.height,
                    branch_len: entry.height.blocks_since(fork.height),
                    status,
                }
            })
            .collect();
        tips.sort_by_key(|tip| std::cmp::Reverse(tip.height));
        tips
    }
}
