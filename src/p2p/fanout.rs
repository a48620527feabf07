//! How a message reaches every node: pushed to a few peers, announced to all.
//!
//! Pushing a message once to two random peers reaches about 80 % of all nodes and costs two copies a node; to three, 94 %
//! and three copies. Announcing it to all peers, which then request it, reaches every node and costs one copy, but takes
//! three messages for each hop. So both are combined. A node pushes a message that it had not heard of before to a few
//! peers, which spreads it quickly, and announces it to the others. A message that was announced before it arrived is only
//! announced, since most pushes would go to nodes that have it. `cairn sim gossip` measures this.
//!
//! This file has one node's decisions about one message, for the simulator and the network. Its callers send, batch and
//! bound: [`super::relay`] pushes and announces, [`super::requests`] pulls.

use std::collections::VecDeque;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::connection::PeerId;

/// Number of peers to which a new message is pushed.
pub const FANOUT: usize = 2;
/// Most peers remembered to have announced one message.
pub const MAX_ANNOUNCERS: usize = 8;

/// The peers to which a received message is pushed, chosen from `lacking`, the peers not known to have it; the others
/// get an announcement. `is_news`: no peer announced it before.
pub fn push_to(lacking: &[PeerId], is_news: bool, fanout: usize, rng: &mut ChaCha20Rng) -> Vec<PeerId> {
    let count = if is_news { fanout } else { 0 };
    lacking.sample(rng, count).copied().collect()
}

/// A message that was announced and has not arrived. It is requested from one peer at a time, and from the next
/// announcer if that one fails.
#[derive(Debug, Clone, Default)]
pub struct Pull {
    asked: Option<PeerId>,
    /// Other announcers, in order.
    announcers: VecDeque<PeerId>,
}

impl Pull {
    /// A peer announces the message. `true` if no other announcer is to be asked, so that this one is.
    ///
    /// A push may be under way: waiting a moment before the request saves a copy.
    pub fn announced(&mut self, peer: PeerId) -> bool {
        let known = self.asked == Some(peer) || self.announcers.contains(&peer);
        if known || self.announcers.len() >= MAX_ANNOUNCERS {
            return false;
        }
        self.announcers.push_back(peer);
        self.asked.is_none() && self.announcers.len() == 1
    }

    /// Whether to ask a peer now; not if another was asked and has not failed.
    pub fn ask(&mut self, peer: PeerId) -> bool {
        if self.asked.is_some() {
            return false;
        }
        self.announcers.retain(|announcer| *announcer != peer);
        self.asked = Some(peer);
        true
    }

    /// The peer that was asked and has not failed.
    pub fn asked(&self) -> Option<PeerId> {
        self.asked
    }

    /// Keeps only the announcers that satisfy `is_connected`.
    pub fn retain(&mut self, is_connected: impl Fn(&PeerId) -> bool) {
        self.announcers.retain(is_connected);
    }

    /// Removes a peer that was to be asked next. `false` if it was not next.
    pub fn withdraw(&mut self, peer: PeerId) -> bool {
        let is_next = self.asked.is_none() && self.announcers.front() == Some(&peer);
        if is_next {
            self.announcers.pop_front();
        }
        is_next
    }

    /// The peer asked does not deliver. Returns the next announcer, if any.
    pub fn fail_over(&mut self) -> Option<PeerId> {
        self.asked = None;
        self.announcers.front().copied()
    }

    /// Whether any peer announced it.
    pub fn is_announced(&self) -> bool {
        self.asked.is_some() || !self.announcers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn new_messages_are_pushed_to_a_few_peers_and_known_ones_to_none() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let peers: Vec<PeerId> = (0..8).map(PeerId).collect();
        let pushed = push_to(&peers, true, FANOUT, &mut rng);
        assert_eq!(pushed.len(), FANOUT);
        assert!(pushed.iter().all(|peer| peers.contains(peer)) && pushed[0] != pushed[1]);
        assert_ne!(pushed, push_to(&peers, true, FANOUT, &mut rng));
        assert!(push_to(&peers, false, FANOUT, &mut rng).is_empty());
        assert_eq!(push_to(&peers[..2], true, FANOUT, &mut rng).len(), 2);
    }

    #[test]
    fn one_peer_is_asked_and_the_next_after_a_failure() {
        let mut pull = Pull::default();
        assert!(!pull.is_announced());
        assert!(pull.announced(PeerId(1)));
        assert!(!pull.announced(PeerId(2)) && !pull.announced(PeerId(1)));
        assert!(pull.ask(PeerId(1)) && !pull.ask(PeerId(2)));
        assert!(!pull.announced(PeerId(1)), "it said so");
        assert_eq!(pull.fail_over(), Some(PeerId(2)));
        assert!(pull.ask(PeerId(2)));
        assert_eq!((pull.asked(), pull.fail_over()), (Some(PeerId(2)), None));
        assert!(!pull.is_announced() && pull.announced(PeerId(1)), "who failed may promise again");
        (0..100).for_each(|peer| {
            pull.announced(PeerId(peer));
        });
        assert_eq!(pull.announcers.len(), MAX_ANNOUNCERS);
    }
}
