//! Pruning: bodies, undo records and filters of old blocks are removed. Headers, coins and indexes stay, as do the bodies of
//! [archived](super::archive) runs.
//!
//! What is removed is never needed again unless the tip goes back behind it. So nothing is removed above the block where
//! the best header's branch leaves the best chain, and a branch that leaves it further down is refused.

use super::archive::Run;
use super::index::Entry;
use super::tree::Retention;
use super::{BlockTree, Chain, ChainError};
use crate::consensus::params::Params;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::storage::{Batch, BlockKey, StoreError};

/// Heights that one step prunes. Automatic pruning waits for as many, so that its cost for each block is small.
const STEP: u32 = 128;
/// Blocks beyond two epochs, for reorganisations: as many as Bitcoin Core keeps at least.
const REORGANISATION_BLOCKS: u32 = 288;

/// Fewest blocks of the best chain that are kept: those of two epochs, so that the table of the state can follow, and
/// some more.
pub fn min_kept(params: &Params) -> u32 {
    2 * params.epoch_blocks + REORGANISATION_BLOCKS
}

impl Chain {
    /// Which blocks are kept whole.
    pub fn retention(&self) -> Retention {
        self.tree().retention()
    }

    /// Sets which blocks are kept whole. What was pruned before does not come back.
    pub fn set_retention(&mut self, retention: Retention) {
        self.tree.write().retention = retention;
        self.prune_to = Height::GENESIS;
        self.plan_pruning();
    }

    /// The lowest height whose blocks are kept.
    pub fn kept_from(&self) -> Height {
        self.tree().kept_from()
    }

    /// Whether the body of a block is stored.
    pub fn has_body(&self, entry: &Entry) -> bool {
        self.tree().has_body(entry)
    }

    /// Has all blocks below a height pruned, as far as they may be, by [`Chain::prune_step`]. Returns the lowest height
    /// that will then be kept.
    ///
    /// # Errors
    /// [`ChainError::NotPruning`], [`ChainError::TooShort`].
    pub fn prune_below(&mut self, height: Height) -> Result<Height, ChainError> {
        if self.retention() == Retention::All {
            return Err(ChainError::NotPruning);
        }
        let (tip, least) = (self.tip().height, min_kept(&self.params));
        if tip.as_u32() < least {
            return Err(ChainError::TooShort { height: tip, least });
        }
        self.prune_to = self.prune_to.max(height.min(tip.saturating_sub(least)));
        Ok(self.prune_end().max(self.kept_from()))
    }

    /// Notes what automatic pruning has to do.
    pub(super) fn plan_pruning(&mut self) {
        if let Retention::Last(count) = self.retention() {
            let end = self.tip().height.next().saturating_sub(count);
            if end.blocks_since(self.kept_from()) >= STEP {
                self.prune_to = self.prune_to.max(end);
            }
        }
    }

    /// Whether there is something to prune.
    pub fn is_pruning_due(&self) -> bool {
        self.prune_to > self.kept_from() && self.prune_end() > self.kept_from()
    }

    /// Where pruning has to stop for now.
    fn prune_end(&self) -> Height {
        let tree = self.tree.read();
        let tip = tree.tip();
        let is_settled = self.candidates.last().is_none_or(|best| best.id == tip.id);
        let fork = tree.index.fork(&tip, &tree.best_header()).height;
        let end = if is_settled { self.prune_to.min(fork) } else { tree.kept_from() };
        let epoch = self.params.epoch_blocks;
        if self.is_archiving { Run::of(end, epoch).first(epoch) } else { end }
    }

    /// Sets whether only whole [runs](Run) are pruned. Else no node would have the first blocks of a run that is begun.
    pub fn set_archiving(&mut self, is_archiving: bool) {
        self.is_archiving = is_archiving;
    }

    /// Prunes the next few blocks, in one write.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn prune_step(&mut self) -> Result<(), StoreError> {
        self.prune_step_keeping(|_| false)
    }

    /// The same, but archives the [runs](Run) that `keeps` selects by the hash of their last block. It is asked once for
    /// each run.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn prune_step_keeping(&mut self, keeps: impl Fn(&BlockHash) -> bool) -> Result<(), StoreError> {
        let from = self.kept_from();
        let end = self.prune_end().min(from.saturating_add(STEP));
        if end <= from {
            return Ok(());
        }
        let mut batch = Batch::default();
        let (archived, end) = self.stage_archive((from, end), keeps, &mut batch)?;
        let tree = self.tree.read();
        let is_old = |entry: &Entry| entry.has_body() && entry.height >= from && entry.height < end;
        let mut blocks: Vec<BlockKey> = tree.index.entries().filter(is_old).map(|entry| entry.key()).collect();
        let root = tree.index.root_height();
        drop(tree);
        for height in from.until(end.min(root)) {
            let buried = self.db.key_at(height)?;
            blocks.push(buried.ok_or_else(|| self.db.corrupt(format!("the header at height {height} is missing")))?);
        }
        batch.delete_bodies(&blocks);
        batch.put_kept_from(end);
        batch.prune_below(end);
        self.db.store().commit(batch)?;
        let mut tree = self.tree.write();
        tree.kept_from = end;
        tree.archived.extend(archived);
        for waiting in self.waiting.values_mut() {
            waiting.retain(|id| tree.index.get(*id).height >= end);
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        Ok(())
    }
}

impl BlockTree {
    /// Which blocks are kept whole.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Whether every block is there, and will stay.
    pub fn keeps_all(&self) -> bool {
        self.retention == Retention::All && self.kept_from == Height::GENESIS
    }

    /// The lowest height whose blocks are kept.
    pub fn kept_from(&self) -> Height {
        self.kept_from
    }

    /// Whether the body of a block is stored.
    pub fn has_body(&self, entry: &Entry) -> bool {
        entry.has_body() && (entry.height >= self.kept_from || self.is_archived(entry))
    }

    /// Where the last branch that was refused because it leaves the best chain too far down does so.
    pub fn too_deep(&self) -> Option<Height> {
        self.too_deep
    }

    /// Refuses block `hash`, a child of `parent` on another branch, if headers are missing between that and the tip: the tree
    /// has no place for it.
    pub(super) fn check_above_gap(&self, parent: &Entry, hash: BlockHash) -> Result<(), ChainError> {
        let is_below = self.header_gap().is_some_and(|gap| parent.height < gap.end);
        if is_below {
            Err(ChainError::TooDeep { hash, fork: parent.height, kept_from: self.kept_from })
        } else {
            Ok(())
        }
    }

    /// Refuses block `hash`, which is `entry` or comes after it, if the tip would have to go back to where blocks are
    /// pruned to reach it.
    pub(super) fn check_reachable(&self, entry: &Entry, hash: BlockHash) -> Result<(), ChainError> {
        let kept_from = self.kept_from;
        // All that is needed of most, and of all on a chain that keeps its blocks.
        if kept_from == Height::GENESIS || (entry.height.next() >= kept_from && self.is_on_best_chain(entry)) {
            return Ok(());
        }
        let fork = self.index.fork(entry, &self.tip()).height;
        if fork.next() < kept_from { Err(ChainError::TooDeep { hash, fork, kept_from }) } else { Ok(()) }
    }
}
