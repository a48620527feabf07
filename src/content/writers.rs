//! Threads that write blocks into files of their own, beside the thread that makes or receives blocks.
//!
//! Large blocks go to the disk directly where the system lets them. In the page cache, each would first have to be given fresh
//! memory and be copied there, which takes a processor longer than hashing it, and would wait there until it is synchronised.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::error::{ContentError, at};
use crate::ipld::Block;

/// Files that are written at a time: a disk works on some, while others are made.
const THREADS: usize = 4;
/// Bytes of blocks that may wait for a thread.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// Bytes of a block from which on it is written and read directly.
#[cfg(target_os = "linux")]
pub(super) const MIN_DIRECT: usize = 64 << 10;
/// What disks demand of the place in memory and of the length of what is written or read directly.
#[cfg(target_os = "linux")]
pub(super) const ALIGNMENT: usize = 4_096;

/// The threads, until they are dropped.
#[derive(Debug)]
pub(super) struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads and their owner share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// A block waits, or none will any more.
    has_work: Condvar,
    /// A block is written.
    has_written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(u64, PathBuf, Block)>,
    waiting_bytes: usize,
    /// Numbers of the blocks that are not written.
    unwritten: BTreeSet<u64>,
    /// The first error. Nothing is written after it.
    failed: Option<(PathBuf, io::ErrorKind, String)>,
    is_closed: bool,
}

impl State {
    fn check(&self) -> Result<(), ContentError> {
        match &self.failed {
            None => Ok(()),
            Some((path, kind, text)) => Err(at(path)(io::Error::new(*kind, text.clone()))),
        }
    }
}

impl Writers {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system gives none.
    pub(super) fn start() -> io::Result<Self> {
        let mut writers = Self { shared: Arc::default(), threads: Vec::new() };
        for _ in 0..THREADS {
            let shared = Arc::clone(&writers.shared);
            let thread = thread::Builder::new().name("blocks".to_owned()).spawn(move || shared.work());
            match thread {
                Ok(thread) => writers.threads.push(thread),
                // One is enough.
                Err(error) if writers.threads.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(writers)
    }

    /// Has a block written to a new file, when there is room. Numbers ascend from block to block.
    ///
    /// # Errors
    /// Of this block or an earlier one; no block is written after an error.
    pub(super) fn write(&self, number: u64, path: PathBuf, block: Block) -> Result<(), ContentError> {
        let mut state = self.shared.state();
        while state.failed.is_none() && state.waiting_bytes >= MAX_WAITING_BYTES {
            state = self.shared.has_written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()?;
        state.waiting_bytes += block.bytes().len();
        state.unwritten.insert(number);
        state.waiting.push_back((number, path, block));
        self.shared.has_work.notify_one();
        Ok(())
    }

    /// Waits in another thread, too.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        state.waiting.clear();
        drop(state);
        self.shared.has_work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic is an error that no caller waits for.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all blocks with smaller numbers are written.
    ///
    /// # Errors
    /// If one of all blocks could not be written.
    pub(super) fn written_before(&self, number: u64) -> Result<(), ContentError> {
        let mut state = self.state();
        while state.failed.is_none() && state.unwritten.first().is_some_and(|first| *first < number) {
            state = self.has_written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    /// Has all fail that comes later, with this error.
    pub(super) fn fail(&self, path: &Path, error: &io::Error) {
        self.state().failed.get_or_insert((path.to_owned(), error.kind(), error.to_string()));
        self.has_written.notify_all();
    }

    fn work(&self) {
        let mut room = Room::default();
        let mut state = self.state();
        loop {
            if let Some((number, path, block)) = state.waiting.pop_front() {
                let is_to_be_written = state.failed.is_none();
                drop(state);
                let written = if is_to_be_written { room.write(&path, block.bytes()) } else { Ok(()) };
                if let Err(error) = written {
                    self.fail(&path, &error);
                }
                state = self.state();
                state.waiting_bytes -= block.bytes().len();
                state.unwritten.remove(&number);
                self.has_written.notify_all();
            } else if state.is_closed {
                return;
            } else {
                state = self.has_work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create(true).truncate(true);
    options
}

/// Memory that lies as disks demand it, to be used again.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(super) struct Aligned(Vec<u8>);

#[cfg(target_os = "linux")]
impl Aligned {
    /// So many bytes.
    pub(super) fn of(&mut self, length: usize) -> &mut [u8] {
        self.0.resize(self.0.len().max(length + ALIGNMENT), 0);
        let first = self.0.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        &mut self.0[first..first + length]
    }
}

/// A thread's room for blocks that do not lie in memory as the disk demands.
#[derive(Debug, Default)]
struct Room {
    #[cfg(target_os = "linux")]
    memory: Aligned,
    /// Whether all goes into the page cache: the file system takes nothing directly.
    is_cached: bool,
}

impl Room {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if bytes.len() >= MIN_DIRECT && !self.is_cached {
            match self.write_directly(path, bytes) {
                Ok(()) => return Ok(()),
                // If it has another cause, it shows again.
                Err(_) => self.is_cached = true,
            }
        }
        new_file().open(path)?.write_all(bytes)
    }

    #[cfg(target_os = "linux")]
    fn write_directly(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::{FileExt, OpenOptionsExt};

        use rustix::fs::OFlags;

        let file: File = new_file().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path)?;
        let (body, rest) = bytes.split_at(bytes.len() / ALIGNMENT * ALIGNMENT);
        if body.as_ptr().align_offset(ALIGNMENT) == 0 {
            file.write_all_at(body, 0)?;
        } else {
            let room = self.memory.of(body.len());
            room.copy_from_slice(body);
            file.write_all_at(room, 0)?;
        }
        // What is left fills no page of the disk.
        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
        file.write_all_at(rest, body.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{Cid, Codec, HashFunction};

    fn block(len: usize) -> Block {
        let bytes: Vec<u8> = (0..len).map(|n| (n / 7) as u8).collect();
        Block::check(Cid::v1(Codec::RAW, HashFunction::Sha2_256, &bytes).unwrap(), bytes).unwrap()
    }

    #[test]
    fn files_hold_the_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let writers = Writers::start().unwrap();
        let blocks: Vec<Block> =
            [0, 1, 4_095, 65_535, 65_536, 65_537, 262_158, 1 << 20, 2 << 20].repeat(5).into_iter().map(block).collect();
        let path = |number: usize| dir.path().join(number.to_string());
        for (number, block) in blocks.iter().enumerate() {
            writers.write(number as u64, path(number), block.clone()).unwrap();
        }
        writers.shared().written_before(blocks.len() as u64).unwrap();
        for (number, block) in blocks.iter().enumerate() {
            assert_eq!(std::fs::read(path(number)).unwrap(), block.bytes());
        }
    }

    #[test]
    fn an_error_is_told_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let writers = Writers::start().unwrap();
        writers.write(0, dir.path().join("none").join("0"), block(100_000)).unwrap();
        for _ in 0..2 {
            assert!(matches!(writers.shared().written_before(1), Err(ContentError::Io { .. })));
            assert!(matches!(writers.write(1, dir.path().join("1"), block(9)), Err(ContentError::Io { .. })));
        }
    }
}
