//! Nodes of the tree and the root over them: what is hashed, and how values and numbers of coins add up.

use super::key::{Key, Prefix, lock_digest};
use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{BlockHash, Hash256, StateRoot};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{OutPoint, Output};

/// Tags that keep the hashes apart: none of them can be read as another, nor as a node of the header range (1 and 2).
const LEAF_TAG: u8 = 0x10;
const INNER_TAG: u8 = 0x11;
const ROOT_TAG: u8 = 0x12;

/// A coin under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Where it stands: that of `lock` and the coin's outpoint.
    pub key: Key,
    /// Who may spend it.
    pub lock: PublicKey,
    /// What it is worth.
    pub value: Amount,
    /// Height of the block that made it.
    pub height: Height,
    /// Made by a coinbase after genesis, so spendable only when mature.
    pub coinbase: bool,
}

impl Leaf {
    /// The leaf of a coin; `None` for a data output, which is no coin.
    pub fn new(outpoint: &OutPoint, coin: &Coin) -> Option<Self> {
        let lock = *coin.output.key()?;
        let (value, height, coinbase) = (coin.output.value, coin.height, coin.coinbase);
        Some(Self { key: Key::from_parts(&lock_digest(&lock), outpoint), lock, value, height, coinbase })
    }

    /// The coin, and where it is found.
    pub fn coin(&self) -> (OutPoint, Coin) {
        let output = Output::pay(self.lock, self.value);
        (self.key.outpoint(), Coin { output, height: self.height, coinbase: self.coinbase })
    }

    /// Its node: double SHA-256 of tag 0x10, key, value (u64), height (u32) and 1 for a coinbase's coin or 0.
    pub fn node(&self) -> Node {
        let mut bytes = [LEAF_TAG; 1 + Key::LEN + 8 + 4 + 1];
        bytes[1..69].copy_from_slice(self.key.as_bytes());
        bytes[69..77].copy_from_slice(&self.value.as_grains().to_le_bytes());
        bytes[77..81].copy_from_slice(&self.height.as_u32().to_le_bytes());
        bytes[81] = u8::from(self.coinbase);
        Node { digest: Hash256::of(&bytes), sum: self.value, count: 1 }
    }
}

/// A subtree, as its parent commits to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    /// Commits to every coin below.
    pub digest: Hash256,
    /// What the coins below are worth.
    pub sum: Amount,
    /// How many coins are below, at least 1.
    pub count: u64,
}

/// More below one node than there can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// More value than [`Amount::MAX`].
    #[error("{} and {} grains below one node, at most {} can be", left.as_grains(), right.as_grains(), Amount::MAX.as_grains())]
    Sum {
        /// Value on the left.
        left: Amount,
        /// Value on the right.
        right: Amount,
    },
    /// More coins than [`Node::MAX_COUNT`].
    #[error("{left} and {right} coins below one node, at most {} can be", Node::MAX_COUNT)]
    Count {
        /// Coins on the left.
        left: u64,
        /// Coins on the right.
        right: u64,
    },
}

impl Node {
    /// Most coins below a node: six times what a million blocks of the greatest size can make.
    pub const MAX_COUNT: u64 = (1 << 40) - 1;

    /// Bytes in a preimage: digest 32, sum u64, count u64.
    const LEN: usize = 48;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..32].copy_from_slice(self.digest.as_bytes());
        bytes[32..40].copy_from_slice(&self.sum.as_grains().to_le_bytes());
        bytes[40..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }
}

/// A node with two children. The keys below share the bits of `prefix`; the next bit is 0 on the left, 1 on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// All bits that the keys below have in common, fewer than [`Key::BITS`].
    pub prefix: Prefix,
    /// Where the next bit is 0.
    pub left: Node,
    /// Where the next bit is 1.
    pub right: Node,
}

impl Inner {
    /// Its node: double SHA-256 of tag 0x11, the number of the prefix's bits (u16), those, and both children with their
    /// sums and counts. A commitment to the sum of both alone would let one child take from the other.
    ///
    /// # Errors
    /// [`Overflow`] if there is more below it than there can be.
    pub fn node(&self) -> Result<Node, Overflow> {
        let Self { prefix, left, right } = self;
        let sum = left.sum.checked_add(right.sum).ok_or(Overflow::Sum { left: left.sum, right: right.sum })?;
        let count = left.count.checked_add(right.count).filter(|count| *count <= Node::MAX_COUNT);
        let count = count.ok_or(Overflow::Count { left: left.count, right: right.count })?;
        let mut bytes = [INNER_TAG; 1 + 2 + Key::LEN + 2 * Node::LEN];
        let bits = prefix.as_bytes();
        let end = 3 + bits.len();
        bytes[1..3].copy_from_slice(&prefix.len().to_le_bytes());
        bytes[3..end].copy_from_slice(bits);
        bytes[end..end + Node::LEN].copy_from_slice(&left.to_bytes());
        bytes[end + Node::LEN..end + 2 * Node::LEN].copy_from_slice(&right.to_bytes());
        Ok(Node { digest: Hash256::of(&bytes[..end + 2 * Node::LEN]), sum, count })
    }
}

/// All coins after a block, as a proof is checked against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateId {
    /// The block's height.
    pub height: Height,
    /// The block. It is part of the root, so that the state of another branch is one at first sight.
    pub block: BlockHash,
    /// Commits to both and to all coins.
    pub root: StateRoot,
}

impl StateId {
    /// The state after the block `block` at `height`, where `top` is the node over all coins, or `None` if there are none.
    ///
    /// The root is double SHA-256 of tag 0x12, the height (u32), the block's hash and the top's digest, sum (u64) and count
    /// (u64), which are all zero if there are no coins. The top's sum and count are here because no parent has them.
    pub fn new(height: Height, block: BlockHash, top: Option<&Node>) -> Self {
        let mut bytes = vec![ROOT_TAG];
        bytes.extend(height.as_u32().to_le_bytes());
        bytes.extend(block.as_bytes());
        bytes.extend(top.map_or([0; Node::LEN], |node| node.to_bytes()));
        Self { height, block, root: StateRoot::of(&bytes) }
    }
}
