//! Packs many small entries into few large ones, since sled's cost is per entry, whatever its size.
//!
//! A page holds the entries of a range of keys, in order, and is a value of the tree. It is named by the last key of
//! its range, behind [`UP_TO`], so that the page of a key is the first whose name is not less; the last page, [`LAST`],
//! has all that comes after. A page that grows too long is split: the parts that come first are put under names of
//! their own, first to last, and then the rest takes the old name. A reader meanwhile finds each key in one place or
//! the other. An interrupted split leaves unreachable entries in the old page; [`trim`] removes them before the page is
//! split again, which would make them reachable. Pages are not merged: keys are mostly hashes, so that an emptied range
//! fills again.
//!
//! An entry is the length of its key and of its value (both `u16`, little-endian), then both. Length [`LARGE`] stands for a
//! value that is kept elsewhere: a [`Place`] follows.

use super::changes::Change;
use super::large::Place;
use super::sled::Tree;
use super::value::{Stored, Value};
use crate::storage::StoreError;

/// Names a page by the last key of its range.
const UP_TO: u8 = b'p';
/// Names the page after all others.
const LAST: &[u8] = b"q";

/// Most bytes of a page, unless it has a single entry. sled's leaves have up to 16 values, which together must stay
/// below 128 kB. Shorter pages take more of sled's time for each entry, longer ones have more copied for each change.
const PAGE_BYTES: usize = 4_096;
/// What the parts of a split page have at most: room to grow.
const SPLIT_BYTES: usize = PAGE_BYTES * 3 / 4;

/// A length that stands for a value kept elsewhere.
const LARGE: u16 = u16::MAX;

/// The value under `key`.
///
/// # Errors
/// The tree's, or [`StoreError::Corrupt`]. So for all below.
pub(super) fn get(tree: &Tree, key: &[u8]) -> Result<Option<Value>, StoreError> {
    let Some((_, page)) = tree.at_or_after(&name(key))? else { return Ok(None) };
    let mut entries = Entries(&page);
    loop {
        match entries.next().map_err(|Malformed| malformed(tree))? {
            Some((found, _)) if found < key => {}
            Some((found, value)) if found == key => return Ok(Some(value.to_value())),
            _ => return Ok(None),
        }
    }
}

/// The entries not before `from` in the page of that key, and the last key that this page is for; `None` if it is for all
/// that follow.
#[expect(clippy::type_complexity, reason = "entries, and a key")]
pub(super) fn page_at(tree: &Tree, from: &[u8]) -> Result<(Vec<(Vec<u8>, Value)>, Option<Vec<u8>>), StoreError> {
    let Some((name, page)) = tree.at_or_after(&name(from))? else { return Ok((Vec::new(), None)) };
    let mut found = Vec::new();
    let mut entries = Entries(&page);
    while let Some((key, value)) = entries.next().map_err(|Malformed| malformed(tree))? {
        if key >= from {
            found.push((key.to_vec(), value.to_value()));
        }
    }
    Ok((found, last_key(&name).map(<[u8]>::to_vec)))
}

/// The entries before `before` in the page that `at` names, or in the first one after it, and the name of the page before that
/// one; `None` if there is none.
#[expect(clippy::type_complexity, reason = "entries, and a name")]
pub(super) fn page_back(
    tree: &Tree,
    at: &[u8],
    before: &[u8],
) -> Result<(Vec<(Vec<u8>, Value)>, Option<Vec<u8>>), StoreError> {
    let Some((name, page)) = tree.at_or_after(at)? else { return Ok((Vec::new(), None)) };
    // Read after the page: if the page is split meanwhile, moved entries are found in their new page and not here as
    // well.
    let previous = tree.before(&name)?.map(|(previous, _)| previous.to_vec());
    let after = previous.as_deref().and_then(last_key);
    let mut found = Vec::new();
    let mut entries = Entries(&page);
    while let Some((key, value)) = entries.next().map_err(|Malformed| malformed(tree))? {
        if key < before && after.is_none_or(|after| key > after) {
            found.push((key.to_vec(), value.to_value()));
        }
    }
    Ok((found, previous.filter(|name| last_key(name).is_some())))
}

/// Applies changes, given in the order of their keys, page by page. An interrupted call can be repeated.
pub(super) fn apply<'a>(tree: &Tree, changes: impl Iterator<Item = Change<'a>>) -> Result<(), StoreError> {
    let mut changes = changes.peekable();
    while let Some(first) = changes.peek() {
        let (name, old) = match tree.at_or_after(&self::name(first.key))? {
            Some((name, page)) => (name.to_vec(), page.to_vec()),
            None => (LAST.to_vec(), Vec::new()),
        };
        let last = last_key(&name);
        let mut page = Page::default();
        let mut entries = Entries(&old);
        let mut next = || entries.next().map_err(|Malformed| malformed(tree));
        let mut kept = next()?;
        while let Some(Change { key, value, .. }) = changes.next_if(|next| last.is_none_or(|last| next.key <= last)) {
            while let Some((old_key, value)) = kept.filter(|(old_key, _)| *old_key < key) {
                page.push(old_key, value);
                kept = next()?;
            }
            if kept.is_some_and(|(old_key, _)| old_key == key) {
                kept = next()?;
            }
            if let Some(value) = value {
                page.push(key, value);
            }
        }
        while let Some((old_key, value)) = kept {
            page.push(old_key, value);
            kept = next()?;
        }
        if page.bytes != old {
            page.put(tree, &name)?;
        }
    }
    Ok(())
}

/// Removes from every page the entries that belong to earlier pages, after interrupted changes and before they are
/// applied again.
pub(super) fn trim(tree: &Tree) -> Result<(), StoreError> {
    let mut before: Option<Vec<u8>> = None;
    let mut from = name(&[]);
    while let Some((name, old)) = tree.at_or_after(&from)? {
        let mut page = Page::default();
        let mut entries = Entries(&old);
        while let Some((key, value)) = entries.next().map_err(|Malformed| malformed(tree))? {
            if before.as_ref().is_none_or(|before| key > &before[..]) {
                page.push(key, value);
            }
        }
        if page.bytes.len() < old.len() {
            tree.put(&name, page.bytes)?;
        }
        before = last_key(&name).map(<[u8]>::to_vec);
        from = [&name[..], &[0]].concat();
    }
    Ok(())
}

/// The least name of a page that can hold `key`.
pub(super) fn name(key: &[u8]) -> Vec<u8> {
    [&[UP_TO], key].concat()
}

fn last_key(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(&[UP_TO])
}

fn malformed(tree: &Tree) -> StoreError {
    StoreError::Corrupt { dir: tree.dir().to_owned(), reason: "a page of it cannot be read".to_owned() }
}

/// Appends an entry to `bytes`. Keys and small values are shorter than [`LARGE`].
fn write_entry(bytes: &mut Vec<u8>, key: &[u8], value: Stored<'_>) {
    bytes.extend((key.len() as u16).to_le_bytes());
    match value {
        Stored::Small(value) => {
            bytes.extend((value.len() as u16).to_le_bytes());
            bytes.extend(key);
            bytes.extend(value);
        }
        Stored::Large(place) => {
            bytes.extend(LARGE.to_le_bytes());
            bytes.extend(key);
            bytes.extend(place.to_bytes());
        }
    }
}

/// A page that does not hold entries.
#[derive(Debug)]
struct Malformed;

/// Entries one after another.
struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    fn next(&mut self) -> Result<Option<(&'a [u8], Stored<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.read().map(Some).ok_or(Malformed)
    }

    fn read(&mut self) -> Option<(&'a [u8], Stored<'a>)> {
        let mut length = || self.0.split_off(..2)?.try_into().ok().map(u16::from_le_bytes);
        let (key, value) = (length()?, length()?);
        let key = self.0.split_off(..usize::from(key))?;
        let value = match value {
            LARGE => Stored::Large(Place::from_bytes(self.0.split_off(..Place::LEN)?.try_into().ok()?)),
            length => Stored::Small(self.0.split_off(..usize::from(length))?),
        };
        Some((key, value))
    }
}

/// A page being built, of any length.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    /// Where each entry begins.
    starts: Vec<usize>,
}

impl Page {
    fn push(&mut self, key: &[u8], value: Stored<'_>) {
        self.starts.push(self.bytes.len());
        write_entry(&mut self.bytes, key, value);
    }

    /// Stores it under `name`, split into several pages if it is too long.
    fn put(self, tree: &Tree, name: &[u8]) -> Result<(), StoreError> {
        let mut begin = 0;
        if self.bytes.len() > PAGE_BYTES {
            // Parts of about equal length.
            let part = self.bytes.len() / self.bytes.len().div_ceil(SPLIT_BYTES);
            for pair in self.starts.windows(2) {
                if pair[1] - begin >= part && self.bytes.len() - pair[1] >= part / 2 {
                    let key = Entries(&self.bytes[pair[0]..pair[1]]).next().ok().flatten();
                    let (key, _) = key.ok_or_else(|| malformed(tree))?;
                    tree.put(&self::name(key), self.bytes[begin..pair[1]].to_vec())?;
                    begin = pair[1];
                }
            }
        }
        tree.put(name, self.bytes[begin..].to_vec())
    }
}
