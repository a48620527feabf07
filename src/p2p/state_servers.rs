//! The peers that serve states, and the ranges of coins that each is asked for. The node checks each range as it comes.
//!
//! If a later state replaces one that is partly there, the node compares 1,000 coins at a time with the tree nodes over
//! them in the new state, some 2 kB, and asks for the coins only if one of these differs. That saves much where fewer
//! than one coin in a thousand has changed, and elsewhere costs a fortieth more bytes than to ask for all.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::debug;

use crate::chain::Chain;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::state::{RangeAnswer, RangeQuery, STATE_PAGE_COINS};
use crate::primitives::time::MonoTime;
use crate::state::{Key, KeyRange};
use crate::storage::{StateLoad, StoreError};

/// Time-out for an answer: some 80 kB each over a slow line, after the peer has finished its present work.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for which a peer is not asked after it said that it does not have the state: its table may be moving.
const REST: Duration = Duration::from_secs(2);
/// Ranges that a peer is asked for at once, so that its line is never idle.
const MAX_ASKED: usize = 4;

/// A peer that serves states.
#[derive(Debug, Default)]
struct Server {
    /// The ranges that it was asked for, and since when.
    asked: Vec<(RangeQuery, MonoTime)>,
    /// Until when it is not asked.
    rests_until: Option<MonoTime>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StateServers(BTreeMap<PeerId, Server>);

impl StateServers {
    pub(super) fn connected(&mut self, peer: PeerId) {
        self.0.insert(peer, Server::default());
    }

    /// It has gone, or is not to be asked again.
    pub(super) fn remove(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// It does not have what it was asked for.
    pub(super) fn rest(&mut self, now: Now, peer: PeerId) {
        if let Some(server) = self.0.get_mut(&peer) {
            server.rests_until = Some(now.mono + REST);
        }
    }

    /// Ends the rests that are over.
    pub(super) fn wake(&mut self, now: Now) {
        for server in self.0.values_mut() {
            server.rests_until.take_if(|until| *until <= now.mono);
        }
    }

    /// A peer that can be asked.
    pub(super) fn ready(&self) -> Option<PeerId> {
        self.0.iter().find(|(_, server)| server.rests_until.is_none()).map(|(peer, _)| *peer)
    }

    /// A peer showed coins, or the nodes over them. `true` if they were missing, or outdated.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn coins(
        &mut self,
        now: Now,
        peer: PeerId,
        answer: &RangeAnswer,
        chain: &mut Chain,
        out: &mut Outbox,
    ) -> Result<bool, StoreError> {
        let asked = self.0.get_mut(&peer).and_then(|server| {
            let at = server.asked.iter().position(|(query, _)| *query == answer.query)?;
            server.asked.remove(at).0.range()
        });
        let Some(range) = asked else {
            out.offence(peer, Offence::UnrequestedProofs);
            return Ok(false);
        };
        // Another state may be wanted by now.
        let id = chain.state_load().map(|load| load.base.id()).filter(|id| id.block == answer.query.block);
        let (Some(id), Some(page)) = (id, &answer.page) else {
            self.rest(now, peer);
            return Ok(false);
        };
        let taken = if answer.query.compares {
            let (part, coins) = chain.outdated_coins(&range, STATE_PAGE_COINS)?;
            // What was there when the peer was asked may be gone.
            if part != range {
                return Ok(false);
            }
            page.compare(&id, &range, &coins).map(|is_same| chain.compared_coins(&range, is_same))
        } else {
            page.check(&id, &range).map(|page| {
                let end = page.rest.and(page.leaves.last()).map_or(*range.last(), |leaf| leaf.key);
                chain.load_coins((range.first(), &end), &page.leaves, page.split.as_ref())
            })
        };
        let is_new = match taken {
            Ok(stored) => stored?,
            Err(fault) => {
                self.remove(peer);
                out.offence(peer, Offence::FalseCoins(fault));
                false
            }
        };
        if is_new {
            let (missing, outdated) =
                chain.state_load().map_or((0, 0), |load| (load.missing.len(), load.outdated.len()));
            debug!(%peer, compared = answer.query.compares, missing, outdated, "coins of the state came");
        }
        Ok(is_new)
    }

    /// Asks for ranges that are missing, and for the nodes over those that are outdated.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn ask(
        &mut self,
        now: Now,
        chain: &Chain,
        load: &StateLoad,
        out: &mut Outbox,
    ) -> Result<(), StoreError> {
        let asked = || self.0.values().flat_map(|server| &server.asked);
        let comparing = asked().filter(|(query, _)| query.compares).count();
        let firsts: Vec<Key> = asked().map(first_key).collect();
        let is_open = |range: &&KeyRange| !firsts.contains(range.first());
        let [missing, outdated] = [&load.missing, &load.outdated].map(|ranges| ranges.iter().filter(is_open));
        let outdated = outdated.take(load.room().saturating_sub(comparing));
        let mut open = missing.map(|range| (range, false)).chain(outdated.map(|range| (range, true)));
        // One for each peer, then more.
        for most in 1..=MAX_ASKED {
            for (peer, server) in &mut self.0 {
                if server.rests_until.is_none()
                    && server.asked.len() < most
                    && let Some((range, compares)) = open.next()
                {
                    let query = if compares {
                        let (part, _) = chain.outdated_coins(range, STATE_PAGE_COINS)?;
                        RangeQuery::comparing(load.base.block, &part)
                    } else {
                        RangeQuery::new(load.base.block, range)
                    };
                    server.asked.push((query, now.mono));
                    out.send(*peer, Message::GetStateRange(query));
                }
            }
        }
        Ok(())
    }

    /// Those that have not answered in time.
    pub(super) fn late(&self, now: Now) -> Vec<PeerId> {
        let is_late = |(_, since): &(RangeQuery, MonoTime)| *since + ANSWER_TIMEOUT <= now.mono;
        self.0.iter().filter(|(_, server)| server.asked.iter().any(is_late)).map(|(peer, _)| *peer).collect()
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let rests = self.0.values().filter_map(|server| server.rests_until);
        let asked = self.0.values().flat_map(|server| &server.asked);
        rests.chain(asked.map(|(_, since)| *since + ANSWER_TIMEOUT)).min()
    }

    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for Server { asked, rests_until: _ } in self.0.values_mut() {
            asked.iter_mut().for_each(|(_, since)| *since += by);
        }
    }

    /// Panics if a peer is not one of `ready`, or a range is asked for twice.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        assert!(self.0.keys().all(|peer| ready.contains(peer)), "only peers serve states");
        let mut asked: Vec<Key> = Vec::new();
        for server in self.0.values() {
            assert!(server.asked.len() <= MAX_ASKED);
            asked.extend(server.asked.iter().map(first_key));
        }
        assert!((1..asked.len()).all(|at| !asked[..at].contains(&asked[at])), "each range is asked of one peer");
    }
}

/// Where the range begins that a peer was asked for.
fn first_key((query, _): &(RangeQuery, MonoTime)) -> Key {
    Key::from_bytes(query.first)
}
