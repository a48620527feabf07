//! Entries of the state through its layers: the table, and above it the logs of edges.
//!
//! Each layer is a prefix of keys, and hides the same entries of those before it; an empty value says that there is no entry.
//! A search in the store costs more than the entries that it finds, so what was read of a layer is kept until another part
//! of it is asked for: of a log, which has few entries, that is mostly all that a caller needs.

use std::ops::ControlFlow;

use super::{Database, StoreError};
use crate::state::Key;

/// A key and its value.
type Entry<'a> = (&'a [u8], &'a [u8]);

/// After all keys of a kind, without the byte for it.
const END: [u8; Key::LEN + 3] = [0xff; Key::LEN + 3];
/// Fewest entries of a log that are read at once.
const LEAST_OF_LOG: usize = 64;

/// The entries of a kind in some layers.
pub(super) struct Layers<'a> {
    db: &'a Database,
    /// The table first, then the logs.
    layers: Vec<Layer>,
    /// Fewest entries of the table that are read at once.
    least: usize,
}

struct Layer {
    /// The prefix, with the byte for the kind.
    prefix: Vec<u8>,
    /// What was read last.
    ahead: Stretch,
}

/// All entries from one key to another, both included.
#[derive(Default)]
struct Stretch {
    first: Vec<u8>,
    last: Vec<u8>,
    /// Keys and values, one after another.
    bytes: Vec<u8>,
    /// Where a key begins, where its value does, and where that ends.
    entries: Vec<[usize; 3]>,
}

impl<'a> Layers<'a> {
    /// The entries of `kind` in the table and in `logs`, each given by its prefix. Of the table, at least `least` are read at
    /// once.
    pub fn new(db: &'a Database, logs: &[Vec<u8>], kind: u8, least: usize) -> Self {
        let prefixes = [&[][..]].into_iter().chain(logs.iter().map(|log| &log[..]));
        let layer = |prefix: &[u8]| Layer { prefix: [prefix, &[kind]].concat(), ahead: Stretch::default() };
        let layers = prefixes.map(layer).collect();
        Self { db, layers, least }
    }

    /// Reads the first entries from one key to another, both included, without the byte for the kind: all, or `count`.
    pub fn read<T>(
        &mut self,
        (first, last): (&[u8], &[u8]),
        count: usize,
        mut decode: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (mut found, mut from) = (Vec::new(), first.to_vec());
        let (least, mut of_log) = (self.least.max(count), LEAST_OF_LOG);
        loop {
            for (place, layer) in self.layers.iter_mut().enumerate() {
                if !layer.ahead.has(&from) {
                    let (least, end) = if place == 0 { (least, last) } else { (of_log, &END[..]) };
                    layer.ahead.read(self.db, &layer.prefix, (&from, end), least)?;
                }
            }
            // Up to where every layer was read.
            let reached = self.layers.iter().map(|layer| &layer.ahead.last[..]).fold(last, Ord::min);
            let left = count - found.len();
            // Only logs hide entries.
            let most = if self.layers.len() == 1 { left } else { usize::MAX };
            let mut merged: Vec<Entry<'_>> = Vec::new();
            for layer in &self.layers {
                let mut entries = layer.ahead.between(&from, reached).take(most).peekable();
                if !merged.is_empty() && entries.peek().is_some() {
                    // The sort is stable, so of equal keys the later layer's comes first, and stays.
                    merged = entries.chain(merged).collect();
                    merged.sort_by_key(|(key, _)| *key);
                    merged.dedup_by(|(hidden, _), (kept, _)| hidden == kept);
                } else {
                    merged.extend(entries);
                }
            }
            let there = merged.into_iter().filter(|(_, value)| !value.is_empty());
            for (key, value) in there.take(left) {
                found.push(decode(key, value)?);
            }
            if reached == last || found.len() == count {
                return Ok(found);
            }
            from = [reached, &[0]].concat();
            // A log may say of many in a row that they are not there.
            of_log = least.min(2 * of_log).max(of_log);
        }
    }
}

impl Stretch {
    /// Reads the first `limit` entries between two keys in place of what it has.
    fn read(
        &mut self,
        db: &Database,
        prefix: &[u8],
        (first, last): (&[u8], &[u8]),
        limit: usize,
    ) -> Result<(), StoreError> {
        // If that fails, nothing is there.
        let Self { mut bytes, mut entries, .. } = std::mem::take(self);
        bytes.clear();
        entries.clear();
        // What both have in common narrows what is looked through.
        let common = first.iter().zip(last).take_while(|(first, last)| first == last).count();
        let [narrow, from] = [&first[..common], first].map(|end| [prefix, end].concat());
        db.for_each(&narrow, &from, |key, value| {
            let rest = &key[prefix.len()..];
            if rest > last {
                return Some(ControlFlow::Break(()));
            }
            let at = bytes.len();
            entries.push([at, at + rest.len(), at + rest.len() + value.len()]);
            bytes.extend_from_slice(rest);
            bytes.extend_from_slice(value);
            Some(if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        let end =
            entries.last().filter(|_| entries.len() == limit).map_or(last, |[key, value, _]| &bytes[*key..*value]);
        let (first, last) = (first.to_vec(), end.to_vec());
        *self = Self { first, last, bytes, entries };
        Ok(())
    }

    /// Whether it begins with or before `key`, and does not end before it.
    fn has(&self, key: &[u8]) -> bool {
        (&self.first[..]..=&self.last[..]).contains(&key)
    }

    /// The entries from one key to another.
    fn between<'a>(&'a self, first: &[u8], last: &[u8]) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let key = |[key, value, _]: &[usize; 3]| &self.bytes[*key..*value];
        let begin = self.entries.partition_point(|at| key(at) < first);
        let end = self.entries.partition_point(|at| key(at) <= last);
        self.entries[begin..end].iter().map(|[key, value, end]| (&self.bytes[*key..*value], &self.bytes[*value..*end]))
    }
}
