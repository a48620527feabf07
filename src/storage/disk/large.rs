//! Values too long to be copied with their neighbours, one after another in files of bounded size, the segments: block
//! bodies, undo records, filters.
//!
//! Bytes in a segment are never changed. A removed or replaced value leaves its bytes behind, as does one whose commit a
//! kill undoes. Blocks cost work, so an attacker cannot fill the disk this way. What belongs to a height of the chain has
//! segments of its own: when the chain is pruned, those with nothing above are deleted whole.
//!
//! A value has its place at once, and is written when the store's writer comes to it: a commit of a block does not wait
//! for the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use siphasher::sip::SipHasher13;

use super::sled::Tree;
use crate::primitives::height::Height;
use crate::storage::compact::{number, put_number};
use crate::storage::{StoreError, private_file};

/// Length from which on a segment takes no further value: a pruned chain leaves at most about this much behind.
pub(super) const SEGMENT_BYTES: u32 = 16 << 20;
/// Set in the numbers of segments whose values belong to no height.
const LASTING: u32 = 1 << 31;
/// Files kept open: the last ones of both kinds, and those that are being read.
const MAX_OPEN: usize = 8;
/// Where the tree has the greatest height in a segment, behind this and the segment's number. It sorts before the names
/// of pages.
const HEIGHT_IN: u8 = b'h';

/// Where a value is, and a checksum of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    segment: u32,
    offset: u32,
    length: u32,
    /// The height of the chain that the value belongs to, if it does to one: then the segment is not [`LASTING`].
    height: Option<Height>,
    checksum: u32,
}

impl Place {
    /// Short numbers: twice the segment without the mark of lasting ones, and 1 if it is one of these; the offset; the length;
    /// the height, if there is one. Then the checksum (`u32`, little-endian).
    pub fn to_bytes(self) -> Vec<u8> {
        let Self { segment, offset, length, height, checksum } = self;
        let mut bytes = Vec::with_capacity(16);
        put_number(&mut bytes, u64::from(segment & !LASTING) << 1 | u64::from(segment >= LASTING));
        [offset, length].into_iter().for_each(|number| put_number(&mut bytes, number.into()));
        if let Some(height) = height {
            put_number(&mut bytes, height.as_u32().into());
        }
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Reads what [`Place::to_bytes`] wrote.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut next = || number(bytes)?.try_into().ok();
        let (segment, offset, length): (u32, _, _) = (next()?, next()?, next()?);
        let is_lasting = segment & 1 == 1;
        let height = if is_lasting { None } else { Some(Height::from_u32(next()?)) };
        let checksum = u32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?);
        Some(Self { segment: segment >> 1 | if is_lasting { LASTING } else { 0 }, offset, length, height, checksum })
    }
}

/// The greatest height that each of some segments has a value of.
pub(super) type Heights = BTreeMap<u32, Height>;

/// Notes that a segment has a value of a height.
pub(super) fn note(heights: &mut Heights, place: Place) {
    let of_value = place.height.unwrap_or(Height::MAX);
    let height = heights.entry(place.segment).or_insert(of_value);
    *height = of_value.max(*height);
}

/// Keeps notes in the tree. Repeating it changes nothing.
///
/// # Errors
/// The tree's.
pub(super) fn keep_heights(tree: &Tree, heights: &Heights) -> Result<(), StoreError> {
    for (segment, height) in heights {
        let key = height_key(*segment);
        let kept = tree.get(&key)?.and_then(|kept| read_height(kept.as_ref()));
        if kept.is_none_or(|kept| kept < *height) {
            tree.put(&key, height.as_u32().to_be_bytes().to_vec())?;
        }
    }
    Ok(())
}

fn height_key(segment: u32) -> [u8; 5] {
    let [a, b, c, d] = segment.to_be_bytes();
    [HEIGHT_IN, a, b, c, d]
}

fn read_height(bytes: &[u8]) -> Option<Height> {
    bytes.try_into().ok().map(|bytes| Height::from_u32(u32::from_be_bytes(bytes)))
}

/// The segments of a store.
#[derive(Debug)]
pub(super) struct LargeValues {
    dir: PathBuf,
    /// The directory itself, to sync it; `None` if it is another process's.
    own_dir: Option<File>,
    segment_bytes: u32,
    tail: Mutex<Tail>,
    /// Open files, the one used last at the end.
    files: Mutex<VecDeque<(u32, Arc<File>)>>,
}

/// Values that are to be written, by segment and offset, each with its place.
type Waiting = BTreeMap<(u32, u32), (Place, Arc<[u8]>)>;

/// What is not in the files yet.
#[derive(Debug)]
struct Tail {
    /// Where the next values go: those with a height, and those without.
    ends: [End; 2],
    waiting: Waiting,
    /// The segments there are.
    heights: Heights,
}

/// The end of a segment that is written to.
#[derive(Debug, Clone, Copy)]
struct End {
    segment: u32,
    offset: u32,
}

impl LargeValues {
    /// The name of their directory in the store's.
    pub const DIR: &str = "values";

    /// Opens the segments of the store in `dir`, or begins them there. One takes values until it has `segment_bytes`.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub fn open(dir: &Path, segment_bytes: u32) -> Result<Self, StoreError> {
        let mut values = Self::open_to_read(dir, segment_bytes)?;
        let begin = || -> io::Result<File> {
            fs::create_dir_all(&values.dir)?;
            File::open(dir)?.sync_all()?;
            File::open(&values.dir)
        };
        values.own_dir = Some(begin().map_err(|e| failed(&values.dir, &e))?);
        // From now on there is an open file, so that a process that runs out of file descriptors has one for its writes.
        let segment = values.tail().ends[0].segment;
        values.file(segment, true).map_err(|e| failed(&values.path(segment), &e))?;
        Ok(values)
    }

    /// Looks at the segments of the store in `dir`, which another process may write to.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub fn open_to_read(dir: &Path, segment_bytes: u32) -> Result<Self, StoreError> {
        let dir = dir.join(Self::DIR);
        let mut ends = [End { segment: 0, offset: 0 }, End { segment: LASTING, offset: 0 }];
        let mut heights = Heights::new();
        let mut look = || -> io::Result<()> {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let Some(segment) = name.to_str().and_then(|name| u32::from_str_radix(name, 16).ok()) else { continue };
                heights.insert(segment, Height::GENESIS);
                let end = &mut ends[usize::from(segment >= LASTING)];
                if segment >= end.segment {
                    let offset = u32::try_from(entry.metadata()?.len()).unwrap_or(u32::MAX);
                    *end = End { segment, offset };
                }
            }
            Ok(())
        };
        look().map_err(|e| failed(&dir, &e))?;
        let tail = Tail { ends, waiting: Waiting::new(), heights };
        Ok(Self { dir, own_dir: None, segment_bytes, tail: Mutex::new(tail), files: Mutex::default() })
    }

    /// Learns from the tree what the segments hold. One that the tree does not know has nothing that counts.
    ///
    /// # Errors
    /// The tree's.
    pub fn load_heights(&self, tree: &Tree) -> Result<(), StoreError> {
        let mut from = vec![HEIGHT_IN];
        let mut tail = self.tail();
        while let Some((key, height)) = tree.at_or_after(&from)? {
            let Some(segment) = key.strip_prefix(&[HEIGHT_IN]).and_then(|number| number.try_into().ok()) else { break };
            if let (Some(known), Some(height)) =
                (tail.heights.get_mut(&u32::from_be_bytes(segment)), read_height(&height))
            {
                *known = height;
            }
            from = [&key[..], &[0]].concat();
        }
        Ok(())
    }

    // Nothing under this lock can panic and leave half a change.
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a value, which is in memory until [`LargeValues::sync`]. `height` is that of the block it belongs to, if it
    /// does to one.
    pub fn append(&self, height: Option<Height>, value: &[u8]) -> Place {
        let (length, checksum) = (value.len() as u32, short_checksum(value));
        let mut tail = self.tail();
        let end = &mut tail.ends[usize::from(height.is_none())];
        if end.offset >= self.segment_bytes {
            *end = End { segment: end.segment + 1, offset: 0 };
        }
        let End { segment, offset } = *end;
        end.offset = offset.saturating_add(length);
        let place = Place { segment, offset, length, height, checksum };
        note(&mut tail.heights, place);
        tail.waiting.insert((segment, offset), (place, value.into()));
        place
    }

    /// The value at a place; `None` if its segment was deleted by [`LargeValues::delete_below`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Backend`].
    pub fn read(&self, place: Place) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(place.segment);
        let corrupt = |what: &str| {
            let reason = format!("{} is {what} at byte {}", path.display(), place.offset);
            StoreError::Corrupt { dir: self.dir.parent().unwrap_or(&self.dir).to_owned(), reason }
        };
        // An old place in a file that was cut since may have the offset of a new value.
        let waiting = self.tail().waiting.get(&(place.segment, place.offset)).cloned();
        if let Some((_, value)) = waiting.filter(|(waits, _)| *waits == place) {
            return Ok(Some(value.to_vec()));
        }
        let file = match self.file(place.segment, false) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let was_deleted = !self.tail().heights.contains_key(&place.segment);
                return if was_deleted { Ok(None) } else { Err(corrupt("missing")) };
            }
            Err(e) => return Err(failed(&path, &e)),
        };
        let mut value = vec![0; place.length as usize];
        match file.read_exact_at(&mut value, place.offset.into()) {
            Ok(()) if short_checksum(&value) == place.checksum => Ok(Some(value)),
            Ok(()) => Err(corrupt("changed")),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(corrupt("cut off")),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    /// Writes what waits, and returns when all that was appended before would survive a power cut. Until then it stays in
    /// memory, since a failed write may leave anything in the file.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let waiting = self.tail().waiting.clone();
        let segments: BTreeSet<u32> = waiting.keys().map(|(segment, _)| *segment).collect();
        for segment in segments {
            let write = || {
                let file = self.file(segment, true)?;
                let values = waiting.range((segment, 0)..=(segment, u32::MAX));
                for ((_, offset), (_, value)) in values {
                    file.write_all_at(value, (*offset).into())?;
                }
                file.sync_data()
            };
            write().map_err(|e| failed(&self.path(segment), &e))?;
        }
        self.tail().waiting.retain(|place, _| !waiting.contains_key(place));
        Ok(())
    }

    /// Deletes the segments whose values all belong to lower heights, but that which is written to. The tree has no
    /// places in them any more, on the disk either.
    ///
    /// # Errors
    /// [`StoreError::Backend`], the tree's.
    pub fn delete_below(&self, height: Height, tree: &Tree) -> Result<(), StoreError> {
        let mut tail = self.tail();
        let ends = tail.ends.map(|end| end.segment);
        let is_done = |segment: &u32, greatest: &mut Height| *greatest < height && !ends.contains(segment);
        // Readers that come too late must know before the file is gone.
        let done: Vec<u32> = tail.heights.extract_if(.., is_done).map(|(segment, _)| segment).collect();
        drop(tail);
        for segment in done {
            let path = self.path(segment);
            private_file::remove(&path).map_err(|error| failed(&path, &error))?;
            tree.remove(&height_key(segment))?;
            self.files().retain(|(open, _)| *open != segment);
        }
        Ok(())
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{segment:08x}"))
    }

    fn files(&self) -> MutexGuard<'_, VecDeque<(u32, Arc<File>)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open segment. To be written, it is made if it is not there; a database that can only be read has no such.
    fn file(&self, segment: u32, to_write: bool) -> io::Result<Arc<File>> {
        let mut files = self.files();
        let open = files.iter().position(|(open, _)| *open == segment);
        if let Some((_, file)) = open.and_then(|place| files.remove(place)) {
            files.push_back((segment, file.clone()));
            return Ok(file);
        }
        if files.len() >= MAX_OPEN {
            files.pop_front();
        }
        let path = self.path(segment);
        let open = || OpenOptions::new().read(true).write(true).create(to_write).truncate(false).open(&path);
        let file = loop {
            match open() {
                // An open one gives its file descriptor.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) && files.pop_front().is_some() => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) =>
                {
                    break File::open(&path)?;
                }
                opened => break opened?,
            }
        };
        if to_write && let Some(dir) = &self.own_dir {
            // A new entry must survive a power cut as the file does.
            dir.sync_all()?;
        }
        let file = Arc::new(file);
        files.push_back((segment, file.clone()));
        Ok(file)
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

/// Half of it, for a value among many.
fn short_checksum(value: &[u8]) -> u32 {
    checksum(&[value]) as u32
}
