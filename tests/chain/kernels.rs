//! The nonce search with every kernel that this processor can run, against the `sha2` crate.

use std::ops::RangeInclusive;

use cairn::miner::kernel::{search, search_with};
use cairn::primitives::header::Header;
use cairn::primitives::sha256::Kernel;
use cairn::primitives::target::Target;
use cairn_testkit::{HeaderFields, header};
use proptest::prelude::*;
use ruint::aliases::U256;
use sha2::{Digest, Sha256};

fn double(message: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(message)).into()
}

/// Ranges of up to 200 nonces: anywhere, at the start and at the end of all nonces.
fn nonces() -> impl Strategy<Value = RangeInclusive<u32>> {
    let start = prop_oneof![any::<u32>(), 0..40u32, (u32::MAX - 200)..=u32::MAX];
    (start, 0..200u32).prop_map(|(start, more)| start..=start.saturating_add(more))
}

/// The specification: the first nonce of the range that meets the target.
fn expected(header: &Header, target: Target, nonces: RangeInclusive<u32>) -> Option<u32> {
    nonces.into_iter().find(|nonce| {
        let hash = double(&Header { nonce: *nonce, ..*header }.to_bytes());
        U256::from_le_bytes(hash) <= target.0
    })
}

proptest! {
    #[test]
    fn searches_find_the_first_nonce_that_meets_the_target(fields in any::<HeaderFields>(), nonces in nonces(), zeros in 0..10usize) {
        let header = header(fields);
        // Targets met by every hash down to one in a thousand, and one equal to a hash of the range, so that all bytes
        // of the hash count.
        let some_hash = U256::from_le_bytes(double(&Header { nonce: *nonces.end(), ..header }.to_bytes()));
        for target in [U256::MAX >> zeros, some_hash, some_hash - U256::ONE].map(Target) {
            let expected = expected(&header, target, nonces.clone());
            prop_assert_eq!(search(&header, target, nonces.clone()), expected);
            for kernel in Kernel::available() {
                let found = search_with(kernel, &header, target, nonces.clone());
                prop_assert_eq!(found, expected, "{} {:?} {:x}", kernel.name(), nonces.clone(), target.0);
            }
        }
    }
}
