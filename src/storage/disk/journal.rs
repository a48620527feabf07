//! Applies the changes of many commits to the pages atomically.
//!
//! A window, the changes of one write, goes
//!
//! 1. to the journal, a file; it and the large values that it names are synced;
//! 2. to the pages ([`super::pages`]), with a note in the tree before that they are being changed, and one after that they are;
//! 3. the tree is synced, and the journal emptied but for the window's number.
//!
//! After a kill or a power cut, pages that were being changed are trimmed and changed again, from the journal, which is
//! whole then. If the pages were not being changed, a whole journal holds a window that can still be applied, and a cut
//! one never counted.
//!
//! The number that stays tells a tree that is cut or lost from one that was never written: it has every window whose number
//! the journal names.
//!
//! The file: the window's number (`u64`, little-endian), its changes as they were made, and a checksum of all this.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::changes::Window;
use super::large::{self, Heights, LargeValues, checksum};
use super::pages::Pages;
use super::value::Stored;
use crate::storage::StoreError;

/// The file's name in the store's directory.
const FILE: &str = "journal";
/// Bytes of a window's number and a checksum.
const EMPTY_BYTES: u64 = 16;
/// Where the tree notes the number of the last window, and whether its changes are all made.
const NOTE: &[u8] = b"j";

/// The file, and the number of the last window.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    last: u64,
}

impl Journal {
    /// Opens the journal of `pages`, or makes one, and makes the changes that it holds.
    ///
    /// # Errors
    /// [`StoreError::Backend`], [`StoreError::Corrupt`].
    pub fn open(pages: &Pages) -> Result<Self, StoreError> {
        let tree = &pages.tree;
        let corrupt = |reason: String| StoreError::Corrupt { dir: tree.dir().to_owned(), reason };
        let path = tree.dir().join(FILE);
        let read = || -> io::Result<(File, Vec<u8>)> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = read().map_err(|e| failed(pages, &e))?;
        let (mut last, mut whole) = (0, true);
        if let Some(note) = tree.get(NOTE)? {
            let note: &[u8; 9] = note.as_ref().try_into().map_err(|_| corrupt("its note cannot be read".to_owned()))?;
            last = u64::from_le_bytes(std::array::from_fn(|i| note[i]));
            whole = note[8] == 1;
        }
        // The last window whose changes the tree has all of.
        let reached = if whole { last } else { last.saturating_sub(1) };
        let journal = decode(&bytes);
        if let Some((number, window)) = &journal
            && (*number > reached.saturating_add(1) || (*number > reached && window.len() == 0))
        {
            let reason = format!("its file db is cut or lost: window {number} was written, and it ends at {reached}");
            return Err(corrupt(reason));
        }
        match journal {
            Some((number, window)) if number > reached => {
                let mut journal = Self { file, last: number };
                if !whole {
                    pages.trim()?;
                }
                journal.change(pages, &window)?;
                Ok(journal)
            }
            _ if !whole => {
                let path = path.display();
                Err(corrupt(format!("changes were cut off, and {path}, which has them, cannot be read")))
            }
            _ => {
                let mut journal = Self { file, last };
                journal.empty(pages)?;
                Ok(journal)
            }
        }
    }

    /// Applies the changes of a window. If it fails, changes may be missing until the store is opened again.
    ///
    /// # Errors
    /// [`StoreError::Backend`], [`StoreError::Corrupt`].
    pub fn write(&mut self, pages: &Pages, large: &LargeValues, window: &Window) -> Result<(), StoreError> {
        large.sync()?;
        if window.len() == 0 {
            return Ok(());
        }
        let number = self.last.saturating_add(1);
        let log = window.log();
        let write = || {
            write(&self.file, number, log.as_bytes())?;
            self.file.sync_data()
        };
        write().map_err(|e| failed(pages, &e))?;
        self.last = number;
        self.change(pages, window)
    }

    /// Changes the pages and clears the journal.
    fn change(&mut self, pages: &Pages, window: &Window) -> Result<(), StoreError> {
        let tree = &pages.tree;
        let note = |done: u8| [&self.last.to_le_bytes()[..], &[done]].concat();
        let mut heights = Heights::new();
        let changes = window.range(&[], &[]).inspect(|change| {
            if let Some(Stored::Large(place)) = change.value {
                large::note(&mut heights, place);
            }
        });
        tree.put(NOTE, note(0))?;
        let replaced = pages.apply(changes)?;
        large::keep_heights(tree, &heights)?;
        tree.put(NOTE, note(1))?;
        tree.sync()?;
        pages.settle(replaced)?;
        self.empty(pages)
    }

    /// Keeps the window's number without its changes. Not synced: if this is lost, the window is still there and is
    /// applied again.
    fn empty(&mut self, pages: &Pages) -> Result<(), StoreError> {
        let write = || {
            self.file.set_len(EMPTY_BYTES)?;
            write(&self.file, self.last, &[])
        };
        write().map_err(|e| failed(pages, &e))
    }
}

fn write(file: &File, number: u64, log: &[u8]) -> io::Result<()> {
    let head = number.to_le_bytes();
    let sum = checksum(&[&head, log]).to_le_bytes();
    file.write_all_at(&head, 0)?;
    file.write_all_at(log, head.len() as u64)?;
    file.write_all_at(&sum, (head.len() + log.len()) as u64)
}

fn failed(pages: &Pages, error: &io::Error) -> StoreError {
    StoreError::Backend { dir: pages.tree.dir().to_owned(), reason: format!("the journal: {error}") }
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
