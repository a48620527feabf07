//! From encodings to points, sixteen at once, as in `avx2::decompress`.

use super::curve::Affine;
use super::field::{Elements, LANES};
use crate::curve::D2;
use crate::field::Element;
use crate::sum::root_power;

/// Encodings decompressed at once: two vectors, since the long chain of squarings of one leaves the processor waiting.
pub const WIDTH: usize = 2 * LANES;

/// The curve's d = -121665/121666.
const D: [u64; 5] =
    [929_955_233_495_203, 466_365_720_129_213, 1_662_059_464_998_953, 2_033_849_074_728_123, 1_442_794_654_840_575];
/// A square root of -1.
const ROOT: [u64; 5] =
    [1_718_705_420_411_056, 234_908_883_556_509, 2_233_514_472_574_048, 2_117_202_627_021_982, 765_476_049_583_133];

/// Both vectors.
type Pair = [Elements; 2];

/// The points of these encodings, or none if any of them has no point.
///
/// # Consensus
/// ZIP-215: see `avx2::decompress`, whose steps these are.
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn decompress(encodings: &[[u8; 32]; WIDTH]) -> Option<[Affine; WIDTH]> {
    let (halves, _) = encodings.as_chunks::<LANES>();
    let one = Elements::splat(&[1, 0, 0, 0, 0]);
    let d = Elements::splat(&D);
    let y = [0, 1].map(|i: usize| Elements::from_lanes(&halves[i].map(Element::limbs_of)));
    let yy = square(&y);
    let u = yy.map(|yy| yy.sub(&one).reduce());
    let v = yy.map(|yy| yy.mul(&d).add(&one).reduce());
    let v3 = multiply(&square(&v), &v);
    let v7 = multiply(&square(&v3), &v);
    let x = multiply(&multiply(&u, &v3), &root_power(&multiply(&u, &v7), |a, n, by| shift(a, n, by)));
    let vxx = multiply(&v, &square(&x));

    let mut points = [Affine::default(); WIDTH];
    for half in 0..2 {
        let (is_root, is_rotated) = (vxx[half].sub(&u[half]).zeros(), vxx[half].add(&u[half]).zeros());
        if is_root | is_rotated != !0 {
            return None;
        }
        let x = x[half].mul(&Elements::splat(&ROOT)).select(&x[half], is_root);
        let odd = halves[half].iter().rev().fold(0, |mask, encoding| mask << 1 | encoding[31] >> 7);
        let x = x.negate_if(x.odds() ^ odd);
        let y = &y[half];
        let product = x.mul(y).mul(&Elements::splat(&D2));
        let x = x.reduce();
        let eight = Affine::from_parts(&y.add(&x).reduce(), &y.sub(&x).reduce(), &product);
        points[half * LANES..][..LANES].copy_from_slice(&eight);
    }
    Some(points)
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiply(a: &Pair, b: &Pair) -> Pair {
    [a[0].mul(&b[0]), a[1].mul(&b[1])]
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn square(a: &Pair) -> Pair {
    [a[0].square(), a[1].square()]
}

/// Squares `n` times, and multiplies by `by`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn shift(a: &Pair, n: u32, by: &Pair) -> Pair {
    let mut power = *a;
    for _ in 0..n {
        power = square(&power);
    }
    multiply(&power, by)
}
