//! Allowance of useless pushes for each peer.
//!
//! A pushed transaction may already be known, when two peers push it at the same time. That is no offence, but each
//! costs work, so there is an allowance for transactions that are known, refused or without their parents. Useful ones
//! cost nothing, and one that breaks a rule at every tip ends the connection anyway.

use std::collections::BTreeMap;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::connection::{Now, PeerId};

/// Points of allowance gained a second. A peer pushes a transaction to [`FANOUT`](super::fanout::FANOUT) of its peers at
/// most, so an honest peer comes near this number only with hundreds of payments a second.
pub const POINTS_A_SECOND: u64 = 100;
/// Most points saved up: enough for the late answers of a peer that was asked for everything it had.
pub const MAX_POINTS: u64 = 1_000;
/// Points of a transaction that is known, or refused without breaking a rule: its hash was computed and looked up, and
/// at most its coins. An honest peer with a larger mempool pushes some that are refused here.
pub const USELESS: u64 = 1;
/// Points of an orphan: it takes a place, and its parents are requested.
pub const ORPHAN: u64 = 10;

/// A token is the thousandth of a point: points a second are thousandths a millisecond.
const RATE: Rate = Rate { gain: POINTS_A_SECOND, most: MAX_POINTS * 1_000 };

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(super) struct Pushes(BTreeMap<PeerId, Bucket>);

impl Pushes {
    pub(super) fn connected(&mut self, now: Now, peer: PeerId) {
        self.0.insert(peer, Bucket::full(now.mono, RATE));
    }

    /// The peers, in order.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.0.keys().copied()
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// Whether to handle a push: there are points enough for the costliest outcome.
    pub(super) fn has_allowance(&self, now: Now, peer: PeerId) -> bool {
        self.0.get(&peer).is_some_and(|allowance| allowance.level(now.mono, RATE) >= (ORPHAN * 1_000) as i64)
    }

    /// Charges a useless push.
    pub(super) fn charge(&mut self, now: Now, peer: PeerId, points: u64) {
        if let Some(allowance) = self.0.get_mut(&peer) {
            allowance.spend(now.mono, RATE, points * 1_000, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::time::{MonoTime, UnixTime};

    #[test]
    fn a_burst_and_then_a_rate() {
        let at = |millis: u64| Now { mono: MonoTime::from_millis(millis), unix: UnixTime::EPOCH };
        let mut pushes = Pushes::default();
        pushes.connected(at(5), PeerId(1));
        let mut taken = |from: u64, to: u64, points: u64| {
            let mut count = 0;
            for millis in from..to {
                while pushes.has_allowance(at(millis), PeerId(1)) {
                    pushes.charge(at(millis), PeerId(1), points);
                    count += 1;
                }
            }
            count
        };
        assert_eq!(taken(5, 6, USELESS), (MAX_POINTS - ORPHAN) / USELESS + 1);
        assert_eq!(taken(6, 1_006, USELESS), POINTS_A_SECOND / USELESS);
        assert_eq!(taken(1_006, 11_006, ORPHAN), 10 * POINTS_A_SECOND / ORPHAN);
        assert_eq!(taken(1_000_000, 1_000_001, ORPHAN), MAX_POINTS / ORPHAN);
        assert!(!pushes.has_allowance(at(0), PeerId(2)), "it is not connected");
    }
}
