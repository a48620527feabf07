//! The node's store: commits are made in memory, and a thread of the store writes many of them together.
//!
//! Every reader sees a commit immediately. Commits wait for [`LINGER`], or until there are enough for a window, and are
//! then written together, as [`super::journal`] describes: a key that was put and removed meanwhile never reaches the
//! disk. Windows are written in the order of commits and each as a whole, so that a store that is opened after a kill
//! is as it was after some commit: the last of a window.
//!
//! Large values are written to files of their own before the journal names them.
//!
//! Changes that wait or are being written take at most [`BACKLOG_BYTES`] of memory: a commit waits for room. If the
//! disk fails, every later commit fails, the data in memory stay readable, and the owner is notified immediately.

mod scan;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::changes::{Change, Window};
use super::journal::Journal;
use super::large::{LargeValues, SEGMENT_BYTES};
use super::pages::Pages;
use super::sled::Tree;
use super::value::{Stored, Value};
use crate::primitives::height::Height;
use crate::storage::schema::{META, SCHEMA_VERSION};
use crate::storage::{Batch, Store, StoreError, Visitor, Write};

/// How long a commit waits for others. A kill can lose the commits of this time and of the write.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of waiting changes that start a write immediately.
const WINDOW_BYTES: usize = 12 << 20;
/// Bytes of memory of changes that wait or are being written: two windows and a large block.
const BACKLOG_BYTES: usize = 32 << 20;

/// Values of at least this length go to a separate file: one would fill a page, which is copied whole for each change.
const LARGE_BYTES: usize = 1_024;
/// The same for values that belong to a height, which are hardly ever replaced: a shorter one takes less in its page than
/// its place would.
const LARGE_BYTES_OF_HEIGHT: usize = 128;

/// Longest key. No key of the schema is nearly as long.
const MAX_KEY_BYTES: usize = 1_024;

/// When changes are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub linger: Duration,
    pub window: usize,
    pub backlog: usize,
    /// Bytes from which on a segment of large values takes no more.
    pub segment: u32,
}

/// A database in a directory of its own: sled's, with a map in memory, pages and a journal in front of it.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    pages: Pages,
    large: LargeValues,
    limits: Limits,
    on_failure: OnFailure,
    windows: RwLock<Windows>,
    control: Mutex<Control>,
    /// Something for the writer to do.
    work: Condvar,
    /// A window is written, or failed.
    written: Condvar,
}

/// Called when writing has stopped after a failure.
struct OnFailure(Box<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

/// What is committed and not known to be on the disk.
#[derive(Debug, Default)]
struct Windows {
    /// Changes that wait to be written.
    pending: Window,
    /// The window that the writer is writing.
    writing: Arc<Window>,
}

impl Windows {
    /// The last change to `key`.
    fn get(&self, key: &[u8]) -> Option<Change<'_>> {
        self.pending.get(key).or_else(|| self.writing.get(key))
    }
}

#[derive(Debug, Default)]
struct Control {
    /// Bytes of what waits: in the window, and of the large values that it names.
    pending_bytes: usize,
    pending_large: usize,
    writing_bytes: usize,
    /// When the oldest change that waits was committed.
    since: Option<Instant>,
    /// Commits so far, and those of them that are on the disk.
    committed: u64,
    durable: u64,
    /// A caller waits for the disk.
    flush_requested: bool,
    /// Large values that belong to lower heights are not needed once the commits so far are on the disk.
    pruned_below: Option<Height>,
    stop: bool,
    /// Why writing has stopped.
    failed: Option<String>,
}

impl SledStore {
    /// Default size of sled's cache, which takes up to twice as much memory. The pages that were read last have half as much.
    /// Other pages are read from the file, which the operating system caches.
    pub const CACHE_BYTES: u64 = 16 << 20;

    /// Opens the database in `dir`, or makes one there.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Corrupt`] with the remedy, or [`StoreError::Backend`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Self::CACHE_BYTES, |_| ())
    }

    /// The same, with a cache of about `cache_bytes`, for machines with several nodes, and with `on_failure`, which is
    /// called on some thread with the reason when a write fails. From then on no commit is accepted, and commits that
    /// are not on the disk are lost when the process ends.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    pub fn open_with(
        dir: &Path,
        cache_bytes: u64,
        on_failure: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let limits = Limits { linger: LINGER, window: WINDOW_BYTES, backlog: BACKLOG_BYTES, segment: SEGMENT_BYTES };
        Self::open_with_limits((dir, dir), cache_bytes, limits, OnFailure(Box::new(on_failure)))
    }

    /// Opens a copy in `dir` of the database in `original`, whose large values are read there.
    pub(super) fn open_copied(dir: &Path, original: &Path) -> Result<Self, StoreError> {
        let limits = Limits { linger: LINGER, window: WINDOW_BYTES, backlog: BACKLOG_BYTES, segment: SEGMENT_BYTES };
        Self::open_with_limits((dir, original), Self::CACHE_BYTES, limits, OnFailure(Box::new(|_| ())))
    }

    fn open_with_limits(
        (dir, values_dir): (&Path, &Path),
        cache_bytes: u64,
        limits: Limits,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let tree = Tree::open(dir, cache_bytes)?;
        if let Some(meta) = tree.get(META)? {
            // Only earlier versions had the schema's own keys in the tree.
            let found = meta.as_ref().first_chunk().map_or(0, |found| u32::from_le_bytes(*found));
            return Err(StoreError::OtherSchema { dir: dir.to_owned(), found, supported: SCHEMA_VERSION });
        }
        let open = if values_dir == dir { LargeValues::open } else { LargeValues::open_to_read };
        let large = open(values_dir, limits.segment)?;
        let pages = Pages::open(tree, cache_bytes / 2)?;
        let journal = Journal::open(&pages)?;
        large.load_heights(&pages.tree)?;
        let shared = Arc::new(Shared {
            pages,
            large,
            limits,
            on_failure,
            windows: RwLock::default(),
            control: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
        });
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().name("store".to_owned()).spawn(move || shared.write_windows(journal))
        };
        let writer = writer.map_err(|e| StoreError::Backend { dir: dir.to_owned(), reason: e.to_string() })?;
        Ok(Self { shared, writer: Some(writer) })
    }
}

#[cfg(test)]
impl SledStore {
    /// Opens it with other limits.
    pub(super) fn open_limited(dir: &Path, cache_bytes: u64, limits: Limits) -> Result<Self, StoreError> {
        Self::open_with_limits((dir, dir), cache_bytes, limits, OnFailure(Box::new(|_| ())))
    }

    /// Has the tree fail after so many writes.
    pub(super) fn fail_after(&self, writes: usize) {
        self.shared.pages.tree.writes_left.store(writes, std::sync::atomic::Ordering::Relaxed);
    }

    /// What was written to the file of pages and not synced: a power cut may leave anything there.
    pub(super) fn unsynced(&self) -> super::extents::Unsynced {
        self.shared.pages.file.unsynced.clone()
    }

    /// How many pages there are.
    pub(super) fn pages(&self) -> Result<usize, StoreError> {
        let (mut count, mut from) = (0, Vec::new());
        while let Some((name, _)) = self.shared.pages.tree.at_or_after(&from)? {
            (count, from) = (count + 1, [&name[..], &[0]].concat());
        }
        Ok(count)
    }

    /// Changes that wait to be written, and bytes of these and of those that are being written.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let control = self.shared.control();
        let waiting = self.shared.windows.read().unwrap_or_else(PoisonError::into_inner).pending.len();
        (waiting, control.pending_bytes + control.pending_large + control.writing_bytes)
    }
}

impl Drop for SledStore {
    /// Writes the changes that still wait.
    fn drop(&mut self) {
        self.shared.control().stop = true;
        self.shared.work.notify_all();
        if let Some(writer) = self.writer.take() {
            // Its failure is already noted.
            let _ = writer.join();
        }
    }
}

impl Shared {
    // No code runs under these locks that could panic and leave half a change, so a poisoned one still guards whole data.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, control: &Control) -> Result<(), StoreError> {
        match &control.failed {
            Some(reason) => Err(StoreError::Backend {
                dir: self.pages.tree.dir().to_owned(),
                reason: format!("an earlier write failed, and nothing is written any more: {reason}"),
            }),
            None => Ok(()),
        }
    }

    /// Stops writing, keeps the first reason, and wakes all waiters.
    fn fail(&self, error: &StoreError) {
        let reason = match error {
            StoreError::Backend { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        let reason = self.control().failed.get_or_insert(reason).clone();
        self.written.notify_all();
        (self.on_failure.0)(&reason);
    }

    /// The writer: a window after another until the store is dropped.
    fn write_windows(&self, mut journal: Journal) {
        let _guard = FailOnPanic(self);
        while let Some(Due { window, commits, pruned_below }) = self.next_window() {
            let written = journal.write(&self.pages, &self.large, &window);
            let delete = |height| self.large.delete_below(height, &self.pages.tree);
            if let Err(error) = written.and_then(|()| pruned_below.map_or(Ok(()), delete)) {
                return self.fail(&error);
            }
            let emptied = Arc::default();
            self.windows.write().unwrap_or_else(PoisonError::into_inner).writing = emptied;
            let mut control = self.control();
            control.writing_bytes = 0;
            control.durable = commits;
            control.flush_requested &= control.durable < control.committed;
            drop(control);
            self.written.notify_all();
            // Dropped here, where no caller waits, since freeing many changes takes time.
            drop(window);
        }
    }

    /// Waits until there is a window to write. `None` when all is written and the store is dropped.
    fn next_window(&self) -> Option<Due> {
        let mut control = self.control();
        loop {
            let waited = control.since.map(|since| since.elapsed());
            match waited {
                None if control.stop => return None,
                None => control = self.work.wait(control).unwrap_or_else(PoisonError::into_inner),
                Some(waited) => {
                    let left = self.limits.linger.saturating_sub(waited);
                    let enough = control.pending_bytes + control.pending_large >= self.limits.window;
                    if enough || left.is_zero() || control.flush_requested || control.stop {
                        break;
                    }
                    control = self.work.wait_timeout(control, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        let pending = std::mem::take(&mut windows.pending);
        windows.writing = Arc::new(pending);
        let window = windows.writing.clone();
        drop(windows);
        let large = std::mem::take(&mut control.pending_large);
        control.writing_bytes = large + std::mem::take(&mut control.pending_bytes);
        control.since = None;
        Some(Due { window, commits: control.committed, pruned_below: control.pruned_below.take() })
    }

    /// A value; `None` if it was pruned since it was found.
    fn read(&self, value: Value) -> Result<Option<Vec<u8>>, StoreError> {
        match value {
            Value::Small(bytes) => Ok(Some(bytes)),
            Value::Large(place) => self.large.read(place),
        }
    }
}

/// What the writer does next.
struct Due {
    window: Arc<Window>,
    /// Number of the last commit in it.
    commits: u64,
    /// What [`Control::pruned_below`] was.
    pruned_below: Option<Height>,
}

/// Whether a value goes to a separate file.
fn is_large(write: &Write<'_>) -> bool {
    let least = if write.height.is_some() { LARGE_BYTES_OF_HEIGHT } else { LARGE_BYTES };
    write.value.is_some_and(|value| value.len() >= least)
}

/// Wakes all waiters if the writer panics.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the thread that writes has panicked".to_owned();
            self.0.fail(&StoreError::Backend { dir: self.0.pages.tree.dir().to_owned(), reason });
        }
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let shared = &*self.shared;
        let recent = shared.windows.read().unwrap_or_else(PoisonError::into_inner);
        let change = recent.get(key).map(|change| change.value.map(Stored::to_value));
        drop(recent);
        // A key that is not among these is on the disk, as it was at that time or newer.
        let value = match change {
            Some(value) => value,
            None => shared.pages.get(key)?,
        };
        value.map_or(Ok(None), |value| shared.read(value))
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.shared.scan(prefix, from, visit)
    }

    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.shared.scan_back(prefix, before, visit)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let shared = &*self.shared;
        if let Some(write) = batch.writes().find(|write| write.key.len() > MAX_KEY_BYTES) {
            let reason = format!("a key of {} bytes is too long", write.key.len());
            return Err(StoreError::Backend { dir: self.dir(), reason });
        }
        let mut control = shared.control();
        loop {
            shared.failure(&control)?;
            let waiting = control.pending_bytes + control.pending_large + control.writing_bytes;
            if waiting < shared.limits.backlog {
                break;
            }
            control = shared.written.wait(control).unwrap_or_else(PoisonError::into_inner);
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Before the windows are locked, so that readers need not wait while the values are copied.
        let (mut large, mut large_bytes) = (Vec::new(), 0);
        for write in batch.writes() {
            let place = write.value.filter(|_| is_large(&write)).map(|value| shared.large.append(write.height, value));
            large_bytes += place.map_or(0, |_| write.value.map_or(0, <[u8]>::len));
            large.push(place);
        }
        let mut recent = shared.windows.write().unwrap_or_else(PoisonError::into_inner);
        recent.pending.reserve(&batch, large_bytes);
        for (Write { key, value, is_new, .. }, place) in batch.writes().zip(large) {
            let value = value.map(|value| place.map_or(Stored::Small(value), Stored::Large));
            recent.pending.record(Change { key, value, is_new });
        }
        control.pending_bytes = recent.pending.bytes();
        control.pending_large += large_bytes;
        drop(recent);
        control.committed += 1;
        control.pruned_below = control.pruned_below.max(batch.pruned_below());
        if control.since.is_none() || control.pending_bytes + control.pending_large >= shared.limits.window {
            control.since.get_or_insert_with(Instant::now);
            shared.work.notify_all();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let mut control = shared.control();
        let wanted = control.committed;
        while control.durable < wanted {
            shared.failure(&control)?;
            control.flush_requested = true;
            shared.work.notify_all();
            control = shared.written.wait(control).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn fail(&self, error: &StoreError) {
        self.shared.fail(error);
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
        tree_size(self.shared.pages.tree.dir())
    }

    fn dir(&self) -> PathBuf {
        self.shared.pages.tree.dir().to_owned()
    }
}
