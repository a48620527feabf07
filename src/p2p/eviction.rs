//! Who has to go when all places for inbound connections are taken.
//!
//! An attacker who wants all places must beat honest peers in several things at once: some of the fastest, of the most
//! useful and of the longest connected are safe. Of the rest, the part of the net with most connections loses its
//! youngest one. (The idea is Bitcoin Core's.)

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::p2p::bans::Subnet;
use crate::p2p::interface::PeerId;

/// How many are safe for each merit.
const SAFE: usize = 4;

/// What counts of an inbound peer.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) peer: PeerId,
    pub(super) group: Subnet,
    /// Milliseconds of the shortest round trip.
    pub(super) min_ping: Option<u64>,
    /// When it last brought something new; 0 for never.
    pub(super) last_useful: u64,
    pub(super) connected_at: u64,
}

/// The peer to disconnect, if any is not safe.
pub(super) fn choose(mut candidates: Vec<Candidate>) -> Option<PeerId> {
    let mut spare = |merit: &dyn Fn(&Candidate) -> u64, deserves: &dyn Fn(&Candidate) -> bool| {
        candidates.sort_by_key(|candidate| (!deserves(candidate), merit(candidate), candidate.peer));
        let safe = candidates.iter().take(SAFE).filter(|candidate| deserves(candidate)).count();
        candidates.drain(..safe);
    };
    spare(&|c| c.min_ping.unwrap_or(u64::MAX), &|c| c.min_ping.is_some());
    spare(&|c| u64::MAX - c.last_useful, &|c| c.last_useful > 0);
    spare(&|c| c.connected_at, &|_| true);
    let mut groups: BTreeMap<Subnet, usize> = BTreeMap::new();
    candidates.iter().for_each(|candidate| *groups.entry(candidate.group).or_default() += 1);
    let worst = groups.into_iter().max_by_key(|(group, count)| (*count, Reverse(*group))).map(|(group, _)| group)?;
    let of_group = candidates.iter().filter(|candidate| candidate.group == worst);
    of_group.max_by_key(|candidate| (candidate.connected_at, candidate.peer)).map(|candidate| candidate.peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u64, group: u8) -> Candidate {
        let group = Subnet::new([group, 0, 0, 0].into(), 16);
        Candidate { peer: PeerId(n), group, min_ping: None, last_useful: 0, connected_at: n }
    }

    #[test]
    fn a_wall_from_one_net_loses_its_own_and_merit_is_safe() {
        let mut all: Vec<_> = (0..10).map(|n| candidate(n, n as u8 + 1)).collect();
        all.extend((10..40).map(|n| candidate(n, 200)));
        assert_eq!(choose(all.clone()), Some(PeerId(39)));
        all[39].min_ping = Some(1);
        assert_eq!(choose(all.clone()), Some(PeerId(38)));
        all[38].last_useful = 5;
        assert_eq!(choose(all), Some(PeerId(37)));
        assert_eq!(choose((0..SAFE as u64).map(|n| candidate(n, 1)).collect()), None, "the longest connected are safe");
        assert_eq!(choose(Vec::new()), None);
    }
}
