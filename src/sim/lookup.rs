//! Lookups in a very large network: how many queries it takes to find one node of a million.
//!
//! Every node's table is filled by [`Table`] itself, then kept as no more than numbers of nodes, so that a million fit
//! in memory; every lookup is a [`Lookup`], over wires of random latency. The contacts of a node are drawn at random
//! from all nodes at each distance, as in a network that has run for a while; the dead were alive when they were met.
//! Each node and each lookup draws from a generator of its own, so results do not depend on how many threads there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::generator;
use super::summary::{Summary, share};
use super::units::draw_between;
use crate::p2p::PeerAddr;
use crate::p2p::kad::{Contact, Insertion, Lookup, NodeId, Table, bucket_order};
use crate::p2p::reach::is_public;
use crate::primitives::time::MonoTime;

/// Shortest and longest time from a question to its answer.
const ROUND_TRIP: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(300)];
/// Most draws for each place in a bucket, if many nodes are refused a place.
const MAX_DRAWS_PER_PLACE: usize = 4;
/// Generators: for the nodes' tables, then for the lookups, then one for all else.
const TABLES: u64 = 1;
const LOOKUPS: u64 = 2;
const DEATHS: u64 = 3;

/// The network in which ids are looked up, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookupSetup {
    /// How many nodes there are.
    pub nodes: u32,
    /// How many lookups are made, each by a random node for a random id.
    pub lookups: u32,
    /// Places in a bucket, and contacts in an answer; at most 255.
    pub k: u8,
    /// How many a lookup asks at a time.
    pub alpha: u8,
    /// The part of all nodes, from 0 to 1, that do not answer, though others still have them in their tables.
    pub dead: f64,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookupReport {
    /// The setup that these figures are for.
    #[serde(flatten)]
    pub setup: LookupSetup,
    /// Length of the chain of queries that led to the nearest node, itself included.
    pub hops: Summary,
    /// Questions and answers of a lookup together.
    pub messages: Summary,
    /// Milliseconds that a lookup took, time-outs included.
    pub millis: Summary,
    /// The part of the lookups that found the node nearest of all that live.
    pub success: f64,
    /// The part of the `k` nearest of all that live that was found.
    pub found: f64,
    /// Contacts in a node's table.
    pub table: Summary,
}

/// A node's table, as numbers of nodes.
pub(super) struct Contacts {
    /// All contacts, from the nearest bucket to the farthest.
    nodes: Box<[u32]>,
    /// Numbers and sizes of the buckets.
    buckets: Box<[(u8, u8)]>,
}

/// One lookup's figures.
struct Trial {
    hops: u32,
    messages: u64,
    millis: u64,
    nearest: bool,
    found: usize,
    findable: usize,
}

/// The nodes of the network.
pub(super) struct Net<'a> {
    setup: &'a LookupSetup,
    /// Ids of all nodes, ascending; a node's number is its place here.
    pub(super) ids: Vec<NodeId>,
    dead: Vec<bool>,
}

/// What a lookup cost.
pub(super) struct Driven {
    /// Questions and answers together.
    pub(super) messages: u64,
    /// When it ended, counted from its beginning.
    pub(super) end: MonoTime,
}

/// An answer on its way.
pub(super) struct Answering<'a> {
    /// Of this node.
    pub(super) id: &'a NodeId,
    /// Length of the chain of queries that led to it, itself included.
    pub(super) hop: u32,
    /// When it arrives.
    pub(super) at: MonoTime,
    /// Questions and answers so far, this one included.
    pub(super) messages: u64,
}

/// Carries out a lookup until its end, or until `ends`: nodes that are not up do not answer, the others `answer` with contacts.
pub(super) fn drive(
    lookup: &mut Lookup,
    ends: Option<MonoTime>,
    rng: &mut ChaCha20Rng,
    is_up: impl Fn(&NodeId) -> bool,
    mut answer: impl FnMut(Answering, &mut ChaCha20Rng) -> Vec<Contact>,
) -> Driven {
    let (mut now, mut messages) = (MonoTime::START, 0);
    let mut answers: BinaryHeap<Reverse<(MonoTime, NodeId)>> = BinaryHeap::new();
    loop {
        while let Some(contact) = lookup.ask(now) {
            messages += 1;
            if is_up(&contact.id) {
                let [least, most] = ROUND_TRIP;
                answers.push(Reverse((now + draw_between(least, most, rng), contact.id)));
            }
        }
        if lookup.is_done() {
            break;
        }
        let answered = answers.peek().map(|Reverse((at, _))| *at);
        let next = answered.into_iter().chain(lookup.deadline()).min();
        let Some(next) = next.filter(|next| ends.is_none_or(|ends| *next < ends)) else {
            now = ends.unwrap_or(now);
            break;
        };
        now = next;
        if answered.is_some_and(|at| at <= next) {
            let Some(Reverse((at, id))) = answers.pop() else { break };
            messages += 1;
            let hop = lookup.hop(&id).unwrap_or(0);
            let told = answer(Answering { id: &id, hop, at, messages }, rng);
            lookup.answered(&id, &told);
        } else {
            lookup.tick(now);
        }
    }
    Driven { messages, end: now }
}

/// A table as numbers of nodes; `met` names all of them.
fn compact(table: &Table, met: &[(NodeId, u32)]) -> Contacts {
    let number = |id: &NodeId| met.binary_search_by_key(id, |(id, _)| *id).ok().map(|at| met[at].1);
    Contacts {
        nodes: table.contacts().filter_map(|contact| number(&contact.id)).collect(),
        buckets: table.sizes().map(|(number, size)| (number, size as u8)).collect(),
    }
}

/// The tables of all nodes. `progress` is told of each.
pub(super) fn tables(net: &Net, progress: &(dyn Fn() + Sync)) -> Vec<Contacts> {
    let compact = |node| {
        let (table, met) = net.table(node);
        compact(&table, &met)
    };
    (0..net.setup.nodes).into_par_iter().map(compact).inspect(|_| progress()).collect()
}

/// Makes the network and the lookups. `progress` is told of each of `nodes` + `lookups` steps as it is done.
pub fn run(setup: &LookupSetup, progress: &(dyn Fn() + Sync)) -> LookupReport {
    let net = Net::new(setup);
    let tables = tables(&net, progress);
    let trial = |number| net.trial(number, &tables);
    let trials: Vec<Trial> =
        (0..setup.lookups).into_par_iter().map(trial).inspect(|_| progress()).flatten_iter().collect();
    let findable: usize = trials.iter().map(|trial| trial.findable).sum();
    let found: usize = trials.iter().map(|trial| trial.found).sum();
    let nearest = trials.iter().filter(|trial| trial.nearest).count();
    LookupReport {
        setup: setup.clone(),
        hops: Summary::of(trials.iter().map(|trial| u64::from(trial.hops))),
        messages: Summary::of(trials.iter().map(|trial| trial.messages)),
        millis: Summary::of(trials.iter().map(|trial| trial.millis)),
        success: share(nearest as u64, u64::from(setup.lookups)),
        found: share(found as u64, findable as u64),
        table: Summary::of(tables.iter().map(|table| table.nodes.len() as u64)),
    }
}

impl<'a> Net<'a> {
    pub(super) fn new(setup: &'a LookupSetup) -> Self {
        let key = |number: u32| [setup.seed.to_le_bytes(), u64::from(number).to_le_bytes()].concat();
        let mut ids: Vec<NodeId> =
            (0..setup.nodes).into_par_iter().map(|number| NodeId(Sha256::digest(key(number)).into())).collect();
        ids.par_sort_unstable();
        let count = (f64::from(setup.nodes) * setup.dead).round() as usize;
        let mut dead: Vec<bool> = (0..ids.len()).map(|number| number < count).collect();
        dead.shuffle(&mut generator(setup.seed, DEATHS, 0));
        Self { setup, ids, dead }
    }

    /// A node with its address, which is somewhere in the public net.
    pub(super) fn contact(&self, node: u32) -> Contact {
        let id = self.ids[node as usize];
        // From the end of the id, which says nothing of where the node stands.
        let mut bits = u32::from_be_bytes([id.0[28], id.0[29], id.0[30], id.0[31]]);
        while !is_public(Ipv4Addr::from_bits(bits).into()) {
            bits = bits.wrapping_mul(0x9e37_79b1).wrapping_add(1);
        }
        Contact { id, address: PeerAddr::from((Ipv4Addr::from_bits(bits), 7331)) }
    }

    pub(super) fn number_of(&self, id: &NodeId) -> Option<u32> {
        self.ids.binary_search(id).ok().map(|number| number as u32)
    }

    /// Splits a range of ids that agree above a bit into those without and those with it.
    fn split(&self, range: &Range<usize>, bit: u8) -> [Range<usize>; 2] {
        let has_bit = |id: &NodeId| NodeId([0; 32]).distance(id).bit(bit);
        let middle = range.start + self.ids[range.clone()].partition_point(|id| !has_bit(id));
        [range.start..middle, middle..range.end]
    }

    /// A node's table, and the nodes that it met, by id: looking numbers up among all ids would dominate the run time.
    fn table(&self, node: u32) -> (Table, Vec<(NodeId, u32)>) {
        let mut rng = generator(self.setup.seed, TABLES, u64::from(node));
        let k = usize::from(self.setup.k);
        let mut table = Table::new(self.ids[node as usize], k);
        let mut met: Vec<(NodeId, u32)> = Vec::new();
        let mut meet = |other: usize| {
            let contact = self.contact(other as u32);
            met.push((contact.id, other as u32));
            table.answered(MonoTime::START, contact)
        };
        let mut near = 0..self.ids.len();
        for bit in (0..=255).rev() {
            if near.len() <= 1 {
                break;
            }
            let [without, with] = self.split(&near, bit);
            let far;
            (near, far) = if without.contains(&(node as usize)) { (without, with) } else { (with, without) };
            if far.len() <= k {
                let mut all: Vec<usize> = far.collect();
                all.shuffle(&mut rng);
                for other in all {
                    meet(other);
                }
                continue;
            }
            let mut kept: Vec<usize> = Vec::with_capacity(k);
            for _ in 0..MAX_DRAWS_PER_PLACE * k {
                let other = rng.random_range(far.clone());
                if !kept.contains(&other) && meet(other) == Insertion::Kept {
                    kept.push(other);
                }
                if kept.len() == k {
                    break;
                }
            }
        }
        met.sort_unstable_by_key(|(id, _)| *id);
        (table, met)
    }

    /// The result of [`Table::closest`] for a node whose table is compacted.
    pub(super) fn closest(&self, node: u32, table: &Contacts, target: &NodeId) -> Vec<Contact> {
        let count = usize::from(self.setup.k);
        let mut found: Vec<Contact> = Vec::with_capacity(2 * count);
        for number in bucket_order(self.ids[node as usize].distance(target)) {
            let Some(at) = table.buckets.iter().position(|(other, _)| *other == number) else { continue };
            let before: usize = table.buckets[..at].iter().map(|(_, size)| usize::from(*size)).sum();
            let size = usize::from(table.buckets[at].1);
            let from = found.len();
            found.extend(table.nodes[before..before + size].iter().map(|other| self.contact(*other)));
            found[from..].sort_unstable_by_key(|contact| contact.id.distance(target));
            if found.len() >= count {
                found.truncate(count);
                break;
            }
        }
        found
    }

    /// Whether a node whose table is compacted knows fewer than `count` contacts nearer to a key than itself:
    /// the result of [`Table::is_near`].
    pub(super) fn is_near(&self, node: u32, table: &Contacts, key: &NodeId, count: usize) -> bool {
        let distance = self.ids[node as usize].distance(key);
        let nearer = table.buckets.iter().filter(|(number, _)| distance.bit(*number));
        nearer.map(|(_, size)| usize::from(*size)).sum::<usize>() < count
    }

    /// Contacts that a node has in the bucket that an id belongs to.
    pub(super) fn bucket_size(&self, node: u32, table: &Contacts, id: &NodeId) -> usize {
        let number = self.ids[node as usize].distance(id).bucket();
        let bucket = table.buckets.iter().find(|(other, _)| Some(*other) == number);
        bucket.map_or(0, |(_, size)| usize::from(*size))
    }

    /// The nodes nearest to an id that `is_meant` selects by their numbers, nearest first.
    pub(super) fn nearest(&self, target: &NodeId, count: usize, is_meant: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut found = Vec::with_capacity(count);
        // Ranges of ids that agree above a bit, the nearest last.
        let mut open = vec![(0..self.ids.len(), 255u8)];
        while let Some((range, bit)) = open.pop()
            && found.len() < count
        {
            if range.len() == 1 {
                if is_meant(range.start) {
                    found.push(range.start as u32);
                }
            } else if !range.is_empty() {
                let [without, with] = self.split(&range, bit);
                let below = bit.saturating_sub(1);
                let has_bit = NodeId([0; 32]).distance(target).bit(bit);
                let (near, far) = if has_bit { (with, without) } else { (without, with) };
                open.extend([(far, below), (near, below)]);
            }
        }
        found
    }

    /// The live nodes nearest to an id, except one, nearest first.
    fn truth(&self, target: &NodeId, count: usize, but: u32) -> Vec<NodeId> {
        let nearest = self.nearest(target, count, |node| !self.dead[node] && node != but as usize);
        nearest.into_iter().map(|node| self.ids[node as usize]).collect()
    }

    /// One lookup; `None` if no node is alive to make it.
    fn trial(&self, number: u32, tables: &[Contacts]) -> Option<Trial> {
        let (k, alpha) = (usize::from(self.setup.k), usize::from(self.setup.alpha));
        let mut rng = generator(self.setup.seed, LOOKUPS, u64::from(number));
        let living = (0..self.ids.len()).map(|_| rng.random_range(0..self.setup.nodes));
        let source = living.into_iter().find(|node| !self.dead[*node as usize])?;
        let target = NodeId::random(&mut rng);
        let start = self.closest(source, &tables[source as usize], &target);
        let mut lookup = Lookup::new(self.ids[source as usize], target, k, alpha, start);
        let is_up = |id: &NodeId| self.number_of(id).is_some_and(|node| !self.dead[node as usize]);
        let driven = drive(&mut lookup, None, &mut rng, is_up, |answering, _| match self.number_of(answering.id) {
            Some(node) => self.closest(node, &tables[node as usize], &target),
            None => Vec::new(),
        });
        let truth = self.truth(&target, k, source);
        let found: Vec<NodeId> = lookup.found().map(|contact| contact.id).collect();
        Some(Trial {
            hops: lookup.hops().unwrap_or(0),
            messages: driven.messages,
            millis: driven.end.as_millis(),
            nearest: found.first() == truth.first(),
            found: truth.iter().filter(|id| found.contains(id)).count(),
            findable: truth.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn compact_tables_answer_as_the_real_ones() {
        let setup = LookupSetup { nodes: 3_000, lookups: 0, k: 16, alpha: 3, dead: 0.0, seed: 7 };
        let net = Net::new(&setup);
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        for node in (0..setup.nodes).step_by(97) {
            let (table, met) = net.table(node);
            let compact = compact(&table, &met);
            for target in [NodeId::random(&mut rng), net.ids[node as usize], net.ids[0]] {
                assert_eq!(net.closest(node, &compact, &target), table.closest(&target, 16));
                for count in [1, 16, 32, 150] {
                    assert_eq!(net.is_near(node, &compact, &target, count), table.is_near(&target, count));
                }
            }
        }
    }

    #[test]
    fn the_nearest_nodes_are_those_of_a_sorted_list() {
        let setup = LookupSetup { nodes: 500, lookups: 0, k: 16, alpha: 3, dead: 0.3, seed: 9 };
        let net = Net::new(&setup);
        let mut rng = ChaCha20Rng::seed_from_u64(10);
        for _ in 0..50 {
            let target = NodeId::random(&mut rng);
            let but = rng.random_range(0..setup.nodes);
            let lives = |node: &usize| !net.dead[*node] && *node != but as usize;
            let mut all: Vec<NodeId> = (0..500).filter(lives).map(|node| net.ids[node]).collect();
            all.sort_unstable_by_key(|id| id.distance(&target));
            assert_eq!(net.truth(&target, 16, but), all[..16]);
        }
        assert_eq!(net.dead.iter().filter(|dead| **dead).count(), 150);
    }
}
