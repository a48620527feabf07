//! A store that fails when a test says so.

use std::path::PathBuf;
use std::sync::Arc;

use cairn::storage::{Batch, MemoryStore, Store, StoreError, Visitor};

/// A store in memory that asks before each commit whether it is to fail.
pub struct Guarded<F> {
    pub inner: Arc<MemoryStore>,
    pub guard: F,
}

impl<F> Guarded<F> {
    pub fn new(guard: F) -> Self {
        Self { inner: Arc::default(), guard }
    }
}

impl<F: Fn() -> Result<(), StoreError> + Send + Sync> Store for Guarded<F> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.inner.scan(prefix, from, visit)
    }

    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.inner.scan_back(prefix, before, visit)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        (self.guard)()?;
        self.inner.commit(batch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush()
    }

    fn fail(&self, error: &StoreError) {
        self.inner.fail(error);
    }

    fn bytes_on_disk(&self) -> u64 {
        self.inner.bytes_on_disk()
    }

    fn dir(&self) -> PathBuf {
        self.inner.dir()
    }
}
