//! Eight elements of the field of 2^255 - 19 at once, with AVX-512 and its multiplications of 52 bits (IFMA).
//!
//! An element is the sum of `limb[i] * 2^(51 i)`. IFMA adds the lower or the upper 52 bits of a product of two numbers of 52
//! bits. Limbs stand 51 bits apart, so upper halves count twice in the next place. A *reduced* limb is below 2^51 + 2^15, and
//! only reduced elements may be multiplied: the sum of two such limbs may need 53 bits.

use std::arch::x86_64::*;

use crate::field::Element;

/// One limb of each of the eight.
pub type Limb = __m512i;

/// Eight elements.
#[derive(Clone, Copy)]
pub struct Elements(pub [Limb; 5]);

/// Elements multiplied at once.
pub const LANES: usize = 8;

const MASK: i64 = (1 << 51) - 1;
/// Twice the modulus, of limbs above those of a reduced element: less that leaves no limb negative.
const TWO_P: [i64; 5] = [2 * (MASK - 18), 2 * MASK, 2 * MASK, 2 * MASK, 2 * MASK];

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn load(lanes: &[u64; LANES]) -> Limb {
    // SAFETY: reads 64 bytes, all of them the array's; no alignment is asked for.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn store(limb: Limb, lanes: &mut [u64; LANES]) {
    // SAFETY: writes 64 bytes, all of them the array's, which is borrowed for that; no alignment is asked for.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), limb) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn same(number: i64) -> Limb {
    _mm512_set1_epi64(number)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn twice(a: Limb) -> Limb {
    _mm512_add_epi64(a, a)
}

/// The lower and upper halves of products, each in a sum of its own for each place.
struct Sums {
    low: [Limb; 9],
    high: [Limb; 9],
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new() -> Self {
        let zero = [_mm512_setzero_si512(); 9];
        Self { low: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&mut self, place: usize, a: Limb, b: Limb) {
        self.low[place] = _mm512_madd52lo_epu64(self.low[place], a, b);
        self.high[place] = _mm512_madd52hi_epu64(self.high[place], a, b);
    }
}

/// From what stands in each of ten places, below 2^56, to reduced limbs.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn fold(places: [Limb; 10]) -> Elements {
    let mut limbs = [_mm512_setzero_si512(); 5];
    for i in 0..5 {
        // 2^255 is 19, which is 1 + 2 + 16.
        let high = places[i + 5];
        let triple = _mm512_add_epi64(high, twice(high));
        let wrapped = _mm512_add_epi64(triple, _mm512_slli_epi64::<4>(high));
        limbs[i] = _mm512_add_epi64(places[i], wrapped);
    }
    Elements(limbs).reduce()
}

impl Elements {
    /// The same element in each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn splat(limbs: &[u64; 5]) -> Self {
        Self([
            same(limbs[0].cast_signed()),
            same(limbs[1].cast_signed()),
            same(limbs[2].cast_signed()),
            same(limbs[3].cast_signed()),
            same(limbs[4].cast_signed()),
        ])
    }

    /// From each lane's limbs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn from_lanes(lanes: &[[u64; 5]; LANES]) -> Self {
        let limb = |i: usize| load(&lanes.map(|limbs| limbs[i]));
        Self([limb(0), limb(1), limb(2), limb(3), limb(4)])
    }

    /// Each lane by itself.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn split(self) -> [Element; LANES] {
        let mut limbs = [[0; LANES]; 5];
        for (limb, lanes) in self.0.into_iter().zip(&mut limbs) {
            store(limb, lanes);
        }
        std::array::from_fn(|lane| Element::from_limbs(limbs.map(|lanes| lanes[lane])))
    }

    /// The product of reduced elements, reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn mul(&self, other: &Self) -> Self {
        let (a, b) = (self.0, other.0);
        let mut sums = Sums::new();
        macro_rules! add_products {
            ($($place:literal: $($i:literal $j:literal),+;)+) => { $($(sums.add($place, a[$i], b[$j]);)+)+ };
        }
        add_products!(
            0: 0 0;
            1: 0 1, 1 0;
            2: 0 2, 1 1, 2 0;
            3: 0 3, 1 2, 2 1, 3 0;
            4: 0 4, 1 3, 2 2, 3 1, 4 0;
            5: 1 4, 2 3, 3 2, 4 1;
            6: 2 4, 3 3, 4 2;
            7: 3 4, 4 3;
            8: 4 4;
        );
        // Five products at most: 15 times 2^52.
        let Sums { low, high } = sums;
        let place = |k: usize| _mm512_add_epi64(low[k], twice(high[k - 1]));
        fold([low[0], place(1), place(2), place(3), place(4), place(5), place(6), place(7), place(8), twice(high[8])])
    }

    /// The square of a reduced element, reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn square(&self) -> Self {
        let a = self.0;
        // Limbs have no room to be doubled, so products that come twice have sums of their own.
        let (mut once, mut both) = (Sums::new(), Sums::new());
        macro_rules! add_products {
            ($sums:ident; $($place:literal: $($i:literal $j:literal),+;)+) => { $($($sums.add($place, a[$i], a[$j]);)+)+ };
        }
        add_products!(once; 0: 0 0; 2: 1 1; 4: 2 2; 6: 3 3; 8: 4 4;);
        add_products!(both; 1: 0 1; 2: 0 2; 3: 0 3, 1 2; 4: 0 4, 1 3; 5: 1 4, 2 3; 6: 2 4; 7: 3 4;);
        // Low halves of products that come once, plus twice (high halves of those, and low halves of the others, plus
        // twice the high halves of the others).
        let place = |k: usize| {
            let doubled = _mm512_add_epi64(_mm512_add_epi64(both.low[k], once.high[k - 1]), twice(both.high[k - 1]));
            _mm512_add_epi64(once.low[k], twice(doubled))
        };
        let last = twice(once.high[8]);
        fold([once.low[0], place(1), place(2), place(3), place(4), place(5), place(6), place(7), place(8), last])
    }

    /// The sum, not reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn add(&self, other: &Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([
            _mm512_add_epi64(a[0], b[0]),
            _mm512_add_epi64(a[1], b[1]),
            _mm512_add_epi64(a[2], b[2]),
            _mm512_add_epi64(a[3], b[3]),
            _mm512_add_epi64(a[4], b[4]),
        ])
    }

    /// The difference, not reduced. `other` must be reduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.negate_if(!0))
    }

    /// The same elements, reduced, from limbs of less than 2^61.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn reduce(&self) -> Self {
        let limbs = self.0;
        let rest = |i: usize| _mm512_and_si512(limbs[i], same(MASK));
        let carry = |i: usize| _mm512_srli_epi64::<51>(limbs[i]);
        Self([
            // 19 times less than 2^10.
            _mm512_madd52lo_epu64(rest(0), carry(4), same(19)),
            _mm512_add_epi64(rest(1), carry(0)),
            _mm512_add_epi64(rest(2), carry(1)),
            _mm512_add_epi64(rest(3), carry(2)),
            _mm512_add_epi64(rest(4), carry(3)),
        ])
    }

    /// `other` in the lanes of the mask.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn select(&self, other: &Self, mask: __mmask8) -> Self {
        let (a, b) = (self.0, other.0);
        Self([
            _mm512_mask_mov_epi64(a[0], mask, b[0]),
            _mm512_mask_mov_epi64(a[1], mask, b[1]),
            _mm512_mask_mov_epi64(a[2], mask, b[2]),
            _mm512_mask_mov_epi64(a[3], mask, b[3]),
            _mm512_mask_mov_epi64(a[4], mask, b[4]),
        ])
    }

    /// The negative of a reduced element in the lanes of the mask, of limbs below 2^52: it may be multiplied.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn negate_if(&self, mask: __mmask8) -> Self {
        let a = self.0;
        Self([
            _mm512_mask_sub_epi64(a[0], mask, same(TWO_P[0]), a[0]),
            _mm512_mask_sub_epi64(a[1], mask, same(TWO_P[1]), a[1]),
            _mm512_mask_sub_epi64(a[2], mask, same(TWO_P[2]), a[2]),
            _mm512_mask_sub_epi64(a[3], mask, same(TWO_P[3]), a[3]),
            _mm512_mask_sub_epi64(a[4], mask, same(TWO_P[4]), a[4]),
        ])
    }

    /// The only form of each below the modulus: see [`Element::canonical`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn canonical(&self) -> [Limb; 5] {
        let mut limbs = self.reduce().0;
        let carry_through = |limbs: &mut [Limb; 5]| {
            let mut carry = _mm512_setzero_si512();
            for limb in limbs {
                let sum = _mm512_add_epi64(*limb, carry);
                (*limb, carry) = (_mm512_and_si512(sum, same(MASK)), _mm512_srli_epi64::<51>(sum));
            }
            carry
        };
        let carry = carry_through(&mut limbs);
        limbs[0] = _mm512_madd52lo_epu64(limbs[0], carry, same(19));
        let mut beyond = same(19);
        for limb in limbs {
            beyond = _mm512_srli_epi64::<51>(_mm512_add_epi64(limb, beyond));
        }
        limbs[0] = _mm512_madd52lo_epu64(limbs[0], beyond, same(19));
        carry_through(&mut limbs);
        limbs
    }

    /// The lanes in which the element is zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn zeros(&self) -> __mmask8 {
        let [a, b, c, d, e] = self.canonical();
        let any = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d)), e);
        _mm512_testn_epi64_mask(any, any)
    }

    /// The lanes in which the element is odd.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn odds(&self) -> __mmask8 {
        _mm512_test_epi64_mask(self.canonical()[0], same(1))
    }
}
