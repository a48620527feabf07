//! Changes of many commits made to the pages at once, as one.
//!
//! A window, the changes of one write, goes
//!
//! 1. to the journal, a file; it and the large values that it names are synced;
//! 2. to the pages, with a note in the tree before that they are being changed, and one after that they are;
//! 3. the tree is synced, and the journal emptied.
//!
//! After a kill or a power cut, pages that were being changed are trimmed and changed again, from the journal, which is whole
//! then.
//! If they were not, a journal that is whole has a window that can still be made, and one that is not never counted.
//!
//! The file: the window's number and the length of what is put (`u64`, little-endian), entries that are put, as pages have
//! them, entries that are removed, with empty values, and a checksum of all this.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::StoreError;
use super::large::{LargeValues, checksum};
use super::pages::{self, Change, Changes, Entries, Key, Malformed, Stored, Value};
use super::sled::Tree;

/// The file's name in the store's directory.
const FILE: &str = "journal";
/// Where the tree notes the number of the last window, and whether its changes are all made.
const NOTE: &[u8] = b"j";

/// The file, and the number of the last window.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    last: u64,
}

impl Journal {
    /// Opens the journal of `tree`, or makes one, and makes the changes that it holds.
    ///
    /// # Errors
    /// [`StoreError::Backend`], [`StoreError::Corrupt`].
    pub fn open(tree: &Tree) -> Result<Self, StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt { dir: tree.dir().to_owned(), reason };
        let path = tree.dir().join(FILE);
        let read = || -> io::Result<(File, Vec<u8>)> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = read().map_err(|e| failed(tree, &e))?;
        let (mut last, mut whole) = (0, true);
        if let Some(note) = tree.get(NOTE)? {
            let note: &[u8; 9] = note.as_ref().try_into().map_err(|_| corrupt("its note cannot be read".to_owned()))?;
            last = u64::from_le_bytes(std::array::from_fn(|i| note[i]));
            whole = note[8] == 1;
        }
        let mut journal = Self { file, path, last };
        match decode(&bytes) {
            // One that the pages have already is left when a kill comes just before it is emptied.
            Some((number, changes)) if number >= last && !(whole && number == last) => {
                journal.last = number;
                if !whole {
                    pages::trim(tree)?;
                }
                journal.change(tree, &changes)?;
            }
            _ if !whole => {
                let path = journal.path.display();
                return Err(corrupt(format!("changes were cut off, and {path}, which has them, cannot be read")));
            }
            _ => journal.empty(tree)?,
        }
        Ok(journal)
    }

    /// Makes the changes of a window: all of them or, if it fails, those may be missing that it did not come to until the
    /// store is opened again.
    ///
    /// # Errors
    /// [`StoreError::Backend`], [`StoreError::Corrupt`].
    pub fn write(&mut self, tree: &Tree, large: &LargeValues, changes: &Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let number = self.last + 1;
        let bytes = encode(number, changes);
        let names_large = changes.values().any(|change| matches!(change.value, Some(Value::Large(_))));
        if names_large {
            large.sync()?;
        }
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&bytes)?;
            self.file.sync_data()
        };
        write().map_err(|e| failed(tree, &e))?;
        self.last = number;
        self.change(tree, changes)
    }

    /// Changes the pages, and forgets the window.
    fn change(&mut self, tree: &Tree, changes: &Changes) -> Result<(), StoreError> {
        let note = |done: u8| [&self.last.to_le_bytes()[..], &[done]].concat();
        tree.put(NOTE, note(0))?;
        pages::apply(tree, changes)?;
        tree.put(NOTE, note(1))?;
        tree.sync()?;
        self.empty(tree)
    }

    fn empty(&mut self, tree: &Tree) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(|e| failed(tree, &e))
    }
}

fn failed(tree: &Tree, error: &io::Error) -> StoreError {
    StoreError::Backend { dir: tree.dir().to_owned(), reason: format!("the journal: {error}") }
}

fn encode(number: u64, changes: &Changes) -> Vec<u8> {
    let mut bytes = [number.to_le_bytes(), [0; 8]].concat();
    for (key, change) in changes {
        if let Some(value) = &change.value {
            pages::write_entry(&mut bytes, key.bytes(), Stored::of(value));
        }
    }
    let length = (bytes.len() - 16) as u64;
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    for (key, _) in changes.iter().filter(|(_, change)| change.value.is_none()) {
        pages::write_entry(&mut bytes, key.bytes(), Stored::Small(&[]));
    }
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

/// A window's number and its changes; `None` if the journal is not whole.
fn decode(bytes: &[u8]) -> Option<(u64, Changes)> {
    let (rest, sum) = bytes.split_last_chunk()?;
    if u64::from_le_bytes(*sum) != checksum(rest) {
        return None;
    }
    let (number, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (put, removed) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut changes = Changes::new();
    let mut read = |bytes: &[u8], is_put: bool| -> Result<(), Malformed> {
        let mut entries = Entries(bytes);
        while let Some((key, value)) = entries.next()? {
            let value = is_put.then(|| value.to_value());
            changes.insert(Key::new(key.to_vec()), Change { value, is_new: false });
        }
        Ok(())
    };
    read(put, true).ok()?;
    read(removed, false).ok()?;
    Some((u64::from_le_bytes(*number), changes))
}
