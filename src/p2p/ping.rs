//! Liveness and round-trip times of peers.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::Message;
use crate::p2p::outbox::Outbox;
use crate::primitives::time::MonoTime;

/// Time from a pong to the next ping.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time-out of a ping: a peer may be busy with a large reorganisation for some seconds.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Liveness {
    /// The open ping's nonce, and when it was sent.
    open: Option<(u64, MonoTime)>,
    /// How long this node was busy since then.
    busy_time: Duration,
    /// When to ping next, if none is open.
    next: MonoTime,
    last: Option<Duration>,
    least: Option<Duration>,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(crate) struct Pings(BTreeMap<PeerId, Liveness>);

impl Pings {
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId) {
        self.0
            .insert(peer, Liveness { open: None, busy_time: Duration::ZERO, next: now.mono, last: None, least: None });
    }

    /// The peers, in order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.0.keys().copied()
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// An answer, which came at `at`. One to another question, or to none, is ignored.
    pub(crate) fn pong(&mut self, at: MonoTime, peer: PeerId, nonce: u64) {
        let Some(liveness) = self.0.get_mut(&peer) else { return };
        if let Some((asked, since)) = liveness.open
            && asked == nonce
        {
            let took = at.saturating_since(since);
            liveness.open = None;
            liveness.next = at + PING_INTERVAL;
            liveness.last = Some(took);
            liveness.least = Some(liveness.least.map_or(took, |least| least.min(took)));
        }
    }

    /// Extend all deadlines by a span.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        for Liveness { busy_time, open: _, next: _, last: _, least: _ } in self.0.values_mut() {
            *busy_time += by;
        }
    }

    pub(crate) fn tick(&mut self, now: Now, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        for (peer, liveness) in &mut self.0 {
            match liveness.open {
                Some((_, since)) if since + PING_TIMEOUT + liveness.busy_time <= now.mono => {
                    out.close(*peer, Reason::PingTimeout);
                }
                None if liveness.next <= now.mono => {
                    let nonce = rng.random();
                    (liveness.open, liveness.busy_time) = (Some((nonce, now.mono)), Duration::ZERO);
                    out.send(*peer, Message::Ping(nonce));
                }
                _ => {}
            }
        }
    }

    /// Pings every peer without an open ping at the next tick.
    pub(crate) fn ping_all_now(&mut self, now: Now) {
        self.0.values_mut().for_each(|liveness| liveness.next = now.mono);
    }

    /// Pings one peer at the next tick, unless a ping is open.
    pub(crate) fn ping_now(&mut self, now: Now, peer: PeerId) {
        if let Some(liveness) = self.0.get_mut(&peer) {
            liveness.next = now.mono;
        }
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let due = |liveness: &Liveness| match liveness.open {
            Some((_, since)) => since + PING_TIMEOUT + liveness.busy_time,
            None => liveness.next,
        };
        self.0.values().map(due).min()
    }

    /// How long the last round trip to a peer took.
    pub(crate) fn last_round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.0.get(&peer)?.last
    }

    /// How long the shortest took.
    pub(crate) fn min_round_trip(&self, peer: PeerId) -> Option<Duration> {
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
        Now { mono: MonoTime::from_millis(millis), unix: UnixTime::EPOCH }
    }

    #[test]
    fn a_ping_measures_the_round_trip_and_times_out() {
        let (mut pings, mut out, mut rng) = (Pings::default(), Outbox::default(), ChaCha20Rng::from_seed([1; 32]));
        let peer = PeerId(1);
        pings.connected(at(0), peer);
        pings.tick(at(0), &mut rng, &mut out);
        let Some(Output::Send { frame, .. }) = out.drain().next() else { panic!("nothing is sent") };
        let Ok(Message::Ping(nonce)) = frame.message() else { panic!("no ping") };
        pings.pong(at(3).mono, peer, nonce ^ 1);
        assert_eq!(pings.last_round_trip(peer), None, "an answer to something else");
        pings.pong(at(40).mono, peer, nonce);
        assert_eq!(
            (pings.last_round_trip(peer), pings.min_round_trip(peer)),
            (Some(Duration::from_millis(40)), Some(Duration::from_millis(40)))
        );
        let next = pings.deadline().unwrap();
        assert_eq!(next, at(40).mono + PING_INTERVAL);
        pings.tick(at(next.as_millis()), &mut rng, &mut out);
        let end = pings.deadline().unwrap().as_millis();
        pings.tick(at(end - 1), &mut rng, &mut out);
        assert_eq!(out.next_closing(), None);
        pings.tick(at(end), &mut rng, &mut out);
        assert_eq!(out.next_closing(), Some((peer, Reason::PingTimeout)));
    }
}
