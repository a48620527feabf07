//! How a page has its entries: one after another, in the order of their keys.
//!
//! An entry is some lengths, the rest of its key, and the rest of its value. The lengths are
//!
//! - twice that of what the key has in common with the beginning of the key before, and 1 if the value is shared,
//! - that of the rest of the key,
//! - that of the rest of the value and 1. Instead, 0 stands for a value that is kept elsewhere: a [`Place`] follows the key.
//! - if the value is shared, that of what it has in common with the beginning of the last value before that is not. Coins with
//!   one lock stand together in the order of the state, so that all but the first of them have no lock of their own.
//!
//! Lengths take 7 bits a byte, the lowest first, and the highest bit says that more follow.

use std::cmp::Ordering;
use std::ops::Range;

use super::large::Place;
use super::value::{Stored, Value};
use crate::storage::compact::{number, put_number};

/// Fewest bytes that a value shares: for less it is better one that others share with.
const LEAST_SHARED: usize = 8;

/// A page that does not hold entries.
#[derive(Debug)]
pub(super) struct Malformed;

/// A page being built, of any length. The same entries always make the same bytes.
#[derive(Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    last: Vec<u8>,
    /// Where the last value is that is not shared.
    whole: Range<usize>,
}

impl Page {
    /// Adds an entry, whose key is greater than those before.
    pub fn push(&mut self, key: &[u8], value: Stored<'_>) {
        let Self { bytes, last, whole } = self;
        let common_key = common(last, key);
        let rest = &key[common_key..];
        let shared = match value {
            Stored::Small(value) => Some(common(&bytes[whole.clone()], value)).filter(|shared| *shared >= LEAST_SHARED),
            Stored::Large(_) => None,
        };
        put_length(bytes, common_key << 1 | usize::from(shared.is_some()));
        put_length(bytes, rest.len());
        match value {
            Stored::Small(value) => {
                let value = &value[shared.unwrap_or(0)..];
                put_length(bytes, value.len() + 1);
                if let Some(shared) = shared {
                    put_length(bytes, shared);
                }
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(value);
                if shared.is_none() {
                    *whole = bytes.len() - value.len()..bytes.len();
                }
            }
            Stored::Large(place) => {
                put_length(bytes, 0);
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(&place.to_bytes());
            }
        }
        last.truncate(common_key);
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

/// Where in a page a reader is: at an entry, whose key and value it has, or before the first.
#[derive(Default)]
pub(super) struct Cursor {
    /// Where the next entry begins.
    at: usize,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Where the value is, if it is kept elsewhere.
    place: Option<Place>,
    /// Where the last value is that is not shared.
    whole: Range<usize>,
}

impl Cursor {
    /// Goes to the next entry of the page. `false` if there is none.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn next(&mut self, page: &[u8]) -> Result<bool, Malformed> {
        let mut rest = page.get(self.at..).ok_or(Malformed)?;
        if rest.is_empty() {
            return Ok(false);
        }
        let Entry { common, key, value } = Entry::read(&mut rest).ok_or(Malformed)?;
        if common > self.key.len() {
            return Err(Malformed);
        }
        self.key.truncate(common);
        self.key.extend_from_slice(key);
        self.at = page.len() - rest.len();
        self.value.clear();
        self.place = None;
        match value {
            Written::Whole(value) => {
                self.whole = self.at - value.len()..self.at;
                self.value.extend_from_slice(value);
            }
            Written::Shared(shared, value) => {
                let whole = page.get(self.whole.clone()).and_then(|whole| whole.get(..shared)).ok_or(Malformed)?;
                self.value.extend_from_slice(whole);
                self.value.extend_from_slice(value);
            }
            Written::Large(place) => self.place = Some(place),
        }
        Ok(true)
    }

    /// The key of the entry.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the entry.
    pub fn value(&self) -> Stored<'_> {
        self.place.map_or(Stored::Small(&self.value), Stored::Large)
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
pub(super) fn find(page: &[u8], key: &[u8]) -> Result<Option<Value>, Malformed> {
    // What the key before, which is less, has in common with the one that is looked for; and the last value that is not shared.
    let (mut rest, mut known, mut length, mut whole) = (page, 0, 0, &[][..]);
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
                    Ordering::Equal => return entry.value.after(whole).map(Some).ok_or(Malformed),
                    Ordering::Greater => return Ok(None),
                }
            }
        }
        if let Written::Whole(value) = entry.value {
            whole = value;
        }
    }
    Ok(None)
}

/// How many bytes two keys, or values, begin with alike.
pub(super) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// An entry as it is written.
struct Entry<'a> {
    /// Bytes that its key has in common with the one before.
    common: usize,
    /// The rest of its key.
    key: &'a [u8],
    value: Written<'a>,
}

/// A value as it is written.
enum Written<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// What comes after so many bytes of the last one that was written whole.
    Shared(usize, &'a [u8]),
    Large(Place),
}

impl Written<'_> {
    /// The value after the last one that was written whole.
    fn after(self, whole: &[u8]) -> Option<Value> {
        Some(match self {
            Self::Whole(value) => Value::Small(value.to_vec()),
            Self::Shared(shared, value) => Value::Small([whole.get(..shared)?, value].concat()),
            Self::Large(place) => Value::Large(place),
        })
    }
}

impl<'a> Entry<'a> {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let (common, key, value) = (length(bytes)?, length(bytes)?, length(bytes)?);
        let shared = if common & 1 == 1 { Some(length(bytes)?) } else { None };
        let key = bytes.split_off(..key)?;
        let value = match (value.checked_sub(1), shared) {
            (None, None) => Written::Large(Place::read(bytes)?),
            (None, Some(_)) => return None,
            (Some(length), None) => Written::Whole(bytes.split_off(..length)?),
            (Some(length), Some(shared)) => Written::Shared(shared, bytes.split_off(..length)?),
        };
        Some(Self { common: common >> 1, key, value })
    }
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put_number(bytes, length as u64);
}

#[inline]
fn length(bytes: &mut &[u8]) -> Option<usize> {
    match bytes.split_first() {
        // As nearly all are.
        Some((byte, rest)) if *byte < 0x80 => {
            *bytes = rest;
            Some(usize::from(*byte))
        }
        _ => number(bytes)?.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// Keys that often begin alike; some are the beginning of others.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(0u8..2, 0..8), vec(0u8..2, 120..140)]
    }

    /// Values; many begin alike.
    fn values() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..200),
            (0usize..40, vec(0u8..2, 0..4)).prop_map(|(length, end)| [vec![1; length], end].concat())
        ]
    }

    fn page_of(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Page {
        let mut page = Page::default();
        entries.iter().for_each(|(key, value)| page.push(key, Stored::Small(value)));
        page
    }

    proptest! {
        #[test]
        fn each_entry_of_a_page_is_found_and_nothing_else_is(
            entries in btree_map(keys(), values(), 0..40),
            others in vec(keys(), 0..40),
        ) {
            let page = page_of(&entries);
            for key in entries.keys().chain(&others) {
                let found = find(page.bytes(), key).unwrap();
                prop_assert_eq!(found, entries.get(key).cloned().map(Value::Small));
            }
            let (mut cursor, mut seen) = (Cursor::default(), BTreeMap::new());
            while cursor.next(page.bytes()).unwrap() {
                let Stored::Small(value) = cursor.value() else { panic!("no large value was put") };
                seen.insert(cursor.key().to_vec(), value.to_vec());
            }
            prop_assert_eq!(cursor.at(), page.bytes().len());
            prop_assert_eq!(seen, entries);
        }

        /// A page is checked before it is read, so damage is told by its checksum. Still, whatever is read does no harm.
        #[test]
        fn what_is_no_page_is_told(
            entries in btree_map(keys(), values(), 1..10),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            key in keys(),
        ) {
            let page = page_of(&entries);
            let cut = &page.bytes()[..page.bytes().len() - 1];
            let all = |page: &[u8]| {
                let mut cursor = Cursor::default();
                while cursor.next(page)? {}
                Ok::<_, Malformed>(())
            };
            prop_assert!(all(cut).is_err(), "cut");
            let mut changed = page.bytes().to_vec();
            changed[at.index(page.bytes().len())] = byte;
            let _ = (all(&changed), find(&changed, &key));
        }
    }
}
