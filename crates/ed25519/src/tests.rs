//! The model against integers, and the sums of each kernel against those of `curve25519-dalek`.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use proptest::prelude::*;
use ruint::aliases::U256;

use crate::field::Element;
use crate::{Kernel, Terms, Vectors, to_digits};

pub fn is_avx2_here() -> bool {
    Kernel::all().iter().any(|kernel| matches!(kernel.0, Vectors::Avx2))
}

pub fn is_avx512_here() -> bool {
    Kernel::all().iter().any(|kernel| matches!(kernel.0, Vectors::Avx512))
}

/// Limbs of either sign, and often the greatest and the least.
fn limbs() -> impl Strategy<Value = [i64; 5]> {
    let most = (1i64 << 50) + (1 << 14);
    let special = prop::sample::select(vec![most, -most, 1 << 50, -1 << 50, (1 << 50) - 1, 0, 1, -1]);
    prop::array::uniform5(prop_oneof![-most..=most, special])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn the_model_computes_modulo_the_prime(a in limbs(), b in limbs()) {
        let (x, y) = (integer(a), integer(b));
        let [a, b] = [a, b].map(|limbs| Element::from_signed(limbs.map(|limb| limb as f64)));
        prop_assert_eq!(canonical(a * b), x.mul_mod(y, P));
        prop_assert_eq!(canonical(a + b), x.add_mod(y, P));
        prop_assert_eq!(canonical(a - b), x.add_mod(P - y, P));
        prop_assert_eq!(canonical(-a), (P - x).reduce_mod(P));
        prop_assert_eq!(a.is_odd(), x.bit(0));
        prop_assert_eq!(a.is_zero(), x.is_zero());
    }
}

/// 2^255 - 19.
pub const P: U256 = U256::from_limbs([u64::MAX - 18, u64::MAX, u64::MAX, u64::MAX >> 1]);

/// The number below the modulus that limbs stand for.
pub fn integer(limbs: [i64; 5]) -> U256 {
    limbs.into_iter().rev().fold(U256::ZERO, |sum, limb| {
        let size = U256::from(limb.unsigned_abs());
        sum.mul_mod(U256::from(1u64 << 51), P).add_mod(if limb < 0 { P - size } else { size }, P)
    })
}

pub fn canonical(element: Element) -> U256 {
    element.canonical().into_iter().rev().fold(U256::ZERO, |sum, limb| (sum << 51) | U256::from(limb))
}

/// A point with a part of small order, or any bytes, which half of the time are a point too.
fn encoding() -> impl Strategy<Value = [u8; 32]> {
    let point = (any::<[u8; 32]>(), 0..8usize).prop_map(|(scalar, torsion)| {
        let point = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(scalar)) + EIGHT_TORSION[torsion];
        point.compress().to_bytes()
    });
    // y of 2^255 - 20 and above, which includes every form that is not canonical, with either sign.
    let top = (0xec..=0xffu8, any::<bool>()).prop_map(|(low, sign)| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (low, if sign { 0xff } else { 0x7f });
        bytes
    });
    prop_oneof![point, top, any::<[u8; 32]>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Terms that cancel out except for a part of small order, and the same with one digit changed, against the sums of
    /// `curve25519-dalek`.
    #[test]
    fn a_sum_has_small_order_if_the_librarys_has(
        terms in prop::collection::vec((encoding(), any::<[u8; 32]>(), any::<u128>()), 0..20),
        changed in any::<(prop::sample::Index, prop::sample::Index, i8)>(),
    ) {
        let (mut long, mut short) = (Vec::new(), Vec::new());
        let mut sum = Some(EdwardsPoint::default());
        for (encoding, multiple, weight) in terms {
            let (multiple, weight) = (Scalar::from_bytes_mod_order(multiple), Scalar::from(weight >> 2));
            long.push((encoding, to_digits(multiple)));
            short.push((encoding, to_digits(weight)));
            let point = CompressedEdwardsY(encoding).decompress();
            sum = sum.zip(point).map(|(sum, point)| sum + (multiple + weight) * point);
        }
        let rest = sum.unwrap_or_default().compress().to_bytes();
        long.push((rest, to_digits(-Scalar::ONE)));
        let count = long.len();
        let (encodings, digits) = long.into_iter().chain(short).unzip();
        let mut terms = Terms { encodings, digits, long: count };
        for kernel in Kernel::all() {
            prop_assert_eq!(kernel.sum_has_small_order(&terms), sum.is_some(), "{:?}", kernel);
        }

        let (term, digit, by) = changed;
        let term = term.index(count);
        terms.digits[term][digit.index(crate::WINDOWS)] ^= by;
        let point = CompressedEdwardsY(terms.encodings[term]).decompress();
        let same = sum.is_some() && (by == 0 || point.is_some_and(|point| point.is_small_order()));
        for kernel in Kernel::all() {
            prop_assert_eq!(kernel.sum_has_small_order(&terms), same, "{:?}", kernel);
        }
    }
}
