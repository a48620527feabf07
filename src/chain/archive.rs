//! Old blocks that a chain keeps although it prunes: whole runs of them, as its node chooses.
//!
//! A run is the blocks after one edge up to the next, so all nodes divide the chain alike. Only the bodies of a run are kept. The
//! store has them under keys of their own, since it frees what belongs to the heights of pruned blocks together.
//!
//! Pruning archives a run from its first block on. A run that is fetched later comes from its last block down, so of two parts of
//! runs the store tells which is which: one without its first block was not fetched to the end.

use std::collections::BTreeSet;

use super::Chain;
use crate::consensus::check::check_merkle_root;
use crate::consensus::params::Params;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::storage::{Batch, BlockKey, Database, StoreError};

/// Bytes of bodies after which a step of pruning ends: they are copied on the node's thread.
const STEP_BYTES: usize = 4_000_000;

/// A run of blocks, by its number: 0 has those from genesis to the first edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(pub u32);

impl Run {
    /// The run of a block, if an epoch has so many blocks.
    pub fn of(height: Height, epoch: u32) -> Self {
        Self(height.as_u32().saturating_sub(1) / epoch.max(1))
    }

    /// The height of its first block.
    pub fn first(self, epoch: u32) -> Height {
        if self.0 == 0 { Height::GENESIS } else { Height::from_u32(self.0.saturating_mul(epoch).saturating_add(1)) }
    }

    /// The height of its last block, an edge.
    pub fn last(self, epoch: u32) -> Height {
        Height::from_u32(self.0.saturating_add(1).saturating_mul(epoch))
    }
}

/// The runs that a store has.
#[derive(Debug, Clone, Default)]
pub(super) struct Archived {
    /// Blocks of an epoch.
    epoch: u32,
    /// In the last of them, pruning may not have come to the end yet.
    runs: BTreeSet<Run>,
    /// Runs that were not fetched to their first blocks.
    unfinished: BTreeSet<Run>,
}

impl Archived {
    pub fn load(params: &Params, db: &Database) -> Result<Self, StoreError> {
        let (epoch, mut from) = (params.epoch_blocks, Height::GENESIS);
        let (mut runs, mut unfinished) = (BTreeSet::new(), BTreeSet::new());
        while let Some(height) = db.archived_from(from)? {
            let run = Run::of(height, epoch);
            let known = if height == run.first(epoch) { &mut runs } else { &mut unfinished };
            known.insert(run);
            from = run.last(epoch).next();
        }
        Ok(Self { epoch, runs, unfinished })
    }

    pub fn extend(&mut self, runs: BTreeSet<Run>) {
        self.runs.extend(runs);
    }

    /// Whether the block of the best chain at a height, if it is pruned, is in one of them.
    pub fn has(&self, height: Height) -> bool {
        !self.runs.is_empty() && self.runs.contains(&Run::of(height, self.epoch))
    }

    /// Those that are whole, where all blocks below `kept_from` are pruned.
    fn whole(&self, kept_from: Height) -> impl Iterator<Item = Run> {
        self.runs.iter().copied().filter(move |run| run.last(self.epoch) < kept_from)
    }

    /// How many blocks they have, where all below `kept_from` are pruned.
    pub fn blocks(&self, kept_from: Height) -> u32 {
        let blocks = |run: &Run| run.last(self.epoch).next().min(kept_from).blocks_since(run.first(self.epoch));
        self.runs.iter().map(blocks).sum()
    }
}

impl Chain {
    /// Runs whose blocks are all archived, each with the hash of its last block.
    pub fn archived_runs(&self) -> Vec<(Run, BlockHash)> {
        let tree = self.tree();
        let hash = |run: Run| Some((run, tree.entry_at(run.last(tree.archived.epoch))?.hash));
        tree.archived.whole(tree.kept_from).filter_map(hash).collect()
    }

    /// How many these are.
    pub fn count_archived_runs(&self) -> usize {
        let tree = self.tree();
        tree.archived.whole(tree.kept_from).count()
    }

    /// How many runs have no block above those that are pruned.
    pub fn pruned_runs(&self) -> u32 {
        let tree = self.tree();
        let Run(first_kept) = Run::of(tree.kept_from, tree.archived.epoch);
        first_kept
    }

    /// The hash of the last block of a run, if its headers are here: they may be still to come after a start from a state.
    pub fn last_of_run(&self, run: Run) -> Option<BlockHash> {
        let tree = self.tree();
        let epoch = tree.archived.epoch;
        tree.entry_at(run.first(epoch))?;
        Some(tree.entry_at(run.last(epoch))?.hash)
    }

    /// Whether a run is archived here, or being archived.
    pub fn has_run(&self, run: Run) -> bool {
        self.tree().archived.runs.contains(&run)
    }

    /// Stores the body of a pruned block of the best chain, fetched from a peer and checked. A run's blocks come from the last one
    /// down: with its first the run is archived.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn archive_fetched(&mut self, at: &BlockKey, block: &Block) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put_archived(at, codec::encode(&block.transactions));
        self.db.store().commit(batch)?;
        let archived = &mut self.tree.write().archived;
        let run = Run::of(at.height, archived.epoch);
        if at.height == run.first(archived.epoch) {
            archived.unfinished.remove(&run);
            archived.runs.insert(run);
        } else {
            archived.unfinished.insert(run);
        }
        Ok(())
    }

    /// Archives a run no longer, or what was fetched of it.
    ///
    /// # Errors
    /// [`StoreError`]; the run is not served then, and comes back with the next start.
    pub fn remove_run(&mut self, run: Run) -> Result<(), StoreError> {
        let epoch = {
            let archived = &mut self.tree.write().archived;
            archived.runs.remove(&run);
            archived.unfinished.remove(&run);
            archived.epoch
        };
        let (mut batch, mut from) = (Batch::default(), run.first(epoch));
        while let Some(height) = self.db.archived_from(from)?.filter(|height| *height <= run.last(epoch)) {
            let missing = || self.db.corrupt(format!("the header at height {height} is missing"));
            batch.delete_archived(&self.db.key_at(height)?.ok_or_else(missing)?);
            from = height.next();
        }
        self.db.store().commit(batch)
    }

    /// Removes what was fetched of runs and did not come to their beginning.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_unfinished_runs(&mut self) -> Result<(), StoreError> {
        let unfinished = self.tree().archived.unfinished.clone();
        unfinished.into_iter().try_for_each(|run| self.remove_run(run))
    }

    /// Stages the archived blocks from a height up to below another. Returns their runs, and where the step has to end.
    pub(super) fn stage_archive(
        &self,
        (from, end): (Height, Height),
        keeps: impl Fn(&BlockHash) -> bool,
        batch: &mut Batch,
    ) -> Result<(BTreeSet<Run>, Height), StoreError> {
        let tree = self.tree();
        let Archived { epoch, runs: begun, .. } = &tree.archived;
        let (mut runs, mut bytes, mut height) = (BTreeSet::new(), 0, from);
        while height < end && bytes < STEP_BYTES {
            let run = Run::of(height, *epoch);
            let until = end.min(run.last(*epoch).next());
            // A run without its first blocks would be of little use.
            let is_chosen =
                || height <= run.first(*epoch) && tree.entry_at(run.last(*epoch)).is_some_and(|edge| keeps(&edge.hash));
            if !begun.contains(&run) && !is_chosen() {
                height = until;
                continue;
            }
            runs.insert(run);
            while height < until && bytes < STEP_BYTES {
                let missing = || self.db.corrupt(format!("the block at height {height} is missing"));
                let at = tree.entry_at(height).ok_or_else(missing)?.key();
                let body = self.db.raw_body(&at)?.ok_or_else(missing)?;
                bytes += body.len();
                batch.put_archived(&at, body);
                height = height.next();
            }
        }
        Ok((runs, height))
    }
}

/// Checks the archived blocks of a store against the hashes of its best chain.
pub(super) fn check(db: &Database) -> Result<(), StoreError> {
    let mut from = Height::GENESIS;
    while let Some(height) = db.archived_from(from)? {
        let fault = |what: &str| db.corrupt(format!("the archived block at height {height} {what}"));
        let hash = match db.key_at(height)? {
            Some(at) => at.hash,
            None => return Err(fault("is of no chain")),
        };
        let block = db.block(&BlockKey { height, hash })?.ok_or_else(|| fault("is not the best chain's"))?;
        let is_whole = block.hash() == hash && check_merkle_root(&block.header, block.txids()).is_ok();
        if !is_whole {
            return Err(fault("has changed"));
        }
        from = height.next();
    }
    Ok(())
}
