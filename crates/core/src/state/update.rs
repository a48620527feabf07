//! A state from the one before and what changed: the cost goes with the changes, not with the coins.

use std::collections::BTreeMap;

use super::build::{BuildError, Builder};
use super::changes::{Change, Changes};
use super::key::{Key, Prefix};
use super::node::{Inner, Leaf, Node};
use super::source::{BUCKET, Below, Source, SourceError};

/// Why changes do not apply. The first two mean that they are changes to another state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError<E> {
    /// A coin spent that the state does not have, or not like this.
    #[error("the state has no coin {key} as it was spent")]
    Missing {
        /// Its key.
        key: Key,
    },
    /// A coin made that the state has already.
    #[error("the state has the coin {key} already")]
    Present {
        /// Its key.
        key: Key,
    },
    /// More coins, or more value, than there can be.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The source's.
    #[error(transparent)]
    Source(#[from] SourceError<E>),
}

/// What is to be written, besides the changed coins, to make a state the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The node over all coins; `None` if there are none left.
    pub top: Option<Node>,
    /// Records that change, in the order of their prefixes.
    pub records: BTreeMap<Prefix, Rewritten>,
}

/// How a record changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The record of the state before; `None` if it had none.
    pub before: Option<Inner>,
    /// The record of the state after; `None` if it is to be removed.
    pub after: Option<Inner>,
}

impl Update {
    /// The state after `changes` to that of `source`, which stays as it is.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn new<E>(source: &Source<'_, E>, changes: &Changes) -> Result<Self, UpdateError<E>> {
        let changes: Vec<(&Key, &Change)> = changes.iter().collect();
        let mut updater = Updater { source, records: BTreeMap::new() };
        let top = updater.node(&Prefix::ALL, source.top, &changes)?;
        Ok(Self { top, records: updater.records })
    }
}

struct Updater<'a, E> {
    source: &'a Source<'a, E>,
    records: BTreeMap<Prefix, Rewritten>,
}

impl<E> Updater<'_, E> {
    /// The node of all coins that begin with `place`, where `node` is now, after `changes`, which all begin with it.
    fn node(
        &mut self,
        place: &Prefix,
        node: Option<Node>,
        changes: &[(&Key, &Change)],
    ) -> Result<Option<Node>, UpdateError<E>> {
        if changes.is_empty() {
            return Ok(node);
        }
        let below = node.map_or(Ok(Below::Bucket(Vec::new())), |node| self.source.below(place, &node))?;
        match below {
            Below::Bucket(leaves) => self.build(merge(leaves, changes)?.iter().map(coin)),
            Below::Inner(inner) => self.inner(&inner, changes),
        }
    }

    /// The same, where `inner` is. It may go, and coins may come beside it, which have fewer bits in common with it.
    fn inner(&mut self, inner: &Inner, changes: &[(&Key, &Change)]) -> Result<Option<Node>, UpdateError<E>> {
        let [left, right] = [false, true].map(|side| inner.prefix.child(side));
        let begin = changes.partition_point(|(key, _)| *key < left.first());
        let middle = changes.partition_point(|(key, _)| *key < right.first());
        let end = changes.partition_point(|(key, _)| **key <= right.last());
        let before = merge(Vec::new(), &changes[..begin])?;
        let after = merge(Vec::new(), &changes[end..])?;
        // Unless it is made again.
        self.records.entry(inner.prefix).or_default().before = Some(*inner);
        let left = self.node(&left, Some(inner.left), &changes[begin..middle])?.map(|node| (left, node));
        let right = self.node(&right, Some(inner.right), &changes[middle..end])?.map(|node| (right, node));
        self.build(before.iter().map(coin).chain(left).chain(right).chain(after.iter().map(coin)))
    }

    /// The node over these, in order. New records are noted.
    fn build(&mut self, parts: impl Iterator<Item = (Prefix, Node)>) -> Result<Option<Node>, UpdateError<E>> {
        let mut builder = Builder::new(|inner: &Inner, node: &Node| {
            if node.count > BUCKET {
                self.records.entry(inner.prefix).or_default().after = Some(*inner);
            }
        });
        for (place, node) in parts {
            builder.push(place, node)?;
        }
        Ok(builder.finish()?)
    }
}

fn coin(leaf: &Leaf) -> (Prefix, Node) {
    (Prefix::whole(leaf.key), leaf.node())
}

/// The coins that `leaves` are after `changes`; both are in order.
fn merge<E>(leaves: Vec<Leaf>, changes: &[(&Key, &Change)]) -> Result<Vec<Leaf>, UpdateError<E>> {
    let mut merged = Vec::with_capacity(leaves.len() + changes.len());
    let mut leaves = leaves.into_iter().peekable();
    for (key, change) in changes {
        merged.extend(std::iter::from_fn(|| leaves.next_if(|leaf| leaf.key < **key)));
        let old = leaves.next_if(|leaf| leaf.key == **key);
        match change {
            Change::Made(leaf) if old.is_none() => merged.push(*leaf),
            Change::Made(_) => return Err(UpdateError::Present { key: **key }),
            Change::Spent(leaf) if old == Some(*leaf) => {}
            Change::Spent(_) => return Err(UpdateError::Missing { key: **key }),
        }
    }
    merged.extend(leaves);
    Ok(merged)
}
