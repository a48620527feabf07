//! The hash functions that name blocks, by their [multicodec](https://github.com/multiformats/multicodec) codes.

use blake2::digest::Digest as _;
use multihash::Multihash;
use sha2::Digest as _;

/// The most bytes that a CID can hold in place of their hash, as in Kubo.
pub const MAX_IDENTITY_BYTES: usize = 128;

/// A multihash: the code of a hash function, and a digest.
type Digest = Multihash<MAX_IDENTITY_BYTES>;

/// A function that names blocks: those of Kubo's `--hash` that the field uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFunction {
    /// No hash: the CID holds the block itself, of 128 bytes at most.
    Identity,
    /// SHA-1: for old data such as Git's, collisions are known.
    Sha1,
    /// SHA-256, the default.
    Sha2_256,
    /// SHA-512.
    Sha2_512,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-512.
    Sha3_512,
    /// Keccak-256, as in Ethereum.
    Keccak256,
    /// SHA-256 of the SHA-256, as in Bitcoin and in this chain.
    DblSha2_256,
    /// BLAKE2b with 256 bits.
    Blake2b256,
    /// BLAKE2s with 256 bits.
    Blake2s256,
}

use HashFunction::{
    Blake2b256, Blake2s256, DblSha2_256, Identity, Keccak256, Sha1, Sha2_256, Sha2_512, Sha3_256, Sha3_512,
};

impl HashFunction {
    /// All of them, with multicodec code, name, and digest length in bytes; the identity has none of its own.
    const TABLE: [(Self, u64, &'static str, usize); 10] = [
        (Identity, 0x00, "identity", 0),
        (Sha1, 0x11, "sha1", 20),
        (Sha2_256, 0x12, "sha2-256", 32),
        (Sha2_512, 0x13, "sha2-512", 64),
        (Sha3_512, 0x14, "sha3-512", 64),
        (Sha3_256, 0x16, "sha3-256", 32),
        (Keccak256, 0x1b, "keccak-256", 32),
        (DblSha2_256, 0x56, "dbl-sha2-256", 32),
        (Blake2b256, 0xb220, "blake2b-256", 32),
        (Blake2s256, 0xb260, "blake2s-256", 32),
    ];

    fn row(self) -> (Self, u64, &'static str, usize) {
        Self::TABLE.into_iter().find(|row| row.0 == self).unwrap_or(Self::TABLE[0])
    }

    /// Its multicodec code.
    pub fn code(self) -> u64 {
        self.row().1
    }

    /// Its multicodec name.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Bytes of a digest. The identity's is as long as the block.
    pub fn digest_len(self) -> usize {
        self.row().3
    }

    /// The function with a code.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::TABLE.into_iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// The function with a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::TABLE.into_iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// All names, for messages.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::TABLE.into_iter().map(|row| row.2)
    }

    /// The multihash of `bytes`. `None` if they are too long for the identity.
    pub(super) fn hash(self, bytes: &[u8]) -> Option<Digest> {
        let wrap = |digest: &[u8]| Multihash::wrap(self.code(), digest).ok();
        match self {
            Identity if bytes.len() > MAX_IDENTITY_BYTES => None,
            Identity => wrap(bytes),
            Sha1 => wrap(&sha1::Sha1::digest(bytes)),
            Sha2_256 => wrap(&sha2::Sha256::digest(bytes)),
            Sha2_512 => wrap(&sha2::Sha512::digest(bytes)),
            Sha3_256 => wrap(&sha3::Sha3_256::digest(bytes)),
            Sha3_512 => wrap(&sha3::Sha3_512::digest(bytes)),
            Keccak256 => wrap(&sha3::Keccak256::digest(bytes)),
            DblSha2_256 => wrap(&sha2::Sha256::digest(sha2::Sha256::digest(bytes))),
            Blake2b256 => wrap(&blake2::Blake2b::<blake2::digest::consts::U32>::digest(bytes)),
            Blake2s256 => wrap(&blake2::Blake2s256::digest(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests of the empty message, as the functions' standards and papers give them.
    #[test]
    fn digests_of_nothing() {
        for (function, digest) in [
            (Sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (Sha2_256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (Sha3_256, "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"),
            (Keccak256, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
            (DblSha2_256, "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456"),
            (Blake2b256, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"),
            (Blake2s256, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9"),
            (Identity, ""),
        ] {
            let hash = function.hash(b"").unwrap();
            assert_eq!(hex::encode(hash.digest()), digest, "{function:?}");
            assert_eq!(hash.code(), function.code());
        }
        for (function, ..) in HashFunction::TABLE {
            assert_eq!(HashFunction::from_code(function.code()), Some(function));
            assert_eq!(HashFunction::from_name(function.name()), Some(function));
            assert_eq!(function.hash(b"").unwrap().digest().len(), function.digest_len());
        }
    }
}
