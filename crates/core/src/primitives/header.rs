//! The 80-byte block header, with Bitcoin's fields in Bitcoin's order.

use cairn_sha256d::Kernel;

use super::codec::{self, Decode, Encode};
use super::hash::{BlockHash, MerkleRoot};
use super::meter;
use super::target::Bits;
use super::time::UnixTime;

/// Headers hashed at once: few enough for the stack, and a multiple of the widest kernel's lanes.
const BATCH: usize = 64;

/// A block header: the preimage of the proof of work, and all that a light client keeps of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// For signalling; no rule reads it.
    pub version: i32,
    /// Hash of the parent's header.
    pub previous: BlockHash,
    /// Root over the block's txids.
    pub merkle_root: MerkleRoot,
    /// Seconds since 1970, by the miner's clock.
    pub time: u32,
    /// The target that the hash must meet, in compact form.
    pub bits: Bits,
    /// The number that miners search for.
    pub nonce: u32,
}

impl Header {
    /// Length of an encoded header in bytes.
    pub const LEN: usize = 80;

    /// [`Header::time`] as a time of day.
    pub const fn unix_time(&self) -> UnixTime {
        UnixTime::from_secs(self.time as u64)
    }

    /// The block hash: double SHA-256 of the 80 bytes.
    pub fn hash(&self) -> BlockHash {
        BlockHash::of(&self.to_bytes())
    }

    /// The hashes of many headers, in order. It hashes several at once, in less than half the time where the processor
    /// has wide vectors.
    pub fn hash_all(headers: &[Self]) -> Vec<BlockHash> {
        let mut hashes = Vec::with_capacity(headers.len());
        for some in headers.chunks(BATCH) {
            let (mut messages, mut digests) = ([[0; Self::LEN]; BATCH], [[0; 32]; BATCH]);
            for (message, header) in messages.iter_mut().zip(some) {
                *message = header.to_bytes();
            }
            meter::hashed(some.len(), Self::LEN);
            Kernel::best().double80(&messages[..some.len()], &mut digests[..some.len()]);
            hashes.extend(digests[..some.len()].iter().copied().map(BlockHash::from_bytes));
        }
        hashes
    }

    /// The encoding, in a fixed array: hashing headers is the hot path of sync, and needs no allocation.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.version.to_le_bytes());
        bytes[4..36].copy_from_slice(self.previous.as_bytes());
        bytes[36..68].copy_from_slice(self.merkle_root.as_bytes());
        bytes[68..72].copy_from_slice(&self.time.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.bits.0.to_le_bytes());
        bytes[76..].copy_from_slice(&self.nonce.to_le_bytes());
        debug_assert_eq!(bytes[..], codec::encode(self)[..]);
        bytes
    }
}
