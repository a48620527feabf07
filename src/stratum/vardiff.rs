//! Adjusts a connection's share difficulty to its rate of shares.

use std::time::Duration;

use super::level::Level;

/// Time that a share should take.
pub const SHARE_TIME: Duration = Duration::from_secs(5);
/// Shares after which the rate is known well enough.
const ENOUGH_SHARES: u32 = 16;
/// Time after which the rate is estimated from any number of shares.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Most steps harder at a time: a much faster machine than expected needs a few adjustments.
const MAX_STEPS_HARDER: i32 = 8;
/// Most steps easier at a time, because a pause does not mean a slow miner.
const MAX_STEPS_EASIER: i32 = 3;

/// Follows one connection's shares. Times are of any steady clock.
#[derive(Debug)]
pub struct Vardiff {
    level: Level,
    since: Duration,
    shares: u32,
}

impl Vardiff {
    /// A regulator that starts at `level` and measures from `now` on.
    pub fn new(level: Level, now: Duration) -> Self {
        Self { level, since: now, shares: 0 }
    }

    /// The present level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Counts a share that was accepted.
    pub fn share(&mut self) {
        self.shares = self.shares.saturating_add(1);
    }

    /// Adjusts the level to the shares received; returns whether it changed. No level is above `ceiling`, the network's
    /// own. A rate within a factor of two of the one wanted is left as it is.
    pub fn adjust(&mut self, now: Duration, ceiling: Level) -> bool {
        let before = self.level;
        let elapsed = now.saturating_sub(self.since);
        if self.shares >= ENOUGH_SHARES || elapsed >= MAX_WAIT {
            let expected = elapsed.as_secs_f64().max(0.001) / SHARE_TIME.as_secs_f64();
            // None at all counts as half a one.
            let ratio = f64::from(self.shares).max(0.5) / expected;
            let steps = ratio.log2().trunc() as i32;
            self.level = self.level.harder(steps.clamp(-MAX_STEPS_EASIER, MAX_STEPS_HARDER));
            (self.since, self.shares) = (now, 0);
        }
        self.level = self.level.min(ceiling);
        self.level != before
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Shares a minute in the last ten of 30 minutes at a hash rate, which come as chance has it, and the level changes
    /// in that time.
    fn settle(hashes_per_second: f64, ceiling: Level) -> (f64, u32, Level) {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut vardiff = Vardiff::new(Level::START.min(ceiling), Duration::ZERO);
        let (mut now, mut shares, mut changes) = (0.0, 0, 0);
        while now < 1800.0 {
            let wait = -rng.random::<f64>().max(1e-12).ln() * vardiff.level().hashes() / hashes_per_second;
            // Looked at every second, and after every share.
            let end = now + wait;
            while now < end {
                now = end.min(now.floor() + 1.0);
                if now == end {
                    vardiff.share();
                    shares += u32::from(now >= 1200.0);
                }
                if vardiff.adjust(Duration::from_secs_f64(now), ceiling) {
                    changes += u32::from(now >= 1200.0);
                    // The search goes on at another level, and has no memory.
                    break;
                }
            }
        }
        (f64::from(shares) / 10.0, changes, vardiff.level())
    }

    #[test]
    fn every_speed_settles_at_the_same_rate() {
        for exponent in 3..=15 {
            let (per_minute, changes, _) = settle(10f64.powi(exponent), Level::HARDEST);
            // Twelve a minute are wanted, six to 24 are left alone, and chance does the rest.
            assert!((4.0..36.0).contains(&per_minute), "10^{exponent} H/s: {per_minute} shares a minute");
            assert!(changes <= 4, "10^{exponent} H/s: {changes} changes in ten minutes");
        }
    }

    #[test]
    fn the_network_is_the_ceiling() {
        let ceiling = Level::EASIEST.harder(20);
        assert_eq!(settle(1e9, ceiling).2, ceiling);
        let mut vardiff = Vardiff::new(Level::START, Duration::ZERO);
        assert!(vardiff.adjust(Duration::ZERO, ceiling), "it became easier");
        assert_eq!(vardiff.level(), ceiling);
    }

    #[test]
    fn silence_makes_it_easier_step_by_step() {
        let mut vardiff = Vardiff::new(Level::START, Duration::ZERO);
        assert!(!vardiff.adjust(Duration::from_secs(59), Level::HARDEST));
        assert!(vardiff.adjust(Duration::from_secs(60), Level::HARDEST));
        assert_eq!(vardiff.level(), Level::START.harder(-3));
        for minute in 2..100 {
            vardiff.adjust(Duration::from_secs(60 * minute), Level::HARDEST);
        }
        assert_eq!(vardiff.level(), Level::EASIEST);
    }
}
