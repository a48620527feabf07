//! Where a coin stands in the state: keys, prefixes of keys, and ranges of keys.

use std::fmt;

use crate::primitives::codec;
use crate::primitives::hash::{Hash256, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{Lock, OutPoint};

/// Tag of a lock's digest.
const LOCK_TAG: u8 = 0x13;
/// Bytes of a lock's digest, and of a transaction's id.
const HASH: usize = 32;

/// A coin's place in the state: the digest of its lock, its transaction's id, its index big-endian. The order of the bytes
/// is the order of the state, so all coins of a lock stand together, and those of a transaction by their index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; Self::LEN]);

impl Key {
    /// Bytes of a key.
    pub const LEN: usize = 2 * HASH + 4;
    /// Bits of a key.
    pub const BITS: u16 = 8 * Self::LEN as u16;
    /// The first key there can be.
    pub const MIN: Self = Self([0; Self::LEN]);
    /// The last key there can be.
    pub const MAX: Self = Self([0xff; Self::LEN]);

    /// The place of the coin `outpoint` that `lock` may spend.
    pub fn new(lock: &PublicKey, outpoint: &OutPoint) -> Self {
        Self::from_parts(&lock_digest(lock), outpoint)
    }

    /// The same, of the lock's digest ([`lock_digest`]).
    pub fn from_parts(lock: &Hash256, outpoint: &OutPoint) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..HASH].copy_from_slice(lock.as_bytes());
        bytes[HASH..2 * HASH].copy_from_slice(outpoint.txid.as_bytes());
        bytes[2 * HASH..].copy_from_slice(&outpoint.index.to_be_bytes());
        Self(bytes)
    }

    /// A key as it is stored.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// A key as it is stored.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The coin.
    pub fn outpoint(&self) -> OutPoint {
        let (mut txid, mut index) = ([0; HASH], [0; 4]);
        txid.copy_from_slice(&self.0[HASH..2 * HASH]);
        index.copy_from_slice(&self.0[2 * HASH..]);
        OutPoint { txid: Txid::from_bytes(txid), index: u32::from_be_bytes(index) }
    }

    /// The key after this one; `None` after the last.
    pub fn next(&self) -> Option<Self> {
        self.step(1, 0)
    }

    /// The key before this one; `None` before the first.
    pub fn previous(&self) -> Option<Self> {
        self.step(0xff, 0xff)
    }

    /// Adds `step` to the last byte, and to each before it as long as the sum is `carry`.
    fn step(&self, step: u8, carry: u8) -> Option<Self> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(step);
            if *byte != carry {
                return Some(Self(bytes));
            }
        }
        None
    }

    /// Leading bits that two keys have in common, up to [`Key::BITS`].
    pub fn common_bits(&self, other: &Self) -> u16 {
        let mut pairs = self.0.iter().zip(&other.0);
        let differs = pairs.position(|(a, b)| a != b);
        differs.map_or(Self::BITS, |byte| 8 * byte as u16 + (self.0[byte] ^ other.0[byte]).leading_zeros() as u16)
    }
}

/// Shows 136 hex digits, in the order of the bytes.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first 32 bytes of the keys of all coins that `key` may spend: double SHA-256 of a tag and the lock's encoding.
pub fn lock_digest(key: &PublicKey) -> Hash256 {
    let lock = codec::encode(&Lock::Key(*key));
    Hash256::of(&[&[LOCK_TAG], &lock[..]].concat())
}

/// The leading bits of keys: the place of a subtree, which holds the keys that begin with them.
///
/// The order is that of the first key with these bits; of two with the same first key, the shorter one comes first. So a
/// table ordered by prefix has every node before those below it, and all of them side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The bits; those beyond `len` are 0.
    bits: Key,
    len: u16,
}

impl Prefix {
    /// No bits: what every key begins with.
    pub const ALL: Self = Self { bits: Key::MIN, len: 0 };

    /// The first `len` bits of `key`; all of them if `len` is more.
    pub fn of(key: &Key, len: u16) -> Self {
        let len = len.min(Key::BITS);
        let mut bits = *key;
        let (whole, rest) = (usize::from(len / 8), len % 8);
        if let Some(byte) = bits.0.get_mut(whole) {
            *byte &= !(0xff >> rest);
            bits.0[whole + 1..].fill(0);
        }
        Self { bits, len }
    }

    /// The whole of a key.
    pub const fn whole(key: Key) -> Self {
        Self { bits: key, len: Key::BITS }
    }

    /// Number of bits, 0 to [`Key::BITS`].
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// Whether it has no bits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bits in as few bytes as hold them, the most significant first; spare bits are 0.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits.0[..usize::from(self.len.div_ceil(8))]
    }

    /// The prefix one bit longer, on the left (a 0) or on the right (a 1). The whole of a key has none, and is its own.
    #[must_use]
    pub fn child(&self, right: bool) -> Self {
        let mut child = Self { len: (self.len + 1).min(Key::BITS), ..*self };
        if let (true, Some(byte)) = (right, child.bits.0.get_mut(usize::from(self.len / 8))) {
            *byte |= 0x80 >> (self.len % 8);
        }
        child
    }

    /// The first key that begins with it.
    pub const fn first(&self) -> &Key {
        &self.bits
    }

    /// The last key that begins with it.
    pub fn last(&self) -> Key {
        let mut last = self.bits;
        let (whole, rest) = (usize::from(self.len / 8), self.len % 8);
        if let Some(byte) = last.0.get_mut(whole) {
            *byte |= 0xff >> rest;
            last.0[whole + 1..].fill(0xff);
        }
        last
    }

    /// The keys that begin with it.
    pub fn range(&self) -> KeyRange {
        KeyRange { first: self.bits, last: self.last() }
    }

    /// Whether `other` is this prefix or a longer one that begins with it.
    pub fn contains(&self, other: &Self) -> bool {
        self.len <= other.len && self.bits.common_bits(&other.bits) >= self.len
    }
}

/// Shows the bits in hex, and how many they are, as networks' prefixes are written.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", hex::encode(self.as_bytes()), self.len)
    }
}

/// Keys from one to another, both included; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    first: Key,
    last: Key,
}

impl KeyRange {
    /// Every key.
    pub const ALL: Self = Self { first: Key::MIN, last: Key::MAX };

    /// The keys from `first` to `last`; `None` if `last` is before `first`.
    pub fn new(first: Key, last: Key) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// One key.
    pub const fn key(key: Key) -> Self {
        Self { first: key, last: key }
    }

    /// The keys of all coins that `lock` may spend.
    pub fn lock(lock: &PublicKey) -> Self {
        let any = OutPoint { txid: Txid::from_bytes([0; HASH]), index: 0 };
        Prefix::of(&Key::new(lock, &any), 8 * HASH as u16).range()
    }

    /// The first key.
    pub const fn first(&self) -> &Key {
        &self.first
    }

    /// The last key.
    pub const fn last(&self) -> &Key {
        &self.last
    }

    /// Whether it holds `key`.
    pub fn contains(&self, key: &Key) -> bool {
        (&self.first..=&self.last).contains(&key)
    }

    /// Whether it holds all keys of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(&other.first) && self.contains(&other.last)
    }

    /// Whether it shares a key with `other`.
    pub fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every prefix length and both sides, against bits taken one by one.
    #[test]
    fn prefixes_hold_the_keys_that_begin_with_their_bits() {
        let key = Key::new(&PublicKey([7; 32]), &OutPoint { txid: Txid::of(b"some"), index: 0x0102_0304 });
        let bit = |key: &Key, place: u16| key.0[usize::from(place / 8)] >> (7 - place % 8) & 1;
        for len in 0..=Key::BITS {
            let prefix = Prefix::of(&key, len);
            let expected =
                |rest: u8| (0..Key::BITS).map(move |place| if place < len { bit(&key, place) } else { rest });
            assert!((0..Key::BITS).map(|place| bit(prefix.first(), place)).eq(expected(0)), "first of {len}");
            assert!((0..Key::BITS).map(|place| bit(&prefix.last(), place)).eq(expected(1)), "last of {len}");
            assert!(prefix.range().contains(&key) && prefix.contains(&Prefix::whole(key)));
            assert_eq!(prefix.as_bytes().len(), usize::from(len).div_ceil(8));
            if len < Key::BITS {
                let [left, right] = [false, true].map(|right| prefix.child(right));
                assert_eq!((left.len(), right.len()), (len + 1, len + 1));
                assert_eq!((left.first(), right.last()), (prefix.first(), prefix.last()));
                assert_eq!(left.last().next(), Some(*right.first()), "nothing lies between them");
                assert_eq!(left.first().common_bits(right.first()), len);
                assert!(!left.contains(&right) && prefix.contains(&left) && !left.contains(&prefix));
                assert!(prefix < left && left < right, "a node, then what is below it");
            }
        }
        assert_eq!((Key::MAX.next(), Key::MIN.previous(), Prefix::ALL.range()), (None, None, KeyRange::ALL));
        let carried = Prefix::of(&key, 9).last();
        assert_eq!(carried.next().and_then(|next| next.previous()), Some(carried));
        assert_eq!(key.common_bits(&key), Key::BITS);
    }

    #[test]
    fn keys_stand_by_lock_transaction_and_index() {
        let key = |lock: u8, txid: u8, index| {
            Key::new(&PublicKey([lock; 32]), &OutPoint { txid: Txid::from_bytes([txid; 32]), index })
        };
        assert!(key(1, 1, 255) < key(1, 1, 256), "the index is big-endian");
        assert!(key(1, 1, u32::MAX) < key(1, 2, 0));
        assert_eq!(key(3, 9, 77).outpoint(), OutPoint { txid: Txid::from_bytes([9; 32]), index: 77 });
        let range = KeyRange::lock(&PublicKey([1; 32]));
        assert!(
            range.contains(&key(1, 0, 0)) && range.contains(&key(1, 255, u32::MAX)) && !range.contains(&key(2, 1, 1))
        );
        assert_eq!(KeyRange::new(key(1, 1, 1), key(1, 1, 0)), None);
    }
}
