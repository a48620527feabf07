//! Scheduling of lookups, and the outcomes of their queries.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::kad::{ALPHA, Contact, K, Lookup, NodeId, Table};
use crate::primitives::time::MonoTime;

/// Most lookups under way.
pub const MAX_SEARCHES: usize = 3;
/// Most lookups that wait for their turn.
pub const MAX_WAITING: usize = 64;
/// Most lookups under way or waiting that the owner asked for.
pub const MAX_OWNER_SEARCHES: usize = 8;
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

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The number given to the owner who asked for it; `None` for the node's own lookups.
    pub number: Option<u64>,
    /// The target id.
    pub target: NodeId,
    /// The nodes that answered and are nearest to it, the nearest first; at most [`K`].
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
    owner_number: Option<u64>,
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
    waiting: VecDeque<(NodeId, Option<u64>)>,
    allowance: Bucket,
    next: u64,
}

impl Searches {
    pub(crate) fn new(now: MonoTime) -> Self {
        let allowance = Bucket::full(now, SEARCH_RATE);
        Self { under_way: BTreeMap::new(), waiting: VecDeque::new(), allowance, next: 0 }
    }

    fn owner_searches(&self) -> usize {
        let under_way = self.under_way.values().map(|search| search.owner_number);
        under_way.chain(self.waiting.iter().map(|(_, number)| *number)).flatten().count()
    }

    /// A lookup for the node's own purposes, unless one for the same id waits or too many do.
    pub(crate) fn add(&mut self, target: NodeId) {
        if self.waiting.len() < MAX_WAITING && !self.waiting.iter().any(|(waiting, _)| *waiting == target) {
            self.waiting.push_back((target, None));
        }
    }

    /// A lookup for the owner, before all others: its number, or `None` if there are too many.
    pub(crate) fn add_for_owner(&mut self, target: NodeId) -> Option<u64> {
        if self.owner_searches() >= MAX_OWNER_SEARCHES {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let at = self.waiting.iter().take_while(|(_, number)| number.is_some()).count();
        self.waiting.insert(at, (target, Some(number)));
        Some(number)
    }

    /// Whether no lookup of the node's own is under way or waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.values().all(|search| search.owner_number.is_some())
    }

    /// Begins those whose turn it is.
    pub(crate) fn begin(&mut self, now: MonoTime, table: &mut Table) {
        while self.under_way.len() < MAX_SEARCHES
            && !self.waiting.is_empty()
            && self.allowance.take(now, SEARCH_RATE, LOOKUP_TOKENS)
        {
            let Some((target, owner_number)) = self.waiting.pop_front() else { return };
            table.record_lookup(now, &target);
            let lookup = Lookup::new(table.own(), target, K, ALPHA, table.closest(&target, K));
            let key = self.next;
            self.next += 1;
            self.under_way.insert(
                key,
                Search { lookup, owner_number, started_at: now, ends: now + SEARCH_TIMEOUT, path: Vec::new() },
            );
        }
    }

    /// The next query: its search, target and contact.
    pub(crate) fn ask(&mut self, now: MonoTime) -> Option<(u64, NodeId, Contact)> {
        self.under_way.iter_mut().find_map(|(key, search)| {
            let contact = search.lookup.ask(now)?;
            let (hop, at) = (search.lookup.hop(&contact.id).unwrap_or(1), now.saturating_since(search.started_at));
            search.path.push(Step { contact, hop, at, took: None, outcome: Outcome::Open });
            Some((*key, search.lookup.target(), contact))
        })
    }

    /// The target of a search, if it is under way.
    pub(crate) fn target(&self, key: u64) -> Option<NodeId> {
        self.under_way.get(&key).map(|search| search.lookup.target())
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
    pub(crate) fn tick(&mut self, now: MonoTime) -> Vec<Found> {
        let mut ended = Vec::new();
        for (key, search) in &mut self.under_way {
            for late in search.lookup.tick(now) {
                search.close(now, &late.id, Outcome::Late);
            }
            if search.lookup.is_done() || search.ends <= now {
                ended.push(*key);
            }
        }
        let found = |search: Search| Found {
            number: search.owner_number,
            target: search.lookup.target(),
            nodes: search.lookup.found().copied().collect(),
            took: now.saturating_since(search.started_at),
            complete: search.lookup.is_done(),
            path: search.path,
        };
        ended.iter().filter_map(|key| self.under_way.remove(key)).map(found).collect()
    }

    /// Extend all deadlines by a span. The time that a question took tells the owner of this node's delay, too.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        for Search { lookup, ends, started_at: _, owner_number: _, path: _ } in self.under_way.values_mut() {
            lookup.extend_deadlines(by);
            *ends += by;
        }
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let ends = |search: &Search| search.lookup.deadline().map_or(search.ends, |late| late.min(search.ends));
        let room = self.under_way.len() < MAX_SEARCHES && !self.waiting.is_empty();
        let next = room.then(|| self.allowance.when(SEARCH_RATE, LOOKUP_TOKENS));
        self.under_way.values().map(ends).chain(next).min()
    }
}
