//! Headers below those that are kept: asked of one peer after the other when they are needed, and proven to be in the chain.

use std::collections::BTreeSet;
use std::time::Duration;

use super::headers::Headers;
use super::request::{Next, Request};
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId};
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;

/// Time before trying again when no peer had them.
const RETRY: Duration = Duration::from_secs(5);

/// The request under way.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    request: Request,
    query: Option<ChainQuery>,
    /// When to try again, if no peer had what is needed.
    retry_at: Option<MonoTime>,
}

impl Lookups {
    /// Asks one of `peers`, which serve proofs, for the first of the headers that are `wanted`, unless one is being asked.
    pub(super) fn advance(
        &mut self,
        now: Now,
        peers: &[PeerId],
        wanted: impl FnOnce() -> BTreeSet<Height>,
        chain: &Headers,
        out: &mut Outbox,
    ) {
        let Some(below) = chain.anchor().filter(|_| self.retry_at.is_none_or(|at| at <= now.mono)) else { return };
        self.retry_at = None;
        if self.request.is_open() {
            return;
        }
        let wanted = wanted();
        if wanted.is_empty() {
            return;
        }
        match self.request.next(now, peers) {
            Next::Ask(peer) => {
                let query = ChainQuery::headers(below, wanted);
                self.query = Some(query.clone());
                out.send(peer, Message::GetChainProof(query));
            }
            Next::Wait => {}
            Next::Exhausted => *self = Self { retry_at: Some(now.mono + RETRY), ..Self::default() },
        }
    }

    /// Whether this is the answer that is awaited.
    pub(super) fn awaits(&self, peer: PeerId, answer: &ChainAnswer) -> bool {
        self.request.is_of(peer) && self.query.as_ref() == Some(&answer.query)
    }

    /// Takes the answer that is awaited.
    pub(super) fn answered(&mut self, peer: PeerId, answer: ChainAnswer, chain: &mut Headers, out: &mut Outbox) {
        self.request.failed(peer);
        let ChainQuery::Headers { below, .. } = &answer.query else { return };
        // A chain that begins elsewhere meanwhile is not the peer's fault.
        let is_current = chain.anchor() == Some(*below);
        let (Some(proof), Some(wanted)) = (answer.proof.filter(|_| is_current), answer.query.heights()) else { return };
        match chain.learn(&proof, &wanted) {
            // The next are asked of any peer again.
            Ok(()) => *self = Self::default(),
            Err(error) => out.offence(peer, Offence::FalseChainProof(error)),
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.request.failed(peer);
    }

    pub(super) fn tick(&mut self, now: Now) {
        self.request.tick(now);
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.request.deadline().or(self.retry_at)
    }

    /// Extend the deadline by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.request.extend_deadline(by);
    }
}
