//! Sums of many points by buckets, as in `avx2::curve`, with eight windows in a vector.

use std::arch::x86_64::*;

use super::field::{Elements, LANES, Limb, load, store};
use crate::Digits;
use crate::curve::{D2, Point};

/// A point to be added: y + x, y - x and 2dxy, each of five reduced limbs, and a limb that counts for nothing.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Affine([[u64; LANES]; 2]);

impl Affine {
    /// Eight points from their parts.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn from_parts(sum: &Elements, difference: &Elements, product: &Elements) -> [Self; LANES] {
        let [a, b, c] = [sum.0, difference.0, product.0];
        let zero = _mm512_setzero_si512();
        let first = transpose([a[0], a[1], a[2], a[3], a[4], b[0], b[1], b[2]]);
        let second = transpose([b[3], b[4], c[0], c[1], c[2], c[3], c[4], zero]);
        let mut points = [Self::default(); LANES];
        for (lane, point) in points.iter_mut().enumerate() {
            store(first[lane], &mut point.0[0]);
            store(second[lane], &mut point.0[1]);
        }
        points
    }

    /// The parts, the same in each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn parts(&self) -> [Elements; 3] {
        let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, _]] = self.0;
        [Elements::splat(&[a, b, c, d, e]), Elements::splat(&[f, g, h, i, j]), Elements::splat(&[k, l, m, n, o])]
    }
}

/// Coordinates X, Y, Z and T of a point, of five reduced limbs each, and four limbs that count for nothing.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket([[u64; LANES]; 3]);

impl Bucket {
    const NEUTRAL: Self = {
        let mut limbs = [[0; LANES]; 3];
        // Limb 0 of Y is number 5, and of Z number 10.
        limbs[0][5] = 1;
        limbs[1][2] = 1;
        Self(limbs)
    };
}

/// Eight points in extended coordinates, reduced.
#[derive(Clone, Copy)]
struct Points {
    x: Elements,
    y: Elements,
    z: Elements,
    t: Elements,
}

/// Buckets 0 to 128 of one window. Number 0 counts for nothing: a digit of zero need not be a case of its own.
type Window = [Bucket; 129];

/// The buckets of eight windows.
pub struct Buckets(Box<[Window; LANES]>);

impl Buckets {
    pub fn new() -> Self {
        Self(Box::new([[Bucket::NEUTRAL; 129]; LANES]))
    }

    pub fn clear(&mut self) {
        self.0.as_flattened_mut().fill(Bucket::NEUTRAL);
    }

    /// Adds each point to the buckets of its digits in windows `first` to `first + 7`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn add(&mut self, points: &[Affine], digits: &[Digits], first: usize) {
        for (point, digits) in points.iter().zip(digits) {
            let digits: [i8; LANES] = std::array::from_fn(|lane| digits[first + lane]);
            let places = digits.map(|digit| usize::from(digit.unsigned_abs()));
            let negative = digits.iter().rev().fold(0, |mask, digit| mask << 1 | u8::from(*digit < 0));
            let sum = self.load(places).add_affine(point, negative);
            self.store(places, &sum);
        }
    }

    /// The sum of the buckets of each window, each as many times as its number says.
    #[target_feature(enable = "avx512f,avx512ifma")]
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
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn load(&self, places: [usize; LANES]) -> Points {
        let rows: [&Bucket; LANES] = std::array::from_fn(|lane| &self.0[lane][places[lane]]);
        let [a, b, c] = [0, 1, 2].map(|third: usize| transpose(rows.map(|row| load(&row.0[third]))));
        Points {
            x: Elements([a[0], a[1], a[2], a[3], a[4]]),
            y: Elements([a[5], a[6], a[7], b[0], b[1]]),
            z: Elements([b[2], b[3], b[4], b[5], b[6]]),
            t: Elements([b[7], c[0], c[1], c[2], c[3]]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn store(&mut self, places: [usize; LANES], points: &Points) {
        let [x, y, z, t] = [points.x.0, points.y.0, points.z.0, points.t.0];
        let zero = _mm512_setzero_si512();
        let thirds = [
            transpose([x[0], x[1], x[2], x[3], x[4], y[0], y[1], y[2]]),
            transpose([y[3], y[4], z[0], z[1], z[2], z[3], z[4], t[0]]),
            transpose([t[1], t[2], t[3], t[4], zero, zero, zero, zero]),
        ];
        for (third, rows) in thirds.into_iter().enumerate() {
            for (lane, row) in rows.into_iter().enumerate() {
                store(row, &mut self.0[lane][places[lane]].0[third]);
            }
        }
    }
}

impl Points {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn neutral() -> Self {
        let zero = Elements::splat(&[0; 5]);
        let one = Elements::splat(&[1, 0, 0, 0, 0]);
        Self { x: zero, y: one, z: one, t: zero }
    }

    /// The sum with a point that is the same in each lane, or its negative in the lanes of `negative`. The formulas are
    /// those of [`Point::add`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_affine(&self, point: &Affine, negative: __mmask8) -> Self {
        let [plus, minus, product] = point.parts();
        let a = self.y.sub(&self.x).reduce().mul(&minus.select(&plus, negative));
        let b = self.y.add(&self.x).reduce().mul(&plus.select(&minus, negative));
        let c = self.t.mul(&product.negate_if(negative));
        Self::from_parts(&a, &b, &c, &self.z)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&self, other: &Self) -> Self {
        let a = self.y.sub(&self.x).reduce().mul(&other.y.sub(&other.x).reduce());
        let b = self.y.add(&self.x).reduce().mul(&other.y.add(&other.x).reduce());
        let c = self.t.mul(&other.t.mul(&Elements::splat(&D2)));
        Self::from_parts(&a, &b, &c, &self.z.mul(&other.z))
    }

    /// The second half of an addition, of reduced parts and half of `d`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn from_parts(a: &Elements, b: &Elements, c: &Elements, half: &Elements) -> Self {
        let d = half.add(half);
        let e = b.sub(a).reduce();
        let f = d.sub(c).reduce();
        let g = d.add(c).reduce();
        let h = b.add(a).reduce();
        Self { x: e.mul(&f), y: g.mul(&h), z: f.mul(&g), t: e.mul(&h) }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn split(&self) -> [Point; LANES] {
        let [x, y, z, t] = [self.x.split(), self.y.split(), self.z.split(), self.t.split()];
        std::array::from_fn(|lane| Point { x: x[lane], y: y[lane], z: z[lane], t: t[lane] })
    }
}

/// Rows become columns: pairs of numbers first, then quarters.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn transpose(rows: [Limb; LANES]) -> [Limb; LANES] {
    let quarters = |a, b, c, d| {
        let (even, odd) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b));
        let (even2, odd2) = (_mm512_shuffle_i64x2::<0x88>(c, d), _mm512_shuffle_i64x2::<0xdd>(c, d));
        [
            _mm512_shuffle_i64x2::<0x88>(even, even2),
            _mm512_shuffle_i64x2::<0x88>(odd, odd2),
            _mm512_shuffle_i64x2::<0xdd>(even, even2),
            _mm512_shuffle_i64x2::<0xdd>(odd, odd2),
        ]
    };
    let [a, b, c, d, e, f, g, h] = rows;
    let firsts = quarters(
        _mm512_unpacklo_epi64(a, b),
        _mm512_unpacklo_epi64(c, d),
        _mm512_unpacklo_epi64(e, f),
        _mm512_unpacklo_epi64(g, h),
    );
    let seconds = quarters(
        _mm512_unpackhi_epi64(a, b),
        _mm512_unpackhi_epi64(c, d),
        _mm512_unpackhi_epi64(e, f),
        _mm512_unpackhi_epi64(g, h),
    );
    [firsts[0], seconds[0], firsts[1], seconds[1], firsts[2], seconds[2], firsts[3], seconds[3]]
}
