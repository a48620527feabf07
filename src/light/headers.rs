//! The best chain of headers: 80 bytes a block, in memory and in a file.
//!
//! The file is the headers from height 1 on, one after the other, and nothing else. One process writes it; others read
//! it and keep new headers in memory. Headers from the file are checked like headers from peers, so damage costs no
//! more than fetching the rest again. The hash of a block is the next header's `previous`, so none is stored.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consensus::headers::{HeaderChainError, HeaderTail};
use crate::consensus::params::Params;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::receipt::weight::{Milestone, Weight, backwards, weigh, work_of};
use crate::storage::StoreError;

/// Headers read from the file at a time.
const CHUNK: usize = 2_000;
/// Blocks below the tip among which a hash is searched one by one.
const RECENT: u32 = 2_016;

/// The chain. All of it is checked, and has more work than any other that was seen.
#[derive(Debug)]
pub struct Headers {
    params: Arc<Params>,
    /// That of height 1 first.
    headers: Vec<Header>,
    tail: HeaderTail,
    file: Option<HeaderFile>,
}

impl Headers {
    /// The chain of genesis alone, or what `path` holds of a longer one. Nothing is kept if there is no `path`.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(params: Arc<Params>, path: Option<&Path>) -> Result<Self, StoreError> {
        let tail = HeaderTail::new(&params);
        let mut chain = Self { params, headers: Vec::new(), tail, file: None };
        if let Some(path) = path {
            let (mut file, is_ours) = HeaderFile::open(path)?;
            chain.load(&mut file)?;
            if is_ours {
                file.cut(chain.height())?;
                chain.file = Some(file);
            }
        }
        Ok(chain)
    }

    /// Loads headers from the file up to the first invalid one.
    fn load(&mut self, file: &mut HeaderFile) -> Result<(), StoreError> {
        loop {
            let read = file.read()?;
            let before = self.headers.len();
            let whole = self.tail.extend(&read, &self.params).is_ok();
            self.headers.reserve_exact(read.len());
            self.headers.extend(&read[..self.tail.height().as_usize() - before]);
            if !whole || read.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// The parameters of the network whose chain this is.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Height of the last header.
    pub fn height(&self) -> Height {
        self.tail.height()
    }

    /// The last header.
    pub fn tip(&self) -> &Header {
        self.tail.tip()
    }

    /// The hash of the last header.
    pub fn tip_hash(&self) -> BlockHash {
        self.tail.tip_hash()
    }

    /// Expected hashes behind the whole chain.
    pub fn work(&self) -> Work {
        self.tail.work()
    }

    /// The header at a height.
    pub fn header(&self, height: Height) -> Option<&Header> {
        match height.checked_sub(1) {
            None => Some(&self.params.genesis.header),
            Some(place) => self.headers.get(place.as_usize()),
        }
    }

    /// The hash of the block at a height.
    pub fn hash(&self, height: Height) -> Option<BlockHash> {
        if height == self.height() {
            return Some(self.tip_hash());
        }
        self.header(height.checked_add(1)?).map(|next| next.previous)
    }

    /// The height of a block, if it is one of the last few thousand.
    pub fn recent(&self, hash: &BlockHash) -> Option<Height> {
        let lowest = self.height().saturating_sub(RECENT);
        lowest.through(self.height()).rev().find(|height| self.hash(*height).as_ref() == Some(hash))
    }

    /// The height of a block, however far down: looks at all of them.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        Height::GENESIS.through(self.height()).rev().find(|height| self.hash(*height).as_ref() == Some(hash))
    }

    /// Heights and hashes from `top` down to genesis, ten one by one, then at doubling distances.
    pub fn locator(&self, top: Height) -> Vec<(Height, BlockHash)> {
        let (mut places, mut height, mut step) = (Vec::new(), top.min(self.height()), 1);
        loop {
            places.extend(self.hash(height).map(|hash| (height, hash)));
            if height == Height::GENESIS {
                return places;
            }
            if places.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
        }
    }

    /// Expected hashes behind the chain up to a height, which must not be above the tip.
    pub fn work_at(&self, height: Height) -> Work {
        let above = self.headers.iter().skip(height.as_usize());
        self.work() - above.filter_map(|header| Some(header.bits.target().ok()?.work())).sum()
    }

    /// The work of the block at a height and all blocks above it; `None` above the tip.
    pub fn weight(&self, height: Height) -> Option<Weight> {
        let header = self.header(height)?;
        let block = Milestone { after: self.work_at(height), own: work_of(header), time: header.time };
        let earlier = Height::GENESIS.until(height).rev().filter_map(|height| self.header(height));
        Some(weigh(block, backwards(earlier, block.after - block.own), self.work(), self.tip().time))
    }

    /// The chain up to a height, which must not be above the tip, as the rules see it.
    pub fn tail(&self, height: Height) -> Option<HeaderTail> {
        if height == self.height() {
            return Some(self.tail);
        }
        let tip = (*self.header(height)?, self.hash(height)?);
        let first_time = self.header(height.min(Height::GENESIS.next()))?.time;
        let times = Height::GENESIS.through(height).rev().map_while(|height| Some(self.header(height)?.time));
        Some(HeaderTail::checked(tip, height, self.work_at(height), first_time, times))
    }

    /// Appends headers up to the first that breaks a rule; returns how many were added.
    ///
    /// # Errors
    /// Beside that number, why the next was not.
    pub fn extend(&mut self, headers: &[Header]) -> (usize, Result<(), ExtendError>) {
        let mut tail = self.tail;
        let (taken, result) = match tail.extend(headers, &self.params) {
            Ok(()) => (headers.len(), Ok(())),
            Err((taken, error)) => (taken, Err(error.into())),
        };
        match self.replace(self.height(), &headers[..taken], tail) {
            Ok(()) => (taken, result),
            Err(error) => (taken, Err(error.into())),
        }
    }

    /// Puts checked headers in the place of those above a height. `tail` is that of the chain which they make.
    ///
    /// # Errors
    /// The file's; memory has changed nevertheless.
    pub fn replace(&mut self, fork: Height, headers: &[Header], tail: HeaderTail) -> Result<(), StoreError> {
        self.headers.truncate(fork.as_usize());
        if self.headers.len() + headers.len() > self.headers.capacity() {
            // Doubling would leave up to half of the memory unused.
            self.headers.reserve_exact(headers.len().max(self.headers.len() / 8));
        }
        self.headers.extend_from_slice(headers);
        self.tail = tail;
        match &mut self.file {
            Some(file) => file.replace(fork, headers),
            None => Ok(()),
        }
    }

    /// Syncs the file to the disk.
    ///
    /// # Errors
    /// The file's.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), HeaderFile::sync)
    }
}

/// Why headers were not added.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    /// One breaks a rule.
    #[error(transparent)]
    Header(#[from] HeaderChainError),
    /// The file cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The file, which only one process may write.
#[derive(Debug)]
struct HeaderFile {
    file: File,
    path: PathBuf,
}

impl HeaderFile {
    /// The file, and whether this process may write it.
    fn open(path: &Path) -> Result<(Self, bool), StoreError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = Self { file: opened.map_err(|error| failed(path, &error))?, path: path.to_owned() };
        match file.file.try_lock() {
            Ok(()) => Ok((file, true)),
            Err(TryLockError::WouldBlock) => Ok((file, false)),
            Err(TryLockError::Error(error)) => Err(failed(path, &error)),
        }
    }

    /// The next [`CHUNK`] headers, fewer at the end.
    fn read(&mut self) -> Result<Vec<Header>, StoreError> {
        let mut bytes = Vec::with_capacity(CHUNK * Header::LEN);
        let mut chunk = (&self.file).take((CHUNK * Header::LEN) as u64);
        chunk.read_to_end(&mut bytes).map_err(|error| failed(&self.path, &error))?;
        // Any 80 bytes decode as a header; its rules are checked later.
        Ok(bytes.chunks_exact(Header::LEN).filter_map(|bytes| codec::decode(bytes).ok()).collect())
    }

    fn cut(&mut self, height: Height) -> Result<(), StoreError> {
        let length = u64::from(height.as_u32()) * Header::LEN as u64;
        let cut = self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length)));
        cut.map(drop).map_err(|error| failed(&self.path, &error))
    }

    fn replace(&mut self, fork: Height, headers: &[Header]) -> Result<(), StoreError> {
        self.cut(fork)?;
        let bytes: Vec<u8> = headers.iter().flat_map(Header::to_bytes).collect();
        self.file.write_all(&bytes).map_err(|error| failed(&self.path, &error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Backend { dir: path.to_owned(), reason: error.to_string() }
}
