//! The sum of multiples of points, eight of them in a vector.

mod curve;
mod decompress;
mod field;
#[cfg(test)]
mod tests;

use curve::Buckets;
use decompress::{WIDTH, decompress};

use crate::{Terms, sum};

/// See [`sum::has_small_order`].
#[target_feature(enable = "avx512f,avx512ifma")]
pub fn sum_has_small_order(terms: &Terms) -> bool {
    let mut buckets = Buckets::new();
    sum::has_small_order(
        terms,
        |encodings: &[[u8; 32]; WIDTH]| decompress(encodings),
        |points, digits, first| {
            buckets.clear();
            buckets.add(points, digits, first);
            buckets.sums()
        },
    )
}
