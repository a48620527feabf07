//! The store, open while fetches write to it, and closed again and again for others who want to change it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::content::{ContentError, ContentStore, Put};
use crate::ipld::Block;

/// How long the store is open at a time, though nobody is known to wait for it: less than others wait.
const HOLD: Duration = Duration::from_secs(4);
/// How long it may be open without a new block, and how long blocks may wait for their names: others wait for neither longer
/// than this.
pub(super) const REST: Duration = Duration::from_secs(1);
/// How long it is left to others then: longer than the time between two of their tries to open it.
const LEAVE: Duration = Duration::from_millis(60);

/// Opens the store when it is needed.
pub(super) struct Keeper {
    dir: PathBuf,
    max_bytes: u64,
    open: Mutex<Open>,
}

struct Held {
    store: ContentStore,
    since: Instant,
    /// When blocks last began to be given their names.
    named: Instant,
}

#[derive(Default)]
struct Open {
    held: Option<Held>,
    /// When it was closed last.
    left: Option<Instant>,
    /// What fetches that go on have put: none of it is collected for the rest.
    put: Put,
    fetches: usize,
}

impl Open {
    /// Closes the store for now. Called where waiting is allowed.
    fn leave(&mut self) -> Result<(), ContentError> {
        if let Some(Held { store, .. }) = self.held.take() {
            let closed = store.close();
            self.left = Some(Instant::now());
            self.put = closed?;
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
        let held = match open.held.take() {
            Some(held) => held,
            None => {
                if let Some(left) = open.left {
                    std::thread::sleep(LEAVE.saturating_sub(left.elapsed()));
                }
                let mut store = ContentStore::open_patiently(&keeper.dir, keeper.max_bytes, goes_on)?;
                store.protect(std::mem::take(&mut open.put));
                store.expect_reading();
                let now = Instant::now();
                Held { store, since: now, named: now }
            }
        };
        let Held { store, since, named } = open.held.insert(held);
        store.put(block)?;
        if since.elapsed() >= HOLD || store.is_wanted() {
            return open.leave();
        }
        if named.elapsed() >= REST {
            *named = Instant::now();
            store.begin_flush()?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{Cid, Codec, HashFunction};

    /// Sooner than the store would be left by itself.
    #[test]
    fn who_asks_gets_the_store_while_a_fetch_writes() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path().to_owned(), 1 << 30);
        let writer = keeper.writer();
        let mut number = 0u32;
        let mut put = || {
            let bytes = number.to_le_bytes().to_vec();
            number += 1;
            let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &bytes).unwrap();
            writer.put(&Block::check(cid, bytes).unwrap(), || true).unwrap();
            cid
        };
        let first = put();
        assert!(keeper.lock().held.is_some());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| ContentStore::open_within(dir.path(), 1 << 30, HOLD * 3 / 4).map(|_| ()));
            while !other.is_finished() {
                put();
            }
            other.join().unwrap().unwrap();
        });
        let store = keeper.lock().held.take().map(|held| held.store);
        let reader = store
            .map_or_else(|| crate::content::ContentReader::open(dir.path()).unwrap(), |store| store.reader().clone());
        assert!(reader.get(&first).is_ok(), "what was fetched before can be read then");
    }
}
