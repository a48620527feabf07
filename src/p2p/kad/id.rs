//! Node ids and their distance.

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::p2p::peer_addr::{IfKnown, PeerAddr};
use crate::primitives::codec::{Decode, DecodeError, Decoder, Encode};
use crate::primitives::hash::Hash256;

/// A node's name and its position in the key space: 256 bits, the first the most significant.
///
/// It must follow from something that its owner cannot choose freely, such as the hash of a key, or an attacker could
/// choose its position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// An id drawn at random.
    pub fn random(rng: &mut ChaCha20Rng) -> Self {
        Self(rng.random())
    }

    /// The id that 64 hex digits stand for; `None` for any other text.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }

    /// The key of content: where records of its providers are kept. It is the hash of the block's multihash, so a node
    /// that keeps a record does not learn the name.
    pub fn of_content(multihash: &[u8]) -> Self {
        Self(Hash256::of(multihash).to_bytes())
    }

    /// The first and the last of all ids at a distance of less than 2^`bits`, itself included; all ids from 256 on.
    pub fn neighbourhood(&self, bits: u16) -> (Self, Self) {
        let mask = |place: usize, id: u8, ones: u8| {
            // Bits of this byte that are free.
            let free = u32::from(bits).saturating_sub(8 * (31 - place as u32)).min(8);
            let free = (0xff_u16 >> (8 - free)) as u8;
            id & !free | ones & free
        };
        let with = |ones| Self(std::array::from_fn(|place| mask(place, self.0[place], ones)));
        (with(0), with(0xff))
    }

    /// The exclusive or with another id.
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

    /// Its first 32 bits: the distance as a part of the key space, in 2^-32.
    pub fn leading(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether the bit worth 2^`bit` is set.
    pub fn bit(&self, bit: u8) -> bool {
        self.0[31 - usize::from(bit / 8)] >> (bit % 8) & 1 == 1
    }
}

/// A node and the address where it accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Contact {
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub address: PeerAddr,
}

impl Contact {
    /// Bytes of the longest encoding.
    pub const MAX_LEN: usize = 32 + PeerAddr::MAX_LEN;
}

impl<C> Decode<C> for IfKnown<Contact> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (id, IfKnown(address)) = <(NodeId, IfKnown<PeerAddr>)>::decode(decoder)?;
        Ok(Self(address.map(|address| Contact { id, address })))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::primitives::codec;

    #[test]
    fn an_address_has_one_encoding_and_an_id_is_read_as_it_is_written() {
        let id = NodeId::from_hex(&"0f".repeat(32)).unwrap();
        assert_eq!(NodeId::from_hex(&id.to_string()), Some(id));
        assert_eq!(NodeId::from_hex("0f"), None);
        let plain = Contact { id, address: "1.2.3.4:5".parse().unwrap() };
        let mapped = Contact { id, address: "[::ffff:1.2.3.4]:5".parse().unwrap() };
        assert_eq!(codec::encode(&mapped), codec::encode(&plain));
        assert_eq!(codec::decode(&codec::encode(&mapped)), Ok(plain));
    }

    #[test]
    fn a_neighbourhood_has_all_ids_that_are_near() {
        let own = NodeId([0xa5; 32]);
        assert_eq!(own.neighbourhood(0), (own, own));
        assert_eq!(own.neighbourhood(256), (NodeId([0; 32]), NodeId([0xff; 32])));
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for bits in 1..=255 {
            let (first, last) = own.neighbourhood(bits);
            let is_inside = |id: NodeId| (first..=last).contains(&id);
            for _ in 0..8 {
                assert!(is_inside(own.random_in(bits as u8 - 1, &mut rng)));
                assert!(!is_inside(own.random_in(bits as u8, &mut rng)));
            }
        }
    }

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
