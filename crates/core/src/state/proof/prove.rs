//! The prover's side.

use super::bytes::Writer;
use super::{EMPTY, INNER, PAGE_COINS, Question, is_hidden};
use crate::state::build::{BuildError, node_over};
use crate::state::key::{Key, KeyRange, Prefix};
use crate::state::node::{Inner, Leaf, Node};
use crate::state::source::{Below, Source, SourceError};

/// Why nothing can be proven. Either way the source is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError<E>),
    /// Its coins form no tree.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl<E> Source<'_, E> {
    /// Proves which coins are in `range`: all, or the first [`PAGE_COINS`]; then the key of the last of them is given too,
    /// after which the next page begins.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove_page(&self, range: &KeyRange) -> Result<(Vec<u8>, Option<Key>), ProveError<E>> {
        self.prove_page_of(PAGE_COINS, range)
    }

    /// The same with pages of `most` coins, between 1 and [`PAGE_COINS`].
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove_page_of(&self, most: usize, range: &KeyRange) -> Result<(Vec<u8>, Option<Key>), ProveError<E>> {
        let most = most.clamp(1, PAGE_COINS);
        let leaves = (self.leaves)(range, most + 1).map_err(SourceError::Read)?;
        let end = if leaves.len() > most { leaves.get(most - 1).map(|leaf| leaf.key) } else { None };
        let page = end.and_then(|end| KeyRange::new(*range.first(), end)).unwrap_or(*range);
        Ok((self.prove(&page, Question::Coins, &leaves)?, end))
    }

    /// Proves what the coins in `range` are worth, and how many they are.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove_total(&self, range: &KeyRange) -> Result<Vec<u8>, ProveError<E>> {
        self.prove(range, Question::Total, &[])
    }

    /// `leaves` are the coins that a page shows, and may go on behind it.
    fn prove(&self, range: &KeyRange, question: Question, leaves: &[Leaf]) -> Result<Vec<u8>, ProveError<E>> {
        let Some(top) = &self.top else { return Ok(vec![EMPTY]) };
        let mut prover = Prover { source: self, range, question, leaves, writer: Writer::default() };
        prover.node(&Prefix::ALL, top)?;
        Ok(prover.writer.out)
    }
}

struct Prover<'a, E> {
    source: &'a Source<'a, E>,
    range: &'a KeyRange,
    question: Question,
    leaves: &'a [Leaf],
    writer: Writer,
}

impl<E> Prover<'_, E> {
    fn is_hidden(&self, place: &Prefix) -> bool {
        is_hidden(place, self.range, self.question)
    }

    /// The node at `place`, with what is shown below it.
    fn node(&mut self, place: &Prefix, node: &Node) -> Result<(), ProveError<E>> {
        if self.is_hidden(place) {
            self.writer.hidden(node);
            return Ok(());
        }
        let keys = place.range();
        if self.range.covers(&keys) {
            // It is shown down to its coins, so nothing that records hold is needed.
            let leaves = self.leaves;
            let [begin, end] = [
                leaves.partition_point(|leaf| leaf.key < *keys.first()),
                leaves.partition_point(|leaf| leaf.key <= *keys.last()),
            ];
            let is_whole = |leaves: &&[Leaf]| {
                leaves.len() as u64 == node.count && leaves.is_sorted_by(|one, next| one.key < next.key)
            };
            let leaves = leaves.get(begin..end).filter(is_whole);
            return self.bucket(place, leaves.ok_or(SourceError::Damaged { place: *place })?);
        }
        match self.source.below(place, node)? {
            Below::Bucket(leaves) => self.bucket(place, &leaves),
            Below::Inner(inner) => {
                let Some([left, right]) = self.open(&inner.prefix) else {
                    self.writer.stub(&inner);
                    return Ok(());
                };
                self.node(&left, &inner.left)?;
                self.node(&right, &inner.right)
            }
        }
    }

    /// The same, where the node is that over `leaves`.
    fn bucket(&mut self, place: &Prefix, leaves: &[Leaf]) -> Result<(), ProveError<E>> {
        if self.is_hidden(place) {
            let node = build(leaves, place)?;
            self.writer.hidden(&node);
            return Ok(());
        }
        let (first, last) = match leaves {
            [] => return Err(SourceError::Damaged { place: *place }.into()),
            [leaf] => {
                self.writer.leaf(leaf);
                return Ok(());
            }
            [first, .., last] => (first, last),
        };
        let prefix = Prefix::of(&first.key, first.key.common_bits(&last.key));
        let (left, right) = leaves.split_at(leaves.partition_point(|leaf| leaf.key < *prefix.child(true).first()));
        let Some(places) = self.open(&prefix) else {
            let [left_place, right_place] = [false, true].map(|side| prefix.child(side));
            let inner = Inner { prefix, left: build(left, &left_place)?, right: build(right, &right_place)? };
            self.writer.stub(&inner);
            return Ok(());
        };
        self.bucket(&places[0], left)?;
        self.bucket(&places[1], right)
    }

    /// Begins a node that shows a child, and gives the places of both; `None` if it shows neither.
    fn open(&mut self, prefix: &Prefix) -> Option<[Prefix; 2]> {
        let places = [false, true].map(|side| prefix.child(side));
        if places.iter().all(|place| self.is_hidden(place)) {
            return None;
        }
        self.writer.out.push(INNER);
        self.writer.number(prefix.len().into());
        Some(places)
    }
}

/// The node over the coins at `place`.
fn build<E>(leaves: &[Leaf], place: &Prefix) -> Result<Node, ProveError<E>> {
    node_over(leaves)?.ok_or(SourceError::Damaged { place: *place }.into())
}
