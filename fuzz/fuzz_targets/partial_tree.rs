//! Any bytes as BIP-37's partial Merkle tree. One that is read is written back as it was.

#![no_main]

use cairn::primitives::merkle::PartialTree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tree) = PartialTree::from_bytes(bytes) {
        assert_eq!(tree.to_bytes(), bytes);
        if let Ok(found) = tree.verify() {
            assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of the block");
        }
    }
});
