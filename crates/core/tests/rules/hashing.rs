//! Hashing many at once gives what hashing one by one does.

use cairn_core::primitives::hash::{BlockHash, Hash256, MerkleRoot, Txid};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::merkle;
use cairn_core::primitives::target::Bits;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = Header> {
    any::<(i32, [u8; 32], [u8; 32], u32, u32)>().prop_map(|(version, previous, root, time, bits)| Header {
        version,
        previous: BlockHash::from_bytes(previous),
        merkle_root: MerkleRoot::from_bytes(root),
        time,
        bits: Bits(bits),
        nonce: 0,
    })
}

proptest! {
    #[test]
    fn headers_hash_together_as_alone(first in header(), n in 0..200u32) {
        let headers: Vec<Header> = (0..n).map(|nonce| Header { nonce, ..first }).collect();
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
