//! Scheduling of lookups, and the outcomes of their queries.

use std::collections::{BTreeMap, VecDeque};
use std::mem::discriminant;
use std::time::Duration;

use crate::p2p::announcer::MAX_TOLD;
use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::kad::{ALPHA, CONTENT_PATHS, Contact, K, Lookup, MAX_HINTS_PER_SUBNET, NodeId, Table, subnet};
use crate::p2p::providers::MAX_PROVIDERS;
use crate::primitives::time::MonoTime;

/// Most lookups under way; one of the owner's may be beside them.
pub const MAX_SEARCHES: usize = 3;
/// Most lookups that wait for their turn.
pub const MAX_WAITING: usize = 64;
/// Most lookups under way or waiting that the owner asked for.
pub const MAX_OWNER_SEARCHES: usize = 8;
/// Most lookups under way or waiting that browser pages asked for.
pub const MAX_PAGE_SEARCHES: usize = 4;
/// Most providers that a page's lookup takes from one answer at first, so that one liar does not take the places of all others.
pub const MAX_OF_ANSWER: usize = 2;
/// Time after which a page's lookup ends: its person waits, and other lookups may wait for its place.
pub const PAGE_SEARCH_TIMEOUT: Duration = Duration::from_secs(8);
/// Time after which a lookup ends with what it has found: a dozen time-outs in a row.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Most lookups begun at once: one for each bucket that is not empty among millions of nodes, and some for the owner.
pub const SEARCH_BURST: u64 = 32;
/// Time after which one more may begin. A lookup asks no node twice, so this bounds the queries to any peer, at half of
/// what it answers ([`super::discovery::ANSWER_BURST`]).
pub const SEARCH_INTERVAL: Duration = Duration::from_secs(2);

/// A token is a millisecond: a lookup takes an interval.
const LOOKUP_TOKENS: u64 = SEARCH_INTERVAL.as_millis() as u64;
const SEARCH_RATE: Rate = Rate { gain: 1, most: SEARCH_BURST * LOOKUP_TOKENS };

/// The outcome of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not answered yet.
    Open,
    /// It answered.
    Answered {
        /// How many nodes it told of.
        told: usize,
    },
    /// It did not answer in time.
    Late,
    /// It could not be reached, had another id, or disconnected without an answer.
    Failed,
}

/// One query of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The node.
    pub contact: Contact,
    /// Length of the chain of queries that led to it, itself included.
    pub hop: u32,
    /// When, counted from the start of the lookup.
    pub at: Duration,
    /// How long it took until the outcome; `None` while it is open.
    pub took: Option<Duration>,
    /// Its outcome.
    pub outcome: Outcome,
}

/// What a lookup asks nodes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The nodes nearest to an id.
    Nodes,
    /// These, and the providers of the content whose key the id is.
    Providers,
}

/// Whom a lookup is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// The table of contacts.
    Table,
    /// The node's owner, who was given this number.
    Owner(u64),
    /// [`Announcer`](crate::p2p::announcer::Announcer).
    Announcer {
        /// Whether the owner waits for what is announced.
        is_awaited: bool,
    },
    /// [`archive`](crate::p2p::archive).
    Archive,
    /// A browser page, whose question has this number.
    Page(u64),
}

impl Client {
    fn number(self) -> Option<u64> {
        match self {
            Self::Owner(number) => Some(number),
            Self::Table | Self::Announcer { .. } | Self::Archive | Self::Page(_) => None,
        }
    }

    /// Its place in the order in which lookups begin.
    fn turn(self) -> u8 {
        match self {
            Self::Owner(_) => 0,
            Self::Announcer { is_awaited: true } => 1,
            Self::Page(_) => 2,
            Self::Table | Self::Announcer { is_awaited: false } | Self::Archive => 3,
        }
    }
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The number given to the owner who asked for it; `None` for the node's own lookups.
    pub number: Option<u64>,
    /// What was asked for.
    pub purpose: Purpose,
    /// Providers that were named, in the order in which they were; at most [`MAX_PROVIDERS`]. Any node can name any.
    pub providers: Vec<Contact>,
    /// Nodes that named themselves.
    pub keepers: Vec<NodeId>,
    /// The target id.
    pub target: NodeId,
    /// The nodes that answered and are nearest to it, the nearest first; at most [`K`], or for an announcement [`MAX_TOLD`].
    pub nodes: Vec<Contact>,
    /// The queries, in order.
    pub path: Vec<Step>,
    /// How long it took from its turn to its end.
    pub took: Duration,
    /// Whether it ended by itself, not by its time-out.
    pub complete: bool,
}

#[derive(Debug)]
struct Search {
    lookup: Lookup,
    client: Client,
    purpose: Purpose,
    providers: Vec<Contact>,
    keepers: Vec<NodeId>,
    started_at: MonoTime,
    /// Its time-out.
    ends: MonoTime,
    path: Vec<Step>,
}

impl Search {
    fn close(&mut self, now: MonoTime, id: &NodeId, outcome: Outcome) {
        let started_at = self.started_at;
        if let Some(step) = self.path.iter_mut().find(|step| step.contact.id == *id) {
            step.outcome = outcome;
            step.took = Some(now.saturating_since(started_at + step.at));
        }
    }
}

/// All lookups.
#[derive(Debug)]
pub(crate) struct Searches {
    under_way: BTreeMap<u64, Search>,
    /// In the order of their [turns](Client::turn).
    waiting: VecDeque<(NodeId, Client, Purpose)>,
    allowance: Bucket,
    next: u64,
}

impl Searches {
    pub(crate) fn new(now: MonoTime) -> Self {
        let allowance = Bucket::full(now, SEARCH_RATE);
        Self { under_way: BTreeMap::new(), waiting: VecDeque::new(), allowance, next: 0 }
    }

    /// For whom the lookups are that are under way or wait.
    fn clients(&self) -> impl Iterator<Item = Client> {
        let waiting = self.waiting.iter().map(|(_, client, _)| *client);
        self.under_way.values().map(|search| search.client).chain(waiting)
    }

    /// A lookup waits for its turn.
    fn enqueue(&mut self, target: NodeId, client: Client, purpose: Purpose) {
        let at = self.waiting.partition_point(|(_, other, _)| other.turn() <= client.turn());
        self.waiting.insert(at, (target, client, purpose));
    }

    /// A lookup with a number, or `None` if there are `most` for clients of the same kind.
    fn add_numbered(
        &mut self,
        client: fn(u64) -> Client,
        most: usize,
        (target, purpose): (NodeId, Purpose),
    ) -> Option<u64> {
        let number = self.next;
        let client = client(number);
        let is_alike = |other: &Client| discriminant(other) == discriminant(&client);
        if self.clients().filter(is_alike).count() >= most {
            return None;
        }
        self.next += 1;
        self.enqueue(target, client, purpose);
        Some(number)
    }

    /// A lookup for the node's own purposes, unless one for the same id waits or too many do.
    pub(crate) fn add(&mut self, target: NodeId) {
        if self.waiting.len() < MAX_WAITING && !self.waiting.iter().any(|(waiting, ..)| *waiting == target) {
            self.enqueue(target, Client::Table, Purpose::Nodes);
        }
    }

    /// A lookup for the announcer, which makes one at a time.
    pub(crate) fn add_for_announcer(&mut self, target: NodeId, is_awaited: bool) {
        self.enqueue(target, Client::Announcer { is_awaited }, Purpose::Nodes);
    }

    /// A lookup of providers of a run of old blocks, unless too many wait.
    pub(crate) fn add_for_archive(&mut self, key: NodeId) {
        if self.waiting.len() < MAX_WAITING {
            self.enqueue(key, Client::Archive, Purpose::Providers);
        }
    }

    /// A lookup for the owner: its number, or `None` if there are too many.
    pub(crate) fn add_for_owner(&mut self, target: NodeId, purpose: Purpose) -> Option<u64> {
        self.add_numbered(Client::Owner, MAX_OWNER_SEARCHES, (target, purpose))
    }

    /// A lookup of providers for a page: its number, or `None` if pages have too many.
    pub(crate) fn add_for_page(&mut self, key: NodeId) -> Option<u64> {
        self.add_numbered(Client::Page, MAX_PAGE_SEARCHES, (key, Purpose::Providers))
    }

    /// Ends a page's lookup, whose result is not needed any more.
    pub(crate) fn stop_for_page(&mut self, number: u64) {
        self.under_way.retain(|_, search| search.client != Client::Page(number));
        self.waiting.retain(|(_, client, _)| *client != Client::Page(number));
    }

    /// Whether no lookup for the table is under way or waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.clients().all(|client| client != Client::Table)
    }

    /// Whether another may be under way. The owner's first does not wait for those of the node itself.
    fn has_room(&self) -> bool {
        let is_owners = |client: Client| client.number().is_some();
        let is_first = self.waiting.front().is_some_and(|(_, client, _)| is_owners(*client))
            && !self.under_way.values().any(|search| is_owners(search.client));
        self.under_way.len() < MAX_SEARCHES + usize::from(is_first)
    }

    /// Begins those whose turn it is.
    pub(crate) fn begin(&mut self, now: MonoTime, table: &mut Table) {
        while self.has_room() && !self.waiting.is_empty() && self.allowance.take(now, SEARCH_RATE, LOOKUP_TOKENS) {
            let Some((target, client, purpose)) = self.waiting.pop_front() else { return };
            table.record_lookup(now, &target);
            let paths = match (client, purpose) {
                (Client::Announcer { .. }, _) | (_, Purpose::Providers) => CONTENT_PATHS,
                (Client::Table | Client::Owner(_) | Client::Archive | Client::Page(_), Purpose::Nodes) => 1,
            };
            let timeout = if matches!(client, Client::Page(_)) { PAGE_SEARCH_TIMEOUT } else { SEARCH_TIMEOUT };
            let lookup = Lookup::along(paths, table.own(), target, K, ALPHA, table.closest(&target, K));
            let key = self.next;
            self.next += 1;
            self.under_way.insert(
                key,
                Search {
                    lookup,
                    client,
                    purpose,
                    providers: Vec::new(),
                    keepers: Vec::new(),
                    started_at: now,
                    ends: now + timeout,
                    path: Vec::new(),
                },
            );
        }
    }

    /// The next query: its search, what it asks for, and whom.
    pub(crate) fn ask(&mut self, now: MonoTime) -> Option<(u64, Purpose, Contact)> {
        self.under_way.iter_mut().find_map(|(key, search)| {
            let contact = search.lookup.ask(now)?;
            let (hop, at) = (search.lookup.hop(&contact.id).unwrap_or(1), now.saturating_since(search.started_at));
            search.path.push(Step { contact, hop, at, took: None, outcome: Outcome::Open });
            Some((*key, search.purpose, contact))
        })
    }

    /// The target of a search and what it asks for, if it is under way.
    pub(crate) fn target(&self, key: u64) -> Option<(NodeId, Purpose)> {
        self.under_way.get(&key).map(|search| (search.lookup.target(), search.purpose))
    }

    /// A node named providers. Returns those that were taken and not named before, and whom the lookup is for.
    pub(crate) fn named(&mut self, key: u64, providers: &[Contact]) -> (Option<Client>, Vec<Contact>) {
        let Some(search) = self.under_way.get_mut(&key) else { return (None, Vec::new()) };
        let most = if let Client::Page(_) = search.client { MAX_OF_ANSWER } else { usize::MAX };
        let mut new = Vec::new();
        for provider in providers {
            let known = &search.providers;
            // By address, too: or a liar could name an honest provider at another's address first, and so hide it.
            let is_crowded = subnet(provider.address.ip()).is_some_and(|part| {
                known.iter().filter(|other| part.contains(other.address.ip())).count() >= MAX_HINTS_PER_SUBNET
            });
            if new.len() < most && known.len() < MAX_PROVIDERS && !known.contains(provider) && !is_crowded {
                search.providers.push(*provider);
                new.push(*provider);
            }
        }
        (Some(search.client), new)
    }

    /// A node that was asked says that it is a provider itself.
    pub(crate) fn keeps(&mut self, key: u64, id: NodeId) {
        if let Some(search) = self.under_way.get_mut(&key) {
            search.keepers.push(id);
        }
    }

    pub(crate) fn answered(&mut self, now: MonoTime, key: u64, id: &NodeId, told: &[Contact]) {
        if let Some(search) = self.under_way.get_mut(&key)
            && search.lookup.answered(id, told)
        {
            search.close(now, id, Outcome::Answered { told: told.len() });
        }
    }

    pub(crate) fn failed(&mut self, now: MonoTime, key: u64, id: &NodeId) {
        if let Some(search) = self.under_way.get_mut(&key) {
            search.lookup.failed(id);
            search.close(now, id, Outcome::Failed);
        }
    }

    /// Times out queries, and removes and returns the lookups that ended.
    pub(crate) fn tick(&mut self, now: MonoTime) -> Vec<(Client, Found)> {
        let mut ended = Vec::new();
        for (key, search) in &mut self.under_way {
            for late in search.lookup.tick(now) {
                search.close(now, &late.id, Outcome::Late);
            }
            if search.lookup.is_done() || search.ends <= now {
                ended.push(*key);
            }
        }
        let found = |search: Search| {
            let found = Found {
                number: search.client.number(),
                purpose: search.purpose,
                providers: search.providers,
                keepers: search.keepers,
                target: search.lookup.target(),
                nodes: match search.client {
                    Client::Announcer { .. } => search.lookup.nearest(MAX_TOLD).copied().collect(),
                    Client::Table | Client::Owner(_) | Client::Archive | Client::Page(_) => {
                        search.lookup.found().copied().collect()
                    }
                },
                took: now.saturating_since(search.started_at),
                complete: search.lookup.is_done(),
                path: search.path,
            };
            (search.client, found)
        };
        ended.iter().filter_map(|key| self.under_way.remove(key)).map(found).collect()
    }

    /// Extend all deadlines by a span. The time that a question took tells the owner of this node's delay, too.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        for Search { lookup, ends, started_at: _, client: _, purpose: _, providers: _, keepers: _, path: _ } in
            self.under_way.values_mut()
        {
            lookup.extend_deadlines(by);
            *ends += by;
        }
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let ends = |search: &Search| search.lookup.deadline().map_or(search.ends, |late| late.min(search.ends));
        let room = self.has_room() && !self.waiting.is_empty();
        let next = room.then(|| self.allowance.when(SEARCH_RATE, LOOKUP_TOKENS));
        self.under_way.values().map(ends).chain(next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that has just joined has many lookups of its own to make.
    #[test]
    fn what_the_owner_waits_for_goes_first() {
        let (now, key) = (MonoTime::START, |n: u8| NodeId([n; 32]));
        let mut table = Table::new(key(0), K);
        table.answered(now, Contact { id: key(9), address: ([10, 0, 0, 1], 7331).into() });
        let mut searches = Searches::new(now);
        (10..20).for_each(|n| searches.add(key(n)));
        searches.begin(now, &mut table);
        let clients = |searches: &Searches| searches.under_way.values().map(|one| one.client).collect::<Vec<_>>();
        assert_eq!(clients(&searches), [Client::Table; MAX_SEARCHES]);
        searches.add_for_announcer(key(30), false);
        assert!(searches.add_for_page(key(40)).is_some());
        searches.add_for_announcer(key(31), true);
        assert!(searches.add_for_page(key(41)).is_some());
        let numbers = [1, 2].map(|n| searches.add_for_owner(key(n), Purpose::Providers));
        searches.begin(now, &mut table);
        let owner = Client::Owner(numbers[0].unwrap());
        assert_eq!(clients(&searches)[MAX_SEARCHES..], [owner], "one more, and only for the owner");
        let waiting: Vec<NodeId> = searches.waiting.iter().map(|(target, ..)| *target).collect();
        let (first, last) = ([key(2), key(31), key(40), key(41), key(13)], key(30));
        assert_eq!((&waiting[..5], waiting.last()), (&first[..], Some(&last)));
        // The bounds of owner and pages are apart.
        let pages = (0..10).filter_map(|n| searches.add_for_page(key(50 + n))).count();
        let owners = (0..10).filter_map(|n| searches.add_for_owner(key(60 + n), Purpose::Nodes)).count();
        assert_eq!((pages, owners), (MAX_PAGE_SEARCHES - 2, MAX_OWNER_SEARCHES - 2));
    }
}
