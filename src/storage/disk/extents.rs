//! The file of pages. Pages are written where no page is that counts, and named with a checksum each by the tree, once
//! they are synced: so a torn or lost write harms nothing.
//!
//! What is not named by the tree is free, so a store that is opened learns from the tree what it may use. Room is given out
//! in units of [`UNIT`] bytes, from the gap that fits best.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::StoreError;

/// Most bytes of a page, unless it has a single entry. Shorter pages take more of sled's time for each entry, longer ones
/// have more copied for each change.
pub(super) const PAGE_BYTES: usize = 4_096;
/// Bytes of a unit: smaller ones waste less at a page's end, larger ones leave fewer gaps that no page fits into.
const UNIT: u64 = 64;
/// Bytes after all pages that are left to the file, so that it is not cut and made longer again with every write.
const SPARE_BYTES: u64 = 4 << 20;

/// Where a page is, and a checksum of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its first unit.
    unit: u32,
    /// Its bytes. An empty page takes no room.
    length: u32,
    /// CRC-32 of the page, which is quicker than the checksum of large values: a page is read for every key.
    checksum: u32,
}

impl Extent {
    /// Bytes of its encoding.
    const LEN: usize = 12;

    pub fn to_bytes(self) -> Vec<u8> {
        [&self.unit.to_le_bytes()[..], &self.length.to_le_bytes(), &self.checksum.to_le_bytes()].concat()
    }

    /// Reads what [`Extent::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Some(Self { unit: number(0), length: number(4), checksum: number(8) })
    }

    fn units(self) -> u32 {
        u64::from(self.length).div_ceil(UNIT) as u32
    }

    fn offset(self) -> u64 {
        u64::from(self.unit) * UNIT
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct PageFile {
    file: File,
    path: PathBuf,
    cache: PageCache,
    /// What was written since the last sync, for tests.
    #[cfg(test)]
    pub unsynced: Unsynced,
}

/// Ranges of a file in which a power cut may leave anything.
#[cfg(test)]
pub(super) type Unsynced = std::sync::Arc<std::sync::Mutex<Vec<std::ops::Range<u64>>>>;

impl PageFile {
    /// Its name in the store's directory.
    pub const NAME: &str = "pages";

    /// Opens or makes the file in `dir`, with a cache of `cache_bytes` at most.
    ///
    /// # Errors
    /// [`StoreError::Backend`], and so for every method below.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let path = dir.join(Self::NAME);
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            // A new entry must survive a power cut as its content does.
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|error| failed(&path, &error))?;
        Ok(Self {
            file,
            path,
            cache: PageCache::new(cache_bytes),
            #[cfg(test)]
            unsynced: Unsynced::default(),
        })
    }

    /// The page that was written there; `None` if something else is. It is kept for those who read it next.
    pub fn read(&self, extent: Extent) -> Result<Option<PageBytes>, StoreError> {
        let kept = self.cache.get(extent);
        if kept.is_some() {
            return Ok(kept);
        }
        let page = self.read_file(extent)?;
        if let Some(page) = &page {
            self.cache.keep(extent, page);
        }
        Ok(page)
    }

    /// The same for a reader who goes through many pages once, which are not kept.
    pub fn read_once(&self, extent: Extent) -> Result<Option<PageBytes>, StoreError> {
        let kept = self.cache.get(extent);
        if kept.is_some() { Ok(kept) } else { self.read_file(extent) }
    }

    fn read_file(&self, extent: Extent) -> Result<Option<PageBytes>, StoreError> {
        let mut page = vec![0; extent.length as usize];
        match self.file.read_exact_at(&mut page, extent.offset()) {
            Ok(()) => Ok(Some(page).filter(|page| crc32fast::hash(page) == extent.checksum).map(Arc::new)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(failed(&self.path, &error)),
        }
    }

    /// Writes a page where there is room for it.
    pub fn write(&self, space: &mut Space, page: &[u8]) -> Result<Extent, StoreError> {
        let mut extent = Extent { unit: 0, length: page.len() as u32, checksum: crc32fast::hash(page) };
        let full = || failed(&self.path, &io::Error::from(io::ErrorKind::FileTooLarge));
        extent.unit = space.take(extent.units()).ok_or_else(full)?;
        self.cache.forget(extent);
        #[cfg(test)]
        {
            let range = extent.offset()..extent.offset() + page.len() as u64;
            self.unsynced.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(range);
        }
        self.file.write_all_at(page, extent.offset()).map_err(|error| failed(&self.path, &error))?;
        Ok(extent)
    }

    /// Returns when all that was written would survive a power cut.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| failed(&self.path, &error))?;
        #[cfg(test)]
        self.unsynced.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        Ok(())
    }

    /// Gives back to the file system what is free at the end.
    pub fn cut(&self, space: &Space) -> Result<(), StoreError> {
        let end = space.bytes();
        let cut = || {
            let length = self.file.metadata()?.len();
            if length > end + SPARE_BYTES { self.file.set_len(end) } else { Ok(()) }
        };
        cut().map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let dir = path.parent().unwrap_or(path).to_owned();
    StoreError::Backend { dir, reason: format!("{}: {error}", path.display()) }
}

/// The bytes of a page.
pub(super) type PageBytes = Arc<Vec<u8>>;

/// The page that was read last of those with one slot.
type Kept = Option<(Extent, PageBytes)>;

/// Pages that were read lately, of [`PAGE_BYTES`] at most each: a page is read for every key, and from the file that costs a call of
/// the system, a copy and a checksum. Each page has one slot, given by its place, and the page that was read last there has it. So
/// nothing is sorted by age, and readers on several threads hardly ever wait for each other.
#[derive(Debug)]
struct PageCache {
    slots: Box<[Mutex<Kept>]>,
}

impl PageCache {
    /// A cache of at most so many bytes, but of a page at least.
    fn new(bytes: u64) -> Self {
        let slots = (bytes / PAGE_BYTES as u64).max(1);
        Self { slots: (0..slots).map(|_| Mutex::default()).collect() }
    }

    /// The page that was kept for `extent`. Another page with the same place has another checksum, and is not taken for it.
    fn get(&self, extent: Extent) -> Option<PageBytes> {
        self.slot(extent).as_ref().filter(|(kept, _)| *kept == extent).map(|(_, page)| page.clone())
    }

    /// Keeps a page, unless it is longer than pages mostly are.
    fn keep(&self, extent: Extent, page: &PageBytes) {
        if page.len() <= PAGE_BYTES {
            *self.slot(extent) = Some((extent, page.clone()));
        }
    }

    /// Forgets the page that was kept for this place, where another is to be written: by chance, or on purpose, both could have one
    /// checksum.
    fn forget(&self, extent: Extent) {
        self.slot(extent).take_if(|(kept, _)| kept.unit == extent.unit);
    }

    fn slot(&self, extent: Extent) -> MutexGuard<'_, Kept> {
        // Places are multiples of a page's length often enough for the remainder alone to share few slots: they are mixed first.
        let mixed = u64::from(extent.unit).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let slot = (mixed * self.slots.len() as u64) >> 32;
        self.slots[slot as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which units are free.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Gaps between pages: how many units are free from one on.
    gaps: BTreeMap<u32, u32>,
    /// The same by length.
    by_length: BTreeSet<(u32, u32)>,
    /// The first unit after all pages.
    end: u32,
}

impl Space {
    /// What some pages leave free.
    pub fn without(mut used: Vec<Extent>) -> Self {
        used.retain(|extent| extent.length > 0);
        used.sort_unstable_by_key(|extent| extent.unit);
        let mut space = Self::default();
        for extent in used {
            // Damaged places may overlap. Then nothing is written to either.
            if extent.unit > space.end {
                space.add_gap(space.end, extent.unit - space.end);
            }
            space.end = space.end.max(extent.unit.saturating_add(extent.units()));
        }
        space
    }

    /// Bytes of the file up to the end of the last page.
    pub fn bytes(&self) -> u64 {
        u64::from(self.end) * UNIT
    }

    /// The first of so many units, which are no longer free; `None` if there are not so many.
    fn take(&mut self, units: u32) -> Option<u32> {
        if units == 0 {
            return Some(0);
        }
        let fits = self.by_length.range((units, 0)..).next().copied();
        let Some((length, first)) = fits else {
            let first = self.end;
            self.end = first.checked_add(units)?;
            return Some(first);
        };
        self.remove_gap(first, length);
        if length > units {
            self.add_gap(first + units, length - units);
        }
        Some(first)
    }

    /// Frees the room of a page.
    pub fn release(&mut self, extent: Extent) {
        let (mut first, mut length) = (extent.unit, extent.units());
        if length == 0 {
            return;
        }
        if let Some((before, free)) = self.gaps.range(..first).next_back().map(|(before, free)| (*before, *free))
            && before + free == first
        {
            self.remove_gap(before, free);
            (first, length) = (before, free + length);
        }
        if let Some(free) = self.gaps.get(&(first + length)).copied() {
            self.remove_gap(first + length, free);
            length += free;
        }
        if first + length == self.end {
            self.end = first;
        } else {
            self.add_gap(first, length);
        }
    }

    fn add_gap(&mut self, first: u32, length: u32) {
        self.gaps.insert(first, length);
        self.by_length.insert((length, first));
    }

    fn remove_gap(&mut self, first: u32, length: u32) {
        self.gaps.remove(&first);
        self.by_length.remove(&(length, first));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(unit: u32, units: u32) -> Extent {
        Extent { unit, length: units * UNIT as u32, checksum: 0 }
    }

    proptest! {
        /// Pages never overlap, freed room is used again, and what is free is what no page has.
        #[test]
        fn room_is_given_out_once_and_again_when_freed(
            steps in proptest::collection::vec((any::<bool>(), 1u32..40, any::<prop::sample::Index>()), 1..300),
        ) {
            let (mut space, mut pages) = (Space::default(), Vec::<Extent>::new());
            for (adds, units, which) in steps {
                if adds || pages.is_empty() {
                    let end = space.end;
                    let page = extent(space.take(units).unwrap(), units);
                    let overlaps = |other: &Extent| page.unit < other.unit + other.units() && other.unit < page.unit + units;
                    prop_assert!(!pages.iter().any(overlaps));
                    if page.unit == end {
                        let longest = space.by_length.last().map_or(0, |(length, _)| *length);
                        prop_assert!(longest < units, "a gap of {} is not used for {}", longest, units);
                    }
                    pages.push(page);
                } else {
                    space.release(pages.swap_remove(which.index(pages.len())));
                }
                let expected = Space::without(pages.clone());
                prop_assert_eq!((&space.gaps, space.end), (&expected.gaps, expected.end));
                let by_length: BTreeSet<(u32, u32)> = space.gaps.iter().map(|(first, length)| (*length, *first)).collect();
                prop_assert_eq!(&space.by_length, &by_length);
            }
            pages.into_iter().for_each(|page| space.release(page));
            prop_assert_eq!((space.gaps.len(), space.end), (0, 0));
        }
    }

    #[test]
    fn a_page_is_read_where_it_was_written_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mut space) = (PageFile::open(dir.path(), 0).unwrap(), Space::default());
        let read = |extent| file.read_once(extent).unwrap().map(|page| page.to_vec());
        let first = file.write(&mut space, &[1; 100]).unwrap();
        let second = file.write(&mut space, &[2; 70]).unwrap();
        let empty = file.write(&mut space, &[]).unwrap();
        assert_eq!(Extent::from_bytes(&first.to_bytes()), Some(first));
        assert_eq!(Extent::from_bytes(&first.to_bytes()[1..]), None);
        assert_eq!(read(first), Some(vec![1; 100]));
        assert_eq!(read(second), Some(vec![2; 70]));
        assert_eq!(read(empty), Some(vec![]));
        space.release(first);
        let third = file.write(&mut space, &[3; 90]).unwrap();
        assert_eq!(third.unit, first.unit, "freed room is used again");
        assert_eq!(read(first), None, "another page is there");
        assert_eq!(read(Extent { unit: 1_000, ..first }), None, "after the end");
        let long = file.write(&mut space, &vec![4; 5 << 20]).unwrap();
        space.release(long);
        file.cut(&space).unwrap();
        assert_eq!(std::fs::metadata(&file.path).unwrap().len(), 4 * UNIT, "two pages of two units");
        assert_eq!(read(second), Some(vec![2; 70]));
    }

    /// A cache of one page, which all places share.
    #[test]
    fn a_page_is_kept_until_another_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mut space) = (PageFile::open(dir.path(), 0).unwrap(), Space::default());
        let [first, second] = [1, 2].map(|byte| file.write(&mut space, &[byte; 100]).unwrap());
        let is_kept = |extent| file.cache.get(extent).is_some();
        assert_eq!(*file.read(first).unwrap().unwrap(), [1; 100]);
        assert!(is_kept(first));
        assert_eq!(*file.read_once(second).unwrap().unwrap(), [2; 100], "the kept page is not taken for it");
        assert!(is_kept(first) && !is_kept(second), "it was read once");
        assert_eq!(*file.read(second).unwrap().unwrap(), [2; 100]);
        assert!(is_kept(second) && !is_kept(first));
        let long = file.write(&mut space, &vec![3; PAGE_BYTES + 1]).unwrap();
        assert!(file.read(long).unwrap().is_some() && !is_kept(long), "too long to be kept");
        assert!(is_kept(second));
        space.release(second);
        assert_eq!(file.write(&mut space, &[4; 70]).unwrap().unit, second.unit);
        assert!(!is_kept(second), "another page stands there now");
    }
}
