//! Every kernel that this processor can run, against the `sha2` crate.

use std::ops::RangeInclusive;

use cairn::miner::kernel::{search, search_with};
use cairn::primitives::hash::Hash256;
use cairn::primitives::header::Header;
use cairn::primitives::merkle;
use cairn::primitives::sha256::{Kernel, NonceSearch};
use cairn::primitives::target::{Bits, Target};
use proptest::prelude::*;
use ruint::aliases::U256;
use sha2::{Digest, Sha256};

fn double(message: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(message)).into()
}

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
    fn searches_find_the_first_nonce_that_meets_the_target(header in header(), nonces in nonces(), zeros in 0..10usize) {
        // From every hash to one in a thousand; and one that a hash of the range equals, so that the rest of the hash counts.
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

    #[test]
    fn batches_hash_as_one_by_one(seed in any::<[u8; 80]>(), n in 0..150usize) {
        let messages: Vec<[u8; 80]> = (0..n)
            .map(|i| { let mut message = seed; message[i % 80] ^= i as u8; message[79] ^= 1; message })
            .collect();
        let short: Vec<[u8; 64]> = messages.iter().map(|m| m[16..].try_into().unwrap()).collect();
        for kernel in Kernel::available() {
            let mut digests = vec![[0; 32]; n];
            kernel.double80(&messages, &mut digests);
            prop_assert!(messages.iter().zip(&digests).all(|(m, d)| double(m) == *d), "{} of 80", kernel.name());
            kernel.double64(&short, &mut digests);
            prop_assert!(short.iter().zip(&digests).all(|(m, d)| double(m) == *d), "{} of 64", kernel.name());
        }
    }

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

/// Past the last nonce comes the first: whoever counts them has to see to it, not the kernels.
#[test]
fn scans_wrap_around() {
    let message = [7; 76];
    let all = NonceSearch::new(&message, u32::MAX);
    // As rare as it takes that the first nonce to pass is far past the end.
    let rare = NonceSearch::new(&message, u32::MAX >> 7);
    let top = |nonce: u32| {
        let hash = double(&[&message[..], &nonce.to_le_bytes()].concat());
        u32::from_le_bytes(hash[28..].try_into().unwrap())
    };
    for kernel in Kernel::available() {
        for first in u32::MAX - 40..=u32::MAX {
            assert_eq!(kernel.scan(&all, first, 100), Some(first), "{}", kernel.name());
            assert_eq!(kernel.scan(&all, first, 0), None, "{}", kernel.name());
            let passing = (0..3000).map(|i| first.wrapping_add(i)).find(|nonce| top(*nonce) <= u32::MAX >> 7);
            assert!(passing.is_some());
            assert_eq!(kernel.scan(&rare, first, 3000), passing, "{} from {first}", kernel.name());
        }
    }
}

#[test]
fn the_portable_kernel_is_everywhere_and_names_differ() {
    let mut names: Vec<&str> = Kernel::available().map(Kernel::name).collect();
    assert_eq!(names.last(), Some(&"portable"));
    assert_eq!(Kernel::available().next(), Some(Kernel::best()));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kernel::available().count());
}
