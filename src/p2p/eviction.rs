//! Eviction of an inbound peer when all inbound places are taken.
//!
//! An attacker who wants all places must beat honest peers in several things at once: some of the fastest, of the most
//! useful and of the longest connected are safe. Of the rest, the part of the net with most connections loses its
//! youngest one; of several such parts, one drawn at random, so that no address is a better one to attack from.
//! (The idea is Bitcoin Core's.)

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::bans::Subnet;
use crate::p2p::connection::PeerId;
use crate::primitives::time::MonoTime;

/// Number of protected peers for each merit.
const PROTECTED: usize = 4;

/// The merits of an inbound peer.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) peer: PeerId,
    pub(super) group: Subnet,
    /// How long the shortest round trip took.
    pub(super) min_ping: Option<Duration>,
    /// When it last brought something new, if it did.
    pub(super) last_useful: Option<MonoTime>,
    pub(super) connected_at: MonoTime,
}

/// The peer to disconnect, if any is not safe.
pub(super) fn choose(mut candidates: Vec<Candidate>, rng: &mut ChaCha20Rng) -> Option<PeerId> {
    spare(&mut candidates, |candidate| candidate.min_ping);
    spare(&mut candidates, |candidate| candidate.last_useful.map(Reverse));
    spare(&mut candidates, |candidate| Some(candidate.connected_at));
    let mut groups: BTreeMap<Subnet, usize> = BTreeMap::new();
    candidates.iter().for_each(|candidate| *groups.entry(candidate.group).or_default() += 1);
    let most = *groups.values().max()?;
    let largest: Vec<Subnet> = groups.into_iter().filter(|(_, count)| *count == most).map(|(group, _)| group).collect();
    let worst = *largest.choose(rng)?;
    let of_group = candidates.iter().filter(|candidate| candidate.group == worst);
    of_group.max_by_key(|candidate| (candidate.connected_at, candidate.peer)).map(|candidate| candidate.peer)
}

/// Takes out those of the greatest merit, which is the least value; without a value there is none.
fn spare<M: Ord>(candidates: &mut Vec<Candidate>, merit: impl Fn(&Candidate) -> Option<M>) {
    candidates.sort_by_key(|candidate| (merit(candidate).is_none(), merit(candidate), candidate.peer));
    let safe = candidates.iter().take(PROTECTED).filter(|candidate| merit(candidate).is_some()).count();
    candidates.drain(..safe);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn candidate(n: u64, group: u8) -> Candidate {
        let group = Subnet::new([group, 0, 0, 0].into(), 16);
        Candidate { peer: PeerId(n), group, min_ping: None, last_useful: None, connected_at: MonoTime::from_millis(n) }
    }

    #[test]
    fn a_flood_from_one_net_evicts_its_own_and_merit_protects() {
        let rng = &mut ChaCha20Rng::from_seed([0; 32]);
        let mut all: Vec<_> = (0..10).map(|n| candidate(n, n as u8 + 1)).collect();
        all.extend((10..40).map(|n| candidate(n, 200)));
        assert_eq!(choose(all.clone(), rng), Some(PeerId(39)));
        all[39].min_ping = Some(Duration::from_millis(1));
        assert_eq!(choose(all.clone(), rng), Some(PeerId(38)));
        all[38].last_useful = Some(MonoTime::from_millis(5));
        assert_eq!(choose(all, rng), Some(PeerId(37)));
        let few = (0..PROTECTED as u64).map(|n| candidate(n, 1)).collect();
        assert_eq!(choose(few, rng), None, "the longest connected are safe");
        assert_eq!(choose(Vec::new(), rng), None);
    }

    #[test]
    fn among_equally_full_subnets_any_may_lose_a_peer() {
        let rng = &mut ChaCha20Rng::from_seed([1; 32]);
        let all: Vec<_> = (0..12).map(|n| candidate(n, n as u8 + 1)).collect();
        let lost: BTreeSet<PeerId> = (0..200).filter_map(|_| choose(all.clone(), rng)).collect();
        assert_eq!(lost, (PROTECTED as u64..12).map(PeerId).collect());
    }
}
