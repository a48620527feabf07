//! Time of a signature in batches, with each kernel that works here and with `ed25519-zebra`'s batch: `cargo bench -p
//! cairn-ed25519`. All take turns on one core, and the shortest turn of each counts.

use std::time::{Duration, Instant};

use cairn_ed25519::{Kernel, Signed};
use ed25519_zebra::{SigningKey, VerificationKeyBytes, batch};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Sizes of batches: the least for which a kernel is used, some hundred, a full block, and more than the caches hold.
const SIZES: [usize; 4] = [48, 375, 1_500, 12_000];

/// Signatures that each way checks at each size.
const CHECKED: usize = 120_000;

fn main() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let signed: Vec<_> = (0..SIZES.into_iter().max().unwrap_or_default())
        .map(|_| {
            let (mut secret, mut message) = ([0; 32], [0; 100]);
            rng.fill_bytes(&mut secret);
            rng.fill_bytes(&mut message);
            let key = SigningKey::from(secret);
            (VerificationKeyBytes::from(&key), key.sign(&message), message)
        })
        .collect();
    println!("microseconds for a signature, of {CHECKED}, and the ratio to ed25519-zebra's batch");
    for size in SIZES {
        let known: Vec<_> = signed[..size]
            .iter()
            .map(|(key, signature, message)| Signed { key: (*key).into(), signature: (*signature).into(), message })
            .collect();
        let mut zebra = Duration::MAX;
        let mut kernels = vec![Duration::MAX; Kernel::all().len()];
        for _ in 0..CHECKED.div_ceil(size) {
            for (kernel, shortest) in Kernel::all().iter().zip(&mut kernels) {
                let mut weights = rng.clone();
                let weight = || u128::from(weights.next_u64()) << 64 | u128::from(weights.next_u64());
                let start = Instant::now();
                assert!(kernel.all_hold(&known, weight), "{kernel:?} refuses valid signatures");
                *shortest = start.elapsed().min(*shortest);
            }
            let start = Instant::now();
            let mut verifier = batch::Verifier::new();
            for (key, signature, message) in &signed[..size] {
                verifier.queue((*key, *signature, message));
            }
            assert!(verifier.verify(rng.clone()).is_ok(), "the library refuses valid signatures");
            zebra = start.elapsed().min(zebra);
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / size as f64;
        print!("in batches of {size:>6}: ed25519-zebra {:5.2}", each(zebra));
        for (kernel, time) in Kernel::all().iter().zip(kernels) {
            print!(", {kernel:?} {:5.2} ({:.2})", each(time), each(time) / each(zebra));
        }
        println!();
    }
}
