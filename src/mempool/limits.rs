//! What this node relays and how much it keeps. This is policy, not consensus: blocks may contain transactions refused
//! here.

use std::time::Duration;

use crate::primitives::amount::FeeRate;
use crate::primitives::time::UnixTime;

/// Most bytes of a transaction's encoding that is relayed: a tenth of the default block.
pub const MAX_TX_SIZE: usize = 100_000;
/// Most bytes of a chain of unconfirmed transactions that returns from a block of an abandoned branch or from an earlier run,
/// as Bitcoin Core bounds the ancestors of one. Some 500 payments: linking them takes time that grows with its square.
pub const MAX_RETURNING_CHAIN: usize = 101_000;
/// Most links from returning transactions to their ancestors that one call follows, which takes some tenths of a
/// second. Beyond it the limits of new transactions apply: at most 25 links each.
pub const MAX_RETURNING_LINKS: usize = 200_000;
/// The only version relayed; others wait for a meaning.
pub const TX_VERSION: u32 = 1;
/// Most transactions that one may replace, descendants of those it conflicts with included (BIP-125, rule 5).
pub const MAX_REPLACED: usize = 100;

/// Bounds of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of memory, indexes included; the transactions that pay least a byte make room.
    pub max_bytes: usize,
    /// Most unconfirmed transactions in a chain: a transaction and its ancestors, as Bitcoin Core counts them.
    pub max_ancestors: usize,
    /// The same for a transaction and its descendants.
    pub max_descendants: usize,
    /// After how long an unconfirmed transaction is dropped.
    pub expiry: Duration,
    /// Least fee rate, a whole number of grains a byte; also what a replacement pays for its own relay.
    pub min_fee_rate: FeeRate,
    /// Most transactions kept whose inputs are unknown; 0 for none.
    pub max_orphans: usize,
    /// Most bytes of memory for all of those.
    pub max_orphan_bytes: usize,
    /// Most bytes of the encoding of one of them.
    pub max_orphan_size: usize,
    /// After how long one is dropped.
    pub orphan_expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 128 << 20,
            max_ancestors: 25,
            max_descendants: 25,
            expiry: Duration::from_secs(336 * 3600),
            min_fee_rate: FeeRate::from_grains_per_byte(1),
            max_orphans: 256,
            max_orphan_bytes: 2 << 20,
            max_orphan_size: 20_000,
            orphan_expiry: Duration::from_secs(20 * 60),
        }
    }
}

/// In how long a raised minimum falls by half.
const HALF_LIFE: Duration = Duration::from_secs(3 * 3600);

/// The minimum fee rate. It rises when the pool is full, so that an evicted transaction is not accepted again, and
/// decays with time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MinFeeRate {
    /// Grains a byte at the time below.
    raised: u64,
    since: UnixTime,
}

impl MinFeeRate {
    /// Raises it to at least `rate` at time `now`.
    pub(super) fn raise(&mut self, rate: FeeRate, now: UnixTime) {
        if rate > self.at(now) {
            *self = Self { raised: rate.fee_for(1).as_grains(), since: now };
        }
    }

    /// The rate at time `now`: half after each half-life, on a straight line in between.
    pub(super) fn at(&self, now: UnixTime) -> FeeRate {
        let elapsed = now.saturating_since(self.since).as_secs();
        let half_life = HALF_LIFE.as_secs();
        let halved = u32::try_from(elapsed / half_life).ok().and_then(|n| self.raised.checked_shr(n)).unwrap_or(0);
        let part = u128::from(elapsed % half_life);
        let fallen = u128::from(halved) * part / u128::from(2 * half_life);
        FeeRate::from_grains_per_byte(halved - fallen as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_falls_by_half_and_only_falls() {
        let (at, per_byte, mut floor) = (UnixTime::from_secs, FeeRate::from_grains_per_byte, MinFeeRate::default());
        let start = at(100);
        assert_eq!(floor.at(at(5)), per_byte(0));
        floor.raise(per_byte(1000), start);
        assert_eq!(floor.at(start), per_byte(1000));
        assert_eq!(floor.at(start.saturating_add(HALF_LIFE / 2)), per_byte(750));
        assert_eq!(floor.at(start.saturating_add(HALF_LIFE)), per_byte(500));
        assert_eq!(floor.at(start.saturating_add(3 * HALF_LIFE)), per_byte(125));
        assert_eq!(floor.at(at(u64::MAX)), per_byte(0));
        let rates: Vec<_> = (0..100).map(|i| floor.at(at(100 + i * 977))).collect();
        assert!(rates.is_sorted_by(|a, b| a >= b));
        floor.raise(per_byte(600), start);
        assert_eq!(floor.at(start), per_byte(1000), "never lowered");
    }
}
