//! A node's store in a simulation: in memory, with the losses of a crash.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::primitives::time::MonoTime;
use crate::storage::{Batch, MemoryStore, Store, StoreError, Visitor};

/// Time after which what is committed is sure to have been written, as with a node's real store.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// A store that can undo the batches of the last half second, latest first, to simulate a crash.
#[derive(Debug)]
pub(super) struct Disk {
    kept: MemoryStore,
    /// Virtual time, in milliseconds.
    clock: Arc<AtomicU64>,
    undoable: Mutex<VecDeque<Undoable>>,
}

/// A batch that a crash may undo: when it was committed, and the values before it.
#[derive(Debug)]
struct Undoable {
    at: MonoTime,
    before: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Disk {
    pub(super) fn new(clock: Arc<AtomicU64>) -> Self {
        Self { kept: MemoryStore::new(), clock, undoable: Mutex::default() }
    }

    /// Loses what was committed in the last `span` and not flushed.
    ///
    /// # Errors
    /// The store's; a memory store has none.
    pub(super) fn crash(&self, span: Duration) -> Result<(), StoreError> {
        let now = self.now();
        let mut undoable = self.undoable();
        while let Some(Undoable { before, .. }) = undoable.pop_back_if(|batch| batch.at + span > now) {
            let mut batch = Batch::default();
            for (key, value) in before {
                match value {
                    Some(value) => batch.put(key, value),
                    None => batch.delete(key),
                }
            }
            self.kept.commit(batch)?;
        }
        undoable.clear();
        Ok(())
    }

    fn now(&self) -> MonoTime {
        MonoTime::from_millis(self.clock.load(Ordering::Relaxed))
    }

    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn undoable(&self) -> MutexGuard<'_, VecDeque<Undoable>> {
        self.undoable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.kept.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.kept.scan(prefix, from, visit)
    }

    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.kept.scan_back(prefix, before, visit)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let (at, mut undoable) = (self.now(), self.undoable());
        while undoable.pop_front_if(|batch| batch.at + LINGER < at).is_some() {}
        let before = batch.keys().map(|key| Ok((key.to_vec(), self.kept.get(key)?)));
        let before = before.collect::<Result<_, StoreError>>()?;
        undoable.push_back(Undoable { at, before });
        self.kept.commit(batch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.undoable().clear();
        Ok(())
    }

    fn fail(&self, error: &StoreError) {
        self.kept.fail(error);
    }

    fn bytes_on_disk(&self) -> u64 {
        0
    }

    fn dir(&self) -> PathBuf {
        self.kept.dir()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &Disk, key: &str, value: &str) {
        let mut batch = Batch::default();
        batch.put(key, value);
        batch.put("last", key);
        disk.commit(batch).unwrap();
    }

    fn text(disk: &Disk, key: &str) -> Option<String> {
        disk.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_crash_takes_back_whole_batches_of_the_last_moments() {
        let clock = Arc::<AtomicU64>::default();
        let disk = Disk::new(clock.clone());
        for (at, key) in [(1_000, "a"), (1_300, "b"), (1_400, "a"), (1_490, "c")] {
            clock.store(at, Ordering::Relaxed);
            put(&disk, key, &at.to_string());
        }
        clock.store(1_500, Ordering::Relaxed);
        disk.crash(Duration::from_millis(150)).unwrap();
        assert_eq!(
            ["a", "b", "c", "last"].map(|key| text(&disk, key)),
            [Some("1000".to_owned()), Some("1300".to_owned()), None, Some("b".to_owned())]
        );
        // Commits that survived the crash, and flushed ones, are written.
        put(&disk, "d", "1500");
        disk.flush().unwrap();
        disk.crash(LINGER).unwrap();
        assert_eq!((text(&disk, "b"), text(&disk, "d")), (Some("1300".to_owned()), Some("1500".to_owned())));
    }
}
