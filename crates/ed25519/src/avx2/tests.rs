//! The vectors against the model, one element and one point at a time.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use ruint::aliases::U256;

use super::field::{Elements, LANES};
use crate::field::Element;
use crate::{Kernel, Terms, to_digits};

/// The most that a reduced limb can be, `R` of the module `field`.
const R: i64 = (1 << 50) + (1 << 14);

/// Limbs of at most `sum` times R: any, and often the greatest and the least, where a product would first go wrong.
fn limbs(sum: i64) -> impl Strategy<Value = [[f64; 5]; LANES]> {
    let limb = prop_oneof![
        -sum * R..=sum * R,
        prop::sample::select(vec![sum * R, -sum * R, sum << 50, -sum << 50, (1 << 50) - 1, 0, 1, -1]),
    ];
    prop::array::uniform4(prop::array::uniform5(limb.prop_map(|limb| limb as f64)))
}

fn is_reduced(lanes: &[[f64; 5]; LANES]) -> bool {
    lanes.as_flattened().iter().all(|limb| limb.fract() == 0.0 && limb.abs() <= R as f64)
}

/// Whether each lane is what the model makes of the lanes of `a` and `b`.
fn assert_same(
    vector: Elements,
    a: &[[f64; 5]; LANES],
    b: &[[f64; 5]; LANES],
    model: impl Fn(Element, Element) -> Element,
) -> Result<(), TestCaseError> {
    // SAFETY: the caller has a kernel.
    let (lanes, elements) = unsafe { (vector.to_lanes(), vector.split()) };
    prop_assert!(is_reduced(&lanes), "{lanes:?}");
    for (lane, element) in elements.into_iter().enumerate() {
        let expected = model(Element::from_signed(a[lane]), Element::from_signed(b[lane]));
        prop_assert_eq!(element.canonical(), expected.canonical());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn a_product_is_the_models(a in limbs(3), b in limbs(1)) {
        if Kernel::detect().is_none() { return Ok(()); }
        // SAFETY, here and below: there is a kernel, so the processor has AVX2 and FMA.
        let product = unsafe { Elements::from_lanes(&a).mul(&Elements::from_lanes(&b)) };
        assert_same(product, &a, &b, |a, b| a * b)?;
        let product = unsafe { Elements::from_lanes(&b).mul(&Elements::from_lanes(&a)) };
        assert_same(product, &a, &b, |a, b| a * b)?;
    }

    #[test]
    fn a_square_is_the_models(a in limbs(1)) {
        if Kernel::detect().is_none() { return Ok(()); }
        let square = unsafe { Elements::from_lanes(&a).square() };
        assert_same(square, &a, &a, |a, b| a * b)?;
    }

    #[test]
    fn sums_are_the_models(a in limbs(1), b in limbs(1), c in limbs(3)) {
        if Kernel::detect().is_none() { return Ok(()); }
        let (x, y) = unsafe { (Elements::from_lanes(&a), Elements::from_lanes(&b)) };
        assert_same(unsafe { x.add(&y).reduce() }, &a, &b, |a, b| a + b)?;
        assert_same(unsafe { x.sub(&y).reduce() }, &a, &b, |a, b| a - b)?;
        assert_same(unsafe { Elements::from_lanes(&c).reduce() }, &c, &c, |c, _| c)?;
    }

    #[test]
    fn lanes_are_chosen_by_the_masks_sign(a in limbs(1), b in limbs(1), mask in prop::array::uniform4(any::<bool>())) {
        if Kernel::detect().is_none() { return Ok(()); }
        let sign = mask.map(|set| if set { -0.0 } else { 0.0 });
        let (selected, negated) = unsafe {
            let (x, y, sign) = (Elements::from_lanes(&a), Elements::from_lanes(&b), super::field::load(&sign));
            (x.select(&y, sign).to_lanes(), x.negate_if(sign).to_lanes())
        };
        for lane in 0..LANES {
            prop_assert_eq!(selected[lane], if mask[lane] { b[lane] } else { a[lane] });
            prop_assert_eq!(negated[lane], a[lane].map(|limb| if mask[lane] { -limb } else { limb }));
        }
    }

    /// The model itself, against integers.
    #[test]
    fn the_model_computes_modulo_the_prime(a in limbs(1), b in limbs(1)) {
        for (a, b) in a.into_iter().zip(b) {
            let (x, y) = (integer(a), integer(b));
            let (a, b) = (Element::from_signed(a), Element::from_signed(b));
            prop_assert_eq!(canonical(a * b), x.mul_mod(y, P));
            prop_assert_eq!(canonical(a + b), x.add_mod(y, P));
            prop_assert_eq!(canonical(a - b), x.add_mod(P - y, P));
            prop_assert_eq!(canonical(-a), (P - x).reduce_mod(P));
            prop_assert_eq!(a.is_odd(), x.bit(0));
            prop_assert_eq!(a.is_zero(), x.is_zero());
        }
    }
}

/// 2^255 - 19.
const P: U256 = U256::from_limbs([u64::MAX - 18, u64::MAX, u64::MAX, u64::MAX >> 1]);

/// The number below the modulus that signed limbs stand for.
fn integer(limbs: [f64; 5]) -> U256 {
    limbs.into_iter().rev().fold(U256::ZERO, |sum, limb| {
        let size = U256::from(limb.abs() as u64);
        sum.mul_mod(U256::from(1u64 << 51), P).add_mod(if limb < 0.0 { P - size } else { size }, P)
    })
}

fn canonical(element: Element) -> U256 {
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
        if Kernel::detect().is_none() { return Ok(()); }
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
        // SAFETY: as above.
        prop_assert_eq!(unsafe { super::sum_has_small_order(&terms) }, sum.is_some());

        let (term, digit, by) = changed;
        let term = term.index(count);
        terms.digits[term][digit.index(crate::WINDOWS)] ^= by;
        let point = CompressedEdwardsY(terms.encodings[term]).decompress();
        let same = sum.is_some() && (by == 0 || point.is_some_and(|point| point.is_small_order()));
        prop_assert_eq!(unsafe { super::sum_has_small_order(&terms) }, same);
    }
}
