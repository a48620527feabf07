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

/// Changes in the order of their keys.
type Ordered<'a> = [(&'a Key, &'a Change)];
/// Records that change, by prefix.
type Records = BTreeMap<Prefix, Rewritten>;

impl Update {
    /// The state after `changes` to that of `source`, which stays as it is.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn new<E>(source: &Source<'_, E>, changes: &Changes) -> Result<Self, UpdateError<E>> {
        let changes: Vec<(&Key, &Change)> = changes.iter().collect();
        Self::below(source, &Prefix::ALL, source.top, &changes)
    }

    /// The same of the coins that begin with `place`, where `node` is now.
    fn below<E>(
        source: &Source<'_, E>,
        place: &Prefix,
        node: Option<Node>,
        changes: &Ordered<'_>,
    ) -> Result<Self, UpdateError<E>> {
        let mut updater = Updater { source, records: Records::new() };
        let top = updater.node(place, node, changes)?;
        Ok(Self { top, records: updater.records })
    }
}

/// An update in two halves that do not depend on each other, so that two threads can compute them.
#[derive(Debug)]
pub struct Halves<'a> {
    /// What is above both.
    inner: Inner,
    changes: Vec<(&'a Key, &'a Change)>,
}

impl<'a> Halves<'a> {
    /// Halves what [`Update::new`] does; `None` if the state has too few coins.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn new<E>(source: &Source<'_, E>, changes: &'a Changes) -> Result<Option<Self>, SourceError<E>> {
        let Some(top) = source.top else { return Ok(None) };
        Ok(match source.below(&Prefix::ALL, &top)? {
            Below::Inner(inner) => Some(Self { inner, changes: changes.iter().collect() }),
            Below::Bucket(_) => None,
        })
    }

    /// Computes the left half, or the right one.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn half<E>(&self, source: &Source<'_, E>, right: bool) -> Result<Update, UpdateError<E>> {
        let [_, left_changes, right_changes, _] = parts(&self.inner, &self.changes);
        let (node, changes) = if right { (self.inner.right, right_changes) } else { (self.inner.left, left_changes) };
        Update::below(source, &self.inner.prefix.child(right), Some(node), changes)
    }

    /// The whole update.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn join<E>(self, left: Update, mut right: Update) -> Result<Update, UpdateError<E>> {
        let mut records = left.records;
        records.append(&mut right.records);
        let [before, _, _, after] = parts(&self.inner, &self.changes);
        let top = above(&mut records, &self.inner, [left.top, right.top], [before, after])?;
        Ok(Update { top, records })
    }
}

struct Updater<'a, E> {
    source: &'a Source<'a, E>,
    records: Records,
}

impl<E> Updater<'_, E> {
    /// The node of all coins that begin with `place`, where `node` is now, after `changes`, which all begin with it.
    fn node(
        &mut self,
        place: &Prefix,
        node: Option<Node>,
        changes: &Ordered<'_>,
    ) -> Result<Option<Node>, UpdateError<E>> {
        if changes.is_empty() {
            return Ok(node);
        }
        let below = node.map_or(Ok(Below::Bucket(Vec::new())), |node| self.source.below(place, &node))?;
        match below {
            Below::Bucket(leaves) => build(&mut self.records, merge(leaves, changes)?.iter().map(coin)),
            Below::Inner(inner) => {
                let [before, left, right, after] = parts(&inner, changes);
                let left = self.node(&inner.prefix.child(false), Some(inner.left), left)?;
                let right = self.node(&inner.prefix.child(true), Some(inner.right), right)?;
                above(&mut self.records, &inner, [left, right], [before, after])
            }
        }
    }
}

/// The changes before those below a node, those on its left and on its right, and those after it.
fn parts<'a, 'b>(inner: &Inner, changes: &'b Ordered<'a>) -> [&'b Ordered<'a>; 4] {
    let [left, right] = [false, true].map(|side| inner.prefix.child(side));
    let (before, rest) = changes.split_at(changes.partition_point(|(key, _)| *key < left.first()));
    let (on_left, rest) = rest.split_at(rest.partition_point(|(key, _)| *key < right.first()));
    let (on_right, after) = rest.split_at(rest.partition_point(|(key, _)| **key <= right.last()));
    [before, on_left, on_right, after]
}

/// The node where `inner` was, whose sides have become these. It may go, and coins may come beside it, which have
/// fewer bits in common with it.
fn above<E>(
    records: &mut Records,
    inner: &Inner,
    sides: [Option<Node>; 2],
    beside: [&Ordered<'_>; 2],
) -> Result<Option<Node>, UpdateError<E>> {
    let [before, after] = beside.map(|changes| merge(Vec::new(), changes));
    let (before, after) = (before?, after?);
    // Unless it is made again.
    records.entry(inner.prefix).or_default().before = Some(*inner);
    let sides = [false, true].into_iter().zip(sides);
    let sides = sides.filter_map(|(side, node)| Some((inner.prefix.child(side), node?)));
    build(records, before.iter().map(coin).chain(sides).chain(after.iter().map(coin)))
}

/// The node over these, in order. New records are noted.
fn build<E>(
    records: &mut Records,
    parts: impl Iterator<Item = (Prefix, Node)>,
) -> Result<Option<Node>, UpdateError<E>> {
    let mut builder = Builder::new(|inner: &Inner, node: &Node| {
        if node.count > BUCKET {
            records.entry(inner.prefix).or_default().after = Some(*inner);
        }
    });
    for (place, node) in parts {
        builder.push(place, node)?;
    }
    Ok(builder.finish()?)
}

fn coin(leaf: &Leaf) -> (Prefix, Node) {
    (Prefix::whole(leaf.key), leaf.node())
}

/// The coins that `leaves` are after `changes`; both are in order.
fn merge<E>(leaves: Vec<Leaf>, changes: &Ordered<'_>) -> Result<Vec<Leaf>, UpdateError<E>> {
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
