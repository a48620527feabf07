//! A network that grows by joins alone, loses a quarter of its nodes, and heals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn::p2p::PeerAddr;
use cairn::p2p::kad::{ALPHA, Contact, Insertion, K, Lookup, NodeId, REFRESH_INTERVAL, Table};
use cairn::primitives::time::MonoTime;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Milliseconds from one join to the next.
const JOIN_INTERVAL: Duration = Duration::from_secs(10);

struct Network {
    rng: ChaCha20Rng,
    now: MonoTime,
    tables: BTreeMap<NodeId, Table>,
    /// Those that answer, in the order in which they joined.
    living: Vec<Contact>,
}

impl Network {
    fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: MonoTime::START,
            tables: BTreeMap::new(),
            living: Vec::new(),
        }
    }

    fn lives(&self, contact: &Contact) -> bool {
        self.living.contains(contact)
    }

    /// A node hears from another. If a full bucket has no room for it, an old contact of the bucket is pinged.
    fn meet(&mut self, node: NodeId, other: Contact) {
        let Some(table) = self.tables.get_mut(&node) else { return };
        if let Insertion::Full { ping: Some(oldest) } = table.answered(self.now, other) {
            let lives = self.living.contains(&oldest);
            if lives {
                table.answered(self.now, oldest);
            } else {
                table.failed(&oldest);
            }
        }
    }

    fn look(&mut self, source: Contact, target: NodeId) -> Vec<Contact> {
        let table = self.tables.get_mut(&source.id).unwrap();
        table.record_lookup(self.now, &target);
        let mut lookup = Lookup::new(source.id, target, K, ALPHA, table.closest(&target, K));
        while !lookup.is_done() {
            let contact = lookup.ask(self.now).unwrap();
            if self.lives(&contact) {
                lookup.answered(&contact.id, &self.tables[&contact.id].closest(&target, K));
                self.meet(source.id, contact);
                self.meet(contact.id, source);
            } else {
                lookup.failed(&contact.id);
                self.tables.get_mut(&source.id).unwrap().failed(&contact);
            }
        }
        lookup.found().copied().collect()
    }

    /// Refreshes all buckets that had no recent lookup.
    fn refresh(&mut self, node: Contact) {
        for bucket in self.tables[&node.id].stale(self.now) {
            let target = node.id.random_in(bucket, &mut self.rng);
            self.look(node, target);
        }
    }

    /// A node joins that knows one other: it looks up itself, then refreshes all its buckets.
    fn join(&mut self) {
        self.now += JOIN_INTERVAL;
        let id = NodeId::random(&mut self.rng);
        let number = self.tables.len() as u32;
        let node = Contact { id, address: PeerAddr::from(((0x0a00_0001 + number).to_be_bytes(), 7331)) };
        self.tables.insert(id, Table::new(id, K));
        if let Some(first) = self.living.choose(&mut self.rng).copied() {
            self.meet(id, first);
            self.look(node, id);
            self.refresh(node);
        }
        self.living.push(node);
        // It answers from now on, so those it met may keep it.
        let met: Vec<Contact> = self.tables[&id].contacts().copied().collect();
        met.into_iter().for_each(|other| self.meet(other.id, node));
    }

    /// The part of the nearest 16 that lookups by random nodes find.
    fn found(&mut self, lookups: usize) -> f64 {
        let (mut found, mut findable) = (0, 0);
        for _ in 0..lookups {
            let (source, target) = (*self.living.choose(&mut self.rng).unwrap(), NodeId::random(&mut self.rng));
            let mut truth: Vec<Contact> = self.living.iter().filter(|node| **node != source).copied().collect();
            truth.sort_unstable_by_key(|node| node.id.distance(&target));
            truth.truncate(K);
            let got: BTreeSet<NodeId> = self.look(source, target).iter().map(|node| node.id).collect();
            found += truth.iter().filter(|node| got.contains(&node.id)).count();
            findable += truth.len();
        }
        found as f64 / findable as f64
    }

    /// The part of all places in the tables of living nodes that dead ones hold.
    fn dead_places(&self) -> f64 {
        let tables = || self.living.iter().map(|node| &self.tables[&node.id]);
        let all: usize = tables().map(Table::len).sum();
        let dead: usize = tables().map(|table| table.contacts().filter(|other| !self.lives(other)).count()).sum();
        dead as f64 / all as f64
    }
}

#[test]
fn a_network_grows_by_joins_and_heals() {
    let mut network = Network::new(1);
    (0..200).for_each(|_| network.join());
    let found = network.found(100);
    assert!(found > 0.99, "of the nearest nodes only {found} are found");

    // A quarter leaves at once. An hour later every node refreshes its buckets, and notices.
    let dead = network.living.len() / 4;
    for _ in 0..dead {
        let one = network.rng.random_range(0..network.living.len());
        network.living.swap_remove(one);
    }
    let before = network.dead_places();
    assert!((0.15..0.35).contains(&before), "{before}");
    network.now += REFRESH_INTERVAL;
    for node in network.living.clone() {
        network.refresh(node);
    }
    let (found, after) = (network.found(100), network.dead_places());
    assert!(found > 0.99, "of the nearest nodes only {found} are found");
    assert!(after < before, "the dead had {before} of all places, and have {after}");
}
