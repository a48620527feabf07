//! Old blocks that a chain keeps although it prunes: whole runs of them, as its node chooses.
//!
//! A run is the blocks after one edge up to the next, so all nodes divide the chain alike. Only the bodies of a run are kept. The
//! store has them under keys of their own, since it frees what belongs to the heights of pruned blocks together.

use std::collections::BTreeSet;

use super::Chain;
use crate::consensus::check::check_merkle_root;
use crate::consensus::params::Params;
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
}

impl Archived {
    pub fn load(params: &Params, db: &Database) -> Result<Self, StoreError> {
        let (epoch, mut runs, mut from) = (params.epoch_blocks, BTreeSet::new(), Height::GENESIS);
        while let Some(height) = db.archived_from(from)? {
            let run = Run::of(height, epoch);
            runs.insert(run);
            from = run.last(epoch).next();
        }
        Ok(Self { epoch, runs })
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
    /// Runs of which every block is archived, with the hash of the last one.
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

    /// Stages the archived blocks from a height up to below another. Returns their runs, and where the step has to end.
    pub(super) fn stage_archive(
        &self,
        (from, end): (Height, Height),
        keeps: impl Fn(&BlockHash) -> bool,
        batch: &mut Batch,
    ) -> Result<(BTreeSet<Run>, Height), StoreError> {
        let tree = self.tree();
        let Archived { epoch, runs: begun } = &tree.archived;
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
