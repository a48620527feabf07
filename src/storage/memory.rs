//! A store without a disk, for simulations and tests: shared, so that a node can crash and find it again.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use super::{Batch, Store, StoreError, Visitor, Write};

/// A sorted map behind a lock. A batch is atomic to every reader, which is more than sled promises.
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clone for MemoryStore {
    /// A store of its own with the same entries.
    fn clone(&self) -> Self {
        Self(RwLock::new(self.0.read().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

// No code runs under the lock that could panic and leave half a batch, so a poisoned lock still guards whole data.
impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = (Bound::Included(prefix.max(from)), Bound::Unbounded);
        for (key, value) in map.range::<[u8], _>(range).take_while(|(key, _)| key.starts_with(prefix)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = map.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(before)));
        for (key, value) in range.rev().take_while(|(key, _)| key.starts_with(prefix)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for Write { key, value, is_new, .. } in batch.writes() {
            let before = match value {
                Some(value) => map.insert(key.to_vec(), value.to_vec()),
                None => map.remove(key),
            };
            debug_assert!(!is_new || before.is_none(), "a key that was said to be new was there");
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// A read of memory cannot fail.
    fn fail(&self, _error: &StoreError) {}

    fn bytes_on_disk(&self) -> u64 {
        0
    }

    fn dir(&self) -> PathBuf {
        PathBuf::from("memory")
    }
}
