//! Lookups of providers for browser pages. A page can dial neither the nodes that keep records nor most of those that they
//! name, for these are reached over TCP. So the node looks up the key in the page's place, asks each provider that is named
//! whether it has the content, and names those that have it to the page, where they take browsers.
//!
//! A page thus dials only nodes that this one has reached and that have proven their ids: a false record costs this node a
//! dial, not the page. The node does this only within bounds, for each page, for each part of the net from which pages come, and for
//! all together.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use super::{ANSWER_RATE, ANSWER_TOKENS, Discovery, Question};
use crate::p2p::bans::Subnet;
use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::search::MAX_PAGE_SEARCHES;
use crate::primitives::time::MonoTime;

/// A page's lookup counts as so many of the questions that a peer may ask: 4 at once, and one more each 16 seconds.
pub const PAGE_LOOKUP_COST: u64 = 16;
/// Most lookups that all pages together begin at once.
pub const PAGES_BURST: u64 = 8;
/// Time after which they begin one more: half of the lookups that a node may begin are left to itself.
pub const PAGES_INTERVAL: Duration = Duration::from_secs(4);
/// Most lookups that pages of one [group](Subnet::group) begin in [`GROUP_INTERVAL`]: half of what all pages may
/// in the long run, and as many as the light client of one page asks for.
pub const MAX_OF_GROUP: usize = 4;
/// See [`MAX_OF_GROUP`].
pub const GROUP_INTERVAL: Duration = Duration::from_secs(32);
/// Most lookups of one group at a time: half of those of all pages.
const MAX_OPEN_OF_GROUP: usize = MAX_PAGE_SEARCHES / 2;
/// Lookups that pages can have begun in [`GROUP_INTERVAL`].
const MAX_BEGUN: usize = PAGES_BURST as usize + GROUP_INTERVAL.as_secs().div_ceil(PAGES_INTERVAL.as_secs()) as usize;
/// Most providers that are asked for one page's question.
pub const MAX_VISITS: usize = 16;
/// Most providers that are named to a page: it asks several nodes, and dials few at a time.
pub const MAX_NAMED: usize = 8;
/// Time after which a page has its answer, whatever is still open.
pub const PAGE_TIMEOUT: Duration = Duration::from_secs(12);
/// Time in which more providers may be found after the first, before the page is answered.
const MORE: Duration = Duration::from_secs(1);
/// Providers found that end a lookup.
const ENOUGH: usize = 3;
/// A token is a millisecond.
const PAGES_TOKENS: u64 = PAGES_INTERVAL.as_millis() as u64;
const PAGES_RATE: Rate = Rate { gain: 1, most: PAGES_BURST * PAGES_TOKENS };

/// A page's question.
#[derive(Debug)]
struct PageLookup {
    number: u64,
    page: PeerId,
    ip: IpAddr,
    key: NodeId,
    /// Providers that were named and are not asked yet.
    waiting: VecDeque<Contact>,
    /// Those that were named, each once.
    named: Vec<Contact>,
    /// Others of the same answers, for visits that are left when the lookup has ended.
    spare: Vec<Contact>,
    /// How many are being asked.
    open: usize,
    /// Those that have the content, where they take browsers.
    found: Vec<Contact>,
    is_looked_up: bool,
    ends: MonoTime,
}

impl PageLookup {
    /// Providers are to be asked.
    fn add(&mut self, providers: &[Contact]) {
        for provider in providers {
            if self.named.len() < MAX_VISITS && !self.named.contains(provider) {
                self.named.push(*provider);
                self.waiting.push_back(*provider);
            }
        }
    }
}

/// All pages' questions, at most one of each page.
#[derive(Debug)]
pub(super) struct ForPages {
    lookups: Vec<PageLookup>,
    allowance: Bucket,
    /// When the last ones began, each with the group of its page.
    begun: VecDeque<(MonoTime, Subnet)>,
}

impl ForPages {
    pub(super) fn new(now: Now) -> Self {
        Self { lookups: Vec::new(), allowance: Bucket::full(now.mono, PAGES_RATE), begun: VecDeque::new() }
    }

    /// Whether a page may begin a lookup now.
    fn may_begin(&mut self, now: Now, (page, ip): (PeerId, IpAddr)) -> bool {
        while self.begun.front().is_some_and(|(at, _)| *at + GROUP_INTERVAL <= now.mono) {
            self.begun.pop_front();
        }
        let group = Subnet::group(ip);
        self.lookups.iter().all(|lookup| lookup.page != page)
            && self.lookups.iter().filter(|lookup| group.contains(lookup.ip)).count() < MAX_OPEN_OF_GROUP
            && self.begun.iter().filter(|(_, other)| *other == group).count() < MAX_OF_GROUP
            && self.allowance.level(now.mono, PAGES_RATE) >= PAGES_TOKENS as i64
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut PageLookup> {
        self.lookups.iter_mut().find(|lookup| lookup.number == number)
    }

    /// What a question is about, if it is still open.
    pub(super) fn key_of(&self, number: u64) -> Option<NodeId> {
        self.lookups.iter().find(|lookup| lookup.number == number).map(|lookup| lookup.key)
    }

    /// An answer named providers. The lookup has taken some of them.
    pub(super) fn named(&mut self, number: u64, providers: Vec<Contact>, taken: &[Contact]) {
        let Some(lookup) = self.get_mut(number) else { return };
        lookup.add(taken);
        let room = MAX_VISITS - lookup.spare.len();
        let others = providers.into_iter().filter(|provider| !lookup.named.contains(provider));
        lookup.spare.extend(others.take(room));
    }

    /// The next provider to ask.
    fn next_visit(&mut self) -> Option<(u64, Contact)> {
        self.lookups.iter_mut().find_map(|lookup| {
            let contact = lookup.waiting.pop_front()?;
            lookup.open += 1;
            Some((lookup.number, contact))
        })
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.lookups.iter().map(|lookup| lookup.ends).min()
    }

    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.lookups.iter_mut().for_each(|lookup| lookup.ends += by);
    }

    /// Panics if a bound is broken.
    pub(super) fn assert_conserved(&self) {
        for lookup in &self.lookups {
            assert!(lookup.named.len() <= MAX_VISITS && lookup.waiting.len() + lookup.open <= MAX_VISITS);
            assert!(lookup.spare.len() <= MAX_VISITS);
        }
        assert!(self.begun.len() <= MAX_BEGUN);
    }
}

impl Discovery {
    /// A page at `ip` asks who has the content of a key. It is answered when that is known, or at once with nothing if too
    /// much is asked at the moment.
    pub(crate) fn on_page_asks(
        &mut self,
        now: Now,
        (page, ip): (PeerId, IpAddr),
        key: NodeId,
        rng: &mut ChaCha20Rng,
        out: &mut Outbox,
    ) {
        let Some(conversation) = self.conversations.get_mut(&page) else { return };
        if !conversation.allowance.take(now.mono, ANSWER_RATE, PAGE_LOOKUP_COST * ANSWER_TOKENS) {
            return out.offence(page, Offence::RequestFlood);
        }
        let may_begin = self.for_pages.may_begin(now, (page, ip));
        let Some(number) = may_begin.then(|| self.searches.add_for_page(key)).flatten() else {
            return out.send(page, Message::Providers { providers: Vec::new(), nearer: Vec::new() });
        };
        let ForPages { lookups, allowance, begun } = &mut self.for_pages;
        allowance.spend(now.mono, PAGES_RATE, PAGES_TOKENS, 0);
        begun.push_back((now.mono, Subnet::group(ip)));
        // This node may be one of those that keep records of the key; half of the visits are left for those that others name.
        let mut known = self.records.get(now.mono, &key, |contact| contact.address.is_valid(), rng);
        known.truncate(MAX_VISITS / 2);
        let mut lookup = PageLookup {
            number,
            page,
            ip,
            key,
            waiting: VecDeque::new(),
            named: Vec::new(),
            spare: Vec::new(),
            open: 0,
            found: Vec::new(),
            is_looked_up: false,
            ends: now.mono + PAGE_TIMEOUT,
        };
        lookup.add(&known);
        lookups.push(lookup);
        self.changed = true;
    }

    /// A page's lookup has ended.
    pub(super) fn on_looked_up(&mut self, now: Now, number: u64) {
        if let Some(lookup) = self.for_pages.get_mut(number) {
            lookup.is_looked_up = true;
            let rest = if lookup.found.is_empty() { 2 * super::QUERY_TIMEOUT } else { MORE };
            lookup.ends = lookup.ends.min(now.mono + rest);
            let spare = std::mem::take(&mut lookup.spare);
            lookup.add(&spare);
        }
        self.changed = true;
    }

    /// A provider has said where it takes browsers, and that it has the content; or it has not, or does not answer.
    pub(super) fn on_visited(&mut self, now: Now, number: u64, found: Option<Contact>) {
        self.changed = true;
        let Some(lookup) = self.for_pages.get_mut(number) else { return };
        lookup.open = lookup.open.saturating_sub(1);
        let is_new = |contact: &Contact| contact.address.is_believable(lookup.ip) && !lookup.found.contains(contact);
        if let Some(contact) = found.filter(is_new) {
            lookup.found.push(contact);
            // The first may lie, so one alone does not end a lookup.
            if lookup.is_looked_up || lookup.found.len() >= ENOUGH {
                lookup.ends = lookup.ends.min(now.mono + MORE);
            }
        }
    }

    /// A connection has ended, perhaps that of a page with a question.
    pub(super) fn forget_page(&mut self, page: PeerId) {
        let Self { for_pages, searches, .. } = self;
        for lookup in for_pages.lookups.extract_if(.., |lookup| lookup.page == page) {
            searches.stop_for_page(lookup.number);
        }
    }

    /// Asks providers that were named, as far as there is room for their connections, and answers pages.
    pub(super) fn advance_for_pages(&mut self, now: Now, out: &mut Outbox) {
        while self.has_room()
            && let Some((number, contact)) = self.for_pages.next_visit()
        {
            if contact.id == self.table.own() {
                self.on_visited(now, number, None);
            } else {
                self.ask(now, Question::Visit(number), contact, out);
            }
        }
        let is_over = |lookup: &mut PageLookup| {
            let is_done = lookup.is_looked_up && lookup.open == 0 && lookup.waiting.is_empty();
            is_done || lookup.found.len() >= MAX_NAMED || lookup.ends <= now.mono
        };
        let Self { for_pages, searches, .. } = self;
        for lookup in for_pages.lookups.extract_if(.., is_over) {
            searches.stop_for_page(lookup.number);
            let mut providers = lookup.found;
            providers.truncate(MAX_NAMED);
            out.send(lookup.page, Message::Providers { providers, nearer: Vec::new() });
        }
    }
}
