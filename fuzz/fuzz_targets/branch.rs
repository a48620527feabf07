//! Any bytes as a branch: its root is found in bounded time, and only for a place that a tree of that depth has.

#![no_main]

use cairn::primitives::codec;
use cairn::primitives::hash::Txid;
use cairn::primitives::merkle::Branch;
use cairn_fuzz::{blocks, seed};
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let branches = blocks().iter().flat_map(|block| {
        let txids = block.txids();
        (0..txids.len() as u32).filter_map(move |index| Branch::new(txids.clone(), index))
    });
    seed("branch", branches.map(|branch| codec::encode(&branch)));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(branch) = codec::decode::<Branch>(bytes) {
        let leaf = Txid::of(bytes);
        if let Some(root) = branch.root(&leaf) {
            assert!(branch.siblings.len() <= 32 && u64::from(branch.index) < 1 << branch.siblings.len());
            assert!(branch.verify(&leaf, &root));
            assert!(branch.siblings.is_empty() || !branch.verify(&Txid::of(b"another"), &root));
        }
    }
});
