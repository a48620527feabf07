//! The vectors against integers modulo the prime, one lane at a time.

use proptest::prelude::*;
use ruint::aliases::U256;

use super::field::{Elements, LANES};
use crate::tests::{P, canonical, integer, is_avx512_here};

/// What reduced limbs are below.
const R: u64 = (1 << 51) + (1 << 15);

/// Limbs below `bound`: any, and often the greatest and the least, where a product would first go wrong.
fn limbs(bound: u64) -> impl Strategy<Value = [[u64; 5]; LANES]> {
    let special = vec![bound - 1, 1 << 51, (1 << 51) - 1, (1 << 51) - 19, (1 << 51) - 20, 19, 18, 1, 0];
    prop::array::uniform8(prop::array::uniform5(prop_oneof![0..bound, prop::sample::select(special)]))
}

fn integers(lanes: &[[u64; 5]; LANES]) -> [U256; LANES] {
    lanes.map(|limbs| integer(limbs.map(u64::cast_signed)))
}

/// The limbs of each lane.
fn lanes(elements: Elements) -> [[u64; 5]; LANES] {
    // SAFETY: the caller has vectors of AVX-512, so the processor has it.
    unsafe {
        let mut limbs = [[0; LANES]; 5];
        for (limb, lanes) in elements.0.into_iter().zip(&mut limbs) {
            super::field::store(limb, lanes);
        }
        std::array::from_fn(|lane| limbs.map(|lanes| lanes[lane]))
    }
}

/// The numbers of a vector, which must be reduced.
fn reduced(elements: Elements) -> [U256; LANES] {
    let limbs = lanes(elements);
    assert!(limbs.as_flattened().iter().all(|limb| *limb < R), "{limbs:x?}");
    integers(&limbs)
}

fn each(a: &[[u64; 5]; LANES], b: &[[u64; 5]; LANES], result: impl Fn(U256, U256) -> U256) -> [U256; LANES] {
    let (a, b) = (integers(a), integers(b));
    std::array::from_fn(|lane| result(a[lane], b[lane]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn products_and_sums_are_those_of_integers(a in limbs(R), b in limbs(R)) {
        if !is_avx512_here() { return Ok(()); }
        // SAFETY, here and below: the processor has AVX-512F and IFMA.
        let (product, square, sum, difference, split) = unsafe {
            let (x, y) = (Elements::from_lanes(&a), Elements::from_lanes(&b));
            (x.mul(&y), x.square(), x.add(&y).reduce(), x.sub(&y).reduce(), x.split())
        };
        prop_assert_eq!(reduced(product), each(&a, &b, |x, y| x.mul_mod(y, P)));
        prop_assert_eq!(reduced(square), each(&a, &a, |x, _| x.mul_mod(x, P)));
        prop_assert_eq!(reduced(sum), each(&a, &b, |x, y| x.add_mod(y, P)));
        prop_assert_eq!(reduced(difference), each(&a, &b, |x, y| x.add_mod(P - y, P)));
        prop_assert_eq!(split.map(canonical), integers(&a));
    }

    #[test]
    fn large_limbs_are_reduced(a in limbs(1 << 61), b in limbs(R)) {
        if !is_avx512_here() { return Ok(()); }
        let x = unsafe { Elements::from_lanes(&a).reduce() };
        prop_assert_eq!(reduced(x), integers(&a));
        let product = unsafe { Elements::from_lanes(&b).negate_if(!0).mul(&x) };
        prop_assert_eq!(reduced(product), each(&a, &b, |x, y| (P - y).mul_mod(x, P)));
    }

    #[test]
    fn lanes_are_chosen_by_the_mask(a in limbs(R), b in limbs(R), mask in any::<u8>()) {
        if !is_avx512_here() { return Ok(()); }
        let (selected, negated) = unsafe {
            let (x, y) = (Elements::from_lanes(&a), Elements::from_lanes(&b));
            (lanes(x.select(&y, mask)), lanes(x.negate_if(mask)))
        };
        for lane in 0..LANES {
            let is_chosen = mask >> lane & 1 == 1;
            prop_assert_eq!(selected[lane], if is_chosen { b[lane] } else { a[lane] });
            prop_assert!(negated[lane].iter().all(|limb| *limb < 1 << 52));
            let x = integers(&a)[lane];
            prop_assert_eq!(integers(&negated)[lane], if is_chosen { (P - x).reduce_mod(P) } else { x });
        }
    }

    #[test]
    fn zero_and_odd_are_told_of_any_form(a in limbs(R), zeros in any::<u8>()) {
        if !is_avx512_here() { return Ok(()); }
        // Zero as it comes of a subtraction, where the mask says so.
        let (is_zero, is_odd) = unsafe {
            let x = Elements::from_lanes(&a);
            let x = x.select(&x.sub(&x), zeros);
            (x.zeros(), x.odds())
        };
        for (lane, x) in integers(&a).into_iter().enumerate() {
            let x = if zeros >> lane & 1 == 1 { U256::ZERO } else { x };
            prop_assert_eq!((is_zero >> lane & 1 == 1, is_odd >> lane & 1 == 1), (x.is_zero(), x.bit(0)));
        }
    }
}
