//! An append-only log of writes in one buffer, and an index of the latest write for each key.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::large::Place;
use super::value::Stored;
use crate::storage::{Batch, Write};

/// Flags of a change: it puts a value, the key was not there before, the value is in the file of large values.
const PUT: u8 = 1;
const NEW: u8 = 2;
const LARGE: u8 = 4;

/// Bytes of a change in a log, besides its key and value.
const HEAD_BYTES: usize = 9;

/// A write or removal of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub key: &'a [u8],
    /// What is put there; `None` if it is removed.
    pub value: Option<Stored<'a>>,
    /// Nothing was under this key before, so that removing it again leaves nothing to write.
    pub is_new: bool,
}

/// Changes in the order in which they are made: flags, lengths of the key and of the value (`u32`, little-endian), key,
/// value.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Vec<u8>);

impl Log {
    /// Adds a change; where it stands. Key and value are shorter than 4 GB.
    pub fn push(&mut self, change: &Change<'_>) -> usize {
        let at = self.0.len();
        let place;
        let (flags, value): (u8, &[u8]) = match change.value {
            None => (0, &[]),
            Some(Stored::Small(value)) => (PUT, value),
            Some(Stored::Large(large)) => {
                place = large.to_bytes();
                (PUT | LARGE, &place)
            }
        };
        let Change { key, is_new, .. } = change;
        self.0.push(flags | if *is_new { NEW } else { 0 });
        self.0.extend((key.len() as u32).to_le_bytes());
        self.0.extend((value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
        at
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn at(&self, place: usize) -> Change<'_> {
        Changes(&self.0[place..]).next().expect("a place in the log is where a change begins")
    }
}

/// Changes one after another, up to the first that cannot be read.
pub(super) struct Changes<'a>(&'a [u8]);

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let mut rest = self.0;
        let flags = *rest.split_off_first()?;
        let mut length = || usize::try_from(u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?)).ok();
        let (key, value) = (length()?, length()?);
        let (key, mut value) = (rest.split_off(..key)?, rest.split_off(..value)?);
        let value = match flags & (PUT | LARGE) {
            PUT => Some(Stored::Small(value)),
            0 => None,
            _ => Some(Stored::Large(Place::read(&mut value)?)),
        };
        self.0 = rest;
        Some(Change { key, value, is_new: flags & NEW != 0 })
    }
}

/// A log, and an index of the latest change for each key.
#[derive(Debug, Default)]
pub(super) struct Window {
    log: Log,
    /// The index, by the first byte of keys: what is scanned is of one kind.
    kinds: BTreeMap<u8, Places>,
    hasher: RandomState,
}

/// Where in the log the last change to each key of a kind is.
#[derive(Debug, Default)]
struct Places {
    table: HashTable<usize>,
    /// The same in the order of keys, made when it is asked for: most kinds are hardly ever scanned, and one that is is not
    /// changed meanwhile.
    sorted: OnceLock<Vec<usize>>,
}

impl Places {
    fn sorted(&self, log: &Log) -> &[usize] {
        self.sorted.get_or_init(|| {
            // Keys mostly differ in their first bytes, so these are copied for comparison.
            let head = |at: usize| {
                let mut head = [0; 16];
                head.iter_mut().zip(log.at(at).key).for_each(|(head, byte)| *head = *byte);
                u128::from_be_bytes(head)
            };
            let mut heads: Vec<(u128, usize)> = self.table.iter().map(|at| (head(*at), *at)).collect();
            let key = |at: usize| log.at(at).key;
            heads.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
            heads.into_iter().map(|(_, at)| at).collect()
        })
    }
}

impl Window {
    /// The window that a log makes; `None` if there is something else in `bytes`.
    pub fn replay(bytes: &[u8]) -> Option<Self> {
        let mut window = Self::default();
        let mut changes = Changes(bytes);
        changes.by_ref().for_each(|change| window.record(change));
        changes.0.is_empty().then_some(window)
    }

    /// Makes room for the changes of a batch at once, whose large values, so many bytes, are kept elsewhere: a table that grows
    /// by steps hashes at each all that it has.
    pub fn reserve(&mut self, batch: &Batch, large_bytes: usize) {
        let Self { log, kinds, hasher } = self;
        let (mut counts, mut bytes) = ([0; 1 << u8::BITS], 0);
        for Write { key, value, .. } in batch.writes() {
            counts[usize::from(kind(key))] += 1;
            bytes += HEAD_BYTES + key.len() + value.map_or(0, <[u8]>::len);
        }
        log.0.reserve(bytes.saturating_sub(large_bytes));
        for (kind, count) in (0..=u8::MAX).zip(counts).filter(|(_, count)| *count > 0) {
            let table = &mut kinds.entry(kind).or_default().table;
            table.reserve(count, |at| hasher.hash_one(log.at(*at).key));
        }
    }

    /// Adds a change. Removing a new key cancels both.
    pub fn record(&mut self, mut change: Change<'_>) {
        let Self { log, kinds, hasher } = self;
        let Places { table, sorted } = kinds.entry(kind(change.key)).or_default();
        sorted.take();
        let hash = hasher.hash_one(change.key);
        let is_same = |at: &usize| log.at(*at).key == change.key;
        match table.entry(hash, is_same, |at| hasher.hash_one(log.at(*at).key)) {
            Entry::Vacant(vacant) => {
                vacant.insert(log.push(&change));
            }
            Entry::Occupied(mut occupied) => {
                let was_new = log.at(*occupied.get()).is_new;
                change.is_new = was_new;
                let at = log.push(&change);
                if was_new && change.value.is_none() {
                    occupied.remove();
                } else {
                    *occupied.get_mut() = at;
                }
                if self.kinds.values().all(|places| places.table.is_empty()) {
                    self.log.0.clear();
                }
            }
        }
    }

    /// The last change to `key`.
    pub fn get(&self, key: &[u8]) -> Option<Change<'_>> {
        let is_it = |at: &usize| self.log.at(*at).key == key;
        self.kinds.get(&kind(key))?.table.find(self.hasher.hash_one(key), is_it).map(|at| self.log.at(*at))
    }

    /// The last change to each key that begins with `prefix` and is not less than `from`, in the order of keys.
    pub fn range<'a>(&'a self, prefix: &'a [u8], from: &'a [u8]) -> impl Iterator<Item = Change<'a>> {
        let kinds = match prefix.first() {
            Some(kind) => self.kinds.range(kind..=kind),
            None => self.kinds.range(..),
        };
        let changes = kinds.flat_map(move |(_, places)| {
            let sorted = places.sorted(&self.log);
            let first = sorted.partition_point(|at| self.log.at(*at).key < from.max(prefix));
            sorted[first..].iter().map(|at| self.log.at(*at))
        });
        changes.take_while(move |change| change.key.starts_with(prefix))
    }

    /// Number of keys that change.
    pub fn len(&self) -> usize {
        self.kinds.values().map(|places| places.table.len()).sum()
    }

    /// Bytes of memory that the log and its index take.
    pub fn bytes(&self) -> usize {
        self.log.0.len() + self.len() * PLACE_BYTES
    }

    /// All changes, superseded ones included.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// Memory of a key in the index: a place and a byte of its hash in a half-empty table, and the place in order.
const PLACE_BYTES: usize = 2 * (size_of::<usize>() + 1) + size_of::<usize>();

/// Which index has a key.
fn kind(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}
