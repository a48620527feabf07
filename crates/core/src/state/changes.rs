//! The net change of coins over some blocks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::key::Key;
use super::node::Leaf;
use crate::consensus::coins::{Coin, Delta};
use crate::primitives::tx::OutPoint;

/// What became of a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Made(Leaf),
    /// It was spent.
    Spent(Leaf),
}

impl Change {
    /// The same, from the later state to the earlier one.
    fn reversed(self) -> Self {
        match self {
            Self::Made(leaf) => Self::Spent(leaf),
            Self::Spent(leaf) => Self::Made(leaf),
        }
    }
}

/// What became of coins between two states, by key. A coin that was both made and spent between them is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<Key, Change>);

impl Changes {
    /// Adds what a block did.
    pub fn apply(&mut self, delta: &Delta) {
        self.step(&delta.created, &delta.spent);
    }

    /// Takes back what the last block did.
    pub fn undo(&mut self, delta: &Delta) {
        self.step(&delta.spent, &delta.created);
    }

    fn step(&mut self, made: &[(OutPoint, Coin)], spent: &[(OutPoint, Coin)]) {
        let leaf = |(outpoint, coin): &(OutPoint, Coin)| Leaf::new(outpoint, coin);
        made.iter().filter_map(leaf).for_each(|leaf| self.make(leaf));
        spent.iter().filter_map(leaf).for_each(|leaf| self.spend(leaf));
    }

    /// Adds a coin made, or spent by a block that is taken back.
    pub fn make(&mut self, leaf: Leaf) {
        self.add(leaf.key, Change::Made(leaf));
    }

    /// Adds a coin spent, or made by a block that is taken back.
    pub fn spend(&mut self, leaf: Leaf) {
        self.add(leaf.key, Change::Spent(leaf));
    }

    /// A change takes back its opposite.
    fn add(&mut self, key: Key, change: Change) {
        match self.0.entry(key) {
            Entry::Occupied(entry) if entry.get().reversed() == change => drop(entry.remove()),
            entry => drop(entry.insert_entry(change)),
        }
    }

    /// The change from the later state to the earlier one.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().map(|(key, change)| (*key, change.reversed())).collect())
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Change)> {
        self.0.iter()
    }

    /// Number of coins that changed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
