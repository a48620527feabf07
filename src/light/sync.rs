//! Synchronisation with several peers; one honest peer among them is enough.
//!
//! A peer whose chain is much longer than the best known is asked for a succinct proof of it, if it serves proofs, and then for
//! the headers since. So is one whose branch leaves the best chain below the headers that are kept. Of proven chains the one with
//! most work wins; a proof that does not hold is an offence. How much a false one costs is said in
//! [`receipt::succinct`](crate::receipt::succinct). Everything else comes by headers:
//!
//! Every peer is asked for all its headers beyond the best known chain, the one that claims most work first. A peer is
//! disconnected if a header breaks a rule, or its headers have less work than it claimed. Of valid chains the one with
//! most work wins, so a peer that hides blocks hides them in vain if another does not.
//!
//! Other pages are asked last, and for headers first: they keep a proof and the headers above it, so only one that is far behind
//! them needs their proof, which may be thousands of blocks old. Nothing waits for a page as long as there is a node.
//!
//! Headers of the easiest difficulty cost little, but not many of them: the difficulty rule makes a chain that is
//! longer than the time since genesis allows ever harder. A branch other than the best is nevertheless kept only once
//! it is known to have more work: it is first checked without being stored, then requested again.

mod peer;

use std::collections::BTreeMap;
use std::time::Duration;

use self::peer::PeerBranch;
use super::headers::Headers;
use crate::p2p::chain_proofs::ChainAnswer;
use crate::p2p::message::TipClaim;
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId, Reason};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::time::MonoTime;

/// Kept headers from which on a proof of the tip takes their place: so many times those for which one is asked at first.
const MAX_KEPT: usize = 4;

/// The last header that a peer has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) height: Height,
    pub(super) hash: BlockHash,
    pub(super) work: Work,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(super) struct PeerBranches {
    peers: BTreeMap<PeerId, PeerBranch>,
    /// Whether to catch up by headers however many they are: a client that follows blocks must know which of them stayed.
    follows: bool,
    /// Blocks by which a peer's chain must be longer for a proof of it to be asked for; `u32::MAX` for never.
    proof_ahead: u32,
}

impl PeerBranches {
    pub(super) fn connected(
        &mut self,
        now: Now,
        peer: PeerId,
        (claim, serves_proofs, is_page): (TipClaim, bool, bool),
        chain: &Headers,
        out: &mut Outbox,
    ) {
        self.peers.insert(peer, PeerBranch::new(claim, serves_proofs, is_page));
        self.advance(now, chain, out);
    }

    /// Sets how many blocks longer a peer's chain must be for a proof of it to be asked for; `u32::MAX` for never.
    pub(super) fn set_proof_ahead(&mut self, blocks: u32) {
        self.proof_ahead = blocks;
    }

    /// Blocks are followed from now on.
    pub(super) fn follow(&mut self) {
        self.follows = true;
    }

    pub(super) fn disconnected(&mut self, now: Now, peer: PeerId, chain: &Headers, out: &mut Outbox) {
        self.peers.remove(&peer);
        self.advance(now, chain, out);
    }

    /// Whether every node has sent all it has; every page, if there is no node.
    pub(super) fn is_settled(&self) -> bool {
        let has_nodes = self.has_nodes();
        self.peers.values().all(|state| (state.is_page && has_nodes) || state.is_settled())
    }

    fn has_nodes(&self) -> bool {
        self.peers.values().any(|state| !state.is_page)
    }

    /// A peer does not keep the headers that it was asked for. A page may prove what is below those that it keeps.
    pub(super) fn lacks_headers(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.take_asked().is_none() {
            return;
        }
        match state.may_prove(now) {
            true => state.ask_proof(now, peer, out),
            false => out.close(peer, Reason::Stalled),
        }
    }

    /// Whether a peer has sent all it has.
    pub(super) fn has_settled(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|state| state.has_sent_all)
    }

    /// The last header that a peer has sent.
    pub(super) fn shown(&self, peer: PeerId) -> Option<Shown> {
        self.peers.get(&peer)?.shown
    }

    /// A peer has a block of this hash.
    pub(super) fn announced(&mut self, now: Now, peer: PeerId, hash: BlockHash, chain: &Headers, out: &mut Outbox) {
        match (chain.recent(&hash), self.peers.get_mut(&peer)) {
            (Some(height), Some(state)) => state.mark_shown(chain, height),
            (None, Some(state)) => state.ask_for_news(now, peer, chain, out),
            (_, None) => {}
        }
    }

    /// An answer about the whole chain came. If the best chain changed, answers up to which height it is what it was.
    pub(super) fn proof(
        &mut self,
        now: Now,
        peer: PeerId,
        answer: ChainAnswer,
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let fork = self.peers.get_mut(&peer)?.take_proof(now, peer, answer.proof, chain, out);
        self.advance(now, chain, out);
        fork
    }

    /// Headers came. If the best chain changed, answers up to which height it is what it was.
    pub(super) fn received(
        &mut self,
        now: Now,
        peer: PeerId,
        headers: &[Header],
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let fork = self.peers.get_mut(&peer)?.take(now, peer, headers, chain, out);
        self.advance(now, chain, out);
        fork
    }

    /// Asks the peer with the highest claim first, and the others after it has sent everything.
    fn advance(&mut self, now: Now, chain: &Headers, out: &mut Outbox) {
        let ahead = if self.follows { u32::MAX } else { self.proof_ahead };
        if self.peers.values().any(|state| state.has_sent_all) {
            for (peer, state) in self.peers.iter_mut().filter(|(_, state)| !state.has_sent_all && !state.is_asked()) {
                state.begin(now, *peer, ahead, chain, out);
            }
        } else if let has_nodes = self.has_nodes()
            && self.peers.values().all(|state| !state.is_asked() || (state.is_page && has_nodes))
            && let Some((peer, state)) =
                self.peers.iter_mut().max_by_key(|(_, state)| (!state.is_page, state.claim.work))
        {
            state.begin(now, *peer, ahead, chain, out);
        }
        // A proof of the chain that is here takes the place of its many headers.
        let can_prove = |(_, state): &(&PeerId, &mut PeerBranch)| !state.is_asked() && state.may_prove(now);
        if chain.kept() > MAX_KEPT.saturating_mul(self.proof_ahead as usize)
            && self.peers.values().all(|state| state.is_page || (state.has_sent_all && !state.is_asked()))
            && let Some((peer, state)) = self.peers.iter_mut().filter(|(_, state)| !state.is_page).find(can_prove)
        {
            state.ask_proof(now, *peer, out);
        }
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Outbox) {
        for (peer, state) in &self.peers {
            if state.deadline().is_some_and(|deadline| deadline <= now.mono) {
                out.close(*peer, Reason::Stalled);
            }
        }
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.peers.values_mut().for_each(|state| state.extend_deadline(by));
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.peers.values().filter_map(PeerBranch::deadline).min()
    }
}
