//! Collects the decisions of the sub-protocols.

use std::collections::VecDeque;
use std::time::Duration;

use crate::chain::ChainError;
use crate::consensus::error::{Blame, RuleError};
use crate::mempool::MempoolError;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::frame::Frame;
use crate::p2p::interface::{Event, Output, Reason};
use crate::p2p::misbehaviour::Offence;
use crate::primitives::hash::BlockHash;
use crate::primitives::time::MonoTime;

/// Outputs in order, and offences and closings, which the node carries out because every sub-protocol must forget a
/// disconnected peer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    offences: VecDeque<(PeerId, Offence)>,
    closing: VecDeque<(PeerId, Reason)>,
    /// Peers that were sent something since the last call.
    sent: Vec<PeerId>,
    /// The wake-up last asked for.
    wake: Option<MonoTime>,
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    /// Sends a message, or a frame that other peers get too.
    pub(crate) fn send(&mut self, peer: PeerId, frame: impl Into<Frame>) {
        self.sent.push(peer);
        self.push(Output::Send { peer, frame: frame.into() });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Records an offence.
    pub(crate) fn offence(&mut self, peer: PeerId, offence: Offence) {
        self.offences.push_back((peer, offence));
    }

    /// Handles the refusal of a peer's header or block: an offence if it broke a rule.
    pub(crate) fn on_refused(
        &mut self,
        peer: PeerId,
        error: &ChainError,
        offence: fn(BlockHash, RuleError) -> Offence,
    ) {
        if let Some((hash, rule)) = error.fault() {
            self.offence(peer, offence(hash, rule.clone()));
        }
        if let ChainError::TooDeep { .. } = error {
            self.event(Event::BranchTooDeep { error: error.to_string() });
        }
        self.report_local(error.blame(), error);
    }

    /// The same for a transaction.
    pub(crate) fn on_refused_transaction(
        &mut self,
        peer: PeerId,
        error: &MempoolError,
        offence: fn(RuleError) -> Offence,
    ) {
        if let Some(rule) = error.fault() {
            self.offence(peer, offence(rule.clone()));
        }
        self.report_local(error.blame(), error);
    }

    /// Reports an error that is this node's own.
    fn report_local(&mut self, blame: Blame, error: &impl ToString) {
        match blame {
            Blame::Local => self.event(Event::StoreFailed { error: error.to_string() }),
            Blame::Peer | Blame::None => {}
        }
    }

    /// Ends a connection.
    pub(crate) fn close(&mut self, peer: PeerId, reason: Reason) {
        self.closing.push_back((peer, reason));
    }

    pub(crate) fn next_offence(&mut self) -> Option<(PeerId, Offence)> {
        self.offences.pop_front()
    }

    pub(crate) fn next_closing(&mut self) -> Option<(PeerId, Reason)> {
        self.closing.pop_front()
    }

    /// Whether no judgement on a peer waits to be carried out.
    pub(crate) fn is_settled(&self) -> bool {
        self.offences.is_empty() && self.closing.is_empty()
    }

    /// Asks to be called at a deadline, in the next millisecond at the earliest, unless that was the last one asked for.
    pub(crate) fn wake_at(&mut self, now: Now, deadline: Option<MonoTime>) {
        let wake = deadline.map(|at| at.max(now.mono + Duration::from_millis(1)));
        if let Some(at) = wake
            && self.wake != wake
        {
            self.push(Output::WakeAt { at });
        }
        self.wake = wake;
    }

    pub(crate) fn take_sent(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn queued(&self) -> impl Iterator<Item = &Output> {
        self.queue.iter()
    }

    pub(crate) fn drain(&mut self) -> std::collections::vec_deque::Drain<'_, Output> {
        self.queue.drain(..)
    }
}
