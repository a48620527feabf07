//! Inbound connections whose handshake is under way.
//!
//! Until the handshake is done, a connection has no place among the peers, and costs only its socket, one task and the
//! buffers of the handshake. Their number is bounded, and slow ones cannot block the others: when all places are taken,
//! the oldest is closed. An honest peer is done in two round trips; to block it, an attacker must fill all places
//! within that time, again and again, from many addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::p2p::bans::Subnet;

/// Most inbound handshakes under way.
pub(super) const MAX_HANDSHAKES: usize = 64;
/// Most of them from one host ([`Subnet::host`]), loopback excepted: a local test network has but that one.
pub(super) const MAX_FROM_HOST: usize = 4;

/// All inbound handshakes under way. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lobby(Arc<Mutex<Guests>>);

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    /// Numbered as they came.
    waiting: BTreeMap<u64, (Subnet, CancellationToken)>,
}

/// The place of a handshake, released when this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    lobby: Lobby,
    number: u64,
    /// Cancelled when another handshake takes the place.
    pub(super) sent_away: CancellationToken,
}

impl Lobby {
    /// Admits a handshake. If there are too many, in total or from its host, the oldest of these is cancelled.
    pub(super) fn enter(&self, ip: IpAddr) -> Guest {
        let mut guests = self.lock();
        let host = Subnet::host(ip);
        let from_here = guests.waiting.iter().filter(|(_, (other, _))| *other == host).map(|(number, _)| *number);
        let from_here: Vec<u64> = from_here.collect();
        let goes = if !ip.is_loopback() && from_here.len() >= MAX_FROM_HOST {
            from_here.first().copied()
        } else if guests.waiting.len() >= MAX_HANDSHAKES {
            guests.waiting.keys().next().copied()
        } else {
            None
        };
        if let Some((_, sent_away)) = goes.and_then(|number| guests.waiting.remove(&number)) {
            sent_away.cancel();
        }
        let (number, sent_away) = (guests.next, CancellationToken::new());
        guests.next += 1;
        guests.waiting.insert(number, (host, sent_away.clone()));
        Guest { lobby: self.clone(), number, sent_away }
    }

    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        [10, 0, high, low].into()
    }

    fn away(guests: &[Guest]) -> Vec<usize> {
        (0..guests.len()).filter(|n| guests[*n].sent_away.is_cancelled()).collect()
    }

    #[test]
    fn the_one_that_waited_longest_gives_way() {
        let lobby = Lobby::default();
        let mut guests: Vec<Guest> = (0..MAX_HANDSHAKES as u16).map(|n| lobby.enter(ip(n))).collect();
        assert!(away(&guests).is_empty());
        guests.push(lobby.enter(ip(1_000)));
        assert_eq!(away(&guests), [0]);
        // One that is done leaves room.
        guests.remove(1);
        guests.push(lobby.enter(ip(1_001)));
        assert_eq!(away(&guests), [0]);
        guests.push(lobby.enter(ip(1_002)));
        assert_eq!(away(&guests), [0, 1]);
        assert_eq!(lobby.lock().waiting.len(), MAX_HANDSHAKES);
        drop(guests);
        assert!(lobby.lock().waiting.is_empty());
    }

    #[test]
    fn the_addresses_of_a_v6_host_count_as_one() {
        let lobby = Lobby::default();
        let enter = |n: u16| lobby.enter(IpAddr::from([0x2001, 0xdb8, 0, 1, n, n, n, n]));
        let crowd: Vec<Guest> = (0..20).map(enter).collect();
        assert_eq!(away(&crowd), (0..20 - MAX_FROM_HOST).collect::<Vec<_>>());
    }

    #[test]
    fn an_address_takes_the_room_of_its_own_only() {
        let lobby = Lobby::default();
        let other = lobby.enter(ip(1));
        let crowd: Vec<Guest> = (0..100).map(|_| lobby.enter(ip(2))).collect();
        assert_eq!(away(&crowd), (0..100 - MAX_FROM_HOST).collect::<Vec<_>>());
        assert!(!other.sent_away.is_cancelled());
        let local: Vec<Guest> = (0..MAX_FROM_HOST + 10).map(|_| lobby.enter([127, 0, 0, 1].into())).collect();
        assert!(away(&local).is_empty());
    }
}
