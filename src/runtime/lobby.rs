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
pub(super) struct Lobby(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Numbered as they came.
    waiting: BTreeMap<u64, (Subnet, CancellationToken)>,
}

/// The place of a handshake, released when this is dropped.
#[derive(Debug)]
pub(super) struct PendingHandshake {
    lobby: Lobby,
    number: u64,
    /// Cancelled when another handshake takes the place.
    pub(super) evicted: CancellationToken,
}

impl Lobby {
    /// Admits a handshake. If there are too many, in total or from its host, the oldest of these is cancelled.
    pub(super) fn admit(&self, ip: IpAddr) -> PendingHandshake {
        let mut handshakes = self.lock();
        let host = Subnet::host(ip);
        let from_here = handshakes.waiting.iter().filter(|(_, (other, _))| *other == host).map(|(number, _)| *number);
        let from_here: Vec<u64> = from_here.collect();
        let goes = if !ip.is_loopback() && from_here.len() >= MAX_FROM_HOST {
            from_here.first().copied()
        } else if handshakes.waiting.len() >= MAX_HANDSHAKES {
            handshakes.waiting.keys().next().copied()
        } else {
            None
        };
        if let Some((_, evicted)) = goes.and_then(|number| handshakes.waiting.remove(&number)) {
            evicted.cancel();
        }
        let (number, evicted) = (handshakes.next, CancellationToken::new());
        handshakes.next += 1;
        handshakes.waiting.insert(number, (host, evicted.clone()));
        PendingHandshake { lobby: self.clone(), number, evicted }
    }

    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingHandshake {
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

    fn away(handshakes: &[PendingHandshake]) -> Vec<usize> {
        (0..handshakes.len()).filter(|n| handshakes[*n].evicted.is_cancelled()).collect()
    }

    #[test]
    fn a_full_lobby_drops_the_oldest_handshake() {
        let lobby = Lobby::default();
        let mut handshakes: Vec<PendingHandshake> = (0..MAX_HANDSHAKES as u16).map(|n| lobby.admit(ip(n))).collect();
        assert!(away(&handshakes).is_empty());
        handshakes.push(lobby.admit(ip(1_000)));
        assert_eq!(away(&handshakes), [0]);
        // One that is done leaves room.
        handshakes.remove(1);
        handshakes.push(lobby.admit(ip(1_001)));
        assert_eq!(away(&handshakes), [0]);
        handshakes.push(lobby.admit(ip(1_002)));
        assert_eq!(away(&handshakes), [0, 1]);
        assert_eq!(lobby.lock().waiting.len(), MAX_HANDSHAKES);
        drop(handshakes);
        assert!(lobby.lock().waiting.is_empty());
    }

    #[test]
    fn the_addresses_of_a_v6_host_count_as_one() {
        let lobby = Lobby::default();
        let enter = |n: u16| lobby.admit(IpAddr::from([0x2001, 0xdb8, 0, 1, n, n, n, n]));
        let crowd: Vec<PendingHandshake> = (0..20).map(enter).collect();
        assert_eq!(away(&crowd), (0..20 - MAX_FROM_HOST).collect::<Vec<_>>());
    }

    #[test]
    fn an_address_takes_the_room_of_its_own_only() {
        let lobby = Lobby::default();
        let other = lobby.admit(ip(1));
        let crowd: Vec<PendingHandshake> = (0..100).map(|_| lobby.admit(ip(2))).collect();
        assert_eq!(away(&crowd), (0..100 - MAX_FROM_HOST).collect::<Vec<_>>());
        assert!(!other.evicted.is_cancelled());
        let local: Vec<PendingHandshake> =
            (0..MAX_FROM_HOST + 10).map(|_| lobby.admit([127, 0, 0, 1].into())).collect();
        assert!(away(&local).is_empty());
    }
}
