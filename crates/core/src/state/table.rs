//! A state in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::changes::{Change, Changes};
use super::key::{Key, KeyRange, Prefix};
use super::node::{Inner, Leaf, Node};
use super::source::Source;
use super::update::{Update, UpdateError};

/// The coins and records of a state, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    leaves: BTreeMap<Key, Leaf>,
    records: BTreeMap<Prefix, Inner>,
    top: Option<Node>,
}

impl Table {
    /// The state of these coins, in any order. Of two with the same key, the last counts.
    ///
    /// # Errors
    /// [`UpdateError::Build`].
    pub fn new(leaves: impl IntoIterator<Item = Leaf>) -> Result<Self, UpdateError<Infallible>> {
        let mut changes = Changes::default();
        leaves.into_iter().for_each(|leaf| changes.make(leaf));
        let mut table = Self::default();
        table.apply(&changes)?;
        Ok(table)
    }

    /// The node over all coins; `None` if there are none.
    pub fn top(&self) -> Option<&Node> {
        self.top.as_ref()
    }

    /// All coins, in the order of their keys.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.values()
    }

    /// The records, in the order of their prefixes.
    pub fn records(&self) -> impl Iterator<Item = &Inner> {
        self.records.values()
    }

    /// Makes it the next state. If that fails, it stays as it is.
    ///
    /// # Errors
    /// [`UpdateError`], if the changes are not to this state.
    pub fn apply(&mut self, changes: &Changes) -> Result<(), UpdateError<Infallible>> {
        let update = self.with_source(|source| Update::new(source, changes))?;
        for (key, change) in changes.iter() {
            match change {
                Change::Made(leaf) => drop(self.leaves.insert(*key, *leaf)),
                Change::Spent(_) => drop(self.leaves.remove(key)),
            }
        }
        for (prefix, record) in update.records {
            match record.after {
                Some(inner) => drop(self.records.insert(prefix, inner)),
                None => drop(self.records.remove(&prefix)),
            }
        }
        self.top = update.top;
        Ok(())
    }

    /// Calls `work` with the state as a source of proofs.
    pub fn with_source<T>(&self, work: impl FnOnce(&Source<'_, Infallible>) -> T) -> T {
        let record = |place: &Prefix| Ok(self.records.range(place..).next().map(|(_, inner)| *inner));
        let leaves = |range: &KeyRange, count: usize| {
            Ok(self.leaves.range(range.first()..=range.last()).take(count).map(|(_, leaf)| *leaf).collect())
        };
        work(&Source { top: self.top, record: &record, leaves: &leaves })
    }
}
