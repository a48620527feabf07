//! Hashing many at once gives what hashing one by one does.

use cairn_core::primitives::hash::Hash256;
use cairn_core::primitives::header::Header;
use cairn_core::primitives::merkle;
use cairn_core::primitives::target::Bits;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = Header> {
    any::<(i32, [u8; 32], [u8; 32], u32, u32)>().prop_map(|(version, previous, root, time, bits)| Header {
        version,
        previous: Hash256(previous),
        merkle_root: Hash256(root),
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
        let leaves: Vec<Hash256> = (0..n).map(|i| Hash256::of(&i.to_le_bytes())).collect();
        let mut level = leaves.clone();
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| Hash256::of_pair(&pair[0], pair.last().unwrap())).collect();
        }
        prop_assert_eq!(merkle::root(leaves).hash, level.first().copied().unwrap_or_default());
    }
}
