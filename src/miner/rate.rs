//! The rate of a growing count.

use std::collections::VecDeque;
use std::time::Duration;

/// The rate of a growing count over the last part of time, from samples of it.
#[derive(Debug)]
pub struct RateMeter {
    window: Duration,
    /// When, on any steady clock, and the count then; oldest first.
    samples: VecDeque<(Duration, u64)>,
}

/// Most samples kept: more would not make the rate more exact.
const MAX_SAMPLES: usize = 64;

impl RateMeter {
    /// A meter that looks back as far as `window`.
    pub fn new(window: Duration) -> Self {
        Self { window, samples: VecDeque::new() }
    }

    /// Records that the count is `count` at time `at`, on a monotonic clock of the caller.
    pub fn record(&mut self, at: Duration, count: u64) {
        // The newest sample from before the window stays: the rate is then over all of the window.
        while self.samples.len() >= MAX_SAMPLES
            || self.samples.get(1).is_some_and(|(second, _)| *second + self.window <= at)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((at, count));
    }

    /// Counts a second, 0 until two samples are apart.
    pub fn per_second(&self) -> f64 {
        let (Some((start, first)), Some((end, last))) = (self.samples.front(), self.samples.back()) else { return 0.0 };
        let seconds = end.saturating_sub(*start).as_secs_f64();
        if seconds > 0.0 { last.saturating_sub(*first) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_that_of_the_window() {
        let mut meter = RateMeter::new(Duration::from_secs(10));
        assert_eq!(meter.per_second(), 0.0);
        meter.record(Duration::ZERO, 0);
        assert_eq!(meter.per_second(), 0.0);
        for second in 1..=100 {
            meter.record(Duration::from_secs(second), 50 * second);
            assert_eq!(meter.per_second(), 50.0);
        }
        for second in 101..=110 {
            meter.record(Duration::from_secs(second), 5000);
        }
        assert_eq!(meter.per_second(), 0.0);
        assert!(meter.samples.len() <= 12);
    }

    #[test]
    fn frequent_samples_are_bounded() {
        let mut meter = RateMeter::new(Duration::from_secs(1000));
        for milli in 0..10_000 {
            meter.record(Duration::from_millis(milli), milli);
        }
        assert!(meter.samples.len() <= MAX_SAMPLES);
        assert!((meter.per_second() - 1000.0).abs() < 1.0);
    }
}
