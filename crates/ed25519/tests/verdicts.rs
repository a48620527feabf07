//! The verdicts of the kernel against `ed25519-zebra`'s, one signature at a time.

use cairn_ed25519::{Kernel, Signed};
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_zebra::VerificationKey;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha512};

const MESSAGE: &[u8] = b"a message";

/// The verdict of the library that defines the rule.
fn is_valid(signed: &Signed<'_>) -> bool {
    VerificationKey::try_from(signed.key).and_then(|key| key.verify(&signed.signature.into(), signed.message)).is_ok()
}

/// The verdict of each kernel that works here, which must be one.
fn all_hold(batch: &[Signed<'_>]) -> bool {
    let verdict = |kernel: &Kernel| {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        kernel.all_hold(batch, || u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
    };
    let verdicts: Vec<bool> = Kernel::all().iter().map(verdict).collect();
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{:?} say {verdicts:?}", Kernel::all());
    verdicts[0]
}

fn signed(key: [u8; 32], r: [u8; 32], s: [u8; 32]) -> Signed<'static> {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    Signed { key, signature, message: MESSAGE }
}

/// A signature with parts of small order in A and R: the rule's factor of eight removes them, so it is valid.
fn mixed(seed: [u8; 32], torsion: (usize, usize)) -> Signed<'static> {
    let secret = Scalar::from_bytes_mod_order(seed);
    let nonce = secret * secret + Scalar::ONE;
    let key = (EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[torsion.0]).compress().to_bytes();
    let r = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[torsion.1]).compress().to_bytes();
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(MESSAGE).finalize();
    let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
    signed(key, r, s.to_bytes())
}

/// Encodings of the points of small order, canonical or not, and of y from p - 1 to 2^255 - 1, some of them no points.
fn special_encodings() -> Vec<[u8; 32]> {
    let mut encodings: Vec<_> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
    // y = 1 and y = 0 with the sign bit; only y = 1 has x = 0.
    for y in [0, 1] {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (y, 0x80);
        encodings.push(bytes);
    }
    for low in 0xec..=0xff {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            encodings.push(bytes);
        }
    }
    encodings.sort_unstable();
    encodings.dedup();
    encodings
}

#[test]
fn encodings_of_small_order_and_beyond_the_prime_get_the_rules_verdict() {
    if Kernel::all().is_empty() {
        return;
    }
    let encodings = special_encodings();
    let pairs = || encodings.iter().flat_map(|key| encodings.iter().map(|r| signed(*key, *r, [0; 32])));
    let valid: Vec<_> = pairs().filter(is_valid).collect();
    // 14 encodings have small order; every pair of them is valid, and no other with s = 0.
    assert_eq!(valid.len(), 14 * 14);
    assert!(all_hold(&valid));
    for invalid in pairs().filter(|pair| !is_valid(pair)).step_by(7) {
        assert!(!all_hold(&[invalid]), "{invalid:?}");
    }
}

#[test]
fn s_must_be_below_the_order() {
    if Kernel::all().is_empty() {
        return;
    }
    let order_less_one = (-Scalar::ONE).to_bytes();
    let mut order = order_less_one;
    order[0] += 1;
    let neutral = EIGHT_TORSION[0].compress().to_bytes();
    let base = EdwardsPoint::mul_base(&Scalar::ONE);
    let minus_base = (-base).compress().to_bytes();
    // [L - 1] B = -B, and L itself would be [0] B.
    for (r, s, valid) in [(neutral, [0; 32], true), (minus_base, order_less_one, true), (neutral, order, false)] {
        let case = signed(neutral, r, s);
        assert_eq!(is_valid(&case), valid, "{case:?}");
        assert_eq!(all_hold(&[case]), valid, "{case:?}");
    }
}

#[test]
fn a_batch_of_none_holds() {
    if Kernel::all().is_empty() {
        return;
    }
    assert!(all_hold(&[]));
}

proptest! {
    // For ten million signatures: PROPTEST_CASES=200000 cargo test --release -p cairn-ed25519 --test verdicts
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    /// Some 200 signatures with parts of small order, a few of them changed in one bit.
    #[test]
    fn a_batch_holds_if_each_signature_does(
        batch in prop::collection::vec((any::<[u8; 32]>(), (0..8usize, 0..8usize)), 1..400),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..96usize, 0..8usize), 0..3),
    ) {
        if Kernel::all().is_empty() { return Ok(()); }
        let mut batch: Vec<_> = batch.into_iter().map(|(seed, torsion)| mixed(seed, torsion)).collect();
        for (index, byte, bit) in changes {
            let index = index.index(batch.len());
            let Signed { key, signature, .. } = &mut batch[index];
            let byte = if byte < 32 { &mut key[byte] } else { &mut signature[byte - 32] };
            *byte ^= 1 << bit;
        }
        prop_assert_eq!(all_hold(&batch), batch.iter().all(is_valid));
    }
}
