//! Who has to go when all places for inbound connections are taken.
//!
//! An attacker who wants all places must beat honest peers in several things at once: some of the fastest, of the most
//! useful and of the longest connected are safe. Of the rest, the part of the net with most connections loses its
//! youngest one; of several such parts, one drawn at random, so that no address is a better one to attack from.
//! (The idea is Bitcoin Core's.)

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::bans::Subnet;
use crate::p2p::connection::PeerId;

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
pub(super) fn choose(mut candidates: Vec<Candidate>, rng: &mut ChaCha20Rng) -> Option<PeerId> {
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
    let most = *groups.values().max()?;
    let largest: Vec<Subnet> = groups.into_iter().filter(|(_, count)| *count == most).map(|(group, _)| group).collect();
    let worst = *largest.choose(rng)?;
    let of_group = candidates.iter().filter(|candidate| candidate.group == worst);
    of_group.max_by_key(|candidate| (candidate.connected_at, candidate.peer)).map(|candidate| candidate.peer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn candidate(n: u64, group: u8) -> Candidate {
        let group = Subnet::new([group, 0, 0, 0].into(), 16);
        Candidate { peer: PeerId(n), group, min_ping: None, last_useful: 0, connected_at: n }
    }

    #[test]
    fn a_wall_from_one_net_loses_its_own_and_merit_is_safe() {
        let rng = &mut ChaCha20Rng::from_seed([0; 32]);
        let mut all: Vec<_> = (0..10).map(|n| candidate(n, n as u8 + 1)).collect();
        all.extend((10..40).map(|n| candidate(n, 200)));
        assert_eq!(choose(all.clone(), rng), Some(PeerId(39)));
        all[39].min_ping = Some(1);
        assert_eq!(choose(all.clone(), rng), Some(PeerId(38)));
        all[38].last_useful = 5;
        assert_eq!(choose(all, rng), Some(PeerId(37)));
        let few = (0..SAFE as u64).map(|n| candidate(n, 1)).collect();
        assert_eq!(choose(few, rng), None, "the longest connected are safe");
        assert_eq!(choose(Vec::new(), rng), None);
    }

    #[test]
    fn of_parts_of_the_net_with_equally_many_each_can_lose_one() {
        let rng = &mut ChaCha20Rng::from_seed([1; 32]);
        let all: Vec<_> = (0..12).map(|n| candidate(n, n as u8 + 1)).collect();
        let lost: BTreeSet<PeerId> = (0..200).filter_map(|_| choose(all.clone(), rng)).collect();
        assert_eq!(lost, (SAFE as u64..12).map(PeerId).collect());
    }
}
