//! Double SHA-256 digests, with a type for each role.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::codec::{Decode, Encode};
use super::meter;

/// Text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hex digits, got {got:?}")]
pub struct HashParseError {
    /// The text, cut to its first 80 characters.
    pub got: String,
}

/// Declares types of double SHA-256 digests that cannot be mixed up.
///
/// Each holds its bytes in the order the hash function gives them. Text is byte-reversed hex, as Bitcoin prints hashes:
/// the zeros of a proof of work then come first.
macro_rules! digests {
    ($($(#[$meta:meta])* $name:ident)*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name([u8; 32]);

        impl $name {
            /// SHA-256 of SHA-256 of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self(double_sha256(bytes))
            }

            /// Wraps a digest in the hash function's byte order.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The digest in the hash function's byte order.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The digest in the hash function's byte order.
            pub const fn to_bytes(self) -> [u8; 32] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_reversed(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_reversed(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = HashParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_reversed(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )* };
}

digests! {
    /// A double SHA-256 digest with no role of its own: a tree's inner node, or a checksum.
    Hash256

    /// Names a block: the hash of its 80-byte header.
    BlockHash

    /// Names a transaction: the hash of its whole encoding, signatures included.
    ///
    /// A block hash is not a txid:
    ///
    /// ```compile_fail,E0308
    /// # use cairn_core::primitives::hash::{BlockHash, Txid};
    /// let txid: Txid = BlockHash::ZERO;
    /// ```
    Txid

    /// The digest that every input signs, as
    /// [`Transaction::signature_digest`](super::tx::Transaction::signature_digest) makes it.
    ///
    /// A key signs only this type:
    ///
    /// ```compile_fail,E0308
    /// # use cairn_core::primitives::{hash::Txid, keys::{SecretKey, Signature}};
    /// fn sign(key: &SecretKey, txid: &Txid) -> Signature {
    ///     key.sign(txid)
    /// }
    /// ```
    SignatureDigest

    /// The root of the Merkle tree over a block's txids.
    ///
    /// The root of another tree does not pass for it:
    ///
    /// ```compile_fail,E0308
    /// # use cairn_core::primitives::hash::{MerkleRoot, MmrRoot};
    /// let root: MerkleRoot = MmrRoot::ZERO;
    /// ```
    MerkleRoot

    /// The root of the Merkle mountain range over all headers before a block's.
    MmrRoot

    /// What a coinbase's data begins with: commits to the [`MmrRoot`] of its block and to the [`LedgerRoot`]
    /// ([`consensus::commitment`](crate::consensus::commitment)).
    ///
    /// ```compile_fail,E0308
    /// # use cairn_core::primitives::hash::{Commitment, MmrRoot};
    /// let commitment: Commitment = MmrRoot::ZERO;
    /// ```
    Commitment

    /// Commits to all that a block commits to besides headers: the state and the block filters
    /// ([`consensus::commitment`](crate::consensus::commitment)).
    LedgerRoot

    /// Commits to all coins after a block, as [`StateId::new`](crate::state::StateId::new) makes it.
    ///
    /// ```compile_fail,E0308
    /// # use cairn_core::primitives::hash::{Hash256, StateRoot};
    /// let root: StateRoot = Hash256::of(b"the top node");
    /// ```
    StateRoot

    /// The hash of a block's filter (BIP-157).
    FilterHash

    /// Commits to a block's filter and to those of all blocks before it (BIP-157).
    ///
    /// ```compile_fail,E0308
    /// # use cairn_core::primitives::{gcs, hash::{FilterHash, FilterHeader}};
    /// fn next(hash: &FilterHash, previous: &FilterHeader) -> FilterHeader {
    ///     gcs::filter_header(previous, hash)
    /// }
    /// ```
    FilterHeader
}

impl Hash256 {
    /// Double SHA-256 of two hashes side by side: an inner node of a Merkle tree.
    pub fn of_pair(left: &Self, right: &Self) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&left.0);
        bytes[32..].copy_from_slice(&right.0);
        Self::of(&bytes)
    }
}

impl Txid {
    /// This txid as a leaf of its block's Merkle tree.
    pub const fn as_leaf(&self) -> Hash256 {
        Hash256(self.0)
    }
}

impl BlockHash {
    /// The parent of genesis, and "no block" where a hash must stand.
    pub const ZERO: Self = Self([0; 32]);
}

impl MerkleRoot {
    /// The root over no transactions.
    pub const ZERO: Self = Self([0; 32]);

    /// The root of the tree whose top node is `top`.
    pub const fn from_node(top: Hash256) -> Self {
        Self(top.0)
    }
}

impl MmrRoot {
    /// The root over no headers.
    pub const ZERO: Self = Self([0; 32]);
}

impl StateRoot {
    /// What the first blocks commit to, where no state is due.
    pub const ZERO: Self = Self([0; 32]);
}

impl FilterHeader {
    /// The filter header before that of genesis.
    pub const ZERO: Self = Self([0; 32]);
}

fn double_sha256(bytes: &[u8]) -> [u8; 32] {
    meter::hashed(1, bytes.len());
    Sha256::digest(Sha256::digest(bytes)).into()
}

fn write_reversed(digest: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (mut bytes, mut digits) = (*digest, [0; 64]);
    bytes.reverse();
    // Neither call fails: there are two digits for each byte. Writing byte by byte through the formatter takes ten
    // times as long.
    hex::encode_to_slice(bytes, &mut digits).map_err(|_| fmt::Error)?;
    f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}

fn parse_reversed(text: &str) -> Result<[u8; 32], HashParseError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| HashParseError { got: text.chars().take(80).collect() })?;
    bytes.reverse();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_and_text() {
        // SHA-256d of the empty string.
        let hash = Hash256::of(b"");
        assert_eq!(hash.to_string(), "56944c5d3f98413ef45cf54545538103cc9f298e0575820ad3591376e2e0f65d");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("56".parse::<Hash256>().is_err());
        assert!("zz".repeat(32).parse::<Hash256>().is_err());
    }
}
