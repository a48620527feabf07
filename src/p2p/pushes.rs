//! How much each peer may push that is of no use here.
//!
//! A transaction that comes unasked may well be known by the time it is here: two peers pushed it at once. So that is no
//! offence. But each costs something to look at, so there is an allowance for those that turn out to be known, refused or
//! without their parents. What is of use costs nothing, and what breaks a rule at every tip ends the connection anyway.

use std::collections::BTreeMap;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::connection::{Now, PeerId};

/// Points of allowance gained a second. A peer pushes a transaction to 3 of its peers at most, so only where hundreds of
/// payments a second are made does anybody honest come near to so many that are known.
pub const POINTS_A_SECOND: u64 = 100;
/// Most points that are saved up: what is left over when a peer, asked for all that it had, answers too late.
pub const MAX_POINTS: u64 = 1_000;
/// Points that a transaction costs which is known, or refused without breaking a rule: its hash was computed and looked for,
/// and at most its coins. A peer with more room for transactions pushes some honestly that are refused here.
pub const USELESS: u64 = 1;
/// Points that one costs which lacks its parents: it takes a place, and they are asked for.
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

    /// Whether something pushed is to be looked at: there are points enough whatever it turns out to be.
    pub(super) fn may(&self, now: Now, peer: PeerId) -> bool {
        self.0.get(&peer).is_some_and(|allowance| allowance.level(now.mono, RATE) >= (ORPHAN * 1_000) as i64)
    }

    /// It was of no use.
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
                while pushes.may(at(millis), PeerId(1)) {
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
        assert!(!pushes.may(at(0), PeerId(2)), "it is not connected");
    }
}
