//! Blocks in files, each under its multihash, so that CIDs of any version and codec share it.

#[cfg(target_os = "linux")]
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::{ContentError, at};
use super::writers::{self, Writers};
#[cfg(target_os = "linux")]
use super::writers::{ALIGNMENT, Aligned, MIN_DIRECT};
use crate::ipld::{Block, Cid, MAX_BLOCK_BYTES};
use crate::storage::private_file;

/// Bytes and files that wait under temporary names before they are synchronised together: few enough for a kill to
/// cost little, and so many that a disk's latency does not count.
const MAX_WAITING_BYTES: u64 = 64 << 20;
const MAX_WAITING_FILES: usize = 4_096;
/// Up to so many files are synchronised by themselves, more of them with the whole file system: that takes a few milliseconds,
/// but waits for whatever other programs have written, which can take seconds.
#[cfg(target_os = "linux")]
const MAX_SINGLE_SYNCS: usize = 64;
/// How many of them at a time.
const SYNCS_AT_A_TIME: usize = 4;

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

#[cfg(target_os = "linux")]
thread_local! {
    /// A thread's room for a block that is read.
    static ROOM: RefCell<Aligned> = RefCell::default();
}

/// The same as [`read`], and leaves the page cache as it is: what is read once would take room there from what is read often.
/// Large blocks come from the disk directly, if the file system gives them so. A small one stays in the cache if the disk gives it at
/// once: the system then does not tell that it was not there.
#[cfg(target_os = "linux")]
pub(super) fn read_once(path: &Path) -> Result<Option<Vec<u8>>, ContentError> {
    use std::io::{IoSliceMut, Read};

    use rustix::fs::{Advice, OFlags, fadvise, fcntl_setfl};
    use rustix::io::{ReadWriteFlags, pread, preadv2};

    let once = |room: &mut Aligned| {
        let mut file = File::open(path)?;
        // What is longer is damaged, and its first bytes show that.
        let length = file.metadata()?.len().min(MAX_BLOCK_BYTES as u64 + 1) as usize;
        if length >= MIN_DIRECT && fcntl_setfl(&file, OFlags::DIRECT).is_ok() {
            let room = room.of(length.next_multiple_of(ALIGNMENT));
            if pread(&file, &mut *room, 0).is_ok_and(|count| count >= length) {
                return Ok(room[..length].to_vec());
            }
            fcntl_setfl(&file, OFlags::empty())?;
        }
        let mut bytes = vec![0; length];
        // Reads what is there already, and waits for nothing from the disk.
        let there = preadv2(&file, &mut [IoSliceMut::new(&mut bytes)], 0, ReadWriteFlags::NOWAIT);
        if there != Ok(length) {
            file.read_exact(&mut bytes)?;
            // No harm is done where this fails.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
        Ok(bytes)
    };
    match ROOM.with_borrow_mut(once) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Elsewhere the system decides what stays in the page cache.
#[cfg(not(target_os = "linux"))]
pub(super) use self::read as read_once;

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

/// Blocks under temporary names, which get their own together.
#[derive(Debug, Default)]
struct Batch {
    /// Each with its temporary file.
    blocks: HashMap<Key, PathBuf>,
    bytes: u64,
}

impl Batch {
    /// Waits until the files are whole, which have numbers before `end`; synchronises them and gives them their names. Answers in
    /// which directories those are.
    fn name(&self, dir: &Path, written: &writers::Shared, end: u64) -> Result<BTreeSet<PathBuf>, ContentError> {
        written.written_before(end)?;
        sync(dir, self.blocks.values().map(PathBuf::as_path))?;
        let mut dirs = BTreeSet::new();
        for (key, temporary) in &self.blocks {
            let path = path(dir, key);
            let parent = path.parent().unwrap_or(dir);
            if !dirs.contains(parent) {
                private_file::create_dir(parent).map_err(at(parent))?;
                dirs.insert(parent.to_owned());
            }
            fs::rename(temporary, &path).map_err(at(&path))?;
        }
        Ok(dirs)
    }
}

/// A batch that gets its names on a thread of its own.
#[derive(Debug)]
struct Naming {
    batch: Arc<Batch>,
    thread: JoinHandle<Result<BTreeSet<PathBuf>, ContentError>>,
}

/// The files.
#[derive(Debug)]
pub(super) struct Blocks {
    dir: PathBuf,
    temporary: PathBuf,
    /// Started with the first block.
    writers: Option<Writers>,
    /// Given to the writers.
    waiting: Batch,
    /// The batch before, while others are written already.
    naming: Option<Naming>,
    /// Where names were given since all of them were synchronised.
    named: BTreeSet<PathBuf>,
    /// Whether the process before may have left without synchronising the names that it gave.
    was_killed: bool,
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
            writers: None,
            waiting: Batch::default(),
            naming: None,
            named: BTreeSet::new(),
            was_killed: !usage_file(store).exists(),
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

    /// Whether a block waits for its name.
    fn is_waiting(&self, key: &Key) -> bool {
        let naming = self.naming.as_ref().is_some_and(|naming| naming.batch.blocks.contains_key(key));
        naming || self.waiting.blocks.contains_key(key)
    }

    /// Whether a block is there, with these bytes.
    pub(super) fn has(&self, key: &Key, block: &Block) -> Result<bool, ContentError> {
        if self.is_waiting(key) {
            return Ok(true);
        }
        let path = self.path(key);
        Ok(size(&path)? == Some(block.bytes().len() as u64) && read(&path)?.as_deref() == Some(block.bytes()))
    }

    /// Writes a block that does not wait, in place of a damaged one as well. Until [`Blocks::flush`] it does not survive a kill.
    pub(super) fn write(&mut self, key: Key, block: &Block) -> Result<(), ContentError> {
        let mut usage = self.begin_change()?;
        let path = self.temporary.join(self.serial.to_string());
        let writers = match self.writers.take() {
            Some(writers) => writers,
            None => Writers::start().map_err(at(&self.dir))?,
        };
        self.writers.insert(writers).write(self.serial, path.clone(), block.clone())?;
        self.serial += 1;
        let bytes = block.bytes().len() as u64;
        // A damaged block was counted with the length that it should have.
        if size(&self.path(&key))?.is_none() {
            usage = Usage { bytes: usage.bytes + bytes, blocks: usage.blocks + 1 };
        }
        self.usage = Some(usage);
        self.waiting.blocks.insert(key, path);
        self.waiting.bytes += bytes;
        if self.waiting.bytes >= MAX_WAITING_BYTES || self.waiting.blocks.len() >= MAX_WAITING_FILES {
            self.begin_naming()?;
        }
        Ok(())
    }

    /// Begins a flush, unless one is going on.
    pub(super) fn begin_flush(&mut self) -> Result<(), ContentError> {
        let is_going_on = self.naming.as_ref().is_some_and(|naming| !naming.thread.is_finished());
        if is_going_on { Ok(()) } else { self.begin_naming() }
    }

    /// Has what waits synchronised and named, while more is written.
    fn begin_naming(&mut self) -> Result<(), ContentError> {
        self.end_naming()?;
        let Some(writers) = self.writers.as_ref().filter(|_| !self.waiting.blocks.is_empty()) else { return Ok(()) };
        let (written, end, dir) = (writers.shared(), self.serial, self.dir.clone());
        let batch = Arc::new(std::mem::take(&mut self.waiting));
        let named = Arc::clone(&batch);
        let thread = thread::Builder::new().name("blocks".to_owned());
        let name = move || {
            let dirs = named.name(&dir, &written, end);
            if let Err(ContentError::Io { path, error }) = &dirs {
                // What comes later may link to what is lost.
                written.fail(path, error);
            }
            dirs
        };
        match thread.spawn(name) {
            Ok(thread) => self.naming = Some(Naming { batch, thread }),
            Err(error) => {
                writers.shared().fail(&self.dir, &error);
                return Err(at(&self.dir)(error));
            }
        }
        Ok(())
    }

    /// Waits for all that is to be written.
    fn check(&self) -> Result<(), ContentError> {
        self.writers.as_ref().map_or(Ok(()), |writers| writers.shared().written_before(self.serial))
    }

    fn end_naming(&mut self) -> Result<(), ContentError> {
        if let Some(Naming { thread, .. }) = self.naming.take() {
            self.named.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(())
    }

    /// Synchronises what waits, and gives it its names. A block that was written survives a kill and a power cut from
    /// then on.
    ///
    /// # Errors
    /// Those of earlier writes and flushes, too: what was written then is lost.
    pub(super) fn flush(&mut self) -> Result<(), ContentError> {
        self.begin_naming()?;
        self.end_naming()?;
        self.check()?;
        if self.was_killed {
            for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
                self.named.insert(entry.map_err(at(&self.dir))?.path());
            }
        }
        if self.named.is_empty() {
            return Ok(());
        }
        self.named.insert(self.dir.clone());
        let synced = sync(&self.dir, self.named.iter().map(PathBuf::as_path));
        if let (Err(ContentError::Io { path, error }), Some(writers)) = (&synced, &self.writers) {
            // The system says so once: the next flush would not know.
            writers.shared().fail(path, error);
        }
        self.named.clear();
        self.was_killed &= synced.is_err();
        synced
    }

    /// Removes a block that does not wait. Returns the bytes that this frees.
    pub(super) fn remove(&mut self, key: &Key) -> Result<u64, ContentError> {
        let usage = self.begin_change()?;
        let path = self.path(key);
        let Some(size) = size(&path)? else { return Ok(0) };
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
        if private_file::remove(&self.usage_file).map_err(at(&self.usage_file))? {
            // Or a power cut could bring it back, beside other blocks.
            sync(&self.dir, self.usage_file.parent().into_iter())?;
        }
        Ok(usage)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let is_flushed =
            self.waiting.blocks.is_empty() && self.naming.is_none() && self.named.is_empty() && !self.was_killed;
        if let Some(Naming { thread, .. }) = self.naming.take() {
            // So that the next process that opens the store is alone at work in it.
            let _ = thread.join();
        }
        // What was not flushed was not promised, so it is not in the usage: the next process counts.
        if let Some(Usage { bytes, blocks }) = self.usage.filter(|_| is_flushed && self.check().is_ok()) {
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
    let paths: Vec<&Path> = paths.collect();
    let each = |paths: &[&Path]| {
        paths.iter().try_for_each(|path| File::open(path).and_then(|file| file.sync_all()).map_err(at(path)))
    };
    // Some at a time, which the system then synchronises together.
    let (first, others) = paths.split_at(paths.len().min(paths.len().div_ceil(SYNCS_AT_A_TIME)));
    thread::scope(|scope| {
        let spawn = |paths| thread::Builder::new().spawn_scoped(scope, move || each(paths)).map_err(|_| paths);
        let others: Vec<_> = others.chunks(first.len().max(1)).map(spawn).collect();
        let wait = |other: Result<thread::ScopedJoinHandle<'_, _>, _>| match other {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // There was no thread for them.
            Err(paths) => each(paths),
        };
        let synced = each(first);
        others.into_iter().map(wait).fold(synced, Result::and)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::FileExt;

    use rustix::fs::{Advice, fadvise};

    use super::*;

    /// ext4, XFS and Btrfs, in statfs(2). Others, as tmpfs and FUSE, may be all page cache, or read for themselves what this
    /// thread asks them for.
    const DISKS: [rustix::fs::FsWord; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

    /// Bytes that this thread has had read from disks: proc_pid_io(5).
    fn read_bytes() -> u64 {
        let text = fs::read_to_string("/proc/thread-self/io").unwrap();
        text.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap()
    }

    /// Whether the first byte of a file is in the page cache; to look brings no more than its page there. A read that is not to wait
    /// would not tell: it asks the disk, and takes what that gives at once.
    fn is_cached(path: &Path) -> bool {
        let file = File::open(path).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        let before = read_bytes();
        file.read_exact_at(&mut [0], 0).unwrap();
        read_bytes() == before
    }

    #[test]
    fn a_large_block_that_is_read_once_does_not_come_into_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        for length in [1, 4_095, 65_535, 65_536, 262_158, 1 << 20, MAX_BLOCK_BYTES, MAX_BLOCK_BYTES + 9] {
            let path = dir.path().join(length.to_string());
            let bytes: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let file = File::open(&path).unwrap();
            file.sync_all().unwrap();
            let expected = &bytes[..length.min(MAX_BLOCK_BYTES + 1)];
            assert_eq!(read_once(&path).unwrap().unwrap(), expected, "what is there already");
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            assert_eq!(read_once(&path).unwrap().unwrap(), expected);
            // Of small ones it depends on the disk.
            let kind = rustix::fs::fstatfs(&file).unwrap().f_type;
            let is_on_disk = DISKS.contains(&kind);
            if !is_on_disk {
                println!("only the bytes are checked: file system {kind:#x}");
            }
            assert!(!is_on_disk || length < MIN_DIRECT || !is_cached(&path), "{length}");
        }
        assert_eq!(read_once(&dir.path().join("none")).unwrap(), None);
    }
}
