//! sled 0.34, and all the care it needs. Nothing outside this file names it.
//!
//! - Batches on one tree are atomic, and survive `kill -9` whole or not at all, none without those before it. The last
//!   half second's may be missing: sled collects them in memory between its own flushes.
//! - A process that only writes never collects sled's garbage: memory and disk grow by gigabytes. Pinning and flushing
//!   the epoch after every batch keeps both flat.
//! - `flush` hands data to the operating system but does not sync the file; that is done here.
//! - A damaged file makes sled panic, at opening or later. Every call is guarded, and the panic becomes an error.

use std::cell::Cell;
use std::fs::{self, File};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Batch, Store, StoreError, Visitor};

/// Smaller caches were measured to halve the rate of batches over a million coins; it fills only as data are touched.
const CACHE_BYTES: u64 = 256 << 20;

/// Rounds of epoch collection after a batch: garbage of a large batch takes several to go.
const EPOCH_ROUNDS: usize = 32;

/// How long a store's lock is waited for: sled's threads let go of it only some time after the store is dropped, and so
/// does a process that has just been told to stop.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A database in a directory of its own.
#[derive(Debug)]
pub struct SledStore {
    db: sled::Db,
    dir: PathBuf,
    /// A panic, or a batch that failed halfway, leaves sled's memory in an unknown state: it is not asked again. What is
    /// on the disk is whole.
    failed: AtomicBool,
}

impl SledStore {
    /// Opens the database in `dir`, or makes one there.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Corrupt`] with the remedy, or [`StoreError::Backend`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with_cache(dir, CACHE_BYTES)
    }

    /// The same, keeping at most about `cache_bytes` of data in memory: where several nodes share a machine.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    pub fn open_with_cache(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes);
        let patience = Instant::now() + LOCK_PATIENCE;
        let db = loop {
            match guarded(dir, || config.open()) {
                Err(StoreError::Locked { .. }) if Instant::now() < patience => std::thread::sleep(LOCK_RETRY),
                result => break result?,
            }
        };
        Ok(Self { db, dir: dir.to_owned(), failed: AtomicBool::new(false) })
    }

    /// Calls into sled, unless it has failed before.
    fn guarded<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        if self.failed.load(Ordering::Acquire) {
            let reason = "it failed before, and is closed until the program is started again".to_owned();
            return Err(StoreError::Backend { dir: self.dir.clone(), reason });
        }
        guarded(&self.dir, call).inspect_err(|error| {
            if matches!(error, StoreError::Corrupt { .. }) {
                self.failed.store(true, Ordering::Release);
            }
        })
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded(|| Ok(self.db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        let mut entries = self.db.range(prefix.max(from)..);
        loop {
            let next = self.guarded(|| entries.next().transpose())?;
            match next {
                Some((key, value)) if key.starts_with(prefix) => {
                    if visit(&key, &value).is_break() {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut sled_batch = sled::Batch::default();
        for (key, change) in batch.into_changes() {
            match change {
                Some(value) => sled_batch.insert(key, value),
                None => sled_batch.remove(key),
            }
        }
        self.guarded(|| self.db.apply_batch(sled_batch)).inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        for _ in 0..EPOCH_ROUNDS {
            crossbeam_epoch::pin().flush();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.guarded(|| {
            self.db.flush()?;
            Ok(File::open(self.dir.join("db"))?.sync_all()?)
        })
    }

    fn bytes_on_disk(&self) -> u64 {
        fn tree_size(dir: &Path) -> u64 {
            let Ok(entries) = fs::read_dir(dir) else { return 0 };
            let size = |entry: fs::DirEntry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => tree_size(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            };
            entries.flatten().map(size).sum()
        }
        tree_size(&self.dir)
    }

    fn dir(&self) -> PathBuf {
        self.dir.clone()
    }
}

thread_local! {
    /// Whether this thread is inside sled, where a panic is data damage and not worth a backtrace.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls into sled; its errors and its panics both come back as a [`StoreError`].
fn guarded<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    static QUIET_HOOK: Once = Once::new();
    QUIET_HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // sled reads and writes on threads of its own, too.
            let is_sleds = std::thread::current().name().is_some_and(|name| name.starts_with("sled-"));
            if !is_sleds && !GUARDED.get() {
                report(info);
            }
        }));
    });
    GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(translate(dir, error)),
        Err(payload) => {
            let message = payload.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("sled panicked");
            Err(StoreError::Corrupt { dir: dir.to_owned(), reason: first_line(message) })
        }
    }
}

fn translate(dir: &Path, error: sled::Error) -> StoreError {
    let dir = dir.to_owned();
    let reason = first_line(&error.to_string());
    match error {
        sled::Error::Corruption { .. } => {
            StoreError::Corrupt { dir, reason: "a part of it fails its checksum".to_owned() }
        }
        sled::Error::ReportableBug(_) => StoreError::Corrupt { dir, reason },
        sled::Error::Io(_) if reason.contains("could not acquire lock") => StoreError::Locked { dir },
        // sled reports a header it cannot read as "unsupported".
        sled::Error::Unsupported(_) => StoreError::Corrupt { dir, reason },
        sled::Error::CollectionNotFound(_) | sled::Error::Io(_) => StoreError::Backend { dir, reason },
    }
}

/// sled's messages may go on for pages.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(200).collect()
}
