//! Durations of block validation and depths of reorganisations, for monitoring. No rule or decision uses them.

use std::time::Instant;

/// Statistics since the chain was opened.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Seconds that a block's own rules took: encoding, Merkle root, structure.
    pub check: Histogram,
    /// Seconds that connecting a block took: its coins, its signatures, its sums.
    pub connect: Histogram,
    /// Seconds that the store took to write what a connected block changes.
    pub commit: Histogram,
    /// Blocks that left the best chain, for each reorganisation. A reorganisation done in parts counts once for each
    /// part.
    pub reorganisation: Histogram,
}

/// Bounds for durations, in seconds: an empty block in memory takes microseconds, a full one on a slow disk a second.
const DURATIONS: &[f64] = &[0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
/// Bounds for depths, in blocks.
const DEPTHS: &[f64] = &[1.0, 2.0, 3.0, 6.0, 10.0, 30.0, 100.0];

impl Default for Stats {
    fn default() -> Self {
        let durations = || Histogram::new(DURATIONS);
        Self { check: durations(), connect: durations(), commit: durations(), reorganisation: Histogram::new(DEPTHS) }
    }
}

/// Numbers counted by size.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last is for what exceeds them all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }

    /// Runs `work` and counts the seconds that it took.
    pub(super) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.observe(start.elapsed().as_secs_f64());
        result
    }

    /// Each upper bound with the count of numbers in its bucket; the last bound is infinity.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied())
    }

    /// How many numbers were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values counted.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        [0.5, 1.0, 1.5, 9.0].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(1.0, 2), (2.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 12.0));
        assert_eq!(histogram.time(|| 7), 7);
        assert_eq!(histogram.count(), 5);
    }
}
