//! ZIP-215's edge cases: points of small order and points encoded non-canonically, where Ed25519 libraries disagree
//! with one another and with themselves between single and batch verification.

use std::collections::BTreeSet;

use cairn_core::primitives::hash::SignatureDigest;
use cairn_core::primitives::keys::{PublicKey, SecretKey, Signature, SignatureCheck, verify_all};
use proptest::prelude::*;

/// The eight points of the torsion subgroup, encoded canonically: orders 1, 8, 4, 8, 2, 8, 4, 8.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

/// Their non-canonical encodings: the sign bit set where x is 0, and y + p for the y that leave room.
const NON_CANONICAL_SMALL_ORDER: [&str; 6] = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// The group's order, little-endian: `s` must be below it, or a signature would have a second form.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn point(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// All 25 encodings of ZIP-215 that are not canonical, those that are no point included: y + p for y from 0 to 18, either
/// sign, besides the two with only a wrong sign.
fn non_canonical() -> Vec<[u8; 32]> {
    let mut encodings: Vec<[u8; 32]> = NON_CANONICAL_SMALL_ORDER[..2].iter().map(|text| point(text)).collect();
    for low in 0xed..=0xff {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            encodings.push(bytes);
        }
    }
    encodings
}

fn check(key: [u8; 32], r: [u8; 32], s: [u8; 32], digest: SignatureDigest) -> SignatureCheck {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    SignatureCheck { key: PublicKey(key), signature: Signature(signature), digest }
}

fn honest(n: u8) -> SignatureCheck {
    let secret = SecretKey::from_seed([n; 32]);
    let digest = SignatureDigest::of(&[n]);
    SignatureCheck { key: secret.public_key(), signature: secret.sign(&digest), digest }
}

/// The verdict on `check` by itself, which must be the verdict on it inside a batch too.
fn verdict(check: SignatureCheck) -> bool {
    let alone = check.holds();
    assert_eq!(verify_all(&[check]), if alone { Ok(()) } else { Err(0) });
    for place in 0..3 {
        let mut batch = vec![honest(1), honest(2)];
        batch.insert(place, check);
        assert_eq!(verify_all(&batch), if alone { Ok(()) } else { Err(place) }, "place {place} of {check:?}");
    }
    alone
}

/// The verdict on all of `valid` as one batch, large enough for vectors, and on some of `invalid` among them.
fn assert_large_batches(valid: &[SignatureCheck], invalid: impl Iterator<Item = SignatureCheck>) {
    let mut batch: Vec<SignatureCheck> = (0..200).map(honest).chain(valid.iter().copied()).collect();
    assert_eq!(verify_all(&batch), Ok(()));
    for (n, check) in invalid.enumerate() {
        let place = n * 31 % batch.len();
        batch.insert(place, check);
        assert_eq!(verify_all(&batch), Err(place), "{check:?}");
        batch.remove(place);
    }
}

#[test]
fn all_196_small_order_signatures_are_valid() {
    // With A and R of small order and s = 0, both sides of [8][s]B = [8]R + [8][k]A are the neutral point, whatever is
    // signed. ZIP-215 accepts; the equation without the eights would depend on the message.
    let points: Vec<[u8; 32]> = SMALL_ORDER.iter().chain(&NON_CANONICAL_SMALL_ORDER).map(|text| point(text)).collect();
    assert_eq!(points.iter().collect::<BTreeSet<_>>().len(), 14);
    let mut valid = Vec::new();
    for key in &points {
        for r in &points {
            let check = check(*key, *r, [0; 32], SignatureDigest::of(b"Zcash"));
            assert!(verdict(check), "A {}, R {}", hex::encode(key), hex::encode(r));
            valid.push(check);
        }
    }
    assert_large_batches(&valid, [].into_iter());
}

#[test]
fn non_canonical_points_get_one_verdict() {
    let encodings = non_canonical();
    let pairs = encodings.iter().flat_map(|key| encodings.iter().map(|r| (*key, *r)));
    let (valid, invalid): (Vec<_>, Vec<_>) =
        pairs.map(|(key, r)| check(key, r, [0; 32], SignatureDigest::of(b"Zcash"))).partition(|check| verdict(*check));
    // Six encodings have small order, and only pairs of those make the equation hold with s = 0.
    assert_eq!(valid.len(), 36);
    assert_large_batches(&valid, invalid.into_iter().step_by(40));
}

#[test]
fn a_scalar_not_below_the_order_is_refused() {
    let small = point(SMALL_ORDER[0]);
    assert!(!verdict(check(small, small, ORDER, SignatureDigest::from_bytes([0; 32]))));

    let signed = honest(3);
    assert!(verdict(signed));
    let mut carry = 0;
    let mut second = signed;
    for (byte, order) in second.signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!verdict(second), "s + order is the same scalar, and must not be a second signature");
}

#[test]
fn a_key_that_is_no_point_signs_nothing() {
    // y = 2 is not on the curve.
    let mut key = [0; 32];
    key[0] = 2;
    assert!(!verdict(check(key, point(SMALL_ORDER[0]), [0; 32], SignatureDigest::from_bytes([0; 32]))));
}

#[test]
fn rfc_8032_signatures() {
    // RFC 8032, 7.1, tests 1 and 2: keys from seeds, as other wallets make them.
    for (seed, public) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ),
    ] {
        let secret = SecretKey::from_seed(point(seed));
        assert_eq!(secret.public_key(), PublicKey(point(public)));
        assert_eq!(secret.seed(), point(seed));
        assert!(!format!("{secret:?}").contains(seed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Over several batches, the first false claim is named wherever it stands and whatever follows it.
    #[test]
    fn the_first_false_claim_is_named(count in 1usize..600, bad in prop::collection::vec((any::<prop::sample::Index>(), 0usize..512), 0..4)) {
        let templates: Vec<SignatureCheck> = (0..16).map(honest).collect();
        let mut checks: Vec<SignatureCheck> = templates.iter().copied().cycle().take(count).collect();
        for (place, bit) in &bad {
            checks[place.index(count)].signature.0[bit / 8] ^= 1 << (bit % 8);
        }
        // Two flips of one bit at one place cancel out: ask the single verifier which are false.
        let first = checks.iter().position(|check| !check.holds());
        prop_assert_eq!(verify_all(&checks), first.map_or(Ok(()), Err));
    }
}
