//! Whether a peer is still there, and how far away.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::Message;
use crate::p2p::outbox::Outbox;

/// Milliseconds from one answer to the next question.
pub const PING_INTERVAL_MILLIS: u64 = 30_000;
/// Milliseconds in which an answer must come: a peer may be busy with a large reorganisation for some seconds.
pub const PING_TIMEOUT_MILLIS: u64 = 20_000;

#[derive(Debug)]
struct Liveness {
    /// The question that is open, and when it was asked.
    open: Option<(u64, u64)>,
    /// Milliseconds for which this node was busy since then.
    excused: u64,
    /// When to ask next, if none is open.
    next: u64,
    last: Option<u64>,
    least: Option<u64>,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(crate) struct Pings(BTreeMap<PeerId, Liveness>);

impl Pings {
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId) {
        self.0.insert(peer, Liveness { open: None, excused: 0, next: now.millis, last: None, least: None });
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// An answer, which came at `at` milliseconds. One to another question, or to none, is ignored.
    pub(crate) fn pong(&mut self, at: u64, peer: PeerId, nonce: u64) {
        let Some(liveness) = self.0.get_mut(&peer) else { return };
        if let Some((asked, since)) = liveness.open
            && asked == nonce
        {
            let took = at.saturating_sub(since);
            liveness.open = None;
            liveness.next = at + PING_INTERVAL_MILLIS;
            liveness.last = Some(took);
            liveness.least = Some(liveness.least.map_or(took, |least| least.min(took)));
        }
    }

    /// Extend all deadlines by `millis`.
    pub(crate) fn extend_deadlines(&mut self, millis: u64) {
        for Liveness { excused, open: _, next: _, last: _, least: _ } in self.0.values_mut() {
            *excused += millis;
        }
    }

    pub(crate) fn tick(&mut self, now: Now, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        for (peer, liveness) in &mut self.0 {
            match liveness.open {
                Some((_, since)) if since + PING_TIMEOUT_MILLIS + liveness.excused <= now.millis => {
                    out.close(*peer, Reason::PingTimeout);
                }
                None if liveness.next <= now.millis => {
                    let nonce = rng.random();
                    (liveness.open, liveness.excused) = (Some((nonce, now.millis)), 0);
                    out.send(*peer, Message::Ping(nonce));
                }
                _ => {}
            }
        }
    }

    /// Asks every peer at the next tick, unless a question is open.
    pub(crate) fn hurry(&mut self, now: Now) {
        self.0.values_mut().for_each(|liveness| liveness.next = now.millis);
    }

    /// Asks one peer at the next tick, unless a question is open.
    pub(crate) fn hurry_one(&mut self, now: Now, peer: PeerId) {
        if let Some(liveness) = self.0.get_mut(&peer) {
            liveness.next = now.millis;
        }
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        let due = |liveness: &Liveness| match liveness.open {
            Some((_, since)) => since + PING_TIMEOUT_MILLIS + liveness.excused,
            None => liveness.next,
        };
        self.0.values().map(due).min()
    }

    /// Milliseconds of the last round trip to a peer.
    pub(crate) fn last(&self, peer: PeerId) -> Option<u64> {
        self.0.get(&peer)?.last
    }

    /// Milliseconds of the shortest.
    pub(crate) fn least(&self, peer: PeerId) -> Option<u64> {
        self.0.get(&peer)?.least
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::p2p::interface::Output;
    use crate::primitives::time::UnixTime;

    fn at(millis: u64) -> Now {
        Now { millis, unix: UnixTime::EPOCH }
    }

    #[test]
    fn asks_measures_and_gives_up() {
        let (mut pings, mut out, mut rng) = (Pings::default(), Outbox::default(), ChaCha20Rng::from_seed([1; 32]));
        let peer = PeerId(1);
        pings.connected(at(0), peer);
        pings.tick(at(0), &mut rng, &mut out);
        let Some(Output::Send { message: Message::Ping(nonce), .. }) = out.drain().next() else { panic!("no ping") };
        pings.pong(3, peer, nonce ^ 1);
        assert_eq!(pings.last(peer), None, "an answer to something else");
        pings.pong(40, peer, nonce);
        assert_eq!((pings.last(peer), pings.least(peer)), (Some(40), Some(40)));
        assert_eq!(pings.deadline(), Some(40 + PING_INTERVAL_MILLIS));
        pings.tick(at(40 + PING_INTERVAL_MILLIS), &mut rng, &mut out);
        let end = pings.deadline().unwrap();
        pings.tick(at(end - 1), &mut rng, &mut out);
        assert_eq!(out.next_closing(), None);
        pings.tick(at(end), &mut rng, &mut out);
        assert_eq!(out.next_closing(), Some((peer, Reason::PingTimeout)));
    }
}
