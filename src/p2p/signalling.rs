//! Brings browser pages together: names pages to each other, and relays the offer and the answer of a call between two of them.
//!
//! Two browsers cannot find each other by themselves. Two messages through a node that both are connected to suffice; what they
//! say then goes from browser to browser. Only peers whose services say so are pages ([`is_page`]). A node remembers
//! only that a call is open, so that an answer goes only where it was asked for.
//!
//! A call makes the called browser work and send packets to the addresses in it. So a node bounds the calls that each
//! page makes, and those that each page gets from all others together.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::kad::NodeId;
use crate::p2p::message::{Message, is_page};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::signal::{MAX_PAGES, Signal};
use crate::primitives::time::MonoTime;

/// Most calls of a page that are open, and most open calls to one.
pub const MAX_OPEN: usize = 4;
/// How long the called page has for its answer: its browser looks for its own addresses first.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Most questions for pages, and most calls, that a page may make in a burst.
pub const BURST: u64 = 8;
/// Time after which it may make one more.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Most calls in a burst to one page, of all callers together; one more after each [`INTERVAL`].
pub const CALLED_BURST: u64 = 16;

/// A token is a millisecond.
const TOKENS: u64 = INTERVAL.as_millis() as u64;
const RATE: Rate = Rate { gain: 1, most: BURST * TOKENS };
const CALLED_RATE: Rate = Rate { gain: 1, most: CALLED_BURST * TOKENS };

#[derive(Debug)]
struct Page {
    id: NodeId,
    questions: Bucket,
    calls: Bucket,
    called: Bucket,
}

/// An offer that was relayed and has no answer.
#[derive(Debug)]
struct Call {
    caller: PeerId,
    called: PeerId,
    since: MonoTime,
}

/// All pages that are connected, and their calls.
#[derive(Debug, Default)]
pub(crate) struct Signalling {
    pages: BTreeMap<PeerId, Page>,
    /// At most [`MAX_OPEN`] for each page.
    open: Vec<Call>,
}

impl Signalling {
    /// A connection has said hello.
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId, id: NodeId, services: u64) {
        if is_page(services) {
            let [questions, calls] = [Bucket::full(now.mono, RATE); 2];
            let called = Bucket::full(now.mono, CALLED_RATE);
            self.pages.insert(peer, Page { id, questions, calls, called });
        }
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        if self.pages.remove(&peer).is_some() {
            self.open.retain(|call| call.caller != peer && call.called != peer);
        }
    }

    /// A peer asks for other pages. One that is no page gets no answer.
    pub(crate) fn on_get_pages(&mut self, now: Now, peer: PeerId, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        let Some(page) = self.pages.get_mut(&peer) else { return };
        if !page.questions.take(now.mono, RATE, TOKENS) {
            return out.offence(peer, Offence::RequestFlood);
        }
        let own = page.id;
        let mut others: Vec<NodeId> = self.pages.values().map(|page| page.id).filter(|id| *id != own).collect();
        let (some, _) = others.partial_shuffle(rng, MAX_PAGES);
        out.send(peer, Message::Pages(some.to_vec()));
    }

    /// A peer has an offer or an answer for the page `to`. What one that is no page sends is dropped.
    pub(crate) fn on_signal(&mut self, now: Now, peer: PeerId, to: NodeId, signal: Signal, out: &mut Outbox) {
        self.open.retain(|call| call.since + CALL_TIMEOUT > now.mono);
        let Some(page) = self.pages.get_mut(&peer) else { return };
        let own = page.id;
        match &signal {
            Signal::Offer(_) => {
                if !page.calls.take(now.mono, RATE, TOKENS) {
                    return out.offence(peer, Offence::RequestFlood);
                }
                let Some(called) = self.callable(now, peer, to) else {
                    return out.send(peer, Message::NoPage { page: to });
                };
                self.open.push(Call { caller: peer, called, since: now.mono });
                out.send(called, Message::Signal { page: own, signal });
            }
            // An answer that is late, or to no call, leads nowhere.
            Signal::Answer(_) => {
                let is_to = |call: &Call| self.pages.get(&call.caller).is_some_and(|page| page.id == to);
                let place = self.open.iter().position(|call| call.called == peer && is_to(call));
                if let Some(call) = place.map(|place| self.open.swap_remove(place)) {
                    out.send(call.caller, Message::Signal { page: own, signal });
                }
            }
        }
    }

    /// The connection of a page that may be called now.
    fn callable(&mut self, now: Now, caller: PeerId, to: NodeId) -> Option<PeerId> {
        let (called, page) = self.pages.iter_mut().find(|(peer, page)| page.id == to && **peer != caller)?;
        let of_caller = self.open.iter().filter(|call| call.caller == caller);
        let to_called = self.open.iter().filter(|call| call.called == *called);
        let is_open = of_caller.clone().any(|call| call.called == *called);
        let is_busy = of_caller.count() >= MAX_OPEN || to_called.count() >= MAX_OPEN;
        (!is_open && !is_busy && page.called.take(now.mono, CALLED_RATE, TOKENS)).then_some(*called)
    }

    /// The pages, and open calls: nothing else grows.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.pages.keys().copied().chain(self.open.iter().flat_map(|call| [call.caller, call.called]))
    }
}
