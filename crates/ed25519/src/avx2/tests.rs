//! The vectors against the model, one element at a time.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::field::{Elements, LANES};
use crate::field::Element;
use crate::tests::is_avx2_here;

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
        if !is_avx2_here() { return Ok(()); }
        // SAFETY, here and below: there is a kernel, so the processor has AVX2 and FMA.
        let product = unsafe { Elements::from_lanes(&a).mul(&Elements::from_lanes(&b)) };
        assert_same(product, &a, &b, |a, b| a * b)?;
        let product = unsafe { Elements::from_lanes(&b).mul(&Elements::from_lanes(&a)) };
        assert_same(product, &a, &b, |a, b| a * b)?;
    }

    #[test]
    fn a_square_is_the_models(a in limbs(1)) {
        if !is_avx2_here() { return Ok(()); }
        let square = unsafe { Elements::from_lanes(&a).square() };
        assert_same(square, &a, &a, |a, b| a * b)?;
    }

    #[test]
    fn sums_are_the_models(a in limbs(1), b in limbs(1), c in limbs(3)) {
        if !is_avx2_here() { return Ok(()); }
        let (x, y) = unsafe { (Elements::from_lanes(&a), Elements::from_lanes(&b)) };
        assert_same(unsafe { x.add(&y).reduce() }, &a, &b, |a, b| a + b)?;
        assert_same(unsafe { x.sub(&y).reduce() }, &a, &b, |a, b| a - b)?;
        assert_same(unsafe { Elements::from_lanes(&c).reduce() }, &c, &c, |c, _| c)?;
    }

    #[test]
    fn lanes_are_chosen_by_the_masks_sign(a in limbs(1), b in limbs(1), mask in prop::array::uniform4(any::<bool>())) {
        if !is_avx2_here() { return Ok(()); }
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
}
