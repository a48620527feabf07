//! How a page has its entries: one after another, in the order of their keys.
//!
//! An entry is three lengths, the rest of its key, and its value. The lengths are that of what the key has in common with the
//! beginning of the key before, that of the rest, and that of the value and 1. Instead of the last, 0 stands for a value that
//! is kept elsewhere: a [`Place`] follows. Lengths take 7 bits a byte, the lowest first, and the highest bit says that more
//! follow.

use std::cmp::Ordering;

use super::large::Place;
use super::value::Stored;
use crate::storage::compact::{number, put_number};

/// A page that does not hold entries.
#[derive(Debug)]
pub(super) struct Malformed;

/// A page being built, of any length. The same entries always make the same bytes.
#[derive(Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    last: Vec<u8>,
}

impl Page {
    /// Adds an entry, whose key is greater than those before.
    pub fn push(&mut self, key: &[u8], value: Stored<'_>) {
        let Self { bytes, last } = self;
        let common = common(last, key);
        let rest = &key[common..];
        put_length(bytes, common);
        put_length(bytes, rest.len());
        match value {
            Stored::Small(value) => {
                put_length(bytes, value.len() + 1);
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(value);
            }
            Stored::Large(place) => {
                put_length(bytes, 0);
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(&place.to_bytes());
            }
        }
        last.truncate(common);
        last.extend_from_slice(rest);
    }

    /// The page so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key of the last entry.
    pub fn last(&self) -> &[u8] {
        &self.last
    }
}

/// Where in a page a reader is: after an entry, whose key it has.
#[derive(Default)]
pub(super) struct Cursor {
    at: usize,
    key: Vec<u8>,
}

impl Cursor {
    /// Goes to the next entry of the page, and returns its value.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn next<'a>(&mut self, page: &'a [u8]) -> Result<Option<Stored<'a>>, Malformed> {
        let mut rest = page.get(self.at..).ok_or(Malformed)?;
        if rest.is_empty() {
            return Ok(None);
        }
        let Entry { common, key, value } = Entry::read(&mut rest).ok_or(Malformed)?;
        if common > self.key.len() {
            return Err(Malformed);
        }
        self.key.truncate(common);
        self.key.extend_from_slice(key);
        self.at = page.len() - rest.len();
        Ok(Some(value))
    }

    /// The key of the entry.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Where the next entry begins.
    pub fn at(&self) -> usize {
        self.at
    }
}

/// The value under `key` in a page.
///
/// # Errors
/// [`Malformed`].
pub(super) fn find<'a>(page: &'a [u8], key: &[u8]) -> Result<Option<Stored<'a>>, Malformed> {
    // What the key before, which is less, has in common with the one that is looked for.
    let (mut rest, mut known, mut length) = (page, 0, 0);
    while !rest.is_empty() {
        let entry = Entry::read(&mut rest).filter(|entry| entry.common <= length).ok_or(Malformed)?;
        length = entry.common + entry.key.len();
        match entry.common.cmp(&known) {
            // It differs where the one before did.
            Ordering::Greater => {}
            // It is greater than the one before where that one did not differ.
            Ordering::Less => return Ok(None),
            Ordering::Equal => {
                let wanted = &key[known..];
                let more = common(entry.key, wanted);
                // A key that ends here comes before one that goes on.
                match entry.key.get(more).cmp(&wanted.get(more)) {
                    Ordering::Less => known += more,
                    Ordering::Equal => return Ok(Some(entry.value)),
                    Ordering::Greater => return Ok(None),
                }
            }
        }
    }
    Ok(None)
}

/// How many bytes two keys begin with alike.
pub(super) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// An entry as it is written.
struct Entry<'a> {
    /// Bytes that its key has in common with the one before.
    common: usize,
    /// The rest of its key.
    key: &'a [u8],
    value: Stored<'a>,
}

impl<'a> Entry<'a> {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let (common, key, value) = (length(bytes)?, length(bytes)?, length(bytes)?);
        let key = bytes.split_off(..key)?;
        let value = match value.checked_sub(1) {
            None => Stored::Large(Place::read(bytes)?),
            Some(length) => Stored::Small(bytes.split_off(..length)?),
        };
        Some(Self { common, key, value })
    }
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put_number(bytes, length as u64);
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    number(bytes)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// Keys of which many begin alike, and some are the beginning of others.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(0u8..2, 0..8), vec(0u8..2, 120..140)]
    }

    fn page_of(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Page {
        let mut page = Page::default();
        entries.iter().for_each(|(key, value)| page.push(key, Stored::Small(value)));
        page
    }

    proptest! {
        #[test]
        fn each_entry_of_a_page_is_found_and_nothing_else_is(
            entries in btree_map(keys(), vec(any::<u8>(), 0..200), 0..40),
            others in vec(keys(), 0..40),
        ) {
            let page = page_of(&entries);
            for key in entries.keys().chain(&others) {
                let found = find(page.bytes(), key).unwrap();
                let found = found.map(|value| matches!(value, Stored::Small(value) if value == &entries[key][..]));
                prop_assert_eq!(found, entries.get(key).map(|_| true));
            }
            let (mut cursor, mut seen) = (Cursor::default(), BTreeMap::new());
            while let Some(value) = cursor.next(page.bytes()).unwrap() {
                let Stored::Small(value) = value else { panic!("no large value was put") };
                seen.insert(cursor.key().to_vec(), value.to_vec());
            }
            prop_assert_eq!(cursor.at(), page.bytes().len());
            prop_assert_eq!(seen, entries);
        }

        /// A page is checked before it is read, so damage is told by its checksum. Still, whatever is read does no harm.
        #[test]
        fn what_is_no_page_is_told(
            entries in btree_map(keys(), vec(any::<u8>(), 0..20), 1..10),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            key in keys(),
        ) {
            let page = page_of(&entries);
            let cut = &page.bytes()[..page.bytes().len() - 1];
            let all = |page: &[u8]| {
                let mut cursor = Cursor::default();
                while cursor.next(page)?.is_some() {}
                Ok::<_, Malformed>(())
            };
            prop_assert!(all(cut).is_err(), "cut");
            let mut changed = page.bytes().to_vec();
            changed[at.index(page.bytes().len())] = byte;
            let _ = (all(&changed), find(&changed, &key));
        }
    }
}
