//! The verifier's side.

use super::bytes::{Malformed, Reader};
use super::{
    COIN, COIN_OF_LOCK, EMPTY, HIDDEN, INNER, MAX_DEPTH, MAX_PROOF_BYTES, PAGE_COINS, Question, STUB, is_hidden,
};
use crate::primitives::amount::{Amount, counted};
use crate::primitives::hash::StateRoot;
use crate::state::build::node_over;
use crate::state::key::{Key, KeyRange, Prefix};
use crate::state::node::{Inner, Leaf, Node, Overflow, StateId};

/// Why a proof shows nothing. One variant a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateProofError {
    /// More bytes than any proof has.
    #[error("the proof is {got} bytes, at most {max} are read")]
    TooLarge {
        /// Its length.
        got: usize,
        /// [`MAX_PROOF_BYTES`].
        max: usize,
    },
    /// It does not follow the layout.
    #[error("the proof cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// More nodes below one another than a key has bits.
    #[error("more than {max} nodes are below one another")]
    TooDeep {
        /// The most there can be.
        max: u16,
    },
    /// What is below a node does not begin with its prefix and side.
    #[error("what is shown below {place} does not begin with these bits")]
    Misplaced {
        /// Where it should be.
        place: Prefix,
    },
    /// A node that shows neither child stands where one must be shown: what its prefix is cannot be seen.
    #[error("a node of {len} bits shows neither child, and not its prefix")]
    NoPrefix {
        /// Bits of its prefix.
        len: u16,
    },
    /// What is hidden there may be part of the answer.
    #[error("what is at {place} is hidden, though it meets the range")]
    Withheld {
        /// Where.
        place: Prefix,
    },
    /// What is shown there is no part of the answer, so the same answer would have two proofs.
    #[error("what is at {place} is shown, though its place says enough")]
    Superfluous {
        /// Where.
        place: Prefix,
    },
    /// More coins, or more value, than there can be.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Another set of coins, or that after another block.
    #[error("the proof is of the state {got}, expected {expected}")]
    WrongRoot {
        /// What it leads to.
        got: StateRoot,
        /// What it should lead to.
        expected: StateRoot,
    },
    /// A page that others follow has exactly as many coins as pages have ([`PAGE_COINS`] unless said otherwise), the last
    /// has no more.
    #[error("a page of {}, expected {expected}", counted(*.got, "coin"))]
    PageLength {
        /// How many it has.
        got: usize,
        /// How many it should have, or have at most.
        expected: usize,
    },
    /// A page does not end with its last coin, or beyond the range.
    #[error("a page ends at {end}, which is not its last coin in the range")]
    PageEnd {
        /// Where it ends.
        end: Key,
    },
}

/// Coins in a range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Every coin of the range, or of its part before `rest`, in the order of their keys.
    pub leaves: Vec<Leaf>,
    /// What of the range is not in it: what to ask for next. `None` at the range's end.
    pub rest: Option<KeyRange>,
    /// Where the node begins that has most coins of those in `rest`: two who ask for what is before and from there on share the
    /// work.
    pub split: Option<Key>,
}

/// What the coins in a range of keys come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// Their value.
    pub sum: Amount,
    /// Their number.
    pub count: u64,
}

impl StateId {
    /// The coins in `range` that `proof` shows, none left out: up to `end`, if it is the proof of a page that others follow.
    /// A range with no coins is proven to have none.
    ///
    /// # Errors
    /// The first reason why it shows nothing.
    pub fn page(&self, range: &KeyRange, end: Option<&Key>, proof: &[u8]) -> Result<Page, StateProofError> {
        self.page_of(PAGE_COINS, range, end, proof)
    }

    /// The same for pages of `most` coins, between 1 and [`PAGE_COINS`].
    ///
    /// # Errors
    /// The first reason why it shows nothing.
    pub fn page_of(
        &self,
        most: usize,
        range: &KeyRange,
        end: Option<&Key>,
        proof: &[u8],
    ) -> Result<Page, StateProofError> {
        let most = most.clamp(1, PAGE_COINS);
        let check_length = |got: usize, is_right: bool| {
            if is_right { Ok(()) } else { Err(StateProofError::PageLength { got, expected: most }) }
        };
        let Some(&end) = end else {
            let leaves = self.check(range, Question::Coins, proof)?.leaves;
            check_length(leaves.len(), leaves.len() <= most)?;
            return Ok(Page { leaves, rest: None, split: None });
        };
        let page = KeyRange::new(*range.first(), end);
        let rest = end.next().and_then(|next| KeyRange::new(next, *range.last()));
        let (Some(page), Some(rest)) = (page, rest) else { return Err(StateProofError::PageEnd { end }) };
        let Answer { leaves, after, .. } = self.check_before(&page, Some(&rest), Question::Coins, proof)?;
        check_length(leaves.len(), leaves.len() == most)?;
        if leaves.last().is_none_or(|last| last.key != end) {
            return Err(StateProofError::PageEnd { end });
        }
        Ok(Page { leaves, rest: Some(rest), split: after.map(|(_, first)| first) })
    }

    /// The coin under `key`, or that there is none: then it is spent, or was never made, or has another lock.
    ///
    /// # Errors
    /// The first reason why `proof`, of a page of this one key, shows neither.
    pub fn coin(&self, key: &Key, proof: &[u8]) -> Result<Option<Leaf>, StateProofError> {
        Ok(self.page(&KeyRange::key(*key), None, proof)?.leaves.pop())
    }

    /// What the coins in `range` come to.
    ///
    /// # Errors
    /// The first reason why `proof` does not show it.
    pub fn total(&self, range: &KeyRange, proof: &[u8]) -> Result<Total, StateProofError> {
        Ok(self.check(range, Question::Total, proof)?.total)
    }

    /// Whether `leaves`, in the order of their keys, are the coins in `range`: every one of them, and no other. The proof is
    /// that of their total, whose nodes commit to each.
    ///
    /// # Errors
    /// The first reason why `proof` shows nothing.
    pub fn is_all_of(&self, range: &KeyRange, leaves: &[Leaf], proof: &[u8]) -> Result<bool, StateProofError> {
        let Answer { leaves: shown, nodes, total, .. } = self.check(range, Question::Total, proof)?;
        let from = |key: &Key| leaves.partition_point(|leaf| leaf.key < *key);
        let is_there = |leaf: &Leaf| leaves.get(from(&leaf.key)) == Some(leaf);
        let is_over_them = |(place, node): &(Prefix, Node)| {
            let end = leaves.partition_point(|leaf| leaf.key <= place.last());
            let below = leaves.get(from(place.first())..end).unwrap_or_default();
            node_over(below) == Ok(Some(*node))
        };
        // What is shown does not overlap, so if it comes to their number, each of them is in it.
        let is_count = total.count == leaves.len() as u64;
        Ok(is_count && shown.iter().all(is_there) && nodes.iter().all(is_over_them))
    }

    fn check(&self, range: &KeyRange, question: Question, proof: &[u8]) -> Result<Answer, StateProofError> {
        self.check_before(range, None, question, proof)
    }

    /// The same, and where most coins are in the range `rest`, which follows.
    fn check_before(
        &self,
        range: &KeyRange,
        rest: Option<&KeyRange>,
        question: Question,
        proof: &[u8],
    ) -> Result<Answer, StateProofError> {
        if proof.len() > MAX_PROOF_BYTES {
            return Err(StateProofError::TooLarge { got: proof.len(), max: MAX_PROOF_BYTES });
        }
        let mut verifier = Verifier { bytes: Reader::new(proof), range, rest, question, answer: Answer::default() };
        let top = match verifier.bytes.byte()? {
            EMPTY => None,
            tag => {
                let top = verifier.node(tag, 0)?;
                verifier.place(&Prefix::ALL, &top)?;
                Some(top.node)
            }
        };
        verifier.bytes.finish()?;
        let got = Self::new(self.height, self.block, top.as_ref()).root;
        if got != self.root {
            return Err(StateProofError::WrongRoot { got, expected: self.root });
        }
        Ok(verifier.answer)
    }
}

#[derive(Default)]
struct Answer {
    leaves: Vec<Leaf>,
    /// The hidden nodes within the range of a total, and their places.
    nodes: Vec<(Prefix, Node)>,
    total: Total,
    /// Of the hidden nodes in what follows, the one with most coins: how many, and the first key at its place.
    after: Option<(u64, Key)>,
}

impl Answer {
    fn add(&mut self, node: &Node) -> Result<(), Overflow> {
        let Total { sum, count } = self.total;
        let sum = sum.checked_add(node.sum).ok_or(Overflow::Sum { left: sum, right: node.sum })?;
        // No more than the proof's nodes, of at most 2^40 each.
        self.total = Total { sum, count: count + node.count };
        Ok(())
    }
}

/// A node that was read.
struct Read {
    node: Node,
    /// All bits that the keys below have in common; `None` if it is hidden.
    prefix: Option<Prefix>,
}

struct Verifier<'a> {
    bytes: Reader<'a>,
    range: &'a KeyRange,
    rest: Option<&'a KeyRange>,
    question: Question,
    answer: Answer,
}

impl Verifier<'_> {
    /// Reads the node that `tag` begins, with `depth` nodes above it.
    fn node(&mut self, tag: u8, depth: u16) -> Result<Read, StateProofError> {
        match tag {
            HIDDEN => Ok(Read { node: self.bytes.node()?, prefix: None }),
            STUB => {
                let inner = self.bytes.stub()?;
                for (side, node) in [(false, inner.left), (true, inner.right)] {
                    self.place(&inner.prefix.child(side), &Read { node, prefix: None })?;
                }
                Ok(Read { node: inner.node()?, prefix: Some(inner.prefix) })
            }
            INNER if depth < MAX_DEPTH => self.inner(depth + 1),
            INNER => Err(StateProofError::TooDeep { max: MAX_DEPTH }),
            COIN | COIN_OF_LOCK => {
                let leaf = self.bytes.leaf(tag)?;
                let node = leaf.node();
                if self.range.contains(&leaf.key) {
                    self.answer.add(&node)?;
                    self.answer.leaves.push(leaf);
                }
                Ok(Read { node, prefix: Some(Prefix::whole(leaf.key)) })
            }
            got => Err(Malformed::Tag { got }.into()),
        }
    }

    /// Reads what follows the tag of a node that shows a child.
    fn inner(&mut self, depth: u16) -> Result<Read, StateProofError> {
        let len = self.bytes.prefix_len()?;
        let [left, right] = [self.child(depth)?, self.child(depth)?];
        let below = left.prefix.or(right.prefix).ok_or(StateProofError::NoPrefix { len })?;
        let prefix = Prefix::of(below.first(), len);
        self.place(&prefix.child(false), &left)?;
        self.place(&prefix.child(true), &right)?;
        let inner = Inner { prefix, left: left.node, right: right.node };
        Ok(Read { node: inner.node()?, prefix: Some(prefix) })
    }

    fn child(&mut self, depth: u16) -> Result<Read, StateProofError> {
        let tag = self.bytes.byte()?;
        self.node(tag, depth)
    }

    /// Checks that what was read belongs at `place`, and is hidden there if and only if it should be.
    fn place(&mut self, place: &Prefix, read: &Read) -> Result<(), StateProofError> {
        if read.prefix.is_some_and(|prefix| !place.contains(&prefix)) {
            return Err(StateProofError::Misplaced { place: *place });
        }
        match (is_hidden(place, self.range, self.question), read.prefix) {
            (true, Some(_)) => Err(StateProofError::Superfluous { place: *place }),
            (false, None) => Err(StateProofError::Withheld { place: *place }),
            (true, None) if self.range.meets(&place.range()) => {
                self.answer.nodes.push((*place, read.node));
                Ok(self.answer.add(&read.node)?)
            }
            (true, None)
                if self.rest.is_some_and(|rest| place.first() > rest.first() && rest.covers(&place.range())) =>
            {
                self.answer.after = self.answer.after.max(Some((read.node.count, *place.first())));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
