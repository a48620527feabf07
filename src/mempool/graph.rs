//! The pool's transactions with their links, sums and orders. Knows no rules or policy: the caller checks before it
//! inserts.
//!
//! Invariants: no two entries spend one coin; an entry's parents are in the pool; `ancestors` and `descendants` are the
//! sums over the links; every entry is in each order exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::by_key::ByKey;
use super::entry::Entry;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::keyed::HashMap;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::OutPoint;

/// The transactions, and which of them spend outputs of others.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph {
    entries: HashMap<Txid, Entry>,
    /// Which entry spends a coin.
    spenders: HashMap<OutPoint, Txid>,
    /// Worst to mine first.
    by_mining_rate: BTreeSet<(FeeRate, Txid)>,
    /// First to go when space is short.
    by_keeping_rate: BTreeSet<(FeeRate, Txid)>,
    /// Oldest first, by time and number.
    by_age: BTreeMap<(UnixTime, u64), Txid>,
    /// Those that could not be mined at every height.
    by_minable_from: BTreeSet<(Height, Txid)>,
    /// Entries and outputs by key.
    by_key: ByKey,
    next_number: u64,
    revision: u64,
    bytes: usize,
    fees: Amount,
    usage: usize,
}

impl Graph {
    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        #[cfg(test)]
        tests::LOOKUPS.with(|lookups| lookups.set(lookups.get() + 1));
        self.entries.get(txid)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Bytes of all encodings.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fees of all entries.
    pub(super) fn fees(&self) -> Amount {
        self.fees
    }

    pub(super) fn by_key(&self) -> &ByKey {
        &self.by_key
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn usage(&self) -> usize {
        self.usage
    }

    /// Grows with every change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spenders.get(outpoint).copied()
    }

    /// The ids of all transactions, the oldest first.
    pub(super) fn txids(&self) -> impl Iterator<Item = Txid> {
        self.by_age.values().copied()
    }

    /// Oldest first, after one entry if that is here.
    pub(super) fn txids_after(&self, after: Option<&Txid>) -> impl Iterator<Item = Txid> {
        let after = after.and_then(|txid| self.get(txid)).map(|entry| (entry.time, entry.number));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_age.range((from, Bound::Unbounded)).map(|(_, txid)| *txid)
    }

    /// Best to mine first, counting each with all its ancestors.
    pub(super) fn best_first(&self) -> impl Iterator<Item = &Entry> {
        self.by_mining_rate.iter().rev().filter_map(|(_, txid)| self.get(txid))
    }

    /// The first to go when space is short.
    pub(super) fn worst(&self) -> Option<&Entry> {
        self.get(&self.by_keeping_rate.first()?.1)
    }

    /// The oldest, if it came before `time`.
    pub(super) fn older_than(&self, time: UnixTime) -> Option<Txid> {
        self.by_age.first_key_value().filter(|((came, _), _)| *came < time).map(|(_, txid)| *txid)
    }

    /// One that cannot be mined at `height`.
    pub(super) fn not_minable_at(&self, height: Height) -> Option<Txid> {
        self.by_minable_from.last().filter(|(from, _)| *from > height).map(|(_, txid)| *txid)
    }

    /// `leaves` and their ancestors, as far as they are here.
    pub(super) fn with_ancestors(&self, leaves: &[Txid]) -> BTreeSet<Txid> {
        self.reach(leaves, |entry| &entry.parents)
    }

    /// `roots` and their descendants, as far as they are here.
    pub(super) fn with_descendants(&self, roots: &[Txid]) -> BTreeSet<Txid> {
        self.reach(roots, |entry| &entry.children)
    }

    fn reach<'a>(&'a self, from: &[Txid], next: impl Fn(&'a Entry) -> &'a Vec<Txid>) -> BTreeSet<Txid> {
        let mut reached = BTreeSet::new();
        let mut open = from.to_vec();
        while let Some(txid) = open.pop() {
            if let Some(entry) = self.get(&txid)
                && reached.insert(txid)
            {
                open.extend(next(entry));
            }
        }
        reached
    }

    /// Adds an entry whose inputs nothing else spends and whose outputs nothing spends yet.
    pub(super) fn insert(&mut self, mut entry: Entry) {
        let txid = entry.txid;
        for input in &entry.tx.inputs {
            let parent = input.outpoint.txid;
            if self.entries.contains_key(&parent) && !entry.parents.contains(&parent) {
                entry.parents.push(parent);
            }
            let other = self.spenders.insert(input.outpoint, txid);
            debug_assert!(other.is_none(), "{txid} spends what {other:?} does");
        }
        for parent in &entry.parents {
            if let Some(parent) = self.entries.get_mut(parent) {
                parent.children.push(txid);
            }
        }
        for ancestor in self.with_ancestors(&entry.parents) {
            self.change(&ancestor, |ancestor| {
                ancestor.descendants.add(&entry);
                entry.ancestors.add(ancestor);
            });
        }
        self.revision += 1;
        self.bytes += entry.size;
        self.usage += entry.usage();
        self.fees = self.fees.saturating_add(entry.fee);
        entry.number = self.next_number;
        self.next_number += 1;
        self.by_key.insert(&entry, |txid| self.entries.get(txid));
        self.by_age.insert((entry.time, entry.number), txid);
        if entry.minable_from > Height::GENESIS {
            self.by_minable_from.insert((entry.minable_from, txid));
        }
        self.by_mining_rate.insert((entry.mining_rate(), txid));
        self.by_keeping_rate.insert((entry.keeping_rate(), txid));
        self.entries.insert(txid, entry);
    }

    /// Removes `roots` and their descendants, and returns them with parents before children.
    pub(super) fn remove_with_descendants(&mut self, roots: &[Txid]) -> Vec<Entry> {
        let mut doomed: Vec<_> = self
            .with_descendants(roots)
            .iter()
            .filter_map(|txid| self.get(txid))
            // A child's ancestors are its parent's and at least the parent, so counts grow along every link.
            .map(|entry| (entry.ancestors.count, entry.txid))
            .collect();
        doomed.sort_unstable();
        let mut removed: Vec<_> = doomed.iter().rev().filter_map(|(_, txid)| self.remove(txid)).collect();
        removed.reverse();
        removed
    }

    /// Removes one entry that has no parents, as when it is confirmed, or no children. Removing it from the middle of a
    /// chain would leave wrong sums in both halves.
    pub(super) fn remove(&mut self, txid: &Txid) -> Option<Entry> {
        let ancestors = self.with_ancestors(&[*txid]);
        let descendants = self.with_descendants(&[*txid]);
        debug_assert!(ancestors.len() <= 1 || descendants.len() == 1, "{txid} has parents and children");
        let entry = self.entries.remove(txid)?;
        for ancestor in ancestors {
            self.change(&ancestor, |ancestor| {
                ancestor.descendants.subtract(&entry);
                ancestor.children.retain(|child| child != txid);
            });
        }
        for descendant in descendants {
            self.change(&descendant, |descendant| {
                descendant.ancestors.subtract(&entry);
                descendant.parents.retain(|parent| parent != txid);
            });
        }
        for input in &entry.tx.inputs {
            self.spenders.remove(&input.outpoint);
        }
        self.revision += 1;
        self.bytes -= entry.size;
        self.usage -= entry.usage();
        self.fees = self.fees.saturating_sub(entry.fee);
        self.by_key.remove(&entry, |txid| self.entries.get(txid));
        self.by_age.remove(&(entry.time, entry.number));
        self.by_minable_from.remove(&(entry.minable_from, *txid));
        self.by_mining_rate.remove(&(entry.mining_rate(), *txid));
        self.by_keeping_rate.remove(&(entry.keeping_rate(), *txid));
        Some(entry)
    }

    /// Changes an entry's sums or links, and its places in the orders with them.
    fn change(&mut self, txid: &Txid, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(txid) else { return };
        let before = (entry.mining_rate(), entry.keeping_rate());
        change(entry);
        let after = (entry.mining_rate(), entry.keeping_rate());
        if before.0 != after.0 {
            self.by_mining_rate.remove(&(before.0, *txid));
            self.by_mining_rate.insert((after.0, *txid));
        }
        if before.1 != after.1 {
            self.by_keeping_rate.remove(&(before.1, *txid));
            self.by_keeping_rate.insert((after.1, *txid));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::mempool::by_key;
    use crate::mempool::entry::Package;
    use crate::primitives::keys::{PublicKey, Signature};
    use crate::primitives::tx::{HashedTransaction, Input, Output, Transaction};

    thread_local! {
        /// Entries that were looked up on this thread.
        pub(super) static LOOKUPS: Cell<u64> = const { Cell::new(0) };
    }

    #[test]
    fn an_address_is_found_without_going_through_the_pool() {
        let mut graph = Graph::default();
        // Owners of the outputs are 0, 1 and 2; that of the coins spent is another.
        let (rare, count) = (PublicKey([9; 32]), 2_000);
        for number in 1..=count {
            let coin = OutPoint { txid: Txid::of(&u64::to_le_bytes(number)), index: 0 };
            let owner = if number % 1_000 == 7 { rare } else { PublicKey([8; 32]) };
            graph.insert(entry(number, &[coin], 1).spending(vec![(owner, Amount::from_grains(5))]));
        }
        let before = LOOKUPS.get();
        let sums = graph.by_key().sums(&rare);
        let ten = Amount::from_grains(10);
        assert_eq!((sums.spent, sums.spent_confirmed(), sums.received), (ten, ten, Amount::ZERO));
        assert_eq!((graph.by_key().entries(&rare).count(), graph.by_key().unspent(&rare).count()), (2, 0));
        let first: Vec<_> = graph.by_key().entries(&PublicKey([1; 32])).take(10).collect();
        assert!(first.len() == 10 && first.iter().all(|entry| entry.received > Amount::ZERO));
        assert_eq!(LOOKUPS.get() - before, 0, "entries of the pool looked up");
        // A scan of the pool is counted.
        let through = graph
            .txids()
            .filter_map(|txid| graph.get(&txid))
            .filter(|entry| entry.fee == Amount::from_grains(1))
            .count();
        assert_eq!((through as u64, LOOKUPS.get() - before), (count, count));
    }

    /// An entry that spends `inputs`, makes two coins, and is told apart by `number`.
    pub(in crate::mempool) fn entry(number: u64, inputs: &[OutPoint], fee: u64) -> Entry {
        let inputs = inputs.iter().map(|outpoint| Input { outpoint: *outpoint, signature: Signature::EMPTY }).collect();
        let outputs = [number, number + 1]
            .map(|owner| Output::pay(PublicKey([owner as u8 % 3; 32]), Amount::from_grains(number)));
        let tx = Transaction { version: 1, inputs, outputs: outputs.into(), lock_height: Height::GENESIS };
        Entry::new(
            HashedTransaction::new(tx),
            Amount::from_grains(fee),
            UnixTime::from_secs(number),
            Height::GENESIS,
            Height::from_u32(number as u32 % 3),
        )
    }

    /// A coin that no entry makes.
    pub(in crate::mempool) fn confirmed(number: u8) -> OutPoint {
        OutPoint { txid: Txid::from_bytes([number; 32]), index: 0 }
    }

    /// Compares all that is kept with what the entries alone say.
    fn check(graph: &Graph) {
        for (txid, entry) in &graph.entries {
            let mut parents: Vec<_> = entry.tx.inputs.iter().map(|input| input.outpoint.txid).collect();
            parents.retain(|parent| graph.entries.contains_key(parent));
            parents.sort_unstable();
            parents.dedup();
            let mut kept = entry.parents.clone();
            kept.sort_unstable();
            assert_eq!(kept, parents);
            for input in &entry.tx.inputs {
                assert_eq!(graph.spender(&input.outpoint), Some(*txid));
            }
            let sum = |ids: BTreeSet<Txid>| {
                let entries = || ids.iter().map(|id| &graph.entries[id]);
                Package {
                    count: ids.len(),
                    bytes: entries().map(|entry| entry.size).sum(),
                    fees: Amount::saturating_sum(entries().map(|entry| entry.fee)),
                }
            };
            assert_eq!(entry.ancestors, sum(graph.with_ancestors(&[*txid])));
            let needing = |id: &&Txid| graph.with_ancestors(&[**id]).contains(txid);
            assert_eq!(entry.descendants, sum(graph.entries.keys().filter(needing).copied().collect()));
        }
        let entries = || graph.entries.values();
        assert_eq!(graph.by_mining_rate, entries().map(|entry| (entry.mining_rate(), entry.txid)).collect());
        assert_eq!(graph.by_keeping_rate, entries().map(|entry| (entry.keeping_rate(), entry.txid)).collect());
        assert_eq!(graph.by_age, entries().map(|entry| ((entry.time, entry.number), entry.txid)).collect());
        let bound = entries().filter(|entry| entry.minable_from > Height::GENESIS);
        assert_eq!(graph.by_minable_from, bound.map(|entry| (entry.minable_from, entry.txid)).collect());
        assert_eq!(graph.spenders.len(), entries().map(|entry| entry.tx.inputs.len()).sum::<usize>());
        assert_eq!(graph.bytes, entries().map(|entry| entry.size).sum::<usize>());
        assert_eq!(graph.fees, Amount::saturating_sum(entries().map(|entry| entry.fee)));
        let by_age: Vec<&Entry> = graph.by_age.values().map(|txid| &graph.entries[txid]).collect();
        by_key::tests::check(&graph.by_key, &by_age, |txid| graph.get(txid), |coin| graph.spender(coin).is_some());
        assert_eq!(graph.usage, entries().map(Entry::usage).sum::<usize>());
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Spends coins chosen by these numbers among all that are unspent.
        Insert {
            coins: Vec<usize>,
            fee: u64,
        },
        Remove(usize),
        RemoveFamilies(Vec<usize>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (prop::collection::vec(any::<usize>(), 1..4), 0..1000u64)
                .prop_map(|(coins, fee)| Step::Insert { coins, fee }),
            1 => any::<usize>().prop_map(Step::Remove),
            1 => prop::collection::vec(any::<usize>(), 0..3).prop_map(Step::RemoveFamilies),
        ]
    }

    /// The graph that random steps lead to.
    pub(in crate::mempool) fn graphs() -> impl Strategy<Value = Graph> {
        prop::collection::vec(step(), 1..60).prop_map(|steps| {
            let mut graph = Graph::default();
            for (number, step) in (1..).zip(steps) {
                let txids: Vec<_> = graph.txids().collect();
                match step {
                    Step::Insert { coins, fee } => {
                        let made = graph.txids().flat_map(|txid| [0, 1].map(|index| OutPoint { txid, index }));
                        let mut unspent: Vec<_> = (0..4).map(confirmed).chain(made).collect();
                        unspent.retain(|outpoint| graph.spender(outpoint).is_none());
                        let mut inputs: Vec<_> = coins.iter().map(|coin| unspent[coin % unspent.len()]).collect();
                        inputs.sort_unstable();
                        inputs.dedup();
                        // Those of the pool have the owner that `entry` gives them, the others their number's.
                        let owner = |coin: &OutPoint| match graph.get(&coin.txid) {
                            Some(maker) => {
                                let output = &maker.tx.outputs[coin.index as usize];
                                (*output.key().unwrap(), output.value)
                            }
                            None => (PublicKey([coin.txid.as_bytes()[0] % 2; 32]), Amount::from_grains(5)),
                        };
                        let spends = inputs.iter().map(owner).collect();
                        graph.insert(entry(number, &inputs, fee).spending(spends));
                    }
                    _ if txids.is_empty() => {}
                    Step::Remove(choice) => {
                        let mut roots = txids;
                        roots.retain(|txid| graph.entries[txid].parents.is_empty());
                        graph.remove(&roots[choice % roots.len()]);
                    }
                    Step::RemoveFamilies(choices) => {
                        let roots: Vec<_> = choices.iter().map(|choice| txids[choice % txids.len()]).collect();
                        let removed = graph.remove_with_descendants(&roots);
                        for (place, entry) in removed.iter().enumerate() {
                            let later = &removed[place..];
                            assert!(entry.tx.inputs.iter().all(|i| later.iter().all(|e| e.txid != i.outpoint.txid)));
                        }
                    }
                }
                check(&graph);
            }
            graph
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn sums_links_and_orders_hold(_graph in graphs()) {}
    }
}
