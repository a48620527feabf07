//! sled 0.34 and workarounds for it. No other module uses it.
//!
//! - What single operations wrote is found again after `kill -9` up to some point, in the order in which it was written. They
//!   are collected in memory, and reach the operating system with [`Tree::sync`].
//! - sled's own batches are not used. A batch excludes all readers while it lasts, takes its keys in no order, and keeps
//!   every page that it has replaced in memory to its end: 100,000 keys took twice the time that they take one by one in
//!   the order of keys, and 300 MB. [`super::journal`] makes changes atomic instead.
//! - sled's flush hands data to the operating system but does not sync the file; that is done here.
//! - A value of more than 128 kB, and a leaf of 16 values that has as many bytes together, gets a file of its own that
//!   is never synced: values here are short.
//! - Of what it rewrites at random, two thirds of its file are dead bytes that it does not use again: so pages stand in a file
//!   of our own, and only their places here.
//! - A damaged file makes sled panic, at opening or later. Every call is guarded, and the panic becomes an error.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::repair;
use crate::storage::StoreError;

/// Writes between two rounds of epoch collection: a thread that only writes never collects sled's garbage otherwise, and
/// memory grows by gigabytes.
const WRITES_OF_A_ROUND: usize = 1_024;
/// Rounds one after another: garbage takes several to go.
const EPOCH_ROUNDS: usize = 8;

/// How long to wait for a store's lock: sled's threads release it only some time after the store is dropped, as does a
/// process that was just told to stop.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between attempts.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// An ordered map on the disk, in a directory of its own. One thread writes; any may read meanwhile.
#[derive(Debug)]
pub(super) struct Tree {
    db: sled::Db,
    /// sled's file, to be synced. Opened once, so that a process that is out of file descriptors can still sync.
    file: File,
    dir: PathBuf,
    /// A panic leaves sled's memory in an unknown state, so it is not called again. The data on the disk are whole.
    failed: AtomicBool,
    writes: AtomicUsize,
    /// Writes until one fails, for tests.
    #[cfg(test)]
    pub(super) writes_left: AtomicUsize,
}

impl Tree {
    /// The name of sled's own file in its directory.
    pub const FILE: &str = "db";

    /// Opens or creates the tree in `dir`, with a cache of about `cache_bytes`. Half-written files of an earlier
    /// process, which sled would take for damage, are removed first.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Corrupt`] with the remedy, or [`StoreError::Backend`].
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        let patience = Instant::now() + LOCK_TIMEOUT;
        let (db, file) = loop {
            let opened = open_whole(dir).and_then(|file| Ok((guarded(dir, || config.open())?, file)));
            match opened {
                Err(StoreError::Locked { .. }) if Instant::now() < patience => std::thread::sleep(LOCK_RETRY),
                result => break result?,
            }
        };
        Ok(Self {
            db,
            file,
            dir: dir.to_owned(),
            failed: AtomicBool::new(false),
            writes: AtomicUsize::new(0),
            #[cfg(test)]
            writes_left: AtomicUsize::new(usize::MAX),
        })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<impl AsRef<[u8]>>, StoreError> {
        self.guarded(|| self.db.get(key))
    }

    /// The first entry whose key is not less than `key`.
    pub fn at_or_after(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.next(&mut self.from(key))
    }

    /// The entries whose keys are not less than `key`, as they are at some time before each is asked for. The first costs more
    /// than many that follow.
    pub fn from(&self, key: &[u8]) -> sled::Iter {
        self.db.range(key..)
    }

    /// The next of these entries.
    pub fn next(&self, entries: &mut sled::Iter) -> Result<Option<Entry>, StoreError> {
        self.guarded(|| entries.next().transpose())
    }

    /// The last entry whose key is less than `key`.
    pub fn before(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.guarded(|| self.db.get_lt(key))
    }

    /// Puts `value` under `key`.
    pub fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        self.write(|| self.db.insert(key, value).map(drop))
    }

    fn write(&self, call: impl FnOnce() -> sled::Result<()>) -> Result<(), StoreError> {
        #[cfg(test)]
        self.take_write()?;
        self.guarded(call)?;
        if self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_OF_A_ROUND) {
            self.collect();
        }
        Ok(())
    }

    /// Fails if no writes are left.
    #[cfg(test)]
    pub fn take_write(&self) -> Result<(), StoreError> {
        if self.writes_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.writes_left.store(0, Ordering::Relaxed);
            return Err(StoreError::Backend { dir: self.dir.clone(), reason: "no writes are left".to_owned() });
        }
        Ok(())
    }

    /// Removes `key`, if it is there.
    pub fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.write(|| self.db.remove(key).map(drop))
    }

    /// Returns when all that was put would survive a power cut.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.collect();
        self.guarded(|| {
            self.db.flush()?;
            Ok(self.file.sync_all()?)
        })
    }

    fn collect(&self) {
        (0..EPOCH_ROUNDS).for_each(|_| crossbeam_epoch::pin().flush());
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

/// A key and its value.
type Entry = (sled::IVec, sled::IVec);

/// Opens or creates sled's file, after repairing its directory.
fn open_whole(dir: &Path) -> Result<File, StoreError> {
    let failed = |error: io::Error| StoreError::Backend { dir: dir.to_owned(), reason: error.to_string() };
    fs::create_dir_all(dir).map_err(failed)?;
    let path = dir.join(Tree::FILE);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    // The lock that sled takes: the files of a process that has the store open are not touched. Another process may
    // take it before sled does, and then finds nothing to remove.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    repair::remove_broken(dir).and_then(|()| file.unlock()).map_err(failed)?;
    Ok(file)
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
