//! Node discovery: the table of contacts, updated by connections, and lookups.
//!
//! A query goes to a connected peer, or over a *brief* connection, dialled with a required id and closed shortly after
//! the answer. A node that completes the handshake at a dialled address has answered and may enter the table. Addresses
//! that peers announce, also their own, are hints until they are dialled.
//!
//! A node looks up its own id when it knows the first contact, and again at growing intervals; then it refreshes
//! buckets without a lookup for an hour (sections 2.3 and 2.4 of the Kademlia paper, see [`super::kad`]).
//!
//! The same connections carry questions for providers of content, and announcements of them.

mod dials;
mod for_pages;
mod provide;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use self::dials::PendingDial;
pub use self::dials::{MAX_LATE_DIALS, MAX_PENDING_DIALS};
use self::for_pages::ForPages;
pub use self::for_pages::{
    GROUP_INTERVAL, MAX_NAMED, MAX_OF_GROUP, MAX_VISITS, PAGE_LOOKUP_COST, PAGE_TIMEOUT, PAGES_BURST, PAGES_INTERVAL,
};
use crate::p2p::announcer::Announcer;
use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::interface::Event;
use crate::p2p::kad::{Contact, Insertion, K, NodeId, QUERY_TIMEOUT, REFRESH_INTERVAL, Table};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::providers::Records;
use crate::p2p::search::{Client, Found, Purpose, Searches};
use crate::primitives::time::MonoTime;

/// Most queries of a peer answered in a burst.
pub const ANSWER_BURST: u64 = 64;
/// Time after which one more is answered.
pub const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// A token is a millisecond: an answer takes an interval.
const ANSWER_TOKENS: u64 = ANSWER_INTERVAL.as_millis() as u64;
const ANSWER_RATE: Rate = Rate { gain: 1, most: ANSWER_BURST * ANSWER_TOKENS };
/// Most announcements of a peer taken in a burst: all keys that a node may have, if it has no other neighbours.
pub const ANNOUNCEMENT_BURST: u64 = 128;
/// The same time after which one more is taken; an announcer makes at most one for each lookup.
const ANNOUNCEMENT_RATE: Rate = Rate { gain: 1, most: ANNOUNCEMENT_BURST * ANSWER_TOKENS };
/// Time between two removals of expired records, which are not used anyway.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);
/// Most contacts that wait for a check.
pub const MAX_UNCHECKED: usize = 64;
/// Time for which a brief connection without an open question is kept, for lookups often ask the same nodes.
const LINGER: Duration = Duration::from_secs(1);
/// Longest duration of a brief connection.
pub const BRIEF_TIMEOUT: Duration = Duration::from_secs(15);
/// Time from the first lookup for the own id to the next; doubled each time, up to [`REFRESH_INTERVAL`]. Nodes that
/// join together with many others find them this way.
const SECOND_LOOK_WAIT: Duration = Duration::from_secs(3);

/// A question to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// A search's, for nodes.
    Nodes(u64),
    /// A search's, for providers and nodes.
    Providers(u64),
    /// To keep records: the announcer's number.
    Delivery(u64),
    /// Whether it has what a page looks for: the number of the page's question.
    Visit(u64),
}

/// A connection that has said hello.
#[derive(Debug)]
struct Conversation {
    contact: Option<Contact>,
    /// Where it takes browsers.
    browsers_at: Option<PeerAddr>,
    id: NodeId,
    direction: Direction,
    brief: bool,
    /// The questions that it has not answered, in the order in which they were asked.
    open: VecDeque<Question>,
    /// How many of its questions are answered.
    allowance: Bucket,
    /// How many of its announcements are taken.
    announcements: Bucket,
    since: MonoTime,
    /// When it last answered, or was asked without an open question: since then it is idle or silent.
    last: MonoTime,
}

impl Conversation {
    /// When to close its connection, if it is brief.
    fn end(&self) -> Option<MonoTime> {
        let end = self.since + BRIEF_TIMEOUT;
        // The dialling side closes it.
        let patience = if self.open.is_empty() { LINGER } else { QUERY_TIMEOUT };
        self.brief.then(|| if self.is_own_brief() { end.min(self.last + patience) } else { end })
    }

    /// Whether this node dialled it for a query, a check or a feeler.
    fn is_own_brief(&self) -> bool {
        self.brief && self.direction == Direction::Outbound
    }
}

/// A connection that has completed the handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakeInfo {
    pub(crate) id: NodeId,
    pub(crate) listens_at: Option<PeerAddr>,
    pub(crate) browsers_at: Option<PeerAddr>,
    pub(crate) direction: Direction,
    pub(crate) brief: bool,
}

/// The table, lookups, and open queries.
#[derive(Debug)]
pub(crate) struct Discovery {
    table: Table,
    searches: Searches,
    /// What this node provides.
    announcer: Announcer,
    /// What others provide.
    records: Records,
    /// When expired records are removed next.
    next_expiry: MonoTime,
    conversations: BTreeMap<PeerId, Conversation>,
    pending_dials: BTreeMap<PeerAddr, PendingDial>,
    /// Contacts to be checked.
    to_check: VecDeque<Contact>,
    /// Lookups of runs of old blocks that have ended.
    archives: Vec<Found>,
    /// What browser pages look for.
    for_pages: ForPages,
    /// Addresses to dial.
    dials: Vec<(PeerAddr, Option<NodeId>)>,
    next_refresh: MonoTime,
    refresh_wait: Duration,
    /// Whether to refresh stale buckets after the lookup of the own id.
    refresh: bool,
    /// Whether something has happened since [`Discovery::advance`].
    changed: bool,
}

impl Discovery {
    /// Of a node that knows `contacts` from an earlier run, those heard of last at the end.
    pub(crate) fn new(now: Now, own: NodeId, contacts: impl IntoIterator<Item = Contact>) -> Self {
        let mut table = Table::new(own, K);
        for contact in contacts {
            // They answered in an earlier run; queries will show whether they still do.
            table.answered(MonoTime::START, contact);
        }
        Self {
            table,
            searches: Searches::new(now.mono),
            announcer: Announcer::new(),
            records: Records::default(),
            next_expiry: now.mono + EXPIRY_INTERVAL,
            conversations: BTreeMap::new(),
            pending_dials: BTreeMap::new(),
            to_check: VecDeque::new(),
            archives: Vec::new(),
            for_pages: ForPages::new(now),
            dials: Vec::new(),
            next_refresh: now.mono,
            refresh_wait: SECOND_LOOK_WAIT,
            refresh: false,
            changed: true,
        }
    }

    /// The table of contacts.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Looks for the nodes nearest to an id; [`Event::NodesFound`] has the number that is answered. `None` if too many such
    /// lookups are under way.
    pub(crate) fn look_for(&mut self, target: NodeId) -> Option<u64> {
        self.changed = true;
        self.searches.add_for_owner(target, Purpose::Nodes)
    }

    /// A dialled node has proven its id.
    pub(crate) fn on_reachable(&mut self, now: Now, contact: Contact) {
        self.changed = true;
        if let Insertion::Full { ping: Some(oldest) } = self.table.answered(now.mono, contact) {
            if self.conversations.values().any(|conversation| conversation.contact == Some(oldest)) {
                self.table.answered(now.mono, oldest);
            } else {
                self.check(oldest);
            }
        }
    }

    fn check(&mut self, contact: Contact) {
        if self.to_check.len() < MAX_UNCHECKED && !self.to_check.contains(&contact) {
            self.to_check.push_back(contact);
        }
    }

    /// A connection has said hello.
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId, handshake: HandshakeInfo, out: &mut Outbox) {
        let HandshakeInfo { id, listens_at, browsers_at, direction, brief } = handshake;
        let contact = listens_at.map(|address| Contact { id, address });
        let conversation = Conversation {
            contact,
            browsers_at,
            id,
            direction,
            brief,
            open: VecDeque::new(),
            allowance: Bucket::full(now.mono, ANSWER_RATE),
            announcements: Bucket::full(now.mono, ANNOUNCEMENT_RATE),
            since: now.mono,
            last: now.mono,
        };
        self.conversations.insert(peer, conversation);
        self.changed = true;
        let Some(contact) = contact else { return };
        match direction {
            Direction::Outbound => {
                self.on_reachable(now, contact);
                self.send_queries(now, peer, &contact, out);
            }
            Direction::Inbound => self.check_if_new(contact),
        }
    }

    /// Dialling shows whether a node that dialled this one listens where it says, which is worthwhile if the table has room.
    fn check_if_new(&mut self, contact: Contact) {
        if self.table.has_room(&contact.id) && !self.table.knows(&contact.address) {
            self.check(contact);
        }
    }

    fn question(&mut self, now: Now, peer: PeerId, question: Question, out: &mut Outbox) {
        let message = match question {
            Question::Nodes(key) | Question::Providers(key) => match self.searches.target(key) {
                Some((target, Purpose::Nodes)) => Message::FindNode { target },
                Some((key, Purpose::Providers)) => Message::GetProviders { key },
                None => return,
            },
            Question::Visit(number) => match self.for_pages.key_of(number) {
                Some(key) => Message::GetProviders { key },
                None => return,
            },
            Question::Delivery(number) => match self.announcer.keys_of(number) {
                Some(keys) => Message::AddProvider(keys.to_vec()),
                None => return,
            },
        };
        if let Some(conversation) = self.conversations.get_mut(&peer) {
            if conversation.open.is_empty() {
                conversation.last = now.mono;
            }
            conversation.open.push_back(question);
            out.send(peer, message);
        }
    }

    /// A question has no answer.
    fn unanswered(&mut self, now: Now, question: Question, id: &NodeId, out: &mut Outbox) {
        match question {
            Question::Nodes(key) | Question::Providers(key) => self.searches.failed(now.mono, key, id),
            Question::Delivery(number) => self.delivered(now, number, 0, out),
            Question::Visit(number) => self.on_visited(now, number, None),
        }
    }

    /// Connections that have said hello, in order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.conversations.keys().copied()
    }

    pub(crate) fn disconnected(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        let Some(conversation) = self.conversations.remove(&peer) else { return };
        self.changed = true;
        conversation.open.into_iter().for_each(|question| self.unanswered(now, question, &conversation.id, out));
        self.forget_page(peer);
    }

    /// A peer at `ip` asks for the contacts nearest to an id.
    ///
    /// A browser gets `for_browser`, the nodes that it can dial: the table has none, for it has each node at the address that
    /// this node dials.
    pub(crate) fn on_find_node(
        &mut self,
        now: Now,
        (peer, ip): (PeerId, IpAddr),
        (target, for_browser): (NodeId, Option<Vec<Contact>>),
        out: &mut Outbox,
    ) {
        let Some(nearer) = self.answer(now, (peer, ip), target, out) else { return };
        let fit = |mut contacts: Vec<Contact>| {
            contacts.retain(|contact| contact.address.is_believable(ip));
            contacts.truncate(K);
            contacts
        };
        out.send(peer, Message::Nodes(for_browser.map_or(nearer, fit)));
    }

    /// The contacts nearest to an id, unless the peer asks too much.
    fn answer(
        &mut self,
        now: Now,
        (peer, ip): (PeerId, IpAddr),
        target: NodeId,
        out: &mut Outbox,
    ) -> Option<Vec<Contact>> {
        let conversation = self.conversations.get_mut(&peer)?;
        if !conversation.allowance.take(now.mono, ANSWER_RATE, ANSWER_TOKENS) {
            out.offence(peer, Offence::RequestFlood);
            return None;
        }
        // It knows itself, and a public peer would not accept private addresses.
        let id = conversation.id;
        let fit = |contact: &Contact| contact.id != id && contact.address.is_believable(ip);
        Some(self.table.closest_of(&target, K, fit))
    }

    /// A peer names nodes. `false` if it was not asked.
    pub(crate) fn on_nodes(&mut self, now: Now, peer: PeerId, contacts: &[Contact], out: &mut Outbox) -> bool {
        let is_right = |question: &Question| matches!(question, Question::Nodes(_));
        let Some((Question::Nodes(key), id)) = self.answered(now, peer, is_right, out) else { return false };
        self.searches.answered(now.mono, key, &id, contacts);
        true
    }

    /// A peer answers: the question, and its id. An answer that does not fit the first open question is an offence.
    fn answered(
        &mut self,
        now: Now,
        peer: PeerId,
        is_right: impl Fn(&Question) -> bool,
        out: &mut Outbox,
    ) -> Option<(Question, NodeId)> {
        let conversation = self.conversations.get_mut(&peer)?;
        if !conversation.open.front().is_some_and(is_right) {
            out.offence(peer, Offence::UnrequestedNodes);
            return None;
        }
        let question = conversation.open.pop_front()?;
        conversation.last = now.mono;
        let (id, dialled_by, contact) = (conversation.id, conversation.direction, conversation.contact);
        self.changed = true;
        // It was asked because others know it, and so its first check may have failed for a passing reason.
        if let (Direction::Inbound, Some(contact)) = (dialled_by, contact) {
            self.check_if_new(contact);
        }
        Some((question, id))
    }

    /// Whether there may be something to [`Discovery::advance`] with.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Timers may be due.
    pub(crate) fn tick(&mut self) {
        self.changed = true;
    }

    /// Advances lookups, checks and brief connections.
    pub(crate) fn advance(&mut self, now: Now, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        // Instead of nodes that are late, others are asked at once.
        self.end_lookups(now, out);
        let is_over = |conversation: &Conversation| conversation.end().is_some_and(|end| end <= now.mono);
        let over = self.conversations.iter().filter(|(_, conversation)| is_over(conversation));
        for peer in over.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.close(now, peer, out);
        }
        self.expire_dials(now, out);
        self.expire(now, out);
        self.refresh_buckets(now, rng);
        loop {
            self.look_around(now);
            self.searches.begin(now.mono, &mut self.table);
            while self.has_room()
                && let Some((key, purpose, contact)) = self.searches.ask(now.mono)
            {
                let question = match purpose {
                    Purpose::Nodes => Question::Nodes(key),
                    Purpose::Providers => Question::Providers(key),
                };
                self.ask(now, question, contact, out);
            }
            if !self.end_lookups(now, out) {
                break;
            }
        }
        self.deliver(now, out);
        self.advance_for_pages(now, out);
        self.dial_checks(now, out);
        self.changed = false;
    }

    /// Takes note of late questions, and reports the lookups that have ended. Whether there were any.
    fn end_lookups(&mut self, now: Now, out: &mut Outbox) -> bool {
        let ended = self.searches.tick(now.mono);
        let is_any = !ended.is_empty();
        ended.into_iter().for_each(|(client, found)| self.report_lookup(now, client, found, out));
        is_any
    }

    /// Looks up the own id when due, and then refreshes stale buckets.
    fn refresh_buckets(&mut self, now: Now, rng: &mut ChaCha20Rng) {
        if self.table.is_empty() || !self.searches.is_idle() {
            return;
        }
        let own = self.table.own();
        if self.next_refresh <= now.mono {
            // Distant nodes may have joined, too.
            self.searches.add(own);
            self.searches.add(NodeId::random(rng));
            self.next_refresh = now.mono + self.refresh_wait;
            self.refresh_wait = (2 * self.refresh_wait).min(REFRESH_INTERVAL);
            self.refresh = true;
        } else if std::mem::take(&mut self.refresh) {
            let stale = self.table.stale(now.mono);
            stale.into_iter().for_each(|bucket| self.searches.add(own.random_in(bucket, rng)));
        }
    }

    fn report_lookup(&mut self, now: Now, client: Client, found: Found, out: &mut Outbox) {
        let Found { target, took, complete, .. } = &found;
        let (asked, nodes) = (found.path.len(), found.nodes.len());
        tracing::debug!(%target, asked, nodes, ?took, complete, "lookup");
        match client {
            Client::Table => {}
            Client::Owner(_) => out.event(Event::NodesFound(Arc::new(found))),
            Client::Announcer { .. } => self.found_around(now, &found, out),
            Client::Archive => self.archives.push(found),
            Client::Page(number) => self.on_looked_up(now, number),
        }
    }

    /// Extend all deadlines by a span.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        let Self {
            searches,
            announcer,
            conversations,
            pending_dials,
            for_pages,
            records: _,
            next_expiry: _,
            table: _,
            to_check: _,
            archives: _,
            dials: _,
            next_refresh: _,
            refresh_wait: _,
            refresh: _,
            changed: _,
        } = self;
        searches.extend_deadlines(by);
        announcer.extend_deadlines(by);
        for_pages.extend_deadlines(by);
        for Conversation {
            since,
            last,
            contact: _,
            browsers_at: _,
            id: _,
            direction: _,
            brief: _,
            open: _,
            allowance: _,
            announcements: _,
        } in conversations.values_mut()
        {
            *since += by;
            *last += by;
        }
        pending_dials.values_mut().for_each(|call| call.extend_deadline(by));
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let ends = self.conversations.values().filter_map(Conversation::end);
        let pending_dials = self.pending_dials.values().map(PendingDial::deadline);
        let look = (!self.table.is_empty() && self.searches.is_idle()).then_some(if self.refresh {
            MonoTime::START
        } else {
            self.next_refresh
        });
        let announcements = self.announcer.deadline().filter(|_| !self.table.is_empty());
        let own = [self.searches.deadline(), look, announcements, self.for_pages.deadline(), Some(self.next_expiry)];
        ends.chain(pending_dials).chain(own.into_iter().flatten()).min()
    }
}
