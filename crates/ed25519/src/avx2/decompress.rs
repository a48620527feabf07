//! From encodings to points, eight at once: two vectors of four, since the long chain of squarings of one leaves the
//! processor waiting.

use super::curve::{Affine, D2};
use super::field::{Elements, LANES, load};
use crate::field::Element;
use crate::sum::root_power;

/// Encodings decompressed at once.
pub const WIDTH: usize = 2 * LANES;

/// The curve's d = -121665/121666.
const D: [f64; 5] = [
    929_955_233_495_222.0,
    466_365_720_129_213.0,
    -589_740_348_686_295.0,
    -217_950_738_957_124.0,
    -809_005_158_844_672.0,
];
/// A square root of -1.
const ROOT: [f64; 5] = [
    -533_094_393_274_192.0,
    234_908_883_556_510.0,
    -18_285_341_111_200.0,
    -134_597_186_663_265.0,
    765_476_049_583_134.0,
];
const ONE: [f64; 5] = [1.0, 0.0, 0.0, 0.0, 0.0];

/// Both vectors.
type Pair = [Elements; 2];

/// The points of these encodings, or none if any of them has no point.
///
/// # Consensus
/// ZIP-215: the lower 255 bits are y, below the modulus or not, and the top bit is the parity of x, which for x = 0 says
/// nothing.
#[target_feature(enable = "avx2,fma")]
pub fn decompress(encodings: &[[u8; 32]; WIDTH]) -> Option<[Affine; WIDTH]> {
    let (halves, _) = encodings.as_chunks::<LANES>();
    let one = Elements::splat(&ONE);
    let d = Elements::splat(&D);
    let y = [0, 1].map(|i: usize| {
        Elements::from_lanes(&halves[i].map(|encoding| Element::limbs_of(encoding).map(|limb| limb as f64))).reduce()
    });
    // x² = u / v with u = y² - 1 and v = d y² + 1. With p = 5 (mod 8), the candidate for the root is
    // u v³ (u v^7)^((p - 5) / 8) (RFC 8032, 5.1.3).
    let yy = square(&y);
    let u = yy.map(|yy| yy.sub(&one));
    let v = yy.map(|yy| yy.mul(&d).add(&one));
    let v3 = multiply(&square(&v), &v);
    let v7 = multiply(&square(&v3), &v);
    let x = multiply(&multiply(&u, &v3), &root_power(&multiply(&u, &v7), |a, n, by| shift(a, n, by)));
    let vxx = multiply(&v, &square(&x));

    let mut points = [Affine::default(); WIDTH];
    for half in 0..2 {
        // v x² is u, or -u, and then x times the root of -1 is the root, or neither, and then there is none.
        let mut rotate = [0.0; LANES];
        let signs = vxx[half].split().into_iter().zip(u[half].split());
        for ((vxx, u), rotate) in signs.zip(&mut rotate) {
            if !(vxx - u).is_zero() {
                if !(vxx + u).is_zero() {
                    return None;
                }
                *rotate = -0.0;
            }
        }
        let rotated = x[half].mul(&Elements::splat(&ROOT));
        let x = x[half].select(&rotated, load(&rotate));
        let mut flip = [0.0; LANES];
        for ((x, encoding), flip) in x.split().into_iter().zip(&halves[half]).zip(&mut flip) {
            if x.is_odd() != (encoding[31] >> 7 == 1) {
                *flip = -0.0;
            }
        }
        let x = x.negate_if(load(&flip));
        let y = &y[half];
        let sum = y.add(&x).reduce().to_lanes();
        let difference = y.sub(&x).reduce().to_lanes();
        let product = x.mul(y).mul(&Elements::splat(&D2)).to_lanes();
        for lane in 0..LANES {
            points[half * LANES + lane] = Affine::new(sum[lane], difference[lane], product[lane]);
        }
    }
    Some(points)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply(a: &Pair, b: &Pair) -> Pair {
    [a[0].mul(&b[0]), a[1].mul(&b[1])]
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn square(a: &Pair) -> Pair {
    [a[0].square(), a[1].square()]
}

/// Squares `n` times, and multiplies by `by`.
#[target_feature(enable = "avx2,fma")]
fn shift(a: &Pair, n: u32, by: &Pair) -> Pair {
    let mut power = *a;
    for _ in 0..n {
        power = square(&power);
    }
    multiply(&power, by)
}
