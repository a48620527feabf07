//! Double SHA-256, the name of every block, transaction and tree node.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::codec::{Decode, Encode};
use super::meter;

/// A double SHA-256 digest in the order the hash function gives it.
///
/// Text is byte-reversed hex, as Bitcoin prints hashes: leading zeros are then proof of work.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Hash256(pub [u8; 32]);

/// Names a block: the hash of its 80-byte header.
pub type BlockHash = Hash256;
/// Names a transaction: the hash of its whole encoding, signatures included.
pub type Txid = Hash256;

impl Hash256 {
    /// All zeros: the parent of genesis, and "no hash" where one must stand.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        meter::hashed(1, bytes.len());
        Self(Sha256::digest(Sha256::digest(bytes)).into())
    }

    /// Double SHA-256 of two hashes side by side: an inner node of a Merkle tree.
    pub fn of_pair(left: &Self, right: &Self) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&left.0);
        bytes[32..].copy_from_slice(&right.0);
        Self::of(&bytes)
    }
}

impl fmt::Display for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut bytes, mut digits) = (self.0, [0; 64]);
        bytes.reverse();
        // Neither fails: there are two digits a byte. Byte by byte, the formatter takes ten times as long.
        hex::encode_to_slice(bytes, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hex digits, got {got:?}")]
pub struct HashParseError {
    /// The text, cut to its first 80 characters.
    pub got: String,
}

impl FromStr for Hash256 {
    type Err = HashParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashParseError { got: text.chars().take(80).collect() })?;
        bytes.reverse();
        Ok(Self(bytes))
    }
}

impl Serialize for Hash256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
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
