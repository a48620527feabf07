//! Every kernel that this processor can run, against the `sha2` crate.

use cairn_sha256d::{Kernel, NonceSearch};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn double(message: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(message)).into()
}

proptest! {
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
}

/// Nonces wrap around after the last; the caller bounds the range, not the kernels.
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
    println!("kernels here: {names:?}");
    assert_eq!(names.last(), Some(&"portable"));
    assert_eq!(Kernel::available().next(), Some(Kernel::best()));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kernel::available().count());
}
