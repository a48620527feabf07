//! Any bytes as BIP-37's partial Merkle tree. One that is read is written back as it was.

#![no_main]

use cairn::primitives::merkle::PartialTree;
use cairn_fuzz::{blocks, seed};
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let tree = |wanted: u8| {
        let block = &blocks()[4];
        let txids = block.txids();
        let is_wanted = |txid: &_| txids.iter().position(|other| other == txid).is_some_and(|n| wanted >> n & 1 == 1);
        PartialTree::new(block.header, &txids, is_wanted).to_bytes()
    };
    seed("partial_tree", (0..16).map(tree));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(tree) = PartialTree::from_bytes(bytes) {
        assert_eq!(tree.to_bytes(), bytes);
        if let Ok(found) = tree.verify() {
            assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of the block");
        }
    }
});
