//! Hashing in batches gives the same results as hashing one by one.

use cairn_core::primitives::hash::{Hash256, MerkleRoot, Txid};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::merkle;
use cairn_testkit::{HeaderFields, header};
use proptest::prelude::*;

proptest! {
    #[test]
    fn headers_hash_together_as_alone(fields in any::<HeaderFields>(), n in 0..200u32) {
        let headers: Vec<Header> = (0..n).map(|nonce| Header { nonce, ..header(fields) }).collect();
        prop_assert_eq!(Header::hash_all(&headers), headers.iter().map(Header::hash).collect::<Vec<_>>());
    }

    #[test]
    fn roots_are_those_of_pair_by_pair(n in 0..300u32) {
        let leaves: Vec<Txid> = (0..n).map(|i| Txid::of(&i.to_le_bytes())).collect();
        let mut level: Vec<Hash256> = leaves.iter().map(Txid::as_leaf).collect();
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| Hash256::of_pair(&pair[0], pair.last().unwrap())).collect();
        }
        prop_assert_eq!(merkle::root(leaves).hash, level.first().copied().map_or(MerkleRoot::ZERO, MerkleRoot::from_node));
    }
}
