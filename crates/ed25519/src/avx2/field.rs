//! Four elements of the field of 2^255 - 19 at once, with AVX2 and FMA.
//!
//! An element is the sum of `limb[i] * 2^(51 i)`, its five limbs signed integers held as doubles. AVX2 multiplies no
//! integers of more than 32 bits, but a fused multiply-add rounds only once, and so gives both halves of a product of
//! 102 bits exactly:
//!
//! - `high = a * b + 1.5 * 2^103` lies between 2^103 and 2^104, where doubles are 2^51 apart. So it is the product
//!   rounded to a multiple `k * 2^51`, and its bits, as an integer, are those of the constant plus `k`.
//! - `low = a * b + (1.5 * 2^103 + 1.5 * 2^52 - high)` is `1.5 * 2^52` plus what rounding dropped, at most 2^50 either
//!   way. The subtraction and the sum are exact, and the bits of `low` are again those of the constant plus a number.
//!
//! So products are summed as integers, and the constants, whose number is known, are taken off once. This holds as long
//! as no product of limbs reaches 2^102 - 2^50. *Reduced* limbs are at most 2^50 + 2^14, which is `R` below: a reduced
//! element may be multiplied by a sum of up to three, and two sums of two may not be multiplied.

use std::arch::x86_64::*;

use crate::field::Element;

/// One limb of each of the four.
pub type Limb = __m256d;

/// Four elements.
#[derive(Clone, Copy)]
pub struct Elements(pub [Limb; 5]);

/// Elements multiplied at once.
pub const LANES: usize = 4;

/// Rounds to a multiple of 2^51.
const HIGH: f64 = 1.5 * (1u128 << 103) as f64;
/// Rounds to an integer.
const LOW: f64 = 1.5 * (1u64 << 52) as f64;
/// Turns an integer of less than 2^52 into a double, by its bits.
const INTEGER: f64 = (1u64 << 52) as f64;
/// Makes the sums of products positive, since shifts know no sign, and rounds them where they are carried: sums are
/// less than 2^59, and this is a multiple of 2^51 and half of that.
const BIAS: i64 = (1 << 60) + (1 << 50);
/// The carry of the bias.
const BIAS_CARRY: f64 = (1u64 << 9) as f64;
const HALF: f64 = (1u64 << 50) as f64;
const MASK: i64 = (1 << 51) - 1;

/// What the ten sums begin with: the bias of the lower five, less the constants that come with each product.
/// `square` is for the 15 products of limbs `i <= j`, otherwise there are 25.
const fn initial(square: bool) -> [i64; 10] {
    let mut sums = [0i64; 10];
    let mut i = 0;
    while i < 5 {
        sums[i] = sums[i].wrapping_add(BIAS);
        let mut j = if square { i } else { 0 };
        while j < 5 {
            sums[i + j] = sums[i + j].wrapping_sub(LOW.to_bits().cast_signed());
            sums[i + j + 1] = sums[i + j + 1].wrapping_sub(HIGH.to_bits().cast_signed());
            j += 1;
        }
        i += 1;
    }
    sums
}

const INITIAL: [i64; 10] = initial(false);
const INITIAL_SQUARE: [i64; 10] = initial(true);

#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn load(lanes: &[f64; LANES]) -> Limb {
    // SAFETY: reads 32 bytes, all of them the array's; no alignment is asked for.
    unsafe { _mm256_loadu_pd(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn store(limb: Limb, lanes: &mut [f64; LANES]) {
    // SAFETY: writes 32 bytes, all of them the array's, which is borrowed for that; no alignment is asked for.
    unsafe { _mm256_storeu_pd(lanes.as_mut_ptr(), limb) }
}

/// Adds a product to the sum of its place and the next.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_product(sums: &mut [__m256i; 10], place: usize, a: Limb, b: Limb) {
    let high = _mm256_fmadd_pd(a, b, _mm256_set1_pd(HIGH));
    let low = _mm256_fmadd_pd(a, b, _mm256_sub_pd(_mm256_set1_pd(HIGH + LOW), high));
    sums[place] = _mm256_add_epi64(sums[place], _mm256_castpd_si256(low));
    sums[place + 1] = _mm256_add_epi64(sums[place + 1], _mm256_castpd_si256(high));
}

/// Adds the products of limbs `i` and `j` to the sums of their place, place after place, so that only two sums are at
/// work at a time and stay in registers.
macro_rules! add_products {
    ($sums:ident, $a:ident, $b:ident; $($place:literal: $($i:literal $j:literal),+;)+) => {
        $($(add_product(&mut $sums, $place, $a[$i], $b[$j]);)+)+
    };
}

/// From the sums of products to reduced limbs.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fold(sums: [__m256i; 10]) -> Elements {
    let mut rests = [_mm256_setzero_si256(); 5];
    let mut carries = rests;
    for i in 0..5 {
        // 2^255 is 19, which is 1 + 2 + 16. Sums are less than 2^54, so this stays below 2^59.
        let high = sums[i + 5];
        let triple = _mm256_add_epi64(high, _mm256_slli_epi64::<1>(high));
        let wrapped = _mm256_add_epi64(triple, _mm256_slli_epi64::<4>(high));
        let sum = _mm256_add_epi64(sums[i], wrapped);
        rests[i] = _mm256_and_si256(sum, _mm256_set1_epi64x(MASK));
        carries[i] = _mm256_srli_epi64::<51>(sum);
    }
    let last = _mm256_mul_epu32(carries[4], _mm256_set1_epi64x(19));
    let to_double = |rest, carry, bias: f64| {
        let integer = _mm256_or_si256(_mm256_add_epi64(rest, carry), _mm256_castpd_si256(_mm256_set1_pd(INTEGER)));
        _mm256_sub_pd(_mm256_castsi256_pd(integer), _mm256_set1_pd(INTEGER + HALF + bias))
    };
    Elements([
        to_double(rests[0], last, 19.0 * BIAS_CARRY),
        to_double(rests[1], carries[0], BIAS_CARRY),
        to_double(rests[2], carries[1], BIAS_CARRY),
        to_double(rests[3], carries[2], BIAS_CARRY),
        to_double(rests[4], carries[3], BIAS_CARRY),
    ])
}

impl Elements {
    /// The same element in each lane, of limbs of at most 2^50.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn splat(limbs: &[f64; 5]) -> Self {
        Self([
            _mm256_set1_pd(limbs[0]),
            _mm256_set1_pd(limbs[1]),
            _mm256_set1_pd(limbs[2]),
            _mm256_set1_pd(limbs[3]),
            _mm256_set1_pd(limbs[4]),
        ])
    }

    /// From limbs of less than 2^53, each lane's together.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn from_lanes(lanes: &[[f64; 5]; LANES]) -> Self {
        let limb = |i: usize| _mm256_setr_pd(lanes[0][i], lanes[1][i], lanes[2][i], lanes[3][i]);
        Self([limb(0), limb(1), limb(2), limb(3), limb(4)])
    }

    /// The limbs of each lane.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn to_lanes(self) -> [[f64; 5]; LANES] {
        let mut limbs = [[0.0; LANES]; 5];
        for (limb, lanes) in self.0.into_iter().zip(&mut limbs) {
            store(limb, lanes);
        }
        std::array::from_fn(|lane| std::array::from_fn(|i| limbs[i][lane]))
    }

    /// Each lane by itself.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn split(self) -> [Element; LANES] {
        self.to_lanes().map(Element::from_signed)
    }

    /// The product, reduced. `|a| * |b|` must be below 2^102 - 2^50 for any limbs of both.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn mul(&self, other: &Self) -> Self {
        let mut sums = INITIAL.map(|sum| _mm256_set1_epi64x(sum));
        let (a, b) = (self.0, other.0);
        add_products!(sums, a, b;
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
        fold(sums)
    }

    /// The square of a reduced element, reduced.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn square(&self) -> Self {
        let mut sums = INITIAL_SQUARE.map(|sum| _mm256_set1_epi64x(sum));
        let (a, doubles) = (self.0, self.add(self).0);
        add_products!(sums, a, a; 0: 0 0;);
        add_products!(sums, doubles, a; 1: 0 1;);
        add_products!(sums, doubles, a; 2: 0 2;);
        add_products!(sums, a, a; 2: 1 1;);
        add_products!(sums, doubles, a; 3: 0 3, 1 2;);
        add_products!(sums, doubles, a; 4: 0 4, 1 3;);
        add_products!(sums, a, a; 4: 2 2;);
        add_products!(sums, doubles, a; 5: 1 4, 2 3;);
        add_products!(sums, doubles, a; 6: 2 4;);
        add_products!(sums, a, a; 6: 3 3;);
        add_products!(sums, doubles, a; 7: 3 4;);
        add_products!(sums, a, a; 8: 4 4;);
        fold(sums)
    }

    /// The sum, not reduced.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn add(&self, other: &Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([
            _mm256_add_pd(a[0], b[0]),
            _mm256_add_pd(a[1], b[1]),
            _mm256_add_pd(a[2], b[2]),
            _mm256_add_pd(a[3], b[3]),
            _mm256_add_pd(a[4], b[4]),
        ])
    }

    /// The difference, not reduced.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn sub(&self, other: &Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([
            _mm256_sub_pd(a[0], b[0]),
            _mm256_sub_pd(a[1], b[1]),
            _mm256_sub_pd(a[2], b[2]),
            _mm256_sub_pd(a[3], b[3]),
            _mm256_sub_pd(a[4], b[4]),
        ])
    }

    /// The same elements, reduced, from limbs of less than 2^53.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn reduce(&self) -> Self {
        let mut limbs = self.0;
        let mut carries = limbs;
        for i in 0..5 {
            let rounder = _mm256_set1_pd(HIGH);
            carries[i] = _mm256_sub_pd(_mm256_add_pd(limbs[i], rounder), rounder);
            limbs[i] = _mm256_sub_pd(limbs[i], carries[i]);
        }
        let unit = 1.0 / (1u64 << 51) as f64;
        limbs[0] = _mm256_fmadd_pd(carries[4], _mm256_set1_pd(19.0 * unit), limbs[0]);
        for i in 1..5 {
            limbs[i] = _mm256_fmadd_pd(carries[i - 1], _mm256_set1_pd(unit), limbs[i]);
        }
        Self(limbs)
    }

    /// `other` in the lanes where the top bit of the mask is set.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn select(&self, other: &Self, mask: Limb) -> Self {
        let (a, b) = (self.0, other.0);
        Self([
            _mm256_blendv_pd(a[0], b[0], mask),
            _mm256_blendv_pd(a[1], b[1], mask),
            _mm256_blendv_pd(a[2], b[2], mask),
            _mm256_blendv_pd(a[3], b[3], mask),
            _mm256_blendv_pd(a[4], b[4], mask),
        ])
    }

    /// The negative in the lanes where the top bit of the mask is set.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn negate_if(&self, mask: Limb) -> Self {
        let sign = _mm256_and_pd(mask, _mm256_set1_pd(-0.0));
        let a = self.0;
        Self([
            _mm256_xor_pd(a[0], sign),
            _mm256_xor_pd(a[1], sign),
            _mm256_xor_pd(a[2], sign),
            _mm256_xor_pd(a[3], sign),
            _mm256_xor_pd(a[4], sign),
        ])
    }
}
