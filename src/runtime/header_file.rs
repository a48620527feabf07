//! The file of a light client's headers: a proof of the chain, if it began with one, and the headers since.
//!
//! One process writes it; others read it and keep new headers in memory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::consensus::params::Params;
use crate::light::Headers;
use crate::p2p::chain_proofs::MAX_CHAIN_PROOF_BYTES;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::storage::StoreError;

/// Most bytes of a beginning: those of a proof, and what stands before it.
const MAX_BEGINNING: u64 = MAX_CHAIN_PROOF_BYTES as u64 + 16;
/// Bytes read from the file at a time: a whole number of headers.
const CHUNK: usize = 2_000 * Header::LEN;

/// Where the headers stand in the file.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bytes before them.
    start: u64,
    /// The height below the first of them.
    below: Height,
}

/// From genesis on, without a proof.
const WHOLE: Layout = Layout { start: 0, below: Height::GENESIS };

/// The headers of the best chain, one after the other, from height 1 or from the first that the proof before them shows together
/// with all later ones.
#[derive(Debug)]
pub struct HeaderFile {
    file: File,
    path: PathBuf,
    /// Whether this process may write it.
    is_ours: bool,
    layout: Mutex<Layout>,
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
        Ok(Self { file, path: path.to_owned(), is_ours, layout: Mutex::new(WHOLE) })
    }

    /// The chain that it holds, up to the first header that does not continue it; the file is cut there. A proof that does not
    /// hold leaves nothing.
    ///
    /// # Errors
    /// If it cannot be read or cut.
    pub fn load(&self, params: Arc<Params>) -> Result<Headers, StoreError> {
        let mut chain = Headers::new(params);
        let mut bytes = Vec::with_capacity(CHUNK);
        let mut layout = WHOLE;
        self.try_to(|mut file| file.seek(SeekFrom::Start(0)))?;
        self.try_to(|file| file.take(MAX_BEGINNING).read_to_end(&mut bytes))?;
        if let Some((_, length)) = Headers::kept_proof(&bytes)
            && chain.load(&bytes[..length])
        {
            layout = Layout { start: length as u64, below: chain.first().saturating_sub(1) };
        }
        self.try_to(|mut file| file.seek(SeekFrom::Start(layout.start)))?;
        loop {
            bytes.clear();
            self.try_to(|file| file.take(CHUNK as u64).read_to_end(&mut bytes))?;
            if !chain.load(&bytes) || bytes.len() < CHUNK {
                break;
            }
        }
        *self.layout.lock().unwrap_or_else(PoisonError::into_inner) = layout;
        // All of what a proof shows may not have been written.
        self.replace(None, layout.below, &chain.kept_bytes())?;
        Ok(chain)
    }

    /// Puts headers in the place of those above a height, or of all that the file holds and behind a new beginning, unless another
    /// process writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn replace(&self, beginning: Option<Vec<u8>>, above: Height, headers: &[u8]) -> Result<(), StoreError> {
        if !self.is_ours {
            return Ok(());
        }
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut bytes) = beginning {
            *layout = Layout { start: bytes.len() as u64, below: above };
            bytes.extend_from_slice(headers);
            return self.try_to(|file| file.set_len(0).and_then(|()| file.write_all_at(&bytes, 0)));
        }
        let end = layout.start + u64::from(above.blocks_since(layout.below)) * Header::LEN as u64;
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
