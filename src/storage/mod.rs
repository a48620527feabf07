//! Where a node keeps things: an ordered store of keys and values with atomic batches, and the schema laid over it.
//!
//! [`Store`] knows bytes only and has two implementations, sled's and memory's; [`Database`] knows what the bytes mean.

pub mod archive;
mod database;
mod memory;
pub mod private_file;
mod schema;
mod sled;

use std::ops::ControlFlow;
use std::path::PathBuf;

pub use self::database::{CoinStats, Counts, Database};
pub use self::memory::MemoryStore;
pub use self::schema::{HeaderRecord, HistoryEntry, SCHEMA_VERSION, Status, TxLocation};
pub use self::sled::SledStore;

use crate::primitives::hash::BlockHash;

/// Why the store did not answer. All of them are this node's affair; none is a peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or sled, reports a failure that says nothing about the data.
    #[error("the database at {dir} failed: {reason}")]
    Backend {
        /// Its directory; "memory" for none.
        dir: PathBuf,
        /// What was reported.
        reason: String,
    },
    /// The data contradict themselves.
    #[error(
        "the database at {dir} is damaged: {reason}. Remedy: move the directory away and start again, which fetches the \
         chain from peers, or restore it with `cairn db import FILE` from an earlier `cairn db export`"
    )]
    Corrupt {
        /// Its directory.
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Another process has it open.
    #[error("the database at {dir} is in use by another process: stop that one, or choose another data directory")]
    Locked {
        /// Its directory.
        dir: PathBuf,
    },
    /// Written by a newer version of this program.
    #[error(
        "the database at {dir} has format {found}, this program reads up to {supported}: use a newer version of it"
    )]
    NewerSchema {
        /// Its directory.
        dir: PathBuf,
        /// Format found.
        found: u32,
        /// Newest format known here.
        supported: u32,
    },
    /// Written by an older version of this program, where only reading is wanted.
    #[error("the database at {dir} has format {found}: a node that is started on it brings it to format {current}")]
    OlderSchema {
        /// Its directory.
        dir: PathBuf,
        /// Format found.
        found: u32,
        /// Format of today.
        current: u32,
    },
    /// It holds another network's chain.
    #[error(
        "the database at {dir} belongs to the network with genesis {stored}, but the genesis file gives {configured}"
    )]
    GenesisMismatch {
        /// Its directory.
        dir: PathBuf,
        /// Genesis of the stored chain.
        stored: BlockHash,
        /// Genesis asked for.
        configured: BlockHash,
    },
}

/// What [`Store::scan`] calls with each key and value; `Break` ends the scan.
pub type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// An ordered map from bytes to bytes on a disk, or as good as.
pub trait Store: Send + Sync {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`StoreError::Backend`] or [`StoreError::Corrupt`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the entries whose keys begin with `prefix` and are not less than `from`, in the order of keys. A scan is
    /// no snapshot: it may see part of a batch committed meanwhile.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError>;

    /// Makes all changes of `batch` or, after a crash, none of them.
    ///
    /// # Errors
    /// [`StoreError::Backend`]; then nothing has changed.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Returns when all that is committed would survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn flush(&self) -> Result<(), StoreError>;

    /// Bytes it takes on the disk; 0 for memory.
    fn bytes_on_disk(&self) -> u64;

    /// Its directory, for messages.
    fn dir(&self) -> PathBuf;
}

/// Changes to be made together. Of several to one key, the last counts.
#[derive(Debug, Clone, Default)]
pub struct Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((key, Some(value)));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.0.push((key, None));
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn into_changes(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.0.into_iter()
    }
}
