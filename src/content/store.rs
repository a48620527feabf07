//! The store as a whole: blocks that are checked when they are read, pins, a limit, and the removal of what no pin keeps.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::blocks::{self, Blocks, Key, Usage};
use super::error::{ContentError, at};
use super::pins::{Pin, PinKind, Pins};
use super::reader::ContentReader;
use super::version;
use crate::ipld::read::DagReader;
use crate::ipld::{Block, Cid, Codec};
use crate::storage::private_file;

/// Time between two tries to open a store that another process has open.
const PAUSE: Duration = Duration::from_millis(20);

/// The blocks that a store was given since it was opened.
#[derive(Debug, Default)]
pub struct Put(HashSet<Key>);

/// Content on disk, to change it. One process has it open at a time.
#[derive(Debug)]
pub struct ContentStore {
    dir: PathBuf,
    blocks: Blocks,
    pins: Pins,
    reader: ContentReader,
    max_bytes: u64,
    /// What this process has put: it may be about to be pinned, so it is not collected.
    put: HashSet<Key>,
    /// Held as long as the store is open.
    _lock: File,
}

impl ContentStore {
    /// Opens the store in `dir`, and makes it if there is none. It takes at most `max_bytes` of blocks.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, ContentError> {
        private_file::create_dir(dir).map_err(at(dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ContentError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        version::check_or_write(dir)?;
        let (blocks, pins, reader) = (Blocks::open(dir)?, Pins::open(dir)?, ContentReader::open(dir)?);
        Ok(Self { dir: dir.to_owned(), blocks, pins, reader, max_bytes, put: HashSet::new(), _lock: lock })
    }

    /// Opens the store as [`ContentStore::open`], and waits for other processes that have it open until `patience` says no.
    ///
    /// # Errors
    /// [`ContentError::InUse`] then, and those of [`ContentStore::open`].
    pub fn open_patiently(
        dir: &Path,
        max_bytes: u64,
        mut patience: impl FnMut() -> bool,
    ) -> Result<Self, ContentError> {
        loop {
            match Self::open(dir, max_bytes) {
                Err(ContentError::InUse { .. }) if patience() => std::thread::sleep(PAUSE),
                opened => return opened,
            }
        }
    }

    /// The same, for at most a time. A node that fetches gives way within a second.
    ///
    /// # Errors
    /// As [`ContentStore::open_patiently`].
    pub fn open_within(dir: &Path, max_bytes: u64, most: Duration) -> Result<Self, ContentError> {
        let end = Instant::now() + most;
        Self::open_patiently(dir, max_bytes, || Instant::now() < end)
    }

    /// Brings all blocks to the disk and closes the store. What it was given is not collected if the next store is told of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn close(mut self) -> Result<Put, ContentError> {
        self.flush()?;
        Ok(Put(std::mem::take(&mut self.put)))
    }

    /// Does not collect these blocks either.
    pub fn protect(&mut self, Put(blocks): Put) {
        self.put.extend(blocks);
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads what is in it, but for blocks that are put and not yet on the disk: see [`ContentStore::flush`].
    pub fn reader(&self) -> &ContentReader {
        &self.reader
    }

    /// The most bytes of blocks.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Takes a block. It survives a kill from the next [`ContentStore::flush`] or [`ContentStore::pin`] on. If there is
    /// no room, everything is removed that is neither pinned nor put by this process.
    ///
    /// # Errors
    /// [`ContentError::Full`], and the file system's.
    pub fn put(&mut self, block: &Block) -> Result<(), ContentError> {
        if block.cid().inline().is_some() {
            return Ok(());
        }
        let key = Key::of(block.cid());
        let needed = block.bytes().len() as u64;
        let is_known =
            self.blocks.size(&key)? == Some(needed) && self.blocks.read(&key)?.as_deref() == Some(block.bytes());
        self.put.insert(key.clone());
        if is_known {
            return Ok(());
        }
        let fits = |used: u64, max: u64| used.saturating_add(needed) <= max;
        if !fits(self.blocks.usage()?.bytes, self.max_bytes) {
            self.collect(|_| {})?;
            let (used, max) = (self.blocks.usage()?.bytes, self.max_bytes);
            if !fits(used, max) {
                return Err(ContentError::Full { needed, used, max });
            }
        }
        self.blocks.write(key, block)
    }

    /// Brings all blocks to the disk.
    ///
    /// # Errors
    /// The file system's.
    pub fn flush(&mut self) -> Result<(), ContentError> {
        self.blocks.flush()
    }

    /// Keeps a block, or the DAG below it, which the caller has put or checked.
    ///
    /// # Errors
    /// The file system's.
    pub fn pin(&mut self, pin: &Pin) -> Result<(), ContentError> {
        self.flush()?;
        self.pins.add(pin)
    }

    /// Keeps a block, and what is below it, no longer. Its bytes stay until they are collected.
    ///
    /// # Errors
    /// [`ContentError::NotPinned`].
    pub fn unpin(&mut self, cid: &Cid) -> Result<(), ContentError> {
        let was_recursive = self.pins.remove(cid, PinKind::Recursive)?;
        let was_direct = self.pins.remove(cid, PinKind::Direct)?;
        if was_recursive || was_direct { Ok(()) } else { Err(ContentError::NotPinned { cid: (*cid).into() }) }
    }

    /// Removes every block that no pin keeps and that this process has not put. Names each, as the CIDv1 of raw bytes.
    /// Returns what was removed.
    ///
    /// # Errors
    /// If a pinned block is missing or damaged: what is below it is not known then, so nothing is removed.
    pub fn collect(&mut self, mut removed: impl FnMut(&Cid)) -> Result<Usage, ContentError> {
        self.flush()?;
        let mut kept = self.put.clone();
        let (recursive, direct): (Vec<Pin>, Vec<Pin>) =
            self.reader.pins()?.into_iter().partition(|pin| pin.kind == PinKind::Recursive);
        kept.extend(direct.iter().map(|pin| Key::of(&pin.cid)));
        let mut reader = DagReader::new(recursive.iter().map(|pin| pin.cid));
        while let Some(cid) = reader.next_block() {
            kept.insert(Key::of(&cid));
            // Raw blocks have no links: those need not be read.
            if cid.codec() != Codec::RAW {
                reader.supply(&cid, self.reader.get(&cid)?.bytes())?;
            }
        }
        let mut collected = Usage::default();
        for key in blocks::keys(&blocks::dir(&self.dir))?.into_iter().filter(|key| !kept.contains(key)) {
            collected.bytes += self.blocks.remove(&key)?;
            collected.blocks += 1;
            key.raw_cid().iter().for_each(&mut removed);
        }
        Ok(collected)
    }
}
