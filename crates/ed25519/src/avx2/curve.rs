//! Sums of many points by buckets (Pippenger): a multiple in signed digits, eight bits each, and for each digit's place,
//! which is a window, a bucket for each value up to 128.
//!
//! A vector holds the same bucket of four windows. So all lanes add the same point, each to a bucket of its own, and no
//! two lanes ever want the same one.

use std::arch::x86_64::*;

use super::field::{Elements, LANES, Limb, load, store};
use crate::Digits;
use crate::curve::Point;

/// Twice the curve's d = -121665/121666.
pub const D2: [f64; 5] = [
    -391_889_346_694_823.0,
    932_731_440_258_427.0,
    1_072_319_116_312_658.0,
    -435_901_477_914_249.0,
    633_789_495_995_904.0,
];

/// A point to be added: y + x, y - x and 2dxy, each of five reduced limbs.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Affine([[f64; 5]; 3]);

impl Affine {
    pub fn new(sum: [f64; 5], difference: [f64; 5], product: [f64; 5]) -> Self {
        Self([sum, difference, product])
    }
}

/// Coordinates X, Y, Z and T of a point, of five reduced limbs each.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Bucket([[f64; LANES]; 5]);

impl Bucket {
    const NEUTRAL: Self = {
        let mut limbs = [[0.0; LANES]; 5];
        // Limb 0 of Y is number 5, and of Z number 10.
        limbs[1][1] = 1.0;
        limbs[2][2] = 1.0;
        Self(limbs)
    };
}

/// Four points in extended coordinates, reduced.
#[derive(Clone, Copy)]
struct Points {
    x: Elements,
    y: Elements,
    z: Elements,
    t: Elements,
}

/// Buckets 0 to 128 of one window. Number 0 counts for nothing: a digit of zero need not be a case of its own.
type Window = [Bucket; 129];

/// The buckets of four windows.
pub struct Buckets(Box<[Window; LANES]>);

impl Buckets {
    pub fn new() -> Self {
        Self(Box::new([[Bucket::NEUTRAL; 129]; LANES]))
    }

    pub fn clear(&mut self) {
        self.0.as_flattened_mut().fill(Bucket::NEUTRAL);
    }

    /// Adds each point to the buckets of its digits in windows `first` to `first + 3`.
    #[target_feature(enable = "avx2,fma")]
    pub fn add(&mut self, points: &[Affine], digits: &[Digits], first: usize) {
        for (point, digits) in points.iter().zip(digits) {
            let digits: [i8; LANES] = std::array::from_fn(|lane| digits[first + lane]);
            let places = digits.map(|digit| usize::from(digit.unsigned_abs()));
            let bytes = _mm_cvtsi32_si128(i32::from_le_bytes(digits.map(i8::cast_unsigned)));
            // The sign of each digit in the top bit of its lane.
            let negative = _mm256_castsi256_pd(_mm256_cvtepi8_epi64(bytes));
            let sum = self.load(places).add_affine(point, negative);
            self.store(places, &sum);
        }
    }

    /// The sum of the buckets of each window, each as many times as its number says.
    #[target_feature(enable = "avx2,fma")]
    pub fn sums(&self) -> [Point; LANES] {
        let mut running = Points::neutral();
        let mut total = running;
        for number in (1..=128).rev() {
            running = running.add(&self.load([number; LANES]));
            total = total.add(&running);
        }
        total.split()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(&self, places: [usize; LANES]) -> Points {
        let rows = [&self.0[0][places[0]], &self.0[1][places[1]], &self.0[2][places[2]], &self.0[3][places[3]]];
        let mut limbs = [_mm256_setzero_pd(); 20];
        for quarter in 0..5 {
            let columns = transpose(rows.map(|row| load(&row.0[quarter])));
            limbs[4 * quarter..][..4].copy_from_slice(&columns);
        }
        let (elements, _) = limbs.as_chunks::<5>();
        Points {
            x: Elements(elements[0]),
            y: Elements(elements[1]),
            z: Elements(elements[2]),
            t: Elements(elements[3]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn store(&mut self, places: [usize; LANES], points: &Points) {
        let elements = [points.x.0, points.y.0, points.z.0, points.t.0];
        let (quarters, _) = elements.as_flattened().as_chunks::<LANES>();
        for (quarter, columns) in quarters.iter().enumerate() {
            for (lane, row) in transpose(*columns).into_iter().enumerate() {
                store(row, &mut self.0[lane][places[lane]].0[quarter]);
            }
        }
    }
}

impl Points {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn neutral() -> Self {
        let zero = Elements::splat(&[0.0; 5]);
        let one = Elements::splat(&[1.0, 0.0, 0.0, 0.0, 0.0]);
        Self { x: zero, y: one, z: one, t: zero }
    }

    /// The sum with a point that is the same in each lane, or its negative where the top bit of `negative` is set.
    /// The formulas are those of [`Point::add`]; in parentheses, what bounds the limbs.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_affine(&self, point: &Affine, negative: Limb) -> Self {
        let [plus, minus, product] = [0, 1, 2].map(|i: usize| Elements::splat(&point.0[i]));
        let a = self.y.sub(&self.x).mul(&minus.select(&plus, negative)); // (2R, R)
        let b = self.y.add(&self.x).mul(&plus.select(&minus, negative));
        let c = self.t.mul(&product.negate_if(negative));
        Self::from_parts(&a, &b, &c, &self.z.add(&self.z))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&self, other: &Self) -> Self {
        let a = self.y.sub(&self.x).mul(&other.y.sub(&other.x).reduce());
        let b = self.y.add(&self.x).mul(&other.y.add(&other.x).reduce());
        let c = self.t.mul(&other.t.mul(&Elements::splat(&D2)));
        let d = self.z.mul(&other.z);
        Self::from_parts(&a, &b, &c, &d.add(&d))
    }

    /// The second half of an addition, of `a`, `b` and `c` reduced and `d` of at most 2R.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn from_parts(a: &Elements, b: &Elements, c: &Elements, d: &Elements) -> Self {
        let e = b.sub(a).reduce();
        let f = d.sub(c).reduce();
        let g = d.add(c); // 3R
        let h = b.add(a).reduce();
        Self { x: e.mul(&f), y: g.mul(&h), z: f.mul(&g), t: e.mul(&h) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn split(&self) -> [Point; LANES] {
        let [x, y, z, t] = [self.x.split(), self.y.split(), self.z.split(), self.t.split()];
        std::array::from_fn(|lane| Point { x: x[lane], y: y[lane], z: z[lane], t: t[lane] })
    }
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose([a, b, c, d]: [Limb; 4]) -> [Limb; 4] {
    let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let (low2, high2) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
    [
        _mm256_permute2f128_pd::<0x20>(low, low2),
        _mm256_permute2f128_pd::<0x20>(high, high2),
        _mm256_permute2f128_pd::<0x31>(low, low2),
        _mm256_permute2f128_pd::<0x31>(high, high2),
    ]
}
