//! Fetches the headers that a node which started from a state does not have yet: those below, in the background.
//!
//! One peer that serves proofs of the chain is asked at a time, for the headers under one node of the range that the node knows
//! from the proof by which it started. Each answer proves them under it, so a false one is noticed at once, and its sender
//! blamed. They are taken in order, and written as they come, so a node that is stopped goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{debug, info};

use crate::chain::Chain;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;
use crate::receipt::succinct::verify_headers;
use crate::storage::{HeaderGap, StoreError};

/// Headers that are asked for at once: 50 kB, and some 4,000 entries of the store in one write.
pub const CHUNK: u32 = 1_024;
/// Time-out for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for which a peer is not asked after it said that it does not have the headers: its chain may be another.
pub const REST: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Asked {
    peer: PeerId,
    since: MonoTime,
    wanted: BTreeSet<Height>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LateHeaders {
    /// The peers that serve proofs.
    provers: BTreeSet<PeerId>,
    /// Those of them that are not asked, and until when.
    resting: BTreeMap<PeerId, MonoTime>,
    asked: Option<Asked>,
}

impl LateHeaders {
    /// A peer that serves proofs said hello.
    pub(super) fn connected(&mut self, peer: PeerId) {
        self.provers.insert(peer);
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.provers.remove(&peer);
        self.resting.remove(&peer);
        self.asked.take_if(|asked| asked.peer == peer);
    }

    /// Asks for the next headers, if some are still to come. The node ends every call with this.
    pub(super) fn advance(&mut self, now: Now, chain: &Chain, out: &mut Outbox) {
        self.resting.retain(|_, until| now.mono < *until);
        if self.asked.is_some() || self.provers.is_empty() {
            return;
        }
        let tree = chain.tree();
        let Some(gap) = tree.header_gap().filter(|_| chain.state_load().is_none()) else { return };
        let end = tree.entry_at(gap.end).map(|end| end.hash);
        let free = self.provers.iter().find(|peer| !self.resting.contains_key(peer));
        let (Some(below), Some(peer)) = (end, free) else { return };
        let wanted = next_chunk(gap);
        out.send(*peer, Message::GetChainProof(ChainQuery::headers(below, wanted.iter().copied())));
        self.asked = Some(Asked { peer: *peer, since: now.mono, wanted });
    }

    /// A peer showed headers. `true` if they were missing.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn answer(
        &mut self,
        now: Now,
        peer: PeerId,
        answer: ChainAnswer,
        chain: &mut Chain,
        out: &mut Outbox,
    ) -> Result<bool, StoreError> {
        let Some(Asked { wanted, .. }) = self.asked.take_if(|asked| asked.peer == peer) else {
            out.offence(peer, Offence::UnrequestedProofs);
            return Ok(false);
        };
        let tree = chain.tree();
        let gap = tree.header_gap().filter(|gap| next_chunk(gap) == wanted);
        let range = gap.and_then(HeaderGap::range).map(|range| (range, tree.first_time()));
        drop(tree);
        let (Some((range, first_time)), Some(proof)) = (range, answer.proof) else {
            self.resting.insert(peer, now.mono + REST);
            return Ok(false);
        };
        let shown = match verify_headers(&proof, &wanted, (&range, first_time), chain.params()) {
            Ok(shown) => shown,
            Err(error) => {
                self.provers.remove(&peer);
                out.offence(peer, Offence::FalseChainProof(error));
                return Ok(false);
            }
        };
        let is_new = chain.fill_headers(&shown)?;
        match chain.tree().header_gap() {
            Some(gap) => debug!(%peer, from = gap.from.as_u32(), end = gap.end.as_u32(), "old headers came"),
            None => info!("all headers are here"),
        }
        Ok(is_new)
    }

    /// Disconnects a peer that does not answer.
    pub(super) fn tick(&self, now: Now, out: &mut Outbox) {
        if let Some(asked) = self.asked.as_ref().filter(|asked| asked.since + ANSWER_TIMEOUT <= now.mono) {
            out.close(asked.peer, Reason::Stalled);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let asked = self.asked.as_ref().map(|asked| asked.since + ANSWER_TIMEOUT);
        // A rest matters only while headers are missing; otherwise its end costs one more call.
        asked.into_iter().chain(self.resting.values().copied()).min()
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.asked.iter_mut().for_each(|asked| asked.since += by);
    }

    /// Panics if a peer is not one of `ready`.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        assert!(self.provers.iter().all(|peer| ready.contains(peer)), "only peers prove headers");
        assert!(self.asked.as_ref().is_none_or(|asked| self.provers.contains(&asked.peer)));
        assert!(self.resting.keys().all(|peer| self.provers.contains(peer)));
    }
}

/// The lowest headers of a gap, up to the next multiple of [`CHUNK`].
fn next_chunk(gap: &HeaderGap) -> BTreeSet<Height> {
    let end = Height::from_u32(gap.from.as_u32() / CHUNK * CHUNK).saturating_add(CHUNK);
    gap.from.until(end.min(gap.end)).collect()
}
