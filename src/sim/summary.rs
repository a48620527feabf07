//! A summary of many numbers in four.

use serde::Serialize;

/// Mean, percentiles and maximum of a list of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Their mean.
    pub mean: f64,
    /// Half of them are no larger.
    pub p50: u64,
    /// 99 in 100 of them are no larger.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Summary {
    /// Of a list; all zero for an empty one.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut numbers: Vec<u64> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let count = numbers.len().max(1);
        let rank = |percent: usize| numbers.get((count * percent).div_ceil(100) - 1).copied().unwrap_or(0);
        Self { mean: share(numbers.iter().sum(), count as u64), p50: rank(50), p99: rank(99), max: rank(100) }
    }
}

/// A part of a whole, to four digits after the point, as is meant to be read.
pub fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64 * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(Summary::of((1..=200).rev()), Summary { mean: 100.5, p50: 100, p99: 198, max: 200 });
        assert_eq!(Summary::of([7]), Summary { mean: 7.0, p50: 7, p99: 7, max: 7 });
        assert_eq!(Summary::of([]), Summary { mean: 0.0, p50: 0, p99: 0, max: 0 });
    }
}
