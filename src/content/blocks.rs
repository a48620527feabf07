//! Blocks in files, each under its multihash, so that CIDs of any version and codec share it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::{ContentError, at};
use crate::ipld::{Block, Cid};
use crate::storage::private_file;

/// Bytes and files that wait under temporary names before they are synchronised together: few enough for a kill to
/// cost little, and so many that a disk's latency does not count.
const MAX_WAITING_BYTES: u64 = 64 << 20;
const MAX_WAITING_FILES: usize = 4_096;
/// Up to so many files are synchronised one by one, more of them with the whole file system.
#[cfg(target_os = "linux")]
const MAX_SINGLE_SYNCS: usize = 16;

/// Name of a block in the store: its multihash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(Box<[u8]>);

impl Key {
    pub(super) fn of(cid: &Cid) -> Self {
        Self(cid.multihash().into_boxed_slice())
    }

    /// The CIDv1 of the block as raw bytes, whatever it is.
    pub(super) fn raw_cid(&self) -> Option<Cid> {
        Cid::from_bytes(&[&[1, 0x55], &self.0[..]].concat()).ok()
    }
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of all blocks.
    pub bytes: u64,
    /// How many.
    pub blocks: u64,
}

/// Directory of the blocks in a store.
pub(super) fn dir(store: &Path) -> PathBuf {
    store.join("blocks")
}

/// Where the usage is kept while no process writes.
pub(super) fn usage_file(store: &Path) -> PathBuf {
    store.join("usage")
}

/// All blocks in that directory, in no order.
pub(super) fn keys(dir: &Path) -> Result<Vec<Key>, ContentError> {
    let mut keys = Vec::new();
    each_file(dir, &mut |name, _| {
        // Other files are not ours: they are left alone.
        keys.extend(name.and_then(|name| hex::decode(name).ok()).map(|hash| Key(hash.into_boxed_slice())));
    })?;
    Ok(keys)
}

/// What is stored: as the last process that wrote has left it, else counted.
pub(super) fn usage(dir: &Path, usage_file: &Path) -> Result<Usage, ContentError> {
    let kept = fs::read_to_string(usage_file).ok().and_then(|text| {
        let (bytes, blocks) = text.trim().split_once(' ')?;
        Some(Usage { bytes: bytes.parse().ok()?, blocks: blocks.parse().ok()? })
    });
    let mut counted = Usage::default();
    if kept.is_none() {
        each_file(dir, &mut |_, size| {
            counted = Usage { bytes: counted.bytes + size, blocks: counted.blocks + 1 };
        })?;
    }
    Ok(kept.unwrap_or(counted))
}

/// Another process may remove files meanwhile.
fn each_file(dir: &Path, each: &mut dyn FnMut(Option<&str>, u64)) -> Result<(), ContentError> {
    for dir in files_in(dir)? {
        for file in files_in(&dir)? {
            if let Some(size) = size(&file)? {
                each(file.file_name().and_then(|name| name.to_str()), size);
            }
        }
    }
    Ok(())
}

/// The entries of a directory; none if there is none.
pub(super) fn files_in(dir: &Path) -> Result<Vec<PathBuf>, ContentError> {
    match fs::read_dir(dir) {
        Ok(files) => files.map(|file| Ok(file.map_err(at(dir))?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(dir)(error)),
    }
}

/// Where a block is in that directory.
pub(super) fn path(dir: &Path, key: &Key) -> PathBuf {
    let last = key.0.last().copied().unwrap_or_default();
    dir.join(hex::encode([last])).join(hex::encode(&key.0))
}

/// Bytes of a file; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, ContentError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// A digest of a function that is not known here can be too long for a name.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename)
}

/// Its length, if it is there.
pub(super) fn size(path: &Path) -> Result<Option<u64>, ContentError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// The files.
#[derive(Debug)]
pub(super) struct Blocks {
    dir: PathBuf,
    temporary: PathBuf,
    /// Whole, but under temporary names.
    waiting: HashMap<Key, PathBuf>,
    waiting_bytes: u64,
    /// Temporary files made so far.
    serial: u64,
    /// `None` until it is asked for.
    usage: Option<Usage>,
    /// Where it is kept while no process writes.
    usage_file: PathBuf,
}

impl Blocks {
    /// Opens the store's files; the caller holds its lock.
    pub(super) fn open(store: &Path) -> Result<Self, ContentError> {
        let blocks = Self {
            dir: dir(store),
            temporary: store.join("tmp"),
            waiting: HashMap::new(),
            waiting_bytes: 0,
            serial: 0,
            usage: None,
            usage_file: usage_file(store),
        };
        private_file::create_dir(&blocks.dir).map_err(at(&blocks.dir))?;
        // What a killed process left.
        match fs::remove_dir_all(&blocks.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&blocks.temporary)(error)),
            _ => {}
        }
        private_file::create_dir(&blocks.temporary).map_err(at(&blocks.temporary))?;
        Ok(blocks)
    }

    fn path(&self, key: &Key) -> PathBuf {
        path(&self.dir, key)
    }

    /// Where a block's bytes are now.
    fn place(&self, key: &Key) -> PathBuf {
        self.waiting.get(key).cloned().unwrap_or_else(|| self.path(key))
    }

    /// Its bytes, as they are on disk; `None` if it is not there.
    pub(super) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ContentError> {
        read(&self.place(key))
    }

    /// Its length, if it is there.
    pub(super) fn size(&self, key: &Key) -> Result<Option<u64>, ContentError> {
        size(&self.place(key))
    }

    /// Writes a block, in place of a damaged one as well. Until [`Blocks::flush`] it can be read, but not survive a kill.
    pub(super) fn write(&mut self, key: Key, block: &Block) -> Result<(), ContentError> {
        let mut usage = self.begin_change()?;
        let path = self.temporary.join(self.serial.to_string());
        self.serial += 1;
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(block.bytes())).map_err(at(&path))?;
        let size = block.bytes().len() as u64;
        // A damaged block was counted with the length that it should have.
        if self.size(&key)?.is_none() {
            usage = Usage { bytes: usage.bytes + size, blocks: usage.blocks + 1 };
        }
        self.usage = Some(usage);
        self.waiting.insert(key, path);
        self.waiting_bytes += size;
        if self.waiting_bytes >= MAX_WAITING_BYTES || self.waiting.len() >= MAX_WAITING_FILES {
            self.flush()?;
        }
        Ok(())
    }

    /// Synchronises what waits, and gives it its names. A block that was written survives a kill and a power cut from
    /// then on.
    pub(super) fn flush(&mut self) -> Result<(), ContentError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        sync(&self.temporary, self.waiting.values().map(PathBuf::as_path))?;
        let mut dirs: Vec<PathBuf> = Vec::new();
        for (key, temporary) in &self.waiting {
            let path = self.path(key);
            let dir = path.parent().unwrap_or(&self.dir);
            if !dirs.iter().any(|known| known == dir) {
                private_file::create_dir(dir).map_err(at(dir))?;
                dirs.push(dir.to_owned());
            }
            fs::rename(temporary, &path).map_err(at(&path))?;
        }
        dirs.push(self.dir.clone());
        sync(&self.dir, dirs.iter().map(PathBuf::as_path))?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Removes a block that does not wait. Returns the bytes that this frees.
    pub(super) fn remove(&mut self, key: &Key) -> Result<u64, ContentError> {
        let usage = self.begin_change()?;
        let Some(size) = self.size(key)? else { return Ok(0) };
        let path = self.path(key);
        fs::remove_file(&path).map_err(at(&path))?;
        let bytes = usage.bytes.saturating_sub(size);
        self.usage = Some(Usage { bytes, blocks: usage.blocks.saturating_sub(1) });
        Ok(size)
    }

    /// What is stored, what waits included. Counts the files if the process before was killed.
    pub(super) fn usage(&mut self) -> Result<Usage, ContentError> {
        match self.usage {
            Some(usage) => Ok(usage),
            None => Ok(*self.usage.insert(usage(&self.dir, &self.usage_file)?)),
        }
    }

    /// From here on the usage on disk is not true.
    fn begin_change(&mut self) -> Result<Usage, ContentError> {
        let usage = self.usage()?;
        match fs::remove_file(&self.usage_file) {
            // Or a power cut could bring it back, beside other blocks.
            Ok(()) => sync(&self.dir, self.usage_file.parent().into_iter())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&self.usage_file)(error)),
        }
        Ok(usage)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // What was not flushed was not promised, so it is not in the usage: the next process counts.
        if let Some(Usage { bytes, blocks }) = self.usage.filter(|_| self.waiting.is_empty()) {
            let _ = private_file::replace(&self.usage_file, format!("{bytes} {blocks}\n").as_bytes());
        }
    }
}

/// Brings files or directories of one file system to the disk.
fn sync<'a>(dir: &Path, paths: impl ExactSizeIterator<Item = &'a Path>) -> Result<(), ContentError> {
    #[cfg(target_os = "linux")]
    if paths.len() > MAX_SINGLE_SYNCS {
        let file = File::open(dir).map_err(at(dir))?;
        return rustix::fs::syncfs(file).map_err(|error| at(dir)(error.into()));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = dir;
    for path in paths {
        File::open(path).and_then(|file| file.sync_all()).map_err(at(path))?;
    }
    Ok(())
}
