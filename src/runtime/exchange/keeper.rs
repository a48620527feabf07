//! The store, open while fetches write to it, and closed again and again for others who want to change it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::content::{ContentError, ContentStore, Put};
use crate::ipld::Block;

/// How long the store is open at a time: others wait for it no longer than this, and can read by then what was fetched.
pub(super) const HOLD: Duration = Duration::from_secs(1);
/// How long it is left to others then: longer than the time between two of their tries to open it.
const LEAVE: Duration = Duration::from_millis(60);

/// Opens the store when it is needed.
pub(super) struct Keeper {
    dir: PathBuf,
    max_bytes: u64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    store: Option<(ContentStore, Instant)>,
    /// When it was closed last.
    left: Option<Instant>,
    /// What fetches that go on have put: none of it is collected for the rest.
    put: Put,
    fetches: usize,
}

impl Open {
    /// Closes the store for now. Called where waiting is allowed.
    fn leave(&mut self) -> Result<(), ContentError> {
        if let Some((store, _)) = self.store.take() {
            self.left = Some(Instant::now());
            self.put = store.close()?;
        }
        Ok(())
    }
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
    /// Stores a block that was checked, when no other process has the store open or `goes_on` says no. Call it where waiting is
    /// allowed.
    ///
    /// # Errors
    /// [`ContentError`].
    pub(super) fn put(&self, block: &Block, goes_on: impl FnMut() -> bool) -> Result<(), ContentError> {
        let Self(keeper) = self;
        let mut open = keeper.lock();
        let (store, since) = match open.store.take() {
            Some(opened) => opened,
            None => {
                if let Some(left) = open.left {
                    std::thread::sleep(LEAVE.saturating_sub(left.elapsed()));
                }
                let mut store = ContentStore::open_patiently(&keeper.dir, keeper.max_bytes, goes_on)?;
                store.protect(std::mem::take(&mut open.put));
                (store, Instant::now())
            }
        };
        let (store, _) = open.store.insert((store, since));
        store.put(block)?;
        if since.elapsed() >= HOLD { open.leave() } else { Ok(()) }
    }

    /// Brings all blocks to the disk, and leaves the store to others.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn rest(&self) -> Result<(), ContentError> {
        self.0.lock().leave()
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut open = self.0.lock();
        open.fetches -= 1;
        if open.fetches == 0 {
            // What is lost is fetched again.
            if let Err(error) = open.leave() {
                tracing::warn!(%error, "fetched blocks could not be stored");
            }
            open.put = Put::default();
        }
    }
}
