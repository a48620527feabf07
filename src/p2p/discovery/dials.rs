//! Dials for queries, checks and feelers, and the room for them together with the brief connections that come of them.

use std::time::Duration;

use super::{Conversation, Discovery, Question};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::kad::{Contact, NodeId, QUERY_TIMEOUT};
use crate::p2p::outbox::Outbox;
use crate::p2p::peer_addr::PeerAddr;
use crate::primitives::time::MonoTime;

/// Most dials for queries, checks and feelers, together with their brief connections: more than all lookups need, so
/// that slow dials do not delay them. A brief connection without an open question gives way to a dial.
pub const MAX_PENDING_DIALS: usize = 24;
/// Room beside these for dials that take longer than a question may: no lookup waits for them any more.
pub const MAX_LATE_DIALS: usize = 48;
/// Most dials that are checks of contacts.
const MAX_CHECKS: usize = 4;
/// Time after which a dial is taken to be forgotten.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A dial under way.
#[derive(Debug)]
pub(super) struct PendingDial {
    id: Option<NodeId>,
    questions: Vec<Question>,
    since: MonoTime,
    /// It has taken longer than a question may.
    late: bool,
}

impl PendingDial {
    /// Extend its deadline by a span.
    pub(super) fn extend_deadline(&mut self, by: Duration) {
        let Self { since, id: _, questions: _, late: _ } = self;
        *since += by;
    }

    /// When it is late, or is given up if it is late already.
    pub(super) fn deadline(&self) -> MonoTime {
        self.since + if self.late { CALL_TIMEOUT } else { QUERY_TIMEOUT }
    }
}

impl Discovery {
    /// Sends a new connection the queries that its address was dialled for.
    pub(crate) fn send_queries(&mut self, now: Now, peer: PeerId, contact: &Contact, out: &mut Outbox) {
        let Some(call) = self.pending_dials.remove(&contact.address) else { return };
        self.changed = true;
        if call.id.is_some_and(|id| id != contact.id) {
            return self.fail(now, contact.address, call, out);
        }
        for question in call.questions {
            self.question(now, peer, question, out);
        }
    }

    /// A dial failed, or its connection ended before the handshake. `true` if it was a feeler.
    pub(crate) fn dial_failed(&mut self, now: Now, address: PeerAddr, out: &mut Outbox) -> bool {
        let Some(call) = self.pending_dials.remove(&address) else { return false };
        self.changed = true;
        let feeler = call.id.is_none();
        self.fail(now, address, call, out);
        feeler
    }

    fn fail(&mut self, now: Now, address: PeerAddr, call: PendingDial, out: &mut Outbox) {
        let Some(id) = call.id else { return };
        self.table.failed(&Contact { id, address });
        call.questions.into_iter().for_each(|question| self.unanswered(now, question, &id, out));
    }

    /// Dials an address once, as a feeler.
    pub(crate) fn dial_feeler(&mut self, now: Now, address: PeerAddr, out: &mut Outbox) {
        if self.has_room() {
            self.call(now, (address, None), None, out);
            self.changed = true;
        }
    }

    /// Dials a node, if [`Discovery::has_room`].
    fn call(
        &mut self,
        now: Now,
        (address, id): (PeerAddr, Option<NodeId>),
        question: Option<Question>,
        out: &mut Outbox,
    ) {
        self.close_longest_idle(now, out);
        let (questions, since) = (question.into_iter().collect(), now.mono);
        self.pending_dials.insert(address, PendingDial { id, questions, since, late: false });
        self.dials.push((address, id));
    }

    /// Addresses to dial since the last call. Each is answered with [`Discovery::connected`] or
    /// [`Discovery::dial_failed`].
    pub(crate) fn take_dials(&mut self) -> Vec<(PeerAddr, Option<NodeId>)> {
        std::mem::take(&mut self.dials)
    }

    /// Takes note of late dials, and gives up those that are taken to be forgotten.
    pub(super) fn expire_dials(&mut self, now: Now, out: &mut Outbox) {
        for call in self.pending_dials.values_mut() {
            call.late |= call.since + QUERY_TIMEOUT <= now.mono;
        }
        let forgotten = |(_, call): &(&PeerAddr, &PendingDial)| call.since + CALL_TIMEOUT <= now.mono;
        for address in self.pending_dials.iter().filter(forgotten).map(|(address, _)| *address).collect::<Vec<_>>() {
            self.dial_failed(now, address, out);
        }
    }

    /// Dials contacts that are to be checked.
    pub(super) fn dial_checks(&mut self, now: Now, out: &mut Outbox) {
        while self.has_room()
            && self.pending_dials.values().filter(|call| call.questions.is_empty()).count() < MAX_CHECKS
            && let Some(contact) = self.to_check.pop_front()
        {
            if !self.pending_dials.contains_key(&contact.address) {
                self.call(now, (contact.address, Some(contact.id)), None, out);
            }
        }
    }

    /// Dials that have not taken longer than a question may.
    pub(super) fn timely_dials(&self) -> usize {
        self.pending_dials.values().filter(|call| !call.late).count()
    }

    /// Whether there is room for a dial, if a connection without an open question gives way.
    pub(super) fn has_room(&self) -> bool {
        let busy = |conversation: &&Conversation| conversation.is_own_brief() && !conversation.open.is_empty();
        let timely = self.timely_dials();
        timely + self.conversations.values().filter(busy).count() < MAX_PENDING_DIALS
            && self.pending_dials.len() - timely < MAX_LATE_DIALS
    }

    /// Closes, if all places are taken, the brief connection that has been without an open question for longest.
    fn close_longest_idle(&mut self, now: Now, out: &mut Outbox) {
        let own = || self.conversations.iter().filter(|(_, conversation)| conversation.is_own_brief());
        if self.timely_dials() + own().count() < MAX_PENDING_DIALS {
            return;
        }
        let idle = own().filter(|(_, conversation)| conversation.open.is_empty());
        if let Some(peer) = idle.min_by_key(|(_, conversation)| conversation.last).map(|(peer, _)| *peer) {
            self.close(now, peer, out);
        }
    }

    /// Closes a brief connection. Its open questions, if any, are late.
    pub(super) fn close(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        out.close(peer, Reason::Brief);
        self.disconnected(now, peer, out);
    }

    /// Asks a node: over its connection if there is one, else it is dialled.
    pub(super) fn ask(&mut self, now: Now, question: Question, contact: Contact, out: &mut Outbox) {
        let there = self
            .conversations
            .iter()
            .find(|(_, conversation)| conversation.contact == Some(contact))
            .map(|(peer, _)| *peer);
        match (there, self.pending_dials.get_mut(&contact.address)) {
            (Some(peer), _) => self.question(now, peer, question, out),
            (None, Some(call)) if call.id == Some(contact.id) => call.questions.push(question),
            // Another id is expected at this address now.
            (None, Some(_)) => self.unanswered(now, question, &contact.id, out),
            (None, None) => self.call(now, (contact.address, Some(contact.id)), Some(question), out),
        }
    }
}
