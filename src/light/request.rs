//! A request that one peer at a time is sent, and each peer at most once.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::p2p::{Now, PeerId};
use crate::primitives::time::MonoTime;

/// Time after which another peer is asked.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Whom it was sent to.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The peer whose answer is awaited, and since when.
    asked: Option<(PeerId, MonoTime)>,
    /// Peers that it was sent to.
    tried: BTreeSet<PeerId>,
}

/// What is to be done about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Send it to this peer.
    Ask(PeerId),
    /// An answer is awaited.
    Wait,
    /// No peer is left.
    Exhausted,
}

impl Request {
    /// Chooses the first of `peers` that was not asked, unless one is being asked.
    pub(super) fn next(&mut self, now: Now, peers: &[PeerId]) -> Next {
        if self.asked.is_some() {
            return Next::Wait;
        }
        let Some(peer) = peers.iter().find(|peer| !self.tried.contains(peer)) else { return Next::Exhausted };
        self.tried.insert(*peer);
        self.asked = Some((*peer, now.mono));
        Next::Ask(*peer)
    }

    /// Whether any peer is being asked.
    pub(super) fn is_open(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether a peer is being asked.
    pub(super) fn is_of(&self, peer: PeerId) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == peer)
    }

    /// The peer does not have the answer, or is gone: another is to be asked.
    pub(super) fn failed(&mut self, peer: PeerId) {
        self.asked.take_if(|(asked, _)| *asked == peer);
    }

    /// The peer has answered, so it may be asked for the next part too.
    pub(super) fn answered(&mut self, peer: PeerId) {
        self.failed(peer);
        self.tried.remove(&peer);
    }

    /// Gives up a peer that takes too long.
    pub(super) fn tick(&mut self, now: Now) {
        self.asked.take_if(|(_, since)| *since + REQUEST_TIMEOUT <= now.mono);
    }

    /// When it does.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.asked.map(|(_, since)| since + REQUEST_TIMEOUT)
    }

    /// Extend the deadline by a span.
    pub(super) fn extend_deadline(&mut self, by: Duration) {
        self.asked.iter_mut().for_each(|(_, since)| *since += by);
    }
}
