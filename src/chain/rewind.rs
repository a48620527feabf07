//! Bookmarks: states of the chain to come back to, for test networks.

use super::index::{Entry, Id};
use super::{Chain, ChainError, ChainUpdate};
use crate::primitives::hash::BlockHash;
use crate::primitives::keyed::HashMap;
use crate::storage::{Batch, Status, StoreError};

/// A state of the chain: its tip, the blocks known, and what was known of each. It is good until the chain is rewound to
/// an earlier one.
#[derive(Debug, Clone)]
pub struct Bookmark {
    tip: BlockHash,
    next_sequence: u32,
    /// The place of the next header.
    end: Id,
    /// One for each header in memory. What is known of buried ones does not change.
    known: HashMap<BlockHash, Knowledge>,
}

/// What changes about a header: see [`Entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Knowledge {
    status: Status,
    sequence: u32,
    tx_count: u32,
}

impl Knowledge {
    fn of(entry: &Entry) -> Self {
        let Entry { status, sequence, tx_count, .. } = *entry;
        Self { status, sequence, tx_count }
    }
}

impl Bookmark {
    /// The tip to come back to.
    pub fn tip(&self) -> BlockHash {
        self.tip
    }
}

impl Chain {
    /// The present state, for [`Chain::rewind`].
    pub fn bookmark(&self) -> Bookmark {
        let tree = self.tree.read();
        let known = tree.index.entries().map(|entry| (entry.hash, Knowledge::of(&entry))).collect();
        Bookmark { tip: tree.tip().hash, next_sequence: self.next_sequence, end: tree.index.end(), known }
    }

    /// Comes back to an earlier state: its tip, whatever has more work now, with every header and body that came since
    /// forgotten. Each block is a write of its own; a node that is killed meanwhile opens with one of the chains between.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`] if the chain was rewound to before that state, or its branch forgotten, so that it is gone, and
    /// [`ChainError::TooDeep`] if blocks are pruned that lead back to it: nothing has changed then. [`ChainError::Store`]; the steps before the one that failed stand.
    pub fn rewind(&mut self, to: &Bookmark) -> Result<(), ChainError> {
        let gone = || ChainError::UnknownBlock { hash: to.tip };
        let target = self.entry(&to.tip).filter(|_| self.tree().index.end() >= to.end).ok_or_else(gone)?;
        let (fork, kept_from) = (self.fork_point(&target, &self.tip()).height, self.kept_from());
        if fork.next() < kept_from {
            return Err(ChainError::TooDeep { hash: to.tip, fork, kept_from });
        }
        self.unbury(fork)?;
        let target = self.entry(&to.tip).ok_or_else(gone)?;
        // The steps do not wait for another thread: they move the table of the state themselves.
        let ready_to = self.ready_to.take();
        let moved = self.move_to(&target);
        // The states of both branches may be used, and that to which the tip commits. Which others are computed depends on the
        // speed of a thread.
        let used = self.params.committed_state(self.tip().height).unwrap_or_default();
        self.ready_to = ready_to.map(|ready| ready.min(fork).max(used));
        moved?;
        Ok(self.forget_since(to)?)
    }

    /// Makes `target`, which was connected before, the tip. Callers forget what depends on the steps, so their updates are
    /// dropped.
    fn move_to(&mut self, target: &Entry) -> Result<(), StoreError> {
        while !self.tree().index.is_on_branch(target, &self.tip()) {
            self.step_down(&mut ChainUpdate::default())?;
        }
        while let Some(next) = self.ancestor(target, self.tip().height.next()) {
            let block = self.load(&next)?;
            self.step_up(next, block, &|_| true, &mut ChainUpdate::default())?;
        }
        Ok(())
    }

    /// Removes the headers and bodies that came since (none is on the best chain), and what was learnt of others.
    fn forget_since(&mut self, to: &Bookmark) -> Result<(), StoreError> {
        let tree = self.tree.read();
        let target = tree.tip();
        let mut batch = Batch::default();
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for entry in tree.index.entries() {
            let then = to.known.get(&entry.hash).copied();
            match then {
                // Those that were buried then are below the tip.
                None if tree.index.is_on_branch(&target, &entry) => continue,
                None => {
                    batch.delete_header(entry.id);
                    gone.push(entry.id);
                }
                Some(then) if then != Knowledge::of(&entry) => {
                    let Knowledge { status, sequence, tx_count } = then;
                    let entry = Entry { status, sequence, tx_count, ..entry };
                    batch.put_header(entry.id, &entry.record());
                    changed.push(entry);
                }
                Some(_) => {}
            }
            if entry.has_body() && !then.is_some_and(|then| then.status.has(Status::BODY)) {
                batch.forget_block(&entry.key());
            }
        }
        drop(tree);
        self.db.store().commit(batch)?;
        let mut tree = self.tree.write();
        changed.iter().for_each(|entry| tree.index.put(entry));
        tree.index.remove(&gone);
        drop(tree);
        self.next_sequence = to.next_sequence;
        self.waiting.clear();
        self.find_waiting();
        self.find_candidates();
        Ok(())
    }
}
