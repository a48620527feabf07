//! The sum of multiples of points, by whatever decompresses and adds several at once.

use crate::curve::Point;
use crate::{Digits, SHORT_WINDOWS, Terms, WINDOWS};

/// Whether all points are on the curve, and eight times the sum of their multiples is the neutral point.
///
/// `decompress` makes points of encodings, or none if any of them is not on the curve. `windows` adds up the first digits of
/// points as many times as they say, from the given window on.
pub fn has_small_order<P: Copy, const WIDTH: usize, const LANES: usize>(
    terms: &Terms,
    decompress: impl Fn(&[[u8; 32]; WIDTH]) -> Option<[P; WIDTH]>,
    mut windows: impl FnMut(&[P], &[Digits], usize) -> [Point; LANES],
) -> bool {
    let Some(points) = decompress_all(&terms.encodings, decompress) else { return false };
    let mut sums = Vec::with_capacity(WINDOWS);
    for first in (0..WINDOWS).step_by(LANES) {
        // The multiples of the points from there on have no more digits.
        let count = if first < SHORT_WINDOWS { points.len() } else { terms.long };
        sums.extend(windows(&points[..count], &terms.digits[..count], first));
    }
    let mut sum = Point::NEUTRAL;
    for window in sums.into_iter().rev() {
        for _ in 0..8 {
            sum = sum.double();
        }
        sum = sum.add(window);
    }
    sum.double().double().double().is_neutral()
}

fn decompress_all<P: Copy, const WIDTH: usize>(
    encodings: &[[u8; 32]],
    decompress: impl Fn(&[[u8; 32]; WIDTH]) -> Option<[P; WIDTH]>,
) -> Option<Vec<P>> {
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

/// To the power of (p - 5) / 8 = 2^252 - 3. `shift` squares a number so many times and multiplies it by another; the names
/// tell the ones in the exponent so far.
pub fn root_power<T>(a: &T, shift: impl Fn(&T, u32, &T) -> T) -> T {
    let ones_2 = shift(a, 1, a);
    let ones_4 = shift(&ones_2, 2, &ones_2);
    let ones_5 = shift(&ones_4, 1, a);
    let ones_10 = shift(&ones_5, 5, &ones_5);
    let ones_20 = shift(&ones_10, 10, &ones_10);
    let ones_40 = shift(&ones_20, 20, &ones_20);
    let ones_50 = shift(&ones_40, 10, &ones_10);
    let ones_100 = shift(&ones_50, 50, &ones_50);
    let ones_200 = shift(&ones_100, 100, &ones_100);
    let ones_250 = shift(&ones_200, 50, &ones_50);
    shift(&ones_250, 2, a)
}
