//! The file of a light client's headers.
//!
//! One process writes it; others read it and keep new headers in memory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consensus::params::Params;
use crate::light::Headers;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::storage::StoreError;

/// Bytes read from the file at a time: a whole number of headers.
const CHUNK: usize = 2_000 * Header::LEN;

/// The headers of the best chain, from height 1 on, one after the other.
#[derive(Debug)]
pub struct HeaderFile {
    file: File,
    path: PathBuf,
    /// Whether this process may write it.
    is_ours: bool,
}

impl HeaderFile {
    /// Opens the file, or makes one.
    ///
    /// # Errors
    /// [`StoreError::Backend`]; so for all below.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| failed(path, &error))?;
        let is_ours = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(failed(path, &error)),
        };
        Ok(Self { file, path: path.to_owned(), is_ours })
    }

    /// The chain that it holds, up to the first header that does not continue it; the file is cut there.
    ///
    /// # Errors
    /// If it cannot be read or cut.
    pub fn load(&self, params: Arc<Params>) -> Result<Headers, StoreError> {
        let mut chain = Headers::new(params);
        let mut bytes = Vec::with_capacity(CHUNK);
        self.try_to(|mut file| file.seek(SeekFrom::Start(0)))?;
        loop {
            bytes.clear();
            self.try_to(|file| file.take(CHUNK as u64).read_to_end(&mut bytes))?;
            if !chain.load(&bytes) || bytes.len() < CHUNK {
                break;
            }
        }
        self.replace(chain.height(), &[])?;
        Ok(chain)
    }

    /// Puts headers in the place of those above a height, unless another process writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn replace(&self, above: Height, headers: &[u8]) -> Result<(), StoreError> {
        if !self.is_ours {
            return Ok(());
        }
        let end = u64::from(above.as_u32()) * Header::LEN as u64;
        self.try_to(|file| file.set_len(end).and_then(|()| file.write_all_at(headers, end)))
    }

    /// Syncs it to the disk.
    ///
    /// # Errors
    /// If that fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.try_to(File::sync_data)
    }

    fn try_to<T>(&self, act: impl FnOnce(&File) -> std::io::Result<T>) -> Result<T, StoreError> {
        act(&self.file).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Backend { dir: path.to_owned(), reason: error.to_string() }
}
