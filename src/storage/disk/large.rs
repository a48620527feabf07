//! Values too long to be copied with their neighbours, one after another in a file: block bodies, undo records, filters.
//!
//! Bytes in the file are never changed. A removed or replaced value leaves its bytes behind, as does one whose commit a
//! kill undoes. Blocks cost work, so an attacker cannot fill the disk this way.
//!
//! A value has its place at once, and is written when the store's writer comes to it: a commit of a block does not wait
//! for the disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siphasher::sip::SipHasher13;

use crate::storage::StoreError;

/// Where a value is, and a checksum of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    length: u32,
    checksum: u64,
}

impl Place {
    /// Bytes of its encoding.
    pub const LEN: usize = 20;

    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let length = u32::from_le_bytes(std::array::from_fn(|i| bytes[8 + i]));
        Self { offset: number(0), length, checksum: number(12) }
    }
}

/// The file to which large values are appended.
#[derive(Debug)]
pub(super) struct LargeValues {
    file: File,
    path: PathBuf,
    tail: Mutex<Tail>,
}

/// What is not in the file yet.
#[derive(Debug)]
struct Tail {
    /// Where the next value goes.
    end: u64,
    /// Values that are to be written, by their offsets, each with its place.
    waiting: BTreeMap<u64, (Place, Arc<[u8]>)>,
}

impl LargeValues {
    /// The file's name in the store's directory.
    pub const FILE: &str = "large";

    /// Opens the file in `dir`, or makes one there. A link to one, as a copy of a database has it, may be to a file that can
    /// only be read; syncing it fails once something was appended.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(Self::FILE);
        let open = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.or_else(|error| match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied if path.is_symlink() => {
                    File::open(&path)
                }
                _ => Err(error),
            })?;
            let end = file.metadata()?.len();
            Ok((file, end))
        };
        let (file, end) = open().map_err(|e| failed(&path, &e))?;
        Ok(Self { file, path, tail: Mutex::new(Tail { end, waiting: BTreeMap::new() }) })
    }

    // Nothing under this lock can panic and leave half a change.
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a value, which is in memory until [`LargeValues::sync`].
    pub fn append(&self, value: &[u8]) -> Place {
        let (length, checksum) = (value.len() as u32, checksum(&[value]));
        let mut tail = self.tail();
        let offset = tail.end;
        tail.end += value.len() as u64;
        let place = Place { offset, length, checksum };
        tail.waiting.insert(offset, (place, value.into()));
        place
    }

    /// The value at a place.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Backend`].
    pub fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        let corrupt = |what: &str| {
            let reason = format!("{} is {what} at byte {}", self.path.display(), place.offset);
            StoreError::Corrupt { dir: self.path.parent().unwrap_or(&self.path).to_owned(), reason }
        };
        // An old place in a file that was cut since may have the offset of a new value.
        if let Some((_, value)) = self.tail().waiting.get(&place.offset).filter(|(waits, _)| *waits == place) {
            return Ok(value.to_vec());
        }
        let mut value = vec![0; place.length as usize];
        match self.file.read_exact_at(&mut value, place.offset) {
            Ok(()) if checksum(&[&value]) == place.checksum => Ok(value),
            Ok(()) => Err(corrupt("changed")),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(corrupt("cut off")),
            Err(e) => Err(failed(&self.path, &e)),
        }
    }

    /// Writes what waits, and returns when all that was appended before would survive a power cut. Until then it stays in
    /// memory, since a failed write may leave anything in the file.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let waiting = self.tail().waiting.clone();
        if waiting.is_empty() {
            return Ok(());
        }
        let write = || {
            waiting.iter().try_for_each(|(offset, (_, value))| self.file.write_all_at(value, *offset))?;
            self.file.sync_data()
        };
        write().map_err(|e| failed(&self.path, &e))?;
        self.tail().waiting.retain(|offset, _| !waiting.contains_key(offset));
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let dir = path.parent().unwrap_or(path).to_owned();
    StoreError::Backend { dir, reason: format!("{}: {error}", path.display()) }
}

/// Of all parts together. It detects damage, not malice: SipHash with a key of zero.
pub(super) fn checksum(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}
