//! Where the state is kept, as far as it is proven and changed from there.
//!
//! Two tables hold it, both in the order of keys: the coins, and a *record* for each node with more than [`BUCKET`] coins
//! below, under its prefix. What is below a node with fewer is computed from its coins when it is needed, so records are
//! few, and a change touches its bucket and one record for each level above.

use super::key::{KeyRange, Prefix};
use super::node::{Inner, Leaf, Node};

/// Most coins below a node that has no record. More would make proofs and changes slower, fewer would make more records.
pub const BUCKET: u64 = 32;

/// Reads coins in a range of keys.
pub type ReadLeaves<'a, E> = dyn Fn(&KeyRange, usize) -> Result<Vec<Leaf>, E> + 'a;

/// A state. What each function answers must be of one state.
pub struct Source<'a, E> {
    /// The node over all coins; `None` if there are none.
    pub top: Option<Node>,
    /// The record of the highest node whose prefix begins with this one: in a table in the order of prefixes, the first
    /// entry from there on. It is asked for only where there are more than [`BUCKET`] coins.
    pub record: &'a dyn Fn(&Prefix) -> Result<Option<Inner>, E>,
    /// The first coins in a range of keys, in order: all, or at least as many as the number says.
    pub leaves: &'a ReadLeaves<'a, E>,
}

/// Why the state cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError<E> {
    /// What it stands on.
    #[error("reading the state: {0}")]
    Read(#[source] E),
    /// Its parts are not of one state: it is damaged.
    #[error("the state's records and coins below {place} do not agree")]
    Damaged {
        /// Where.
        place: Prefix,
    },
}

/// What is below a place.
pub(super) enum Below {
    /// Two nodes, with their record.
    Inner(Inner),
    /// At most [`BUCKET`] coins.
    Bucket(Vec<Leaf>),
}

impl<E> Source<'_, E> {
    /// What is below `place`, where `node` is.
    pub(super) fn below(&self, place: &Prefix, node: &Node) -> Result<Below, SourceError<E>> {
        let damaged = SourceError::Damaged { place: *place };
        if node.count > BUCKET {
            let inner = (self.record)(place).map_err(SourceError::Read)?;
            let fits = |inner: &Inner| {
                place.contains(&inner.prefix) && inner.left.count.checked_add(inner.right.count) == Some(node.count)
            };
            return inner.filter(fits).map(Below::Inner).ok_or(damaged);
        }
        let leaves = (self.leaves)(&place.range(), node.count as usize + 1).map_err(SourceError::Read)?;
        if leaves.len() as u64 == node.count { Ok(Below::Bucket(leaves)) } else { Err(damaged) }
    }
}
