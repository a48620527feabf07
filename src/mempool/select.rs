//! Selects transactions for a block.

use std::collections::BTreeSet;

use super::entry::{Entry, Package};
use super::graph::Graph;
use crate::primitives::amount::FeeRate;
use crate::primitives::hash::Txid;
use crate::primitives::keyed::{HashMap, HashSet};

/// After this many consecutive packages that do not fit, the block counts as full.
const MAX_MISSES: usize = 1_000;

/// Transactions of at most `max_bytes` together, parents first. Repeatedly chooses the package, a transaction with its
/// unchosen ancestors, that has the highest fee rate.
pub(super) fn select(graph: &Graph, max_bytes: usize) -> Vec<&Entry> {
    let mut selection = Selection::default();
    let mut untouched = graph.best_first().peekable();
    let mut left = max_bytes;
    let mut misses = 0;
    while misses < MAX_MISSES {
        while untouched.next_if(|entry| selection.is_settled(&entry.txid)).is_some() {}
        let first = untouched.peek().map(|entry| (entry.mining_rate(), entry.txid));
        let Some((_, best)) = first.max(selection.touched.last().copied()) else { break };
        let needed = selection.needed(graph, &best);
        let bytes: usize = needed.iter().map(|entry| entry.size).sum();
        if bytes > left {
            selection.give_up(graph, best);
            misses += 1;
            continue;
        }
        left -= bytes;
        misses = 0;
        for entry in needed {
            selection.choose(graph, entry);
        }
    }
    selection.chosen
}

#[derive(Default)]
struct Selection<'a> {
    chosen: Vec<&'a Entry>,
    chosen_ids: HashSet<Txid>,
    given_up: HashSet<Txid>,
    /// Unchosen ancestor packages of transactions with a chosen ancestor.
    remaining: HashMap<Txid, Package>,
    /// Those of them that are still to be considered, worst first.
    touched: BTreeSet<(FeeRate, Txid)>,
}

impl<'a> Selection<'a> {
    /// Whether the pool's order no longer applies to it.
    fn is_settled(&self, txid: &Txid) -> bool {
        self.chosen_ids.contains(txid) || self.given_up.contains(txid) || self.remaining.contains_key(txid)
    }

    /// It and its ancestors, as far as they are not chosen, parents first.
    fn needed(&self, graph: &'a Graph, txid: &Txid) -> Vec<&'a Entry> {
        let mut needed: Vec<_> = graph
            .with_ancestors(&[*txid])
            .iter()
            .filter(|ancestor| !self.chosen_ids.contains(*ancestor))
            .filter_map(|ancestor| graph.get(ancestor))
            .collect();
        needed.sort_unstable_by_key(|entry| (entry.ancestors.count, entry.txid));
        needed
    }

    fn choose(&mut self, graph: &Graph, entry: &'a Entry) {
        self.forget(entry);
        self.chosen.push(entry);
        self.chosen_ids.insert(entry.txid);
        for txid in graph.with_descendants(&entry.children) {
            if let Some(descendant) = graph.get(&txid).filter(|_| !self.chosen_ids.contains(&txid)) {
                self.forget(descendant);
                let package = self.remaining.entry(txid).or_insert(descendant.ancestors);
                package.subtract(entry);
                self.touched.insert((package.rate().min(descendant.rate()), txid));
            }
        }
    }

    /// It does not fit, unless an ancestor is chosen with another package.
    fn give_up(&mut self, graph: &Graph, txid: Txid) {
        if let Some(entry) = graph.get(&txid) {
            self.forget(entry);
        }
        self.given_up.insert(txid);
    }

    fn forget(&mut self, entry: &Entry) {
        if let Some(package) = self.remaining.get(&entry.txid) {
            self.touched.remove(&(package.rate().min(entry.rate()), entry.txid));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::graph::tests::{confirmed, entry, graphs};
    use super::*;
    use crate::primitives::amount::Amount;
    use crate::primitives::tx::OutPoint;

    /// The naive model: recomputes every sum at every step.
    fn select_naively(graph: &Graph, max_bytes: usize) -> Vec<Txid> {
        let mut chosen: Vec<Txid> = Vec::new();
        let mut given_up: HashMap<Txid, usize> = HashMap::default();
        let mut left = max_bytes;
        loop {
            let candidates = graph.txids().filter(|txid| !chosen.contains(txid)).filter_map(|txid| {
                let mut needed: Vec<_> =
                    graph.with_ancestors(&[txid]).into_iter().filter(|id| !chosen.contains(id)).collect();
                let entries: Vec<_> = needed.iter().filter_map(|id| graph.get(id)).collect();
                let bytes = entries.iter().map(|entry| entry.size).sum();
                let package = Amount::saturating_sum(entries.iter().map(|entry| entry.fee)).per(bytes);
                needed.sort_by_key(|id| graph.get(id).map(|entry| (entry.ancestors.count, entry.txid)));
                // One that did not fit is tried again only if it needs less than it did.
                let retry = given_up.get(&txid).is_none_or(|before| bytes < *before);
                retry.then(|| (package.min(graph.get(&txid).expect("from the graph").rate()), txid, bytes, needed))
            });
            let Some((_, txid, bytes, needed)) = candidates.max_by_key(|(rate, txid, ..)| (*rate, *txid)) else {
                break;
            };
            if bytes > left {
                given_up.insert(txid, bytes);
            } else {
                left -= bytes;
                chosen.extend(needed);
            }
        }
        chosen
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn choice_is_the_naive_one_fits_and_has_parents_first(graph in graphs(), share in 0..=100usize) {
            let max_bytes = graph.bytes() * share / 100;
            let chosen = select(&graph, max_bytes);
            prop_assert!(chosen.iter().map(|entry| entry.size).sum::<usize>() <= max_bytes);
            for (place, entry) in chosen.iter().enumerate() {
                let before: Vec<_> = chosen[..place].iter().map(|entry| entry.txid).collect();
                prop_assert!(entry.parents.iter().all(|parent| before.contains(parent)));
            }
            prop_assert!(share < 100 || chosen.len() == graph.len());
            let ids: Vec<_> = chosen.iter().map(|entry| entry.txid).collect();
            prop_assert_eq!(ids, select_naively(&graph, max_bytes));
        }
    }

    #[test]
    fn a_child_pays_for_its_parent() {
        let mut graph = Graph::default();
        let poor = entry(1, &[confirmed(1)], 10);
        let rich = entry(2, &[OutPoint { txid: poor.txid, index: 0 }], 10_000);
        let middling = entry(3, &[confirmed(2)], 2_000);
        let expected = vec![poor.txid, rich.txid];
        let room = poor.size + rich.size;
        [poor, rich, middling].into_iter().for_each(|entry| graph.insert(entry));
        let ids: Vec<_> = select(&graph, room).iter().map(|entry| entry.txid).collect();
        assert_eq!(ids, expected);
    }
}
