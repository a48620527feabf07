//! The blocks of the best chain below the root of the tree in memory, read from the store when they are asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keyed::HashMap;
use crate::storage::{BuriedHeader, Database, HeaderGap, StoreError};

/// Blocks that are remembered by their hashes, of each of two generations.
const REMEMBERED: usize = 512;

/// Blocks by their hashes.
type Found = HashMap<BlockHash, (Height, BuriedHeader)>;

/// Reads buried blocks, as far as their headers have come. Those who ask for one cannot do without it, so if the store fails nothing is committed any more:
/// [`Store::fail`](crate::storage::Store::fail).
#[derive(Debug)]
pub(super) struct Buried {
    db: Database,
    /// Those asked for last. When the first map is full, it becomes the second.
    found: Mutex<[Found; 2]>,
    /// The headers that are still to come.
    gap: Option<HeaderGap>,
}

impl Buried {
    pub fn new(db: Database, gap: Option<HeaderGap>) -> Self {
        Self { db, found: Mutex::default(), gap }
    }

    /// The headers that are still to come.
    pub fn gap(&self) -> Option<&HeaderGap> {
        self.gap.as_ref()
    }

    /// Other headers are still to come.
    pub fn set_gap(&mut self, gap: HeaderGap) {
        self.gap = Some(gap).filter(|gap| gap.from < gap.end);
    }

    /// The block at a height below the root. `None` only if its header is still to come, or the store fails.
    pub fn at(&self, height: Height) -> Option<BuriedHeader> {
        if self.gap.as_ref().is_some_and(|gap| gap.has(height)) {
            return None;
        }
        self.unless_failed(self.db.buried_at(height))
    }

    /// The block with a hash, and its height. `None` also if its header is still to come, or the store fails.
    pub fn find(&self, hash: &BlockHash) -> Option<(Height, BuriedHeader)> {
        if let Some(block) = self.found().iter().find_map(|found| found.get(hash)) {
            return Some(*block);
        }
        let block = self.unless_failed(self.db.find_buried(hash))??;
        let mut found = self.found();
        if found[0].len() >= REMEMBERED {
            found.swap(0, 1);
            found[0].clear();
        }
        found[0].insert(*hash, block);
        Some(block)
    }

    /// The headers in a range of heights below the root, where no header is missing. Fewer only if the store fails.
    pub fn headers(&self, from: Height, end: Height) -> Vec<Header> {
        let found = self.unless_failed(self.db.buried_from(from, end.blocks_since(from) as usize));
        found.unwrap_or_default().into_iter().map(|found| found.header).collect()
    }

    /// Transactions up to and with the block at a height below the root. 0 only if its header is still to come, or the store
    /// fails.
    pub fn transactions(&self, height: Height) -> u64 {
        self.at(height).map_or(0, |found| found.transactions)
    }

    /// Forgets what is remembered, since some of it is no longer buried.
    pub fn forget(&self) {
        *self.found() = Default::default();
    }

    // Nothing under this lock can panic and leave half a change.
    fn found(&self) -> MutexGuard<'_, [Found; 2]> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unless_failed<T>(&self, read: Result<T, StoreError>) -> Option<T> {
        read.inspect_err(|error| self.db.store().fail(error)).ok()
    }
}
