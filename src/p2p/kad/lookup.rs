//! An iterative lookup of the nodes nearest to an id.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::p2p::kad::table::subnet;
use crate::p2p::kad::{Contact, Distance, NodeId};
use crate::primitives::time::MonoTime;

/// Most candidates of a lookup, in multiples of `k`; it asks no more, however many nearer ids a liar invents.
pub const CANDIDATES_PER_PLACE: usize = 16;
/// Most candidates of one part of the public net that have not failed: 24 bits of IPv4, 48 of IPv6.
pub const MAX_HINTS_PER_SUBNET: usize = 2;
/// Hints of one node that failed, from which on its others are dropped if more failed than answered: as many as are asked at a
/// time, so that a node that invents ids costs one time-out.
pub const MAX_FALSE_HINTS: usize = 3;
/// Time in which an answer must come before others are asked instead.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A contact named it.
    Named,
    /// It was asked, at this time.
    Asked(MonoTime),
    /// It answered.
    Answered,
    /// It did not, or not in time.
    Failed,
}

#[derive(Debug, Clone)]
struct Candidate {
    contact: Contact,
    /// Length of the chain of queries that led to it, itself included.
    hops: u32,
    /// The path that it belongs to: that of the node that named it first.
    path: usize,
    /// Which node that was, by distance from the target; `None` for this node itself.
    source: Option<Distance>,
    state: State,
}

/// A lookup. Query the contacts that [`Lookup::ask`] returns and report the results, until [`Lookup::is_done`].
///
/// It is done when the `k` nearest candidates that have not failed have answered. An answer adds at most `k`
/// candidates; these are hints, queried in turn, and count as found only after they answer themselves. Hints of a node that
/// mostly fail are dropped.
///
/// Its queries are made in turn along `paths`, which begin at different contacts and have no node in common (S/Kademlia,
/// section 4.4). So a liar, who can fill the list of nearest candidates with its own, decides what is asked on its path only.
#[derive(Debug, Clone)]
pub struct Lookup {
    own: NodeId,
    target: NodeId,
    k: usize,
    alpha: usize,
    paths: usize,
    /// The path that is asked next.
    turn: usize,
    /// By distance from the target.
    candidates: BTreeMap<Distance, Candidate>,
    in_flight: usize,
}

impl Lookup {
    /// A lookup by the node `own` for the `k` nodes nearest to `target`, which asks `alpha` at a time and starts with those of
    /// its own table that are nearest ([`super::Table::closest`]). It has one path.
    pub fn new(own: NodeId, target: NodeId, k: usize, alpha: usize, start: impl IntoIterator<Item = Contact>) -> Self {
        Self::along(1, own, target, k, alpha, start)
    }

    /// The same along so many paths, at least one.
    pub fn along(
        paths: usize,
        own: NodeId,
        target: NodeId,
        k: usize,
        alpha: usize,
        start: impl IntoIterator<Item = Contact>,
    ) -> Self {
        let paths = paths.max(1);
        let mut lookup = Self { own, target, k, alpha, paths, turn: 0, candidates: BTreeMap::new(), in_flight: 0 };
        start.into_iter().enumerate().for_each(|(at, contact)| lookup.add(contact, 1, at % paths, None));
        lookup
    }

    /// What is looked for.
    pub fn target(&self) -> NodeId {
        self.target
    }

    fn add(&mut self, contact: Contact, hops: u32, path: usize, source: Option<Distance>) {
        let distance = contact.id.distance(&self.target);
        if contact.id == self.own || self.candidates.contains_key(&distance) {
            return;
        }
        if let Some(part) = subnet(contact.address.ip()) {
            let same = |other: &&Candidate| other.state != State::Failed && part.contains(other.contact.address.ip());
            if self.candidates.values().filter(same).count() >= MAX_HINTS_PER_SUBNET {
                return;
            }
        }
        self.candidates.insert(distance, Candidate { contact, hops, path, source, state: State::Named });
        if self.candidates.len() > CANDIDATES_PER_PLACE * self.k {
            let farthest = self.candidates.iter().rfind(|(_, candidate)| candidate.state == State::Named);
            if let Some(farthest) = farthest.map(|(distance, _)| *distance) {
                self.candidates.remove(&farthest);
            }
        }
    }

    /// The nearest candidate of a path that can be asked. If all of its nearest that have not failed answered, there is none.
    fn next_of(&mut self, path: usize) -> Option<&mut Candidate> {
        let open = |candidate: &&mut Candidate| candidate.path == path && candidate.state != State::Failed;
        let mut front = self.candidates.values_mut().filter(open).take(self.k);
        front.find(|candidate| candidate.state == State::Named)
    }

    /// The next contact to query; `None` if enough queries are open.
    pub fn ask(&mut self, now: MonoTime) -> Option<Contact> {
        if self.in_flight >= self.alpha {
            return None;
        }
        let paths = self.paths;
        let turns = (self.turn..).take(paths).map(|turn| turn % paths);
        for path in turns {
            if let Some(next) = self.next_of(path) {
                next.state = State::Asked(now);
                let contact = next.contact;
                self.in_flight += 1;
                self.turn = path + 1;
                return Some(contact);
            }
        }
        None
    }

    /// Length of the chain of queries that led to a candidate, itself included.
    pub fn hop(&self, id: &NodeId) -> Option<u32> {
        self.candidates.get(&id.distance(&self.target)).map(|candidate| candidate.hops)
    }

    /// One that was asked answered, if late, with contacts nearest to the target that it says it knows. `false` if it was not
    /// asked, or had answered.
    pub fn answered(&mut self, id: &NodeId, told: &[Contact]) -> bool {
        let Some(candidate) = self.candidates.get_mut(&id.distance(&self.target)) else { return false };
        match candidate.state {
            State::Named | State::Answered => return false,
            State::Asked(_) => self.in_flight -= 1,
            State::Failed => {}
        }
        candidate.state = State::Answered;
        let (ip, hops, path) = (candidate.contact.address.ip(), candidate.hops.saturating_add(1), candidate.path);
        let source = Some(id.distance(&self.target));
        for contact in told.iter().take(self.k).filter(|contact| contact.address.is_believable(ip)) {
            self.add(*contact, hops, path, source);
        }
        true
    }

    /// A queried candidate could not be reached, or has another id.
    pub fn failed(&mut self, id: &NodeId) {
        if let Some(candidate) = self.candidates.get_mut(&id.distance(&self.target))
            && matches!(candidate.state, State::Asked(_))
        {
            candidate.state = State::Failed;
            self.in_flight -= 1;
            let source = candidate.source;
            self.doubt(source);
        }
    }

    /// A hint failed: drops the others of its source that were not asked, if that names more false ones than true ones.
    fn doubt(&mut self, source: Option<Distance>) {
        if source.is_none() {
            return;
        }
        let (mut failed, mut answered) = (0, 0);
        for candidate in self.candidates.values().filter(|candidate| candidate.source == source) {
            match candidate.state {
                State::Failed => failed += 1,
                State::Answered => answered += 1,
                State::Named | State::Asked(_) => {}
            }
        }
        if failed >= MAX_FALSE_HINTS && failed > answered {
            self.candidates.retain(|_, candidate| candidate.source != source || candidate.state != State::Named);
        }
    }

    /// Returns the candidates that timed out, which count as failed.
    pub fn tick(&mut self, now: MonoTime) -> Vec<Contact> {
        let late = |state: State| matches!(state, State::Asked(at) if at + QUERY_TIMEOUT <= now);
        let (mut failed, mut sources) = (Vec::new(), Vec::new());
        for candidate in self.candidates.values_mut().filter(|candidate| late(candidate.state)) {
            candidate.state = State::Failed;
            failed.push(candidate.contact);
            sources.push(candidate.source);
        }
        self.in_flight -= failed.len();
        sources.into_iter().for_each(|source| self.doubt(source));
        failed
    }

    /// Extend all deadlines by a span.
    pub fn extend_deadlines(&mut self, by: Duration) {
        for Candidate { state, contact: _, hops: _, path: _, source: _ } in self.candidates.values_mut() {
            match state {
                State::Asked(at) => *at += by,
                State::Named | State::Answered | State::Failed => {}
            }
        }
    }

    /// When the first of those asked has not answered in time.
    pub fn deadline(&self) -> Option<MonoTime> {
        let asked = self.candidates.values().filter_map(|candidate| match candidate.state {
            State::Asked(at) => Some(at + QUERY_TIMEOUT),
            State::Named | State::Answered | State::Failed => None,
        });
        asked.min()
    }

    /// Whether the lookup has ended.
    pub fn is_done(&self) -> bool {
        let open = self.candidates.values().filter(|candidate| candidate.state != State::Failed);
        open.take(self.k).all(|candidate| candidate.state == State::Answered)
    }

    /// The nearest to the target that answered, at most `k`, the nearest first.
    pub fn found(&self) -> impl Iterator<Item = &Contact> {
        self.nearest(self.k)
    }

    /// The same, at most `count`.
    pub fn nearest(&self, count: usize) -> impl Iterator<Item = &Contact> {
        self.answers().map(|candidate| &candidate.contact).take(count)
    }

    /// Length of the chain of queries that led to the nearest node, itself included; `None` if no node answered.
    pub fn hops(&self) -> Option<u32> {
        self.answers().next().map(|candidate| candidate.hops)
    }

    fn answers(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.values().filter(|candidate| candidate.state == State::Answered)
    }

    /// How many are known of, asked or not; never more than [`CANDIDATES_PER_PLACE`] times `k`.
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }
}
