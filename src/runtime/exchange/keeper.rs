//! The store, open while fetches write to it, and closed again and again for others who want to change it.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::content::{ContentError, ContentStore, Put};
use crate::ipld::Block;

/// The longest time that the store stays open, even if no process is seen to wait for it. Other processes wait longer.
const HOLD: Duration = Duration::from_secs(4);
/// The longest time that it stays open without a new block, so other processes wait no longer than this.
pub(super) const REST: Duration = Duration::from_secs(1);
/// The longest time that blocks wait for their names once earlier ones have theirs: a command can read during a fetch.
const NAMING_INTERVAL: Duration = Duration::from_millis(200);
/// How long the store then stays closed: longer than the interval at which other processes try to open it.
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
    /// How often it could not be closed, and why the last time.
    failures: u64,
    failure: Option<(PathBuf, io::ErrorKind, String)>,
}

impl Open {
    /// Closes the store for now. Called where waiting is allowed.
    fn leave(&mut self) -> Result<(), ContentError> {
        if let Some(Held { store, .. }) = self.held.take() {
            let closed = store.close();
            self.left = Some(Instant::now());
            match closed {
                Ok(put) => self.put = put,
                Err(error) => {
                    self.failures += 1;
                    self.failure = Some(match &error {
                        ContentError::Io { path, error } => (path.clone(), error.kind(), error.to_string()),
                        other => (PathBuf::new(), io::ErrorKind::Other, other.to_string()),
                    });
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// A fetch that writes, until it is dropped.
pub(super) struct Writer<'a> {
    keeper: &'a Keeper,
    /// How often the store could not be closed before it began.
    failures: u64,
}

impl Keeper {
    pub(super) fn new(dir: PathBuf, max_bytes: u64) -> Self {
        Self { dir, max_bytes, open: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fetch begins. The store is opened for its first block.
    pub(super) fn writer(&self) -> Writer<'_> {
        let mut open = self.lock();
        open.fetches += 1;
        Writer { keeper: self, failures: open.failures }
    }
}

impl Writer<'_> {
    /// Stores a block that was checked, when no other process has the store open or `goes_on` says no. Call it where waiting is
    /// allowed.
    ///
    /// # Errors
    /// [`ContentError`].
    pub(super) fn put(&self, block: &Block, goes_on: impl FnMut() -> bool) -> Result<(), ContentError> {
        let keeper = self.keeper;
        let mut open = keeper.lock();
        self.check(&open)?;
        let held = match open.held.take() {
            Some(held) => held,
            None => {
                if let Some(left) = open.left {
                    std::thread::sleep(LEAVE.saturating_sub(left.elapsed()));
                }
                let mut store = ContentStore::open_patiently(&keeper.dir, keeper.max_bytes, goes_on)?;
                store.protect(std::mem::take(&mut open.put));
                let now = Instant::now();
                Held { store, since: now, named: now }
            }
        };
        open.held.insert(held).store.put(block)?;
        self.yield_or_flush(&mut open)
    }

    /// Leaves the store to others if they wait for it: to be called now and then while nothing is put.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn give_way(&self) -> Result<(), ContentError> {
        match self.keeper.open.try_lock() {
            Ok(mut open) => self.yield_or_flush(&mut open),
            Err(TryLockError::Poisoned(poisoned)) => self.yield_or_flush(&mut poisoned.into_inner()),
            // Another fetch has it, perhaps waits for the store, and looks itself.
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    /// Leaves the store if others wait for it, and has blocks named that wait for that.
    fn yield_or_flush(&self, open: &mut Open) -> Result<(), ContentError> {
        let Some(Held { store, since, named }) = &mut open.held else { return Ok(()) };
        if since.elapsed() >= HOLD || store.is_wanted() {
            return self.leave(open);
        }
        if named.elapsed() >= NAMING_INTERVAL {
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
        self.leave(&mut self.keeper.lock())
    }

    fn leave(&self, open: &mut Open) -> Result<(), ContentError> {
        open.leave()?;
        self.check(open)
    }

    /// Fails if another fetch could not close the store since this one began: blocks of both may be lost.
    fn check(&self, open: &Open) -> Result<(), ContentError> {
        match &open.failure {
            Some((path, kind, text)) if open.failures != self.failures => {
                let (path, error) = (path.clone(), io::Error::new(*kind, text.clone()));
                Err(ContentError::Io { path, error })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut open = self.keeper.lock();
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
impl Keeper {
    /// Whether the store is open.
    pub(super) fn is_open(&self) -> bool {
        self.lock().held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{Cid, Codec, HashFunction};

    fn block(number: u32) -> Block {
        let bytes = number.to_le_bytes().to_vec();
        let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &bytes).unwrap();
        Block::check(cid, bytes).unwrap()
    }

    /// Both have asked for the same block, and each finds it put already or waiting for its name.
    #[test]
    fn each_fetch_learns_that_the_store_could_not_be_closed() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path().to_owned(), 1 << 30);
        let [first, second] = [keeper.writer(), keeper.writer()];
        first.put(&block(1), || true).unwrap();
        second.put(&block(1), || true).unwrap();
        std::fs::remove_dir_all(dir.path().join("tmp")).unwrap();
        let told = |writer: &Writer| matches!(writer.rest(), Err(ContentError::Io { .. }));
        assert!(told(&first), "the block could not be given its name");
        assert!(told(&second), "it is lost for this one as well");
        let third = keeper.writer();
        third.put(&block(1), || true).unwrap();
        third.rest().unwrap();
        assert!(second.put(&block(2), || true).is_err(), "its first block is still lost, as far as it knows");
    }

    /// Sooner than the store would be left by itself.
    #[test]
    fn who_asks_gets_the_store_while_a_fetch_writes() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path().to_owned(), 1 << 30);
        let writer = keeper.writer();
        let mut number = 0u32;
        let mut put = || {
            number += 1;
            writer.put(&block(number), || true).unwrap();
            *block(number).cid()
        };
        let first = put();
        assert!(keeper.is_open());
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
