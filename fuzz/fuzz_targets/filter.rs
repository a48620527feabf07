//! Any bytes as a block filter (BIP-158): matching ends, and a filter made of elements matches each of them.

#![no_main]

use cairn::primitives::gcs::Filter;
use cairn::primitives::hash::Hash256;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let block = Hash256::of(b"a block");
    if let Ok(filter) = Filter::from_bytes(bytes.to_vec()) {
        let _ = filter.matches_any(&block, [b"one", b"two"]);
    }
    let elements: Vec<&[u8]> = bytes.chunks(7).collect();
    let filter = Filter::new(&block, &elements);
    assert_eq!(Filter::from_bytes(filter.as_bytes().to_vec()).expect("it is a filter"), filter);
    for element in elements {
        assert_eq!(filter.matches_any(&block, [element]), Ok(true));
    }
});
