//! How a message reaches everybody: pushed by a few, announced by all.
//!
//! To push it whole to three random peers and forget it reaches about 94 % of all nodes, and costs three copies a node. To
//! announce it to all peers, who then ask for it, reaches everybody and costs one copy, but takes three messages one after
//! the other at each step. So there are two gears. As long as a message is news it is pushed to a few, which spreads it
//! far at once, and announced to the others; whoever has heard of it before it comes only announces it, for then it is
//! about already, and most pushes would be to those who have it. `cairn sim gossip` measures this.
//!
//! Here is what one node decides of one message, in the simulator as in the network. Sending, batches and bounds over all
//! messages are its callers': [`super::relay`] pushes and announces, [`super::requests`] pulls.

use std::collections::VecDeque;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::connection::PeerId;

/// To how many peers a message that is news is pushed.
pub const FANOUT: usize = 3;
/// Most peers remembered to have announced one message.
pub const MAX_ANNOUNCERS: usize = 8;

/// To whom to push a message that came just now, of `lacking`, the peers not known to have it; all others of them are to be told
/// that it is here. It is news if nobody announced it before.
pub fn push_to(lacking: &[PeerId], is_news: bool, fanout: usize, rng: &mut ChaCha20Rng) -> Vec<PeerId> {
    let count = if is_news { fanout } else { 0 };
    lacking.sample(rng, count).copied().collect()
}

/// A message that was announced and has not come. It is asked from one peer at a time, and from the next that announced it
/// when that one does not keep its promise.
#[derive(Debug, Clone, Default)]
pub struct Pull {
    asked: Option<PeerId>,
    /// Who else has it, in the order of announcements.
    announcers: VecDeque<PeerId>,
}

impl Pull {
    /// A peer says that it has the message. `true` if nobody was to be asked so far, so that this one is.
    ///
    /// A push may be under way: to wait a moment before asking saves a copy.
    pub fn announced(&mut self, peer: PeerId) -> bool {
        let known = self.asked == Some(peer) || self.announcers.contains(&peer);
        if known || self.announcers.len() >= MAX_ANNOUNCERS {
            return false;
        }
        self.announcers.push_back(peer);
        self.asked.is_none() && self.announcers.len() == 1
    }

    /// Whether to ask a peer now; not if another was asked, who has not failed.
    pub fn ask(&mut self, peer: PeerId) -> bool {
        if self.asked.is_some() {
            return false;
        }
        self.announcers.retain(|announcer| *announcer != peer);
        self.asked = Some(peer);
        true
    }

    /// Who was asked and has not failed.
    pub fn asked(&self) -> Option<PeerId> {
        self.asked
    }

    /// Only those that `is_there` says are there are still to be asked.
    pub fn retain(&mut self, is_there: impl Fn(&PeerId) -> bool) {
        self.announcers.retain(is_there);
    }

    /// A peer that was to be asked next is not to be asked any more. `false` if it was not next.
    pub fn withdraw(&mut self, peer: PeerId) -> bool {
        let is_next = self.asked.is_none() && self.announcers.front() == Some(&peer);
        if is_next {
            self.announcers.pop_front();
        }
        is_next
    }

    /// Whoever was asked does not deliver. Returns whom to ask next; `None` if no other announced it.
    pub fn broken(&mut self) -> Option<PeerId> {
        self.asked = None;
        self.announcers.front().copied()
    }

    /// Whether somebody announced it.
    pub fn is_announced(&self) -> bool {
        self.asked.is_some() || !self.announcers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn news_is_pushed_to_a_few_and_the_rest_is_not() {
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
    fn one_is_asked_and_the_next_when_a_promise_is_broken() {
        let mut pull = Pull::default();
        assert!(!pull.is_announced());
        assert!(pull.announced(PeerId(1)));
        assert!(!pull.announced(PeerId(2)) && !pull.announced(PeerId(1)));
        assert!(pull.ask(PeerId(1)) && !pull.ask(PeerId(2)));
        assert!(!pull.announced(PeerId(1)), "it said so");
        assert_eq!(pull.broken(), Some(PeerId(2)));
        assert!(pull.ask(PeerId(2)));
        assert_eq!((pull.asked(), pull.broken()), (Some(PeerId(2)), None));
        assert!(!pull.is_announced() && pull.announced(PeerId(1)), "who failed may promise again");
        (0..100).for_each(|peer| {
            pull.announced(PeerId(peer));
        });
        assert_eq!(pull.announcers.len(), MAX_ANNOUNCERS);
    }
}
