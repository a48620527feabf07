//! The store as a whole: blocks that are checked when they are read, pins, a limit, and the removal of what no pin keeps.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::blocks::{self, Blocks, Key, Usage};
use super::error::{ContentError, at};
use super::pins::{CheckedPin, Pin, PinKind, Pins};
use super::reader::ContentReader;
use super::version;
use crate::ipld::read::DagReader;
use crate::ipld::{Block, Cid, Codec};
use crate::storage::private_file;

/// Name of the file that those make who wait for the store.
const WANTED: &str = "wanted";
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
        // Others who wait make it again.
        let wanted = dir.join(WANTED);
        private_file::remove(&wanted).map_err(at(&wanted))?;
        let (blocks, pins, reader) = (Blocks::open(dir)?, Pins::open(dir)?, ContentReader::open(dir)?);
        Ok(Self { dir: dir.to_owned(), blocks, pins, reader, max_bytes, put: HashSet::new(), _lock: lock })
    }

    /// Opens the store as [`ContentStore::open`]. While another process has it open, waits until `patience` says no.
    /// That process can see that this one waits: [`ContentStore::is_wanted`].
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
                Err(ContentError::InUse { .. }) if patience() => {
                    let wanted = dir.join(WANTED);
                    // On a full disk the other process gives way later.
                    let _ = private_file::touch(&wanted);
                    std::thread::sleep(PAUSE);
                }
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
        let is_known = self.blocks.has(&key, block)?;
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

    /// Whether another process, or another part of this one, waits for the store.
    pub fn is_wanted(&self) -> bool {
        self.dir.join(WANTED).exists()
    }

    /// Begins to bring all blocks to the disk, where others can read them, unless that is going on.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin_flush(&mut self) -> Result<(), ContentError> {
        self.blocks.begin_flush()
    }

    /// Brings all blocks to the disk.
    ///
    /// # Errors
    /// The file system's, also of blocks that were put before: they are lost then, and the store takes no others.
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

    /// Keeps what was read and checked before, unless another process has collected some of it since.
    ///
    /// # Errors
    /// [`ContentError::Missing`] if so, and the file system's.
    pub fn pin_checked(&mut self, CheckedPin { pin, cids }: &CheckedPin) -> Result<(), ContentError> {
        for cid in cids {
            if self.reader.size(cid)?.is_none() {
                return Err(ContentError::Missing { cid: (*cid).into() });
            }
        }
        self.pin(pin)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::PinName;
    use crate::ipld::HashFunction;

    fn block(number: u32) -> Block {
        let bytes = number.to_le_bytes().repeat(50_000);
        Block::check(Cid::v1(Codec::RAW, HashFunction::Sha2_256, &bytes).unwrap(), bytes).unwrap()
    }

    /// More than are named together: some wait, some get their names meanwhile, some have them.
    #[test]
    fn blocks_have_their_names_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ContentStore::open(dir.path(), 1 << 30).unwrap();
        let blocks: Vec<Block> = (0..500).map(block).collect();
        // Each twice: once as new, once as one that waits.
        blocks.iter().for_each(|block| [block; 2].iter().for_each(|block| store.put(block).unwrap()));
        store.flush().unwrap();
        for block in &blocks {
            assert_eq!(store.reader().get(block.cid()).unwrap(), *block);
            assert_eq!(store.reader().clone().once().get(block.cid()).unwrap(), *block);
        }
        blocks.iter().for_each(|block| store.put(block).unwrap());
        let usage = Usage { bytes: 500 * 200_000, blocks: 500 };
        drop(store);
        assert_eq!(ContentReader::open(dir.path()).unwrap().usage().unwrap(), usage);
        assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    /// A block that was taken can turn out later not to be on the disk: then nothing that comes after is taken or pinned.
    #[test]
    fn after_a_failed_write_nothing_is_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ContentStore::open(dir.path(), 1 << 30).unwrap();
        store.put(&block(1)).unwrap();
        store.flush().unwrap();
        std::fs::remove_dir(dir.path().join("tmp")).unwrap();
        let pin = Pin { cid: *block(2).cid(), kind: PinKind::Recursive, name: PinName::default() };
        let _ = store.put(&block(2));
        for _ in 0..2 {
            assert!(matches!(store.pin(&pin), Err(ContentError::Io { .. })));
            assert!(matches!(store.put(&block(3)), Err(ContentError::Io { .. })));
        }
        drop(store);
        let reader = ContentReader::open(dir.path()).unwrap();
        assert_eq!(reader.usage().unwrap(), Usage { bytes: 200_000, blocks: 1 }, "counted anew");
        assert_eq!(reader.pins().unwrap(), []);
    }
}
