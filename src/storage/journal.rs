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
//! The file: the window's number (`u64`, little-endian), its changes as they were made, and a checksum of all this.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::StoreError;
use super::changes::Window;
use super::large::{LargeValues, checksum};
use super::pages::{self, Stored};
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
            Some((number, window)) if number >= last && !(whole && number == last) => {
                journal.last = number;
                if !whole {
                    pages::trim(tree)?;
                }
                journal.change(tree, &window)?;
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
    pub fn write(&mut self, tree: &Tree, large: &LargeValues, window: &Window) -> Result<(), StoreError> {
        if window.len() == 0 {
            return Ok(());
        }
        let number = self.last + 1;
        let log = window.log();
        if log.iter().any(|change| matches!(change.value, Some(Stored::Large(_)))) {
            large.sync()?;
        }
        let head = number.to_le_bytes();
        let sum = checksum(&[&head, log.as_bytes()]).to_le_bytes();
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            [&head, log.as_bytes(), &sum].into_iter().try_for_each(|part| self.file.write_all(part))?;
            self.file.sync_data()
        };
        write().map_err(|e| failed(tree, &e))?;
        self.last = number;
        self.change(tree, window)
    }

    /// Changes the pages, and forgets the window.
    fn change(&mut self, tree: &Tree, window: &Window) -> Result<(), StoreError> {
        let note = |done: u8| [&self.last.to_le_bytes()[..], &[done]].concat();
        tree.put(NOTE, note(0))?;
        pages::apply(tree, window.under(&[], &[]))?;
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

/// A window's number, and the window; `None` if the journal is not whole.
fn decode(bytes: &[u8]) -> Option<(u64, Window)> {
    let (rest, sum) = bytes.split_last_chunk()?;
    if u64::from_le_bytes(*sum) != checksum(&[rest]) {
        return None;
    }
    let (number, log) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), Window::replay(log)?))
}
