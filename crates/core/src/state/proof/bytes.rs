//! The layout's parts, written and read.

use unsigned_varint::{decode, encode};

use super::{COIN, COIN_OF_LOCK, HIDDEN, STUB};
use crate::primitives::amount::{Amount, counted};
use crate::primitives::hash::{Hash256, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::OutPoint;
use crate::primitives::varint;
use crate::state::key::{Key, Prefix, lock_digest};
use crate::state::node::{Inner, Leaf, Node};

/// Bytes that do not follow the layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("it ends in the middle")]
    Short,
    /// They go on after the end.
    #[error("{} after its end", counted(*.bytes, "byte"))]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A byte that begins no node.
    #[error("byte {got} begins no node")]
    Tag {
        /// The byte.
        got: u8,
    },
    /// A number in more bytes than it needs, or too large for what it counts.
    #[error("a number is too large, or not in its shortest form")]
    Number,
    /// A prefix with spare bits that are not 0.
    #[error("a prefix of {len} bits has more of them set")]
    SpareBits {
        /// How many bits it should have.
        len: u16,
    },
    /// The lock of the coin before again, or no coin before that has one.
    #[error("a coin does not say its lock in the shortest way")]
    Lock,
}

/// Writes a proof, or a part of one.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    /// Of the coin before.
    lock: Option<PublicKey>,
}

impl Writer {
    pub(super) fn number(&mut self, number: u64) {
        self.out.extend(encode::u64(number, &mut encode::u64_buffer()));
    }

    fn node(&mut self, node: &Node) {
        self.out.extend(node.digest.as_bytes());
        self.number(node.sum.as_grains());
        self.number(node.count);
    }

    pub(super) fn hidden(&mut self, node: &Node) {
        self.out.push(HIDDEN);
        self.node(node);
    }

    pub(super) fn stub(&mut self, inner: &Inner) {
        self.out.push(STUB);
        self.number(inner.prefix.len().into());
        self.out.extend(inner.prefix.as_bytes());
        self.node(&inner.left);
        self.node(&inner.right);
    }

    pub(super) fn leaf(&mut self, leaf: &Leaf) {
        if self.lock == Some(leaf.lock) {
            self.out.push(COIN_OF_LOCK);
        } else {
            self.out.push(COIN);
            self.out.extend(leaf.lock.0);
            self.lock = Some(leaf.lock);
        }
        let OutPoint { txid, index } = leaf.key.outpoint();
        self.out.extend(txid.as_bytes());
        self.number(index.into());
        self.number(leaf.value.as_grains());
        self.number(u64::from(leaf.height.as_u32()) << 1 | u64::from(leaf.coinbase));
    }
}

/// Reads a proof from the front.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Of the coin before, with its digest.
    lock: Option<(PublicKey, Hash256)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, lock: None }
    }

    /// Demands that nothing be left.
    pub(super) fn finish(&self) -> Result<(), Malformed> {
        match self.bytes.len() {
            0 => Ok(()),
            bytes => Err(Malformed::Trailing { bytes }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let (number, rest) = varint::read(self.bytes).map_err(|error| match error {
            decode::Error::Insufficient => Malformed::Short,
            _ => Malformed::Number,
        })?;
        self.bytes = rest;
        Ok(number)
    }

    /// A digest, sum and count.
    pub(super) fn node(&mut self) -> Result<Node, Malformed> {
        let digest = Hash256::from_bytes(self.array()?);
        let sum = Amount::from_grains(self.number()?);
        let count = self.number()?;
        // No coins have no node.
        if sum > Amount::MAX || !(1..=Node::MAX_COUNT).contains(&count) {
            return Err(Malformed::Number);
        }
        Ok(Node { digest, sum, count })
    }

    /// The number of bits of an inner node's prefix.
    pub(super) fn prefix_len(&mut self) -> Result<u16, Malformed> {
        let len = u16::try_from(self.number()?).map_err(|_| Malformed::Number)?;
        if len < Key::BITS { Ok(len) } else { Err(Malformed::Number) }
    }

    /// What follows a stub's tag.
    pub(super) fn stub(&mut self) -> Result<Inner, Malformed> {
        let len = self.prefix_len()?;
        let (bits, rest) = self.bytes.split_at_checked(usize::from(len).div_ceil(8)).ok_or(Malformed::Short)?;
        self.bytes = rest;
        let mut key = [0; Key::LEN];
        key[..bits.len()].copy_from_slice(bits);
        let prefix = Prefix::of(&Key::from_bytes(key), len);
        if prefix.as_bytes() != bits {
            return Err(Malformed::SpareBits { len });
        }
        Ok(Inner { prefix, left: self.node()?, right: self.node()? })
    }

    /// What follows a coin's tag.
    pub(super) fn leaf(&mut self, tag: u8) -> Result<Leaf, Malformed> {
        if tag == COIN {
            let lock = PublicKey(self.array()?);
            if self.lock.is_some_and(|(before, _)| before == lock) {
                return Err(Malformed::Lock);
            }
            self.lock = Some((lock, lock_digest(&lock)));
        }
        let (lock, digest) = self.lock.ok_or(Malformed::Lock)?;
        let txid = Txid::from_bytes(self.array()?);
        let index = u32::try_from(self.number()?).map_err(|_| Malformed::Number)?;
        let value = Amount::from_grains(self.number()?);
        let made = self.number()?;
        let height = u32::try_from(made >> 1).map(Height::from_u32).map_err(|_| Malformed::Number)?;
        if value > Amount::MAX {
            return Err(Malformed::Number);
        }
        Ok(Leaf {
            key: Key::from_parts(&digest, &OutPoint { txid, index }),
            lock,
            value,
            height,
            coinbase: made & 1 == 1,
        })
    }
}
