//! Other browser pages, with which a page shares what it has: calls to them and from them, through nodes that both know.
//!
//! A page asks its nodes for others, calls some, and takes calls of some. The driver makes the connection: what it is to do is a
//! [`Call`], and what its browser says goes back through [`Light::describe`](super::Light::describe). A page is known by its id,
//! which the handshake proves; it has no address.

use std::time::Duration;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::kad::NodeId;
use crate::p2p::message::Message;
use crate::p2p::outbox::Outbox;
use crate::p2p::signal::Signal;
use crate::p2p::{Direction, Now, PeerId};
use crate::primitives::time::MonoTime;

/// Pages that are called, if there are as many.
pub const TARGET: usize = 3;
/// Most pages that may call this one: those that it has chosen itself are at least as many.
pub const MAX_CALLERS: usize = 3;
/// Between two questions for pages, while there are too few.
pub const ASK_INTERVAL: Duration = Duration::from_secs(20);
/// Until a call without a connection has failed.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Until a page is called again with which it came to nothing.
pub const REST: Duration = Duration::from_secs(120);
/// Most of these that are remembered.
const MAX_RESTING: usize = 64;
/// Calls, of either side, that it takes part in at once: each makes the browser work, whatever comes of it.
pub const CALL_BURST: u64 = 16;
/// Time after which it takes part in one more.
pub const CALL_INTERVAL: Duration = Duration::from_secs(5);

/// A token is a millisecond.
const TOKENS: u64 = CALL_INTERVAL.as_millis() as u64;
const RATE: Rate = Rate { gain: 1, most: CALL_BURST * TOKENS };

/// What the driver is to do about a call with a page. Descriptions are a stranger's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Describe this side, for an offer.
    Make,
    /// Take the offer with this description, and describe this side for the answer.
    Take(Vec<u8>),
    /// The answer to the offer has this description.
    Complete(Vec<u8>),
    /// It has come to nothing: forget it.
    End,
}

/// A call without a connection yet.
#[derive(Debug)]
struct UnderWay {
    page: NodeId,
    direction: Direction,
    /// The node between both.
    via: PeerId,
    since: MonoTime,
}

/// Calls, and whom not to call.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// This page's id; `None` if it takes no part.
    own: Option<NodeId>,
    /// At most one with each page.
    calls: Vec<UnderWay>,
    /// Until when, the first to end first.
    resting: Vec<(NodeId, MonoTime)>,
    /// How many calls may still begin; `None` before the first.
    allowance: Option<Bucket>,
    /// When to ask for pages next, and nodes that are asked before.
    ask_at: MonoTime,
    met: Vec<PeerId>,
    /// A page to call before others.
    sought: Option<NodeId>,
    /// Whether there are too few pages, and a node to ask.
    lacks: bool,
    /// For the driver.
    news: Vec<(NodeId, Call)>,
}

/// The pages that are connected: their ids, and who called.
pub(super) type Connected<'a> = &'a [(NodeId, Direction)];

impl Pages {
    pub(super) fn new(own: Option<NodeId>) -> Self {
        Self { own, ..Self::default() }
    }

    /// Whether this is a page that takes part.
    pub(super) fn takes_part(&self) -> bool {
        self.own.is_some()
    }

    /// What the driver is to do.
    pub(super) fn take_news(&mut self) -> Vec<(NodeId, Call)> {
        std::mem::take(&mut self.news)
    }

    /// Who calls in the call with a page that has no connection yet.
    pub(super) fn direction(&self, page: &NodeId) -> Option<Direction> {
        self.call(page).map(|call| call.direction)
    }

    /// The call has become a connection: `false` if there was none.
    pub(super) fn connected(&mut self, page: &NodeId) -> bool {
        self.remove(page)
    }

    fn remove(&mut self, page: &NodeId) -> bool {
        let place = self.calls.iter().position(|call| call.page == *page);
        place.map(|place| self.calls.swap_remove(place)).is_some()
    }

    fn call(&self, page: &NodeId) -> Option<&UnderWay> {
        self.calls.iter().find(|call| call.page == *page)
    }

    /// A node that relays calls has said hello. It is asked now, the others in their time, so that one which comes and goes
    /// does not have them asked too often.
    pub(super) fn met_node(&mut self, node: PeerId) {
        if self.own.is_some() {
            self.met.push(node);
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        let lost: Vec<NodeId> = self.calls.iter().filter(|call| call.via == peer).map(|call| call.page).collect();
        lost.into_iter().for_each(|page| self.end(page));
    }

    /// Ends a call that has no connection.
    fn end(&mut self, page: NodeId) {
        if self.remove(&page) {
            self.news.push((page, Call::End));
        }
    }

    /// Lets a page be for a while.
    pub(super) fn rest(&mut self, now: Now, page: NodeId) {
        self.end(page);
        self.resting.retain(|(resting, until)| *resting != page && *until > now.mono);
        if self.resting.len() == MAX_RESTING {
            self.resting.remove(0);
        }
        self.resting.push((page, now.mono + REST));
    }

    /// Counts a call that begins; `false` if it is one too many.
    fn may_begin(&mut self, now: Now) -> bool {
        self.allowance.get_or_insert_with(|| Bucket::full(now.mono, RATE)).take(now.mono, RATE, TOKENS)
    }

    fn of(&self, direction: Direction, connected: Connected<'_>) -> usize {
        let calls = self.calls.iter().filter(|call| call.direction == direction).count();
        calls + connected.iter().filter(|(_, of)| *of == direction).count()
    }

    /// Ends late calls, and asks the nodes that relay calls for pages if there are too few.
    pub(super) fn advance(&mut self, now: Now, nodes: &[PeerId], connected: Connected<'_>, out: &mut Outbox) {
        if self.own.is_none() {
            return;
        }
        let is_late = |call: &&UnderWay| call.since + CALL_TIMEOUT <= now.mono;
        let late: Vec<NodeId> = self.calls.iter().filter(is_late).map(|call| call.page).collect();
        late.into_iter().for_each(|page| self.rest(now, page));
        self.lacks = !nodes.is_empty() && self.of(Direction::Outbound, connected) < TARGET;
        let met = std::mem::take(&mut self.met);
        let is_due = self.ask_at <= now.mono;
        if self.lacks {
            let asked = nodes.iter().filter(|node| is_due || met.contains(node));
            asked.for_each(|node| out.send(*node, Message::GetPages));
            if is_due {
                self.ask_at = now.mono + ASK_INTERVAL;
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let late = self.calls.iter().map(|call| call.since + CALL_TIMEOUT);
        late.chain(self.lacks.then_some(self.ask_at)).min()
    }

    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for UnderWay { since, page: _, direction: _, via: _ } in &mut self.calls {
            *since += by;
        }
    }

    /// Calls a page, through whatever node, before those that nodes name.
    pub(super) fn seek(&mut self, page: NodeId) {
        self.sought = Some(page);
    }

    /// A node names pages: calls as many as there is room for.
    pub(super) fn named(&mut self, now: Now, via: PeerId, pages: &[NodeId], connected: Connected<'_>) {
        let sought = self.sought;
        for page in sought.iter().chain(pages) {
            let is_known = self.call(page).is_some() || connected.iter().any(|(other, _)| other == page);
            let rests = self.resting.iter().any(|(resting, until)| resting == page && *until > now.mono);
            let has_room = self.own.is_some() && self.of(Direction::Outbound, connected) < TARGET;
            if has_room && !is_known && !rests && self.own != Some(*page) && self.may_begin(now) {
                self.calls.push(UnderWay { page: *page, direction: Direction::Outbound, via, since: now.mono });
                self.news.push((*page, Call::Make));
            }
        }
    }

    /// A node does not know the page that was called through it.
    pub(super) fn not_found(&mut self, now: Now, via: PeerId, page: NodeId) {
        let is_call = |call: &UnderWay| call.via == via && call.direction == Direction::Outbound;
        if self.call(&page).is_some_and(is_call) {
            self.rest(now, page);
        }
    }

    /// The driver's browser describes its side of a call.
    pub(super) fn describe(&self, page: NodeId, description: Vec<u8>, out: &mut Outbox) {
        let Some(call) = self.call(&page) else { return };
        let signal = match call.direction {
            Direction::Outbound => Signal::Offer(description),
            Direction::Inbound => Signal::Answer(description),
        };
        out.send(call.via, Message::Signal { page, signal });
    }

    /// An offer or an answer of a page came from a node.
    ///
    /// If both call each other, the call of the one with the smaller id goes on.
    pub(super) fn signal(&mut self, now: Now, via: PeerId, (page, signal): (NodeId, Signal), connected: Connected<'_>) {
        let Some(own) = self.own.filter(|own| *own != page) else { return };
        let known = self.call(&page).map(|call| (call.direction, call.via));
        match (signal, known) {
            (Signal::Answer(description), Some((Direction::Outbound, through))) if through == via => {
                self.news.push((page, Call::Complete(description)));
            }
            (Signal::Answer(_), _) | (Signal::Offer(_), Some((Direction::Inbound, _))) => {}
            (Signal::Offer(_), Some((Direction::Outbound, _))) if own < page => {}
            (Signal::Offer(description), _) => {
                self.end(page);
                let is_connected = connected.iter().any(|(other, _)| *other == page);
                if !is_connected && self.of(Direction::Inbound, connected) < MAX_CALLERS && self.may_begin(now) {
                    self.calls.push(UnderWay { page, direction: Direction::Inbound, via, since: now.mono });
                    self.news.push((page, Call::Take(description)));
                }
            }
        }
    }
}
