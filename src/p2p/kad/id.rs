//! Ids, and how far they are apart.

use std::fmt;
use std::net::SocketAddr;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::primitives::codec::{Decode, Encode};

/// What a node is called, and a place in the space of keys: 256 bits, the first the most significant.
///
/// It must follow from something that its owner cannot choose freely, as the hash of a key does, or anybody could stand
/// where they like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// An id drawn at random.
    pub fn random(rng: &mut ChaCha20Rng) -> Self {
        Self(rng.random())
    }

    /// How far another is from this one: their exclusive or.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    /// An id drawn at random from those at a distance of at least 2^`bucket` and less than 2^(`bucket` + 1).
    pub fn random_in(&self, bucket: u8, rng: &mut ChaCha20Rng) -> Self {
        let mut id: [u8; 32] = rng.random();
        let (byte, bit) = (31 - usize::from(bucket / 8), 1 << (bucket % 8));
        id[..byte].copy_from_slice(&self.0[..byte]);
        let below = bit - 1;
        id[byte] = (self.0[byte] ^ bit) & !below | id[byte] & below;
        Self(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How far two ids are apart, as a number of 256 bits, the first the most significant. No two ids are as far from a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance([u8; 32]);

impl Distance {
    /// The power of two at or below it, which numbers the buckets: 255 for the far half of all ids. `None` for an id's
    /// distance to itself.
    pub fn bucket(&self) -> Option<u8> {
        let byte = self.0.iter().position(|byte| *byte != 0)?;
        Some(255 - (8 * byte + self.0[byte].leading_zeros() as usize) as u8)
    }

    /// Whether the bit worth 2^`bit` is set.
    pub fn bit(&self, bit: u8) -> bool {
        self.0[31 - usize::from(bit / 8)] >> (bit % 8) & 1 == 1
    }
}

/// A node and where it takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Contact {
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let own = NodeId([0xa5; 32]);
        assert_eq!(own.distance(&own).bucket(), None);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for bucket in 0..=255 {
            for _ in 0..8 {
                let distance = own.distance(&own.random_in(bucket, &mut rng));
                assert_eq!(distance.bucket(), Some(bucket));
                assert!(distance.bit(bucket));
                assert!((bucket..=255).skip(1).all(|bit| !distance.bit(bit)));
            }
        }
        assert_ne!(own.random_in(200, &mut rng), own.random_in(200, &mut rng));
    }
}
