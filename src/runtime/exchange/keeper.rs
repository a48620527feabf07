//! The store, open as long as a fetch writes to it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::content::{ContentError, ContentStore};
use crate::ipld::Block;

/// How long a fetch waits for another process that has the store open.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens the store when it is needed.
pub(super) struct Keeper {
    dir: PathBuf,
    max_bytes: u64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    store: Option<ContentStore>,
    fetches: usize,
}

/// A fetch that writes, until it is dropped.
pub(super) struct Writer<'a>(&'a Keeper);

impl Keeper {
    pub(super) fn new(dir: PathBuf, max_bytes: u64) -> Self {
        Self { dir, max_bytes, open: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fetch begins. The store is opened for its first block.
    pub(super) fn writer(&self) -> Writer<'_> {
        self.lock().fetches += 1;
        Writer(self)
    }
}

impl Writer<'_> {
    /// Stores a block that was checked. Call it where waiting is allowed.
    ///
    /// # Errors
    /// [`ContentError`].
    pub(super) fn put(&self, block: &Block) -> Result<(), ContentError> {
        let Self(keeper) = self;
        let mut open = keeper.lock();
        let store = match &mut open.store {
            Some(store) => store,
            none => {
                let end = Instant::now() + PATIENCE;
                let store = loop {
                    match ContentStore::open(&keeper.dir, keeper.max_bytes) {
                        Err(ContentError::InUse { .. }) if Instant::now() < end => std::thread::sleep(PAUSE),
                        opened => break opened?,
                    }
                };
                none.insert(store)
            }
        };
        store.put(block)
    }

    /// Brings all blocks to the disk.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn flush(&self) -> Result<(), ContentError> {
        self.0.lock().store.as_mut().map_or(Ok(()), ContentStore::flush)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut open = self.0.lock();
        open.fetches -= 1;
        if open.fetches == 0
            && let Some(mut store) = open.store.take()
            // What is lost is fetched again.
            && let Err(error) = store.flush()
        {
            tracing::warn!(%error, "fetched blocks could not be stored");
        }
    }
}
