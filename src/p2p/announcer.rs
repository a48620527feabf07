//! Announces what this node provides to the nodes nearest to each key, again and again.
//!
//! Keys that are due are gone through in their order, so that neighbours follow each other. A lookup for the first finds the
//! nodes around it, which are also the nearest to all other keys in that neighbourhood: each of these nodes gets its keys in
//! one message. So the number of lookups does not exceed that of keys, nor by much that of neighbourhoods of [`K`] nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::p2p::kad::{Contact, K, NodeId};
use crate::p2p::message::MAX_PROVIDED;
use crate::p2p::providers::{ANNOUNCE_INTERVAL, RECORD_LIFETIME};
use crate::primitives::time::MonoTime;

/// Most keys that a node provides.
pub const MAX_OWN_KEYS: usize = 65_536;
/// Time after which an announcement that no node took is repeated, in a network that may just have begun.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Time in which a node must say that it took an announcement; over a brief connection, that of a query.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Nodes that are told of a key, at most: the [`K`] nearest, and as many more that the lookup asked and that may keep it. If
/// others put their own nodes nearest to the key, it is these more that keep a record.
pub const MAX_TOLD: usize = 2 * K;
/// Nodes of earlier lookups that may be the nearest to a key, too.
const MAX_NEARBY: usize = 4 * K;

/// A key that this node provides.
#[derive(Debug)]
struct Own {
    due: MonoTime,
    /// When it was announced last, if ever.
    announced: Option<MonoTime>,
    /// Until it is taken back; else for one announcement.
    lasting: bool,
}

/// Keys for one node.
#[derive(Debug)]
struct Delivery {
    contact: Contact,
    keys: Vec<NodeId>,
    /// When it was taken from the queue.
    since: Option<MonoTime>,
}

/// An announcement under way.
#[derive(Debug, Default)]
struct Progress {
    open: usize,
    kept: u16,
}

/// An announcement that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) key: NodeId,
    /// How many nodes keep a record of it.
    pub(crate) nodes: u16,
}

/// What this node provides, and its announcements.
#[derive(Debug)]
pub(crate) struct Announcer {
    keys: BTreeMap<NodeId, Own>,
    due: BTreeSet<(MonoTime, NodeId)>,
    /// Keys that are due, in their order.
    sweep: BTreeSet<NodeId>,
    /// Where the sweep goes on.
    next: NodeId,
    /// The target of the lookup under way.
    looking: Option<NodeId>,
    nearby: VecDeque<Contact>,
    deliveries: BTreeMap<u64, Delivery>,
    serial: u64,
    progress: BTreeMap<NodeId, Progress>,
    /// Keys whose owner wants to know.
    watched: BTreeSet<NodeId>,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            due: BTreeSet::new(),
            sweep: BTreeSet::new(),
            next: NodeId([0; 32]),
            looking: None,
            nearby: VecDeque::new(),
            deliveries: BTreeMap::new(),
            serial: 0,
            progress: BTreeMap::new(),
            watched: BTreeSet::new(),
        }
    }

    /// Provides a key from now on. `false` if there are too many.
    pub(crate) fn provide(&mut self, now: MonoTime, key: NodeId) -> bool {
        self.take(now, key, true)
    }

    /// Announces a key now, and once more than by itself if it is provided already; [`Announced`] is reported.
    pub(crate) fn announce(&mut self, now: MonoTime, key: NodeId) -> bool {
        let lasting = self.keys.get(&key).is_some_and(|own| own.lasting);
        if !self.take(now, key, lasting) {
            return false;
        }
        if !self.sweep.contains(&key) && !self.progress.contains_key(&key) {
            self.schedule(key, now);
        }
        self.watched.insert(key);
        true
    }

    fn take(&mut self, now: MonoTime, key: NodeId, lasting: bool) -> bool {
        if let Some(own) = self.keys.get_mut(&key) {
            own.lasting = lasting;
            return true;
        }
        if self.keys.len() >= MAX_OWN_KEYS {
            return false;
        }
        self.keys.insert(key, Own { due: now, announced: None, lasting });
        self.due.insert((now, key));
        true
    }

    /// Provides a key no longer. Records elsewhere expire.
    pub(crate) fn stop(&mut self, key: &NodeId) {
        if let Some(own) = self.keys.remove(key) {
            self.due.remove(&(own.due, *key));
            self.sweep.remove(key);
        }
    }

    /// Whether this node says that it has the content of a key.
    pub(crate) fn provides(&self, now: MonoTime, key: &NodeId) -> bool {
        let is_fresh = |own: &Own| own.lasting || own.announced.is_none_or(|at| at + RECORD_LIFETIME > now);
        self.keys.get(key).is_some_and(is_fresh)
    }

    /// Whether the owner wants to know when a key is announced.
    pub(crate) fn is_awaited(&self, key: &NodeId) -> bool {
        self.watched.contains(key)
    }

    /// How many keys it provides.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    fn schedule(&mut self, key: NodeId, at: MonoTime) {
        if let Some(own) = self.keys.get_mut(&key) {
            self.due.remove(&(own.due, key));
            own.due = at;
            self.due.insert((at, key));
        }
    }

    /// What to look up next: nothing while one lookup is under way, or many nodes wait to be told.
    pub(crate) fn next_target(&mut self, now: MonoTime) -> Option<NodeId> {
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key));
            let is_over = self.keys.get(&key).is_some_and(|own| !own.lasting && own.announced.is_some());
            if is_over && !self.watched.contains(&key) {
                self.keys.remove(&key);
            } else {
                self.sweep.insert(key);
            }
        }
        if self.looking.is_some() || self.deliveries.len() >= MAX_NEARBY {
            return None;
        }
        let target = self.sweep.range(self.next..).next().or_else(|| self.sweep.first()).copied()?;
        self.looking = Some(target);
        Some(target)
    }

    /// The lookup found these nodes, nearest first, at most [`MAX_TOLD`]. Returns announcements that ended because there is no node to tell.
    pub(crate) fn found(&mut self, now: MonoTime, nodes: &[Contact]) -> Vec<Announced> {
        let Some(target) = self.looking.take() else { return Vec::new() };
        // All nodes nearer than this are known, so the nearest to a key that near are among them or around.
        let bits = match nodes.get(K - 1) {
            Some(last) => last.id.distance(&target).bucket().map_or(0, u16::from),
            None => 256,
        };
        let (first, last) = target.neighbourhood(bits);
        let batch: Vec<NodeId> = self
            .sweep
            .range(target.max(first)..=last)
            .chain(self.sweep.range(first..target))
            .copied()
            .take(MAX_PROVIDED)
            .collect();
        self.nearby.retain(|known| nodes.iter().all(|node| node.id != known.id));
        self.nearby.extend(nodes);
        while self.nearby.len() > MAX_NEARBY {
            self.nearby.pop_front();
        }
        let mut lists: BTreeMap<NodeId, Delivery> = BTreeMap::new();
        let mut nearest: Vec<Contact> = self.nearby.iter().copied().collect();
        let mut ended = Vec::new();
        for key in batch {
            self.sweep.remove(&key);
            self.next = key;
            // It was taken back and provided again meanwhile.
            if self.progress.contains_key(&key) {
                self.schedule(key, now + RETRY_INTERVAL);
                continue;
            }
            if nodes.is_empty() {
                ended.extend(self.ended(now, key, 0));
                continue;
            }
            nearest.sort_unstable_by_key(|contact| contact.id.distance(&key));
            let chosen = &nearest[..nearest.len().min(MAX_TOLD)];
            self.progress.insert(key, Progress { open: chosen.len(), kept: 0 });
            for contact in chosen {
                let new = || Delivery { contact: *contact, keys: Vec::new(), since: None };
                lists.entry(contact.id).or_insert_with(new).keys.push(key);
            }
        }
        for delivery in lists.into_values() {
            self.serial += 1;
            self.deliveries.insert(self.serial, delivery);
        }
        ended
    }

    /// The next node to tell, and the number of what it is told.
    pub(crate) fn next_delivery(&mut self, now: MonoTime) -> Option<(u64, Contact)> {
        let (number, delivery) = self.deliveries.iter_mut().find(|(_, delivery)| delivery.since.is_none())?;
        delivery.since = Some(now);
        Some((*number, delivery.contact))
    }

    /// What a node is told.
    pub(crate) fn keys_of(&self, number: u64) -> Option<&[NodeId]> {
        self.deliveries.get(&number).map(|delivery| &delivery.keys[..])
    }

    /// A node took an announcement and keeps so many of its keys: none if it was not reached. Returns what ended.
    pub(crate) fn delivered(&mut self, now: MonoTime, number: u64, kept: u16) -> Vec<Announced> {
        let Some(delivery) = self.deliveries.remove(&number) else { return Vec::new() };
        // It does not say which it refused; it is asked for few that it would.
        let is_kept = usize::from(kept) * 2 >= delivery.keys.len() && kept > 0;
        let mut ended = Vec::new();
        for key in delivery.keys {
            let Some(progress) = self.progress.get_mut(&key) else { continue };
            progress.open -= 1;
            progress.kept += u16::from(is_kept);
            if progress.open == 0 {
                let nodes = progress.kept;
                self.progress.remove(&key);
                ended.extend(self.ended(now, key, nodes));
            }
        }
        ended
    }

    fn ended(&mut self, now: MonoTime, key: NodeId, nodes: u16) -> Option<Announced> {
        let at = now + if nodes > 0 { ANNOUNCE_INTERVAL } else { RETRY_INTERVAL };
        if let Some(own) = self.keys.get_mut(&key) {
            if nodes > 0 {
                own.announced = Some(now);
            }
            // What was announced once is remembered as long as the records of it.
            let at = if own.lasting || nodes == 0 { at } else { now + RECORD_LIFETIME };
            self.schedule(key, at);
        }
        self.watched.remove(&key).then_some(Announced { key, nodes })
    }

    /// Nodes that did not answer in time count as not reached. Returns what ended.
    pub(crate) fn tick(&mut self, now: MonoTime) -> Vec<Announced> {
        let is_late = |delivery: &Delivery| delivery.since.is_some_and(|since| since + DELIVERY_TIMEOUT <= now);
        let late: Vec<u64> =
            self.deliveries.iter().filter(|(_, delivery)| is_late(delivery)).map(|(number, _)| *number).collect();
        late.into_iter().flat_map(|number| self.delivered(now, number, 0)).collect()
    }

    /// When there is something to do, if there are nodes to tell.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let late = self.deliveries.values().filter_map(|delivery| Some(delivery.since? + DELIVERY_TIMEOUT));
        let due = self.due.first().map(|(at, _)| *at);
        late.chain(due).min()
    }

    /// Extend all deadlines by a span.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        for Delivery { since, contact: _, keys: _ } in self.deliveries.values_mut() {
            if let Some(since) = since {
                *since += by;
            }
        }
    }

    /// Panics if an announcement is lost or counted twice.
    pub(crate) fn assert_conserved(&self) {
        assert!(self.keys.len() <= MAX_OWN_KEYS && self.deliveries.len() <= 2 * MAX_NEARBY);
        let open: usize = self.progress.values().map(|progress| progress.open).sum();
        assert_eq!(open, self.deliveries.values().map(|delivery| delivery.keys.len()).sum::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> NodeId {
        NodeId::of_content(&n.to_le_bytes())
    }

    fn network(nodes: u32) -> Vec<Contact> {
        (0..nodes).map(|n| Contact { id: key(n + 1_000_000), address: ([10, 0, 0, 1], 7331).into() }).collect()
    }

    fn nearest(all: &[Contact], target: &NodeId) -> Vec<Contact> {
        let mut sorted = all.to_vec();
        sorted.sort_by_key(|contact| contact.id.distance(target));
        sorted.truncate(K);
        sorted
    }

    /// Announces what is due; nodes that `lives` does not select are not reached. Lookups, messages, and who was told what.
    fn sweep(
        announcer: &mut Announcer,
        now: MonoTime,
        all: &[Contact],
        lives: impl Fn(&Contact) -> bool,
    ) -> (usize, usize, BTreeMap<NodeId, BTreeSet<NodeId>>) {
        let (mut lookups, mut messages, mut told) = (0, 0, BTreeMap::<NodeId, BTreeSet<NodeId>>::new());
        while let Some(target) = announcer.next_target(now) {
            lookups += 1;
            announcer.found(now, &nearest(all, &target));
            announcer.assert_conserved();
            while let Some((number, contact)) = announcer.next_delivery(now) {
                messages += 1;
                let keys = announcer.keys_of(number).unwrap().to_vec();
                assert!(keys.len() <= MAX_PROVIDED);
                let kept = if lives(&contact) { keys.len() as u16 } else { 0 };
                for key in keys.into_iter().filter(|_| kept > 0) {
                    assert!(told.entry(key).or_default().insert(contact.id), "told twice");
                }
                announcer.delivered(now, number, kept);
            }
        }
        (lookups, messages, told)
    }

    #[test]
    fn many_keys_share_lookups_and_messages() {
        for (nodes, keys, most_lookups) in [(10, 5_000, 5), (400, 5_000, 120), (4_000, 200, 200)] {
            let all = network(nodes);
            let mut announcer = Announcer::new();
            assert!((0..keys).all(|n| announcer.provide(MonoTime::START, key(n))));
            let (lookups, messages, told) = sweep(&mut announcer, MonoTime::START, &all, |_| true);
            assert!(lookups <= most_lookups, "{nodes} nodes, {keys} keys: {lookups} lookups");
            assert!(messages <= lookups * MAX_NEARBY.min(nodes as usize), "{messages} messages");
            assert_eq!(told.len(), keys as usize, "every key is announced");
            let hits: usize = told
                .iter()
                .map(|(key, nodes)| nearest(&all, key).iter().filter(|contact| nodes.contains(&contact.id)).count())
                .sum();
            let share = hits as f64 / (told.len() * K.min(nodes as usize)) as f64;
            println!("{nodes} nodes, {keys} keys: {lookups} lookups, {messages} messages, {share:.3} of the nearest");
            assert!(share > 0.85, "{share} of the nearest are told");
        }
    }

    #[test]
    fn keys_are_announced_again_in_time() {
        let all = network(30);
        let mut announcer = Announcer::new();
        announcer.provide(MonoTime::START, key(1));
        assert_eq!(sweep(&mut announcer, MonoTime::START, &all, |_| true).0, 1);
        assert_eq!(announcer.deadline(), Some(MonoTime::START + ANNOUNCE_INTERVAL));
        assert_eq!(announcer.next_target(MonoTime::START + ANNOUNCE_INTERVAL / 2), None);
        let again = MonoTime::START + ANNOUNCE_INTERVAL;
        assert_eq!(sweep(&mut announcer, again, &all, |_| false).0, 1);
        assert_eq!(announcer.deadline(), Some(again + RETRY_INTERVAL), "no node was reached");
        announcer.stop(&key(1));
        assert_eq!((announcer.deadline(), announcer.len()), (None, 0));
    }

    #[test]
    fn one_announcement_is_reported_and_forgotten() {
        let (now, all) = (MonoTime::START, network(3));
        let mut announcer = Announcer::new();
        assert!(announcer.announce(now, key(1)));
        let target = announcer.next_target(now).unwrap();
        announcer.found(now, &nearest(&all, &target));
        let mut ended = Vec::new();
        while let Some((number, contact)) = announcer.next_delivery(now) {
            ended.extend(announcer.delivered(now, number, u16::from(contact.id != all[0].id)));
        }
        assert_eq!(ended, [Announced { key: key(1), nodes: 2 }]);
        assert!(announcer.provides(now, &key(1)));
        let later = now + RECORD_LIFETIME;
        assert!(!announcer.provides(later, &key(1)));
        assert_eq!((announcer.next_target(later), announcer.len()), (None, 0));
    }

    #[test]
    fn silent_nodes_hold_up_no_announcement() {
        let now = MonoTime::START;
        let mut announcer = Announcer::new();
        announcer.announce(now, key(1));
        announcer.next_target(now).unwrap();
        assert_eq!(announcer.found(now, &network(2)), []);
        while announcer.next_delivery(now).is_some() {}
        let late = now + DELIVERY_TIMEOUT;
        assert_eq!(announcer.tick(now), []);
        assert_eq!(announcer.tick(late), [Announced { key: key(1), nodes: 0 }]);
        announcer.assert_conserved();
    }

    #[test]
    fn without_nodes_it_is_tried_again() {
        let now = MonoTime::START;
        let mut announcer = Announcer::new();
        announcer.announce(now, key(1));
        announcer.next_target(now).unwrap();
        assert_eq!(announcer.found(now, &[]), [Announced { key: key(1), nodes: 0 }]);
        assert_eq!(announcer.deadline(), Some(now + RETRY_INTERVAL));
    }
}
