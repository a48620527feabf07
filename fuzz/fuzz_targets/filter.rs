//! Any bytes as a block filter (BIP-158): matching ends, and a filter made of elements matches each of them.

#![no_main]

use cairn::primitives::gcs::Filter;
use cairn::primitives::hash::BlockHash;
use cairn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let elements = |count: u8| (0..count).map(|n| [n; 32]).collect::<Vec<_>>();
    let filter = |count| Filter::new(&BlockHash::of(b"a block"), elements(count)).as_bytes().to_vec();
    seed("filter", [0, 1, 20, 200].into_iter().flat_map(|count| [filter(count), elements(count).concat()]));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let block = BlockHash::of(b"a block");
    if let Ok(filter) = Filter::from_bytes(bytes.to_vec()) {
        let _ = filter.matches_any(&block, [b"one", b"two"]);
    }
    let elements: Vec<&[u8]> = bytes.chunks(7).collect();
    let filter = Filter::new(&block, &elements);
    assert_eq!(Filter::from_bytes(filter.as_bytes().to_vec()).expect("it is a filter"), filter);
    // Each takes a walk through the filter, so not all of a long one.
    for element in elements.iter().step_by(1 + elements.len() / 8) {
        assert_eq!(filter.matches_any(&block, [element]), Ok(true));
    }
});
