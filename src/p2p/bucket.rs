//! A token bucket: bounds a burst and a rate.

use std::time::Duration;

use crate::primitives::time::MonoTime;

/// How a bucket fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Tokens gained a millisecond.
    pub(crate) gain: u64,
    /// Most that are saved up.
    pub(crate) most: u64,
}

/// Tokens left, possibly negative, and when they were counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    level: i64,
    /// By [`Now::mono`](crate::p2p::Now::mono).
    at: MonoTime,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(now: MonoTime, rate: Rate) -> Self {
        Self { level: rate.most as i64, at: now }
    }

    /// One without tokens.
    pub(crate) fn empty(now: MonoTime) -> Self {
        Self { level: 0, at: now }
    }

    /// Tokens left by now.
    pub(crate) fn level(&self, now: MonoTime, rate: Rate) -> i64 {
        let gained = (now.saturating_since(self.at).as_millis() as u64).saturating_mul(rate.gain);
        self.level.saturating_add_unsigned(gained).min(rate.most as i64)
    }

    /// Takes tokens out, down to `least` below none.
    pub(crate) fn spend(&mut self, now: MonoTime, rate: Rate, tokens: u64, least: u64) {
        let level = self.level(now, rate).saturating_sub_unsigned(tokens);
        *self = Self { level: level.max(-(least as i64)), at: now.max(self.at) };
    }

    /// Takes tokens out if there are as many.
    pub(crate) fn take(&mut self, now: MonoTime, rate: Rate, tokens: u64) -> bool {
        let is_enough = self.level(now, rate) >= tokens as i64;
        if is_enough {
            self.spend(now, rate, tokens, 0);
        }
        is_enough
    }

    /// When there will be so many tokens; the clock's start if there were when they were last counted.
    pub(crate) fn when(&self, rate: Rate, tokens: u64) -> MonoTime {
        let lacking = (tokens as i64).saturating_sub(self.level);
        if lacking <= 0 {
            return MonoTime::START;
        }
        self.at + Duration::from_millis(lacking.unsigned_abs().div_ceil(rate.gain.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let rate = Rate { gain: 2, most: 10 };
        let at = MonoTime::from_millis;
        let mut bucket = Bucket::full(at(5), rate);
        assert!((0..5).all(|_| bucket.take(at(5), rate, 2)) && !bucket.take(at(5), rate, 1));
        assert_eq!((bucket.when(rate, 4), bucket.level(at(6), rate), bucket.level(at(4), rate)), (at(7), 2, 0));
        bucket.spend(at(6), rate, 100, 3);
        assert_eq!(
            (bucket.level(at(6), rate), bucket.level(at(7), rate), bucket.level(at(u64::MAX), rate)),
            (-3, -1, 10)
        );
    }
}
