//! What an operator orders: blocks refused, and taken back.

use super::index::{Entry, Id};
use super::{Chain, ChainError, ChainUpdate};
use crate::primitives::hash::BlockHash;
use crate::storage::{Batch, Status, StoreError};

impl Chain {
    /// Refuses a block and all after it, whatever the rules say, and leaves them if they are on the best chain.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`], [`ChainError::GenesisIsFixed`], [`ChainError::Store`].
    pub fn invalidate(&mut self, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let entry = self.index.find(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        if entry.height == 0 {
            return Err(ChainError::GenesisIsFixed);
        }
        self.set_statuses(&[(entry.id, entry.status.with(Status::REFUSED))])?;
        self.resume()
    }

    /// Takes back what made a block, its ancestors and its descendants invalid or refused; they are checked again as
    /// far as they have most work.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`], [`ChainError::Store`].
    pub fn reconsider(&mut self, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let given = self.index.find(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        let faults = Status::BROKEN.with(Status::REFUSED);
        let changes: Vec<(Id, Status)> = self
            .index
            .entries()
            .filter(|entry| entry.status.has(faults))
            .filter(|entry| self.index.is_on_branch(entry, &given) || self.index.is_on_branch(&given, entry))
            .map(|entry| (entry.id, entry.status.without(faults)))
            .collect();
        self.set_statuses(&changes)?;
        self.find_candidates();
        self.resume()
    }

    /// Connects what [`ChainUpdate::unfinished`] left, and what the stored bodies allow.
    ///
    /// # Errors
    /// [`ChainError::Store`]; the steps before the one that failed stand.
    pub fn resume(&mut self) -> Result<ChainUpdate, ChainError> {
        let mut update = ChainUpdate::default();
        self.activate(&|_| false, &mut update)?;
        Ok(update)
    }

    /// Gives blocks another status, in one batch, with all that follows from it.
    pub(super) fn set_statuses(&mut self, changes: &[(Id, Status)]) -> Result<(), StoreError> {
        let changed = |(id, status): &(Id, Status)| Entry { status: *status, ..self.index.get(*id) };
        let changed: Vec<Entry> = changes.iter().map(changed).collect();
        let mut batch = Batch::default();
        changed.iter().for_each(|entry| batch.put_header(entry.id, &entry.record()));
        self.db.store().commit(batch)?;
        changed.iter().for_each(|entry| self.index.update(entry));
        self.index.hand_down_faults();
        let index = &self.index;
        self.candidates.retain(|candidate| !index.get(candidate.id).is_invalid());
        Ok(())
    }
}
