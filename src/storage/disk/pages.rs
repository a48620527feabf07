//! Packs many small entries into few large ones, since sled's cost is per entry, whatever its size.
//!
//! A page holds the entries of a range of keys, in order. It stands in a file of its own ([`super::extents`]); the tree has
//! where, under the page's name. That is the last key of its range, or a shorter one before the next page's first, behind
//! [`UP_TO`], so that the page of a key is the first whose name is not less; the last page, [`LAST`], has all that comes after.
//! A page that grows too long is split: the parts that come first are put under names of their own, first to last, and then
//! the rest takes the old name. A reader meanwhile finds each key in one place or the other. An interrupted split leaves
//! unreachable entries in the old page; [`Pages::trim`] removes them before the page is split again, which would make them
//! reachable. A page that becomes empty goes, unless it is the last: keys with a height never come back. Others are not merged:
//! keys are mostly hashes, so that such a range fills again.
//!
//! Pages are written to room that no page has that the tree names on the disk. Some of them, [`FLIP_BYTES`], are synced, then
//! named in the tree, then the tree is synced, and the room of those that they replace is free. The journal
//! ([`super::journal`]) has all that they hold until then.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::changes::Change;
use super::entries::{self, Cursor, Malformed, Page};
use super::extents::{Extent, PAGE_BYTES, PageBytes, PageFile, Space};
use super::sled::Tree;
use super::value::{Stored, Value};
use crate::storage::StoreError;
use crate::storage::schema::{META, SCHEMA_VERSION};

/// Names a page by the last key of its range.
const UP_TO: u8 = b'p';
/// Names the page after all others.
const LAST: &[u8] = b"q";
/// Under it the tree has the schema's version (`u32`, little-endian), without which no page and no journal can be read.
const FORMAT: &[u8] = b"f";

/// What the parts of a split page have at most: room to grow.
const SPLIT_BYTES: usize = PAGE_BYTES * 3 / 4;
/// Which part of the file's pages are synced and named together: so much more room do they take, since those that are replaced
/// keep theirs until then.
const FLIP_SHARE: u64 = 32;
/// Bytes of pages that are synced and named together at least, and at most.
const FLIP_BYTES: RangeInclusive<u64> = 1 << 20..=4 << 20;

/// Names of pages one after another, as the tree had them after so many changes of names.
pub(super) struct Names {
    entries: sled::Iter,
    flips: u64,
}

/// The pages of a store. One thread changes them, any may read meanwhile.
#[derive(Debug)]
pub(super) struct Pages {
    pub tree: Tree,
    pub file: PageFile,
    /// Counts changes of names in the tree: raised before names are changed, and after. So while it is odd, they change.
    flips: AtomicU64,
    /// The room in the file; `None` until it is asked for, since all names are read for that.
    space: Mutex<Option<Space>>,
}

/// A page that was read: its name, its bytes, and where it is.
struct Found {
    name: Vec<u8>,
    page: PageBytes,
    extent: Extent,
}

impl Pages {
    /// The pages that `tree` names, with a cache of `cache_bytes` at most.
    ///
    /// # Errors
    /// [`StoreError::Backend`]; [`StoreError::OtherSchema`] if another version wrote them.
    pub fn open(tree: Tree, cache_bytes: u64) -> Result<Self, StoreError> {
        let file = PageFile::open(tree.dir(), cache_bytes)?;
        let found = match tree.get(FORMAT)? {
            Some(version) => Some(version.as_ref().try_into().map_or(0, u32::from_le_bytes)),
            None => earlier_format(&tree, &file)?,
        };
        match found {
            None => {
                tree.put(FORMAT, SCHEMA_VERSION.to_le_bytes().to_vec())?;
                tree.sync()?;
            }
            Some(SCHEMA_VERSION) => {}
            Some(found) => {
                let dir = tree.dir().to_owned();
                return Err(StoreError::OtherSchema { dir, found, supported: SCHEMA_VERSION });
            }
        }
        Ok(Self { tree, file, flips: AtomicU64::new(0), space: Mutex::default() })
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// The tree's, the file's, or [`StoreError::Corrupt`]. So for all below.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let found = self.first_from(&name(key), PageFile::read)?;
        let Some((Found { page, .. }, _)) = found else { return Ok(None) };
        entries::find(&page, key).map_err(|Malformed| self.malformed())
    }

    /// The entries not before `from` in the page of that key, and the last key that this page is for; `None` if it is for all
    /// that follow. `names` are those after the page before, if there is one.
    pub fn page_at(&self, from: &[u8], names: &mut Option<Names>) -> Result<(PageScan, Option<Vec<u8>>), StoreError> {
        let mut found = self.following(names)?;
        if found.is_none() {
            let first = self.first_from(&name(from), PageFile::read)?;
            (found, *names) = first.map_or((None, None), |(found, names)| (Some(found), names));
        }
        let Some(Found { name, page, .. }) = found else { return Ok((PageScan::default(), None)) };
        Ok((PageScan { page, entries: Cursor::default(), from: from.to_vec() }, last_key(&name).map(<[u8]>::to_vec)))
    }

    /// The entries before `before` in the page that `at` names, or in the first one after it, and the name of the page before
    /// that one; `None` if there is none.
    #[expect(clippy::type_complexity, reason = "entries, and a name")]
    pub fn page_back(&self, at: &[u8], before: &[u8]) -> Result<(Vec<(Vec<u8>, Value)>, Option<Vec<u8>>), StoreError> {
        let Some(Found { name, page, .. }) = self.at_or_after(at)? else { return Ok((Vec::new(), None)) };
        // Read after the page: if the page is split meanwhile, moved entries are found in their new page and not here as
        // well.
        let previous = self.tree.before(&name)?.map(|(previous, _)| previous.to_vec());
        let after = previous.as_deref().and_then(last_key);
        let mut found = Vec::new();
        let mut entries = Cursor::default();
        while self.next(&mut entries, &page)? {
            let key = entries.key();
            if key < before && after.is_none_or(|after| key > after) {
                found.push((key.to_vec(), entries.value().to_value()));
            }
        }
        Ok((found, previous.filter(|name| last_key(name).is_some())))
    }

    /// The page that `names` have next; `None` if names were changed since these began: of a page that was split then, they
    /// may have what is left under its name and not what is under others.
    fn following(&self, names: &mut Option<Names>) -> Result<Option<Found>, StoreError> {
        let Some(Names { entries, flips }) = names else { return Ok(None) };
        let next = self.tree.next(entries)?;
        if self.flips.load(Ordering::SeqCst) != *flips {
            return Ok(None);
        }
        let Some((name, place)) = next else { return Ok(None) };
        let extent = Extent::from_bytes(&place).ok_or_else(|| self.malformed())?;
        Ok(self.file.read_once(extent)?.map(|page| Found { name: name.to_vec(), page, extent }))
    }

    /// The first page whose name is not less than `at`, for one who goes through many.
    fn at_or_after(&self, at: &[u8]) -> Result<Option<Found>, StoreError> {
        Ok(self.first_from(at, PageFile::read_once)?.map(|(found, _)| found))
    }

    /// The same, read with `read`, and the names that follow, unless names change just now.
    fn first_from(
        &self,
        at: &[u8],
        read: impl Fn(&PageFile, Extent) -> Result<Option<PageBytes>, StoreError>,
    ) -> Result<Option<(Found, Option<Names>)>, StoreError> {
        let mut seen = None;
        loop {
            let flips = self.flips.load(Ordering::SeqCst);
            let mut entries = self.tree.from(at);
            let Some((name, place)) = self.tree.next(&mut entries)? else { return Ok(None) };
            let is_still = flips.is_multiple_of(2) && self.flips.load(Ordering::SeqCst) == flips;
            let extent = Extent::from_bytes(&place).ok_or_else(|| self.malformed())?;
            let place = Some((name, extent));
            match (read(&self.file, extent)?, place) {
                // One search may read the tree before a new name comes and after the old one has what is left. The next one
                // finds both.
                (Some(page), Some((name, extent))) if is_still || seen == Some((name.clone(), extent)) => {
                    let names = is_still.then_some(Names { entries, flips });
                    return Ok(Some((Found { name: name.to_vec(), page, extent }, names)));
                }
                (None, place) if seen == place => return Err(self.malformed()),
                // It may have been replaced meanwhile, and its room used again: then the tree has another place by now.
                (_, place) => seen = place,
            }
        }
    }

    /// Applies changes, given in the order of their keys, page by page. An interrupted call can be repeated. Afterwards the tree
    /// must be synced, and then [`Pages::settle`] be called.
    pub fn apply<'a>(&self, changes: impl Iterator<Item = Change<'a>>) -> Result<Replaced, StoreError> {
        let mut writing = Writing::begin(self)?;
        let mut changes = changes.peekable();
        while let Some(first) = changes.peek() {
            let found = self.at_or_after(&name(first.key))?;
            let (name, old, extent) = match found {
                Some(Found { name, page, extent }) => (name, page, Some(extent)),
                None => (LAST.to_vec(), PageBytes::default(), None),
            };
            let last = last_key(&name);
            let mut page = Page::default();
            let mut entries = Cursor::default();
            let mut is_kept = self.next(&mut entries, &old)?;
            while let Some(Change { key, value, .. }) = changes.next_if(|next| last.is_none_or(|last| next.key <= last))
            {
                while is_kept && entries.key() < key {
                    page.push(entries.key(), entries.value());
                    is_kept = self.next(&mut entries, &old)?;
                }
                if is_kept && entries.key() == key {
                    is_kept = self.next(&mut entries, &old)?;
                }
                if let Some(value) = value {
                    page.push(key, value);
                }
            }
            while is_kept {
                page.push(entries.key(), entries.value());
                is_kept = self.next(&mut entries, &old)?;
            }
            if page.bytes() != &old[..] {
                writing.replaced.extend(extent);
                match page.bytes().is_empty() && name != LAST {
                    true => writing.written.push((name, None)),
                    false => writing.put_split(&name, &page)?,
                }
            }
        }
        writing.finish()
    }

    /// Removes from every page the entries that belong to earlier pages, after interrupted changes and before they are
    /// applied again.
    pub fn trim(&self) -> Result<(), StoreError> {
        let mut writing = Writing::begin(self)?;
        let mut before: Option<Vec<u8>> = None;
        let mut from = name(&[]);
        while let Some(Found { name, page: old, extent }) = self.at_or_after(&from)? {
            let mut page = Page::default();
            let mut entries = Cursor::default();
            while self.next(&mut entries, &old)? {
                if before.as_ref().is_none_or(|before| entries.key() > &before[..]) {
                    page.push(entries.key(), entries.value());
                }
            }
            if page.bytes() != &old[..] {
                writing.replaced.push(extent);
                writing.put(name.clone(), page.bytes())?;
            }
            before = last_key(&name).map(<[u8]>::to_vec);
            from = [&name[..], &[0]].concat();
        }
        let replaced = writing.finish()?;
        self.tree.sync()?;
        self.settle(replaced)
    }

    /// Frees the room of pages that the tree on the disk no longer names.
    pub fn settle(&self, Replaced(replaced): Replaced) -> Result<(), StoreError> {
        let mut space = self.space()?;
        let Some(space) = &mut *space else { return Ok(()) };
        replaced.into_iter().for_each(|extent| space.release(extent));
        self.file.cut(space)
    }

    /// The room in the file, which is there when this returns.
    fn space(&self) -> Result<MutexGuard<'_, Option<Space>>, StoreError> {
        // What panicked under this lock is the writer, and then nothing is written any more.
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        if space.is_none() {
            let (mut used, mut names) = (Vec::new(), self.tree.from(&name(&[])));
            while let Some((_, place)) = self.tree.next(&mut names)? {
                used.push(Extent::from_bytes(&place).ok_or_else(|| self.malformed())?);
            }
            *space = Some(Space::without(used));
        }
        Ok(space)
    }

    /// Goes to the next entry of a page, if there is one.
    fn next(&self, entries: &mut Cursor, page: &[u8]) -> Result<bool, StoreError> {
        entries.next(page).map_err(|Malformed| self.malformed())
    }

    fn malformed(&self) -> StoreError {
        StoreError::Corrupt { dir: self.tree.dir().to_owned(), reason: "a page of it cannot be read".to_owned() }
    }
}

/// Where pages were that others have replaced. Their room is free once the tree is synced.
#[must_use]
pub(super) struct Replaced(Vec<Extent>);

/// Pages that are being written.
struct Writing<'a> {
    pages: &'a Pages,
    space: MutexGuard<'a, Option<Space>>,
    /// Those that the tree does not name yet, in the order in which it will; `None` for a name that goes.
    written: Vec<(Vec<u8>, Option<Extent>)>,
    /// Their bytes.
    bytes: u64,
    /// Bytes from which on the tree names them.
    flip_bytes: u64,
    replaced: Vec<Extent>,
}

impl<'a> Writing<'a> {
    fn begin(pages: &'a Pages) -> Result<Self, StoreError> {
        let space = pages.space()?;
        let share = space.as_ref().map_or(0, Space::bytes) / FLIP_SHARE;
        let flip_bytes = share.clamp(*FLIP_BYTES.start(), *FLIP_BYTES.end());
        Ok(Self { pages, space, written: Vec::new(), bytes: 0, flip_bytes, replaced: Vec::new() })
    }

    /// Writes a page under `name`, split into several if it is too long. They replace what is there already in
    /// [`Writing::replaced`].
    fn put_split(&mut self, name: &[u8], page: &Page) -> Result<(), StoreError> {
        let bytes = page.bytes();
        if bytes.len() > PAGE_BYTES {
            // Parts of about equal length.
            let length = bytes.len() / bytes.len().div_ceil(SPLIT_BYTES);
            let (mut part, mut begin, mut entries) = (Page::default(), 0, Cursor::default());
            loop {
                let at = entries.at();
                if !self.pages.next(&mut entries, bytes)? {
                    break;
                }
                if at - begin >= length && bytes.len() - at >= length / 2 {
                    self.put(self::name(between(part.last(), entries.key())), part.bytes())?;
                    (part, begin) = (Page::default(), at);
                }
                part.push(entries.key(), entries.value());
            }
            self.put(name.to_vec(), part.bytes())?;
        } else {
            self.put(name.to_vec(), bytes)?;
        }
        if self.bytes >= self.flip_bytes {
            self.flip()?;
            self.pages.tree.sync()?;
            if let Some(space) = &mut *self.space {
                self.replaced.drain(..).for_each(|extent| space.release(extent));
            }
        }
        Ok(())
    }

    fn put(&mut self, name: Vec<u8>, page: &[u8]) -> Result<(), StoreError> {
        #[cfg(test)]
        self.pages.tree.take_write()?;
        let space = self.space.get_or_insert_default();
        let extent = self.pages.file.write(space, page)?;
        self.bytes += page.len() as u64;
        self.written.push((name, Some(extent)));
        Ok(())
    }

    /// Has the tree name what is written, once that is synced: sled may write a name to the disk at once.
    fn flip(&mut self) -> Result<(), StoreError> {
        self.pages.file.sync()?;
        self.pages.flips.fetch_add(1, Ordering::SeqCst);
        for (name, extent) in self.written.drain(..) {
            match extent {
                Some(extent) => self.pages.tree.put(&name, extent.to_bytes())?,
                None => self.pages.tree.remove(&name)?,
            }
        }
        self.pages.flips.fetch_add(1, Ordering::SeqCst);
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Replaced, StoreError> {
        if !self.written.is_empty() {
            self.flip()?;
        }
        Ok(Replaced(self.replaced))
    }
}

/// The format of a store of an earlier version: those had the schema's version in a page alone, up to 10 in the tree itself.
/// `None` if the tree names no page.
///
/// # Errors
/// The tree's and the file's.
fn earlier_format(tree: &Tree, file: &PageFile) -> Result<Option<u32>, StoreError> {
    let Some((_, place)) = tree.at_or_after(&name(META))? else { return Ok(None) };
    let (page, head) = match Extent::from_bytes(&place) {
        // An entry as it was written then: the lengths of key and value, the key, the version, a hash.
        None => (Some(place.to_vec()), [&[1, 0, 36, 0], META].concat()),
        // The lengths of key and value, and 1, in a byte each.
        Some(extent) => (file.read(extent)?.map(|page| page.to_vec()), [&[1, 37], META].concat()),
    };
    let page = page.unwrap_or_default();
    let at = page.windows(head.len()).position(|bytes| bytes == head);
    let version = at.and_then(|at| page.get(at + head.len()..)?.first_chunk());
    Ok(Some(version.map_or(0, |version| u32::from_le_bytes(*version))))
}

/// The least name of a page that can hold `key`.
pub(super) fn name(key: &[u8]) -> Vec<u8> {
    [&[UP_TO], key].concat()
}

/// The last key of the page of a name; `None` for the last page.
pub(super) fn last_key(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(&[UP_TO])
}

/// The shortest key from `last` on and before `next`, which is greater.
fn between<'a>(last: &'a [u8], next: &'a [u8]) -> &'a [u8] {
    let common = entries::common(last, next);
    next.get(..=common).filter(|shorter| shorter.len() < next.len()).unwrap_or(last)
}

/// The entries of a page from a key on.
#[derive(Default)]
pub(super) struct PageScan {
    page: PageBytes,
    entries: Cursor,
    from: Vec<u8>,
}

impl PageScan {
    /// The next entry.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], of the store with these pages.
    pub fn next(&mut self, pages: &Pages) -> Result<Option<(&[u8], Stored<'_>)>, StoreError> {
        while pages.next(&mut self.entries, &self.page)? {
            if self.entries.key() >= &self.from[..] {
                return Ok(Some((self.entries.key(), self.entries.value())));
            }
        }
        Ok(None)
    }
}
