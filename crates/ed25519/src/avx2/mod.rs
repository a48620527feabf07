//! The sum of multiples of points, four of them in a vector.

mod curve;
mod decompress;
mod field;
#[cfg(test)]
mod tests;

use curve::{Affine, Buckets, D2};
use decompress::{WIDTH, decompress};
use field::LANES;

use crate::curve::Point;
use crate::field::Element;
use crate::{SHORT_WINDOWS, Terms, WINDOWS};

/// Whether all points are on the curve, and eight times the sum of their multiples is the neutral point.
#[target_feature(enable = "avx2,fma")]
pub fn sum_has_small_order(terms: &Terms) -> bool {
    let Some(points) = decompress_all(&terms.encodings) else { return false };
    let mut buckets = Buckets::new();
    let mut windows = Vec::with_capacity(WINDOWS);
    for first in (0..WINDOWS).step_by(LANES) {
        // The multiples of the points from there on have no more digits.
        let count = if first < SHORT_WINDOWS { points.len() } else { terms.long };
        buckets.clear();
        buckets.add(&points[..count], &terms.digits[..count], first);
        windows.extend(buckets.sums());
    }
    let d2 = Element::from_signed(D2);
    let mut sum = Point::NEUTRAL;
    for window in windows.into_iter().rev() {
        for _ in 0..8 {
            sum = sum.double();
        }
        sum = sum.add(window, d2);
    }
    sum.double().double().double().is_neutral()
}

#[target_feature(enable = "avx2,fma")]
fn decompress_all(encodings: &[[u8; 32]]) -> Option<Vec<Affine>> {
    let mut points = Vec::with_capacity(encodings.len().next_multiple_of(WIDTH));
    let (groups, rest) = encodings.as_chunks();
    for group in groups {
        points.extend(decompress(group)?);
    }
    // The neutral point stands in for those missing from the last group, y = 1.
    let mut last = [[0; 32]; WIDTH];
    last.iter_mut().for_each(|encoding| encoding[0] = 1);
    last[..rest.len()].copy_from_slice(rest);
    points.extend(&decompress(&last)?[..rest.len()]);
    Some(points)
}
