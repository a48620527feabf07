//! Nodes from coins, or from whole subtrees, in the order of their keys.

use super::key::Prefix;
use super::node::{Inner, Leaf, Node, Overflow};

/// Why a tree cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// What comes next does not come after what came before, or one of them holds the other.
    #[error("subtrees are not in order: {next} is in the one before, or before it")]
    Unordered {
        /// What comes next.
        next: Prefix,
    },
    /// More than there can be.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// The node over coins that come in the order of their keys; `None` if there are none.
///
/// # Errors
/// [`BuildError`].
pub fn node_over<'a>(leaves: impl IntoIterator<Item = &'a Leaf>) -> Result<Option<Node>, BuildError> {
    let mut builder = Builder::new(|_: &Inner, _: &Node| ());
    leaves.into_iter().try_for_each(|leaf| builder.push_coin(leaf))?;
    builder.finish()
}

/// Builds the node over subtrees that come in the order of their keys. A coin is a subtree under the whole of its key.
///
/// What it keeps is a path from the top: at most one subtree for each bit of a key, however many come.
#[derive(Debug)]
pub struct Builder<F> {
    /// Subtrees whose parent is not known yet, from left to right. The last is the one that came last.
    open: Vec<(Prefix, Node)>,
    /// Bits that neighbours among them have in common, so one fewer. They rise, since a lower node is closed first.
    joints: Vec<u16>,
    made: F,
}

impl<F: FnMut(&Inner, &Node)> Builder<F> {
    /// Nothing yet. `made` is told of every node with two children, children first.
    pub fn new(made: F) -> Self {
        Self { open: Vec::new(), joints: Vec::new(), made }
    }

    /// Takes the next subtree. Every coin that begins with `place` must be in it.
    ///
    /// # Errors
    /// [`BuildError`]; nothing can be built then.
    pub fn push(&mut self, place: Prefix, node: Node) -> Result<(), BuildError> {
        if let Some((last, _)) = self.open.last() {
            let joint = last.first().common_bits(place.first());
            if last.first() >= place.first() || joint >= last.len().min(place.len()) {
                return Err(BuildError::Unordered { next: place });
            }
            while self.joints.last().is_some_and(|above| *above > joint) {
                self.join()?;
            }
            self.joints.push(joint);
        }
        self.open.push((place, node));
        Ok(())
    }

    /// Takes the next coin.
    ///
    /// # Errors
    /// As [`Builder::push`].
    pub fn push_coin(&mut self, leaf: &Leaf) -> Result<(), BuildError> {
        self.push(Prefix::whole(leaf.key), leaf.node())
    }

    /// The node over all; `None` if nothing came.
    ///
    /// # Errors
    /// [`BuildError::Overflow`].
    pub fn finish(mut self) -> Result<Option<Node>, BuildError> {
        while !self.joints.is_empty() {
            self.join()?;
        }
        Ok(self.open.pop().map(|(_, node)| node))
    }

    /// Puts the last two under a parent.
    fn join(&mut self) -> Result<(), Overflow> {
        if let (Some(joint), Some((_, right)), Some((place, left))) =
            (self.joints.pop(), self.open.pop(), self.open.pop())
        {
            let inner = Inner { prefix: Prefix::of(place.first(), joint), left, right };
            let node = inner.node()?;
            (self.made)(&inner, &node);
            self.open.push((inner.prefix, node));
        }
        Ok(())
    }
}
