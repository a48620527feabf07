//! An ordered key-value store with atomic batches, and the schema over it.
//!
//! [`Store`] knows bytes only and has two implementations; [`Database`] knows what the bytes mean. [`MemoryStore`] is
//! for tests and simulations, `SledStore` for disks.

pub mod archive;
mod buried;
mod compact;
mod database;
#[cfg(feature = "node")]
mod disk;
mod few;
mod layers;
mod load;
mod memory;
#[cfg(feature = "node")]
pub mod private_file;
mod schema;
mod state;

use std::ops::ControlFlow;
use std::path::PathBuf;

pub(crate) use self::buried::Burials;
pub use self::buried::{HeaderGap, TreeRoot};
pub use self::database::{CoinStats, Counts, Database};
#[cfg(feature = "node")]
pub use self::disk::SledStore;
pub use self::few::BuriedHeader;
pub(crate) use self::load::CoinIndex;
pub use self::load::{StateBase, StateLoad};
pub use self::memory::MemoryStore;
pub use self::schema::{BareHeader, BlockKey, HeaderRecord, HistoryEntry, SCHEMA_VERSION, Status, TxLocation};
pub(crate) use self::state::TableChange;
pub use self::state::{Edge, StateHead};

#[cfg(test)]
pub(crate) use self::schema::PEER_RECORDS_DIGEST;

use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// Why the store failed. None of these is a peer's fault.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum StoreError {
    /// The disk, or sled, reports a failure that says nothing about the data.
    #[error("the database at {dir} failed: {reason}")]
    Backend {
        /// Its directory; "memory" for none.
        dir: PathBuf,
        reason: String,
    },
    /// The data are inconsistent.
    #[error(
        "the database at {dir} is damaged: {reason}. Remedy: move the directory away and start again, which fetches the \
         chain from peers, or restore it with `cairn db import FILE` from an earlier `cairn db export`"
    )]
    Corrupt {
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A state is being loaded, or the chain is being removed: nothing can be said of it.
    #[error("the database at {dir} is not complete: run `cairn node` until it has started from its state")]
    Incomplete { dir: PathBuf },
    /// Another process has it open.
    #[error("the database at {dir} is in use by another process: stop that one, or choose another data directory")]
    Locked { dir: PathBuf },
    /// Written by another version of this program.
    #[error(
        "the database at {dir} has format {found}, but this program uses format {supported}. Remedy: use the version that \
         wrote it; or export the blocks with that version's `cairn db export FILE`, move the directory away, and import \
         them with `cairn db import FILE`"
    )]
    OtherSchema { dir: PathBuf, found: u32, supported: u32 },
    /// It holds another network's chain.
    #[error(
        "the database at {dir} belongs to the network with genesis {stored}, but the genesis file gives {configured}"
    )]
    GenesisMismatch {
        dir: PathBuf,
        /// Genesis of the stored chain.
        stored: BlockHash,
        configured: BlockHash,
    },
}

/// What [`Store::scan`] calls with each key and value; `Break` ends the scan.
pub type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// An ordered map from bytes to bytes, on a disk or in memory.
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

    /// Visits the entries whose keys begin with `prefix` and are less than `before`, the last first. `before` begins
    /// with `prefix`. This is no snapshot either.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError>;

    /// Applies all changes of `batch` atomically for every reader. After a crash either none of them is there, or all
    /// of them and all earlier batches. Only [`Store::flush`] guarantees that they are.
    ///
    /// # Errors
    /// [`StoreError::Backend`]; then nothing has changed. A failure to write earlier batches is reported here, too.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Returns when everything committed would survive a power cut.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    fn flush(&self) -> Result<(), StoreError>;

    /// Says that a read failed whose caller could not report it: from now on every commit is refused, and the owner is
    /// notified, as after a failed write.
    fn fail(&self, error: &StoreError);

    /// Bytes it takes on the disk; 0 for memory.
    fn bytes_on_disk(&self) -> u64;

    /// Its directory, for messages.
    fn dir(&self) -> PathBuf;
}

/// Changes to apply together. The last change to a key counts.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    shapes: Vec<Shape>,
    pruned_below: Option<Height>,
}

/// One change of a [`Batch`].
#[derive(Debug, Clone, Copy)]
struct Write<'a> {
    key: &'a [u8],
    /// `None` if the key is removed.
    value: Option<&'a [u8]>,
    /// Nothing was under this key before.
    is_new: bool,
    /// The height of the chain that the value belongs to, if it does to one.
    height: Option<Height>,
}

/// A change, but for the bytes of its key and value.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Bytes of the key.
    key: usize,
    /// Bytes of the value; `None` if the key is removed.
    value: Option<usize>,
    /// Nothing was under this key before.
    is_new: bool,
    height: Option<Height>,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push(Write { key: key.as_ref(), value: Some(value.as_ref()), is_new: false, height: None });
    }

    /// The same for a value that belongs to a height of the chain, so that the disk may keep it with its like and free
    /// their room together: see [`Batch::prune_below`].
    pub fn put_at(&mut self, height: Height, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push(Write { key: key.as_ref(), value: Some(value.as_ref()), is_new: false, height: Some(height) });
    }

    /// Once this batch is on the disk, the room of values that belong to lower heights is freed. With this batch their keys
    /// are all removed.
    pub fn prune_below(&mut self, height: Height) {
        self.pruned_below = self.pruned_below.max(Some(height));
    }

    /// The same for a key that does not exist before this batch: if it is removed before it is written, nothing is
    /// written.
    pub fn put_new(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push(Write { key: key.as_ref(), value: Some(value.as_ref()), is_new: true, height: None });
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.push(Write { key: key.as_ref(), value: None, is_new: false, height: None });
    }

    fn push(&mut self, Write { key, value, is_new, height }: Write<'_>) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.shapes.push(Shape { key: key.len(), value: value.map(<[u8]>::len), is_new, height });
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// The keys that are changed, in order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.writes().map(|write| write.key)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// The changes in order.
    fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        let mut rest = &self.bytes[..];
        self.shapes.iter().map(move |Shape { key, value, is_new, height }| {
            let (key, after) = rest.split_at(*key);
            let (bytes, after) = after.split_at(value.unwrap_or(0));
            rest = after;
            Write { key, value: value.map(|_| bytes), is_new: *is_new, height: *height }
        })
    }

    /// What [`Batch::prune_below`] said.
    pub fn pruned_below(&self) -> Option<Height> {
        self.pruned_below
    }
}
