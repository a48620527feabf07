//! Operator commands: invalidate and reconsider blocks.

use super::index::Entry;
use super::{Chain, ChainError, ChainUpdate};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::storage::{Batch, Status, StoreError};

impl Chain {
    /// Refuses a block and its descendants, whatever the rules say, and disconnects them if they are on the best chain.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`], [`ChainError::GenesisIsFixed`], [`ChainError::Pruned`], [`ChainError::Store`].
    pub fn invalidate(&mut self, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let entry = self.entry(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        if entry.height == Height::GENESIS {
            return Err(ChainError::GenesisIsFixed);
        }
        let kept_from = self.kept_from();
        if entry.height < kept_from && self.is_on_best_chain(&entry) {
            return Err(ChainError::Pruned { hash: *hash, kept_from });
        }
        // Its parent, which is to be the tip, must be in memory, too.
        self.unbury(entry.height.saturating_sub(1))?;
        let entry = self.entry(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        self.set_statuses(&[Entry { status: entry.status.with(Status::REFUSED), ..entry }])?;
        self.resume()
    }

    /// Clears the marks that made a block, its ancestors and its descendants invalid or refused. Blocks on the branch
    /// with most work are checked again.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`], [`ChainError::Store`].
    pub fn reconsider(&mut self, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let tree = self.tree.read();
        let given = tree.entry(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        let faults = Status::BROKEN.with(Status::REFUSED);
        let changed: Vec<Entry> = tree
            .index
            .entries()
            .filter(|entry| entry.status.has(faults))
            .filter(|entry| tree.index.is_on_branch(entry, &given) || tree.index.is_on_branch(&given, entry))
            .map(|entry| Entry { status: entry.status.without(faults), ..entry })
            .collect();
        drop(tree);
        self.set_statuses(&changed)?;
        self.find_candidates();
        self.resume()
    }

    /// Continues an activation that [`ChainUpdate::unfinished`] left, as far as the stored bodies allow.
    ///
    /// # Errors
    /// [`ChainError::Store`]; the steps before the one that failed stand.
    pub fn resume(&mut self) -> Result<ChainUpdate, ChainError> {
        let mut update = ChainUpdate::default();
        self.activate(&|_| false, &mut update)?;
        Ok(update)
    }

    /// Writes entries whose status changed, in one batch, and updates the state that depends on it.
    pub(super) fn set_statuses(&mut self, changed: &[Entry]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        changed.iter().for_each(|entry| batch.put_header(entry.id, &entry.record()));
        self.db.store().commit(batch)?;
        let mut tree = self.tree.write();
        changed.iter().for_each(|entry| tree.index.put(entry));
        tree.index.propagate_invalid();
        self.candidates.retain(|candidate| !tree.index.get(candidate.id).is_invalid());
        Ok(())
    }
}
