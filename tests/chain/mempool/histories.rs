//! Random histories: the pool agrees with a naive one, and keeps its bounds.

use std::collections::BTreeSet;

use super::{World, check, output, txids};
use cairn::chain::Chain;
use cairn::consensus::coins::CoinView;
use cairn::mempool::Limits;
use cairn::primitives::hash::Txid;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Input, OutPoint, Transaction};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Spends coins chosen by index among all that ever existed, for a fee.
    Pay { coins: Vec<usize>, outputs: u64, fee: u64 },
    /// A block of about this share, in percent, of the best selection.
    Mine { share: usize },
    /// A longer branch that forks `depth` blocks back, of empty blocks or, with `keep`, containing half of the
    /// disconnected payments.
    Reorganise { depth: u32, keep: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (prop::collection::vec(any::<usize>(), 1..3), 1..4u64, 0..4000u64)
            .prop_map(|(coins, outputs, fee)| Step::Pay { coins, outputs, fee }),
        2 => (0..=100usize).prop_map(|share| Step::Mine { share }),
        1 => (1..4u32, any::<bool>()).prop_map(|(depth, keep)| Step::Reorganise { depth, keep }),
    ]
}

/// A naive pool without limits or orphans, which re-checks everything.
#[derive(Default)]
struct Naive {
    txs: Vec<Transaction>,
}

impl Naive {
    fn value(&self, outpoint: &OutPoint, chain: &Chain) -> Option<u64> {
        let made = self.txs.iter().find(|tx| tx.txid() == outpoint.txid);
        match made {
            Some(tx) => tx.outputs.get(outpoint.index as usize).map(|output| output.value.as_grains()),
            None => chain.coin(outpoint).expect("readable").map(|coin| coin.output.value.as_grains()),
        }
    }

    fn fee(&self, tx: &Transaction, chain: &Chain) -> Option<u64> {
        let inputs: Option<u64> = tx.inputs.iter().map(|input| self.value(&input.outpoint, chain)).sum();
        inputs?.checked_sub(tx.outputs.iter().map(|output| output.value.as_grains()).sum())
    }

    fn family(&self, roots: &[Txid]) -> Vec<Txid> {
        let mut family = roots.to_vec();
        for tx in &self.txs {
            if !family.contains(&tx.txid()) && tx.inputs.iter().any(|input| family.contains(&input.outpoint.txid)) {
                family.push(tx.txid());
            }
        }
        family
    }

    fn pay(&mut self, tx: &Transaction, chain: &Chain) -> bool {
        let Some(fee) = self.fee(tx, chain) else { return false };
        let size = tx.size() as u64;
        let spends =
            |other: &&Transaction| other.inputs.iter().any(|i| tx.inputs.iter().any(|j| i.outpoint == j.outpoint));
        let conflicts: Vec<_> = self.txs.iter().filter(spends).cloned().collect();
        let gone = self.family(&txids(&conflicts));
        let mut needed = fee >= size;
        if !conflicts.is_empty() {
            let fees = |txs: &[Txid]| -> u64 {
                let of = |tx: &Transaction| self.fee(tx, chain).expect("in the pool");
                self.txs.iter().filter(|tx| txs.contains(&tx.txid())).map(of).sum()
            };
            needed &= fee >= fees(&gone) + size;
            needed &= conflicts.iter().all(|c| fees(&[c.txid()]) * size < fee * c.size() as u64);
            needed &= tx.inputs.iter().all(|input| {
                let parent = input.outpoint.txid;
                let unconfirmed = self.txs.iter().any(|tx| tx.txid() == parent);
                !unconfirmed || conflicts.iter().any(|c| c.inputs.iter().any(|i| i.outpoint.txid == parent))
            });
            needed &= tx.inputs.iter().all(|input| !gone.contains(&input.outpoint.txid));
        }
        let known = self.txs.iter().any(|other| other.txid() == tx.txid());
        if needed && !known {
            self.txs.retain(|tx| !gone.contains(&tx.txid()));
            self.txs.push(tx.clone());
        }
        needed && !known
    }

    /// Rebuilds the pool after the chain has moved: `back` and the old content, as far as they are still valid.
    fn rebuild(&mut self, back: Vec<Transaction>, chain: &Chain) {
        let before = std::mem::take(&mut self.txs);
        for tx in back.into_iter().chain(before) {
            let free = |i: &Input| self.txs.iter().all(|tx| tx.inputs.iter().all(|j| i.outpoint != j.outpoint));
            if tx.inputs.iter().all(free) && self.fee(&tx, chain).is_some() {
                self.txs.push(tx);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_histories_agree_with_a_naive_pool(steps in prop::collection::vec(step(), 1..60)) {
        let many = Limits { max_ancestors: 1000, max_descendants: 1000, max_orphans: 0, ..Limits::default() };
        let mut world = World::new(many);
        let mut naive = Naive::default();
        let mut coins: Vec<_> = (0..8).map(|index| world.coin(index)).collect();
        for step in steps {
            match step {
                Step::Pay { coins: chosen, outputs, fee } => {
                    let Some(tx) = world.pay(&coins, &chosen, outputs, fee) else { continue };
                    let accepted = world.accept(&tx).is_ok();
                    prop_assert_eq!(accepted, naive.pay(&tx, &world.chain));
                    if accepted {
                        coins.extend((0..outputs as u32).map(|index| output(&tx, index)));
                    }
                }
                Step::Mine { share } => {
                    let chosen = world.pool.select(world.pool.bytes() * share / 100);
                    let chosen: Vec<_> = chosen.iter().map(|entry| Transaction::clone(&entry.tx)).collect();
                    world.mine(&chosen.iter().collect::<Vec<_>>());
                    naive.rebuild(Vec::new(), &world.chain);
                }
                Step::Reorganise { depth, keep } => {
                    let base = world.chain.tip().height.saturating_sub(depth);
                    let mut other = World::on(world.params.clone(), Limits::default());
                    let blocks: Vec<_> = Height::from_u32(1)
                        .through(world.chain.tip().height)
                        .map(|height| world.chain.entry_at(height).expect("on the best chain").key())
                        .map(|at| world.chain.db().block(&at).expect("readable").expect("stored"))
                        .collect();
                    let (common, gone) = blocks.split_at(base.as_usize());
                    for block in common {
                        other.chain.accept_block(block.clone(), UnixTime::from_secs(other.now), &|_| false).expect("valid");
                    }
                    other.extra_nonce = world.extra_nonce;
                    let old: Vec<_> = gone.iter().flat_map(|block| &block.transactions[1..]).collect();
                    for number in 0..=gone.len() {
                        let again = if keep && number == 0 { &old[..old.len() / 2] } else { &[] };
                        other.mine(again);
                    }
                    world.extra_nonce = other.extra_nonce;
                    world.follow(&other, base.next().as_u32());
                    naive.rebuild(old.into_iter().cloned().collect(), &world.chain);
                }
            }
            let expected: BTreeSet<_> = txids(&naive.txs).into_iter().collect();
            prop_assert_eq!(world.pool.txids().into_iter().collect::<BTreeSet<_>>(), expected);
            check(&world);
        }
    }

    #[test]
    fn no_bound_is_ever_broken(steps in prop::collection::vec(step(), 1..80)) {
        let tight = Limits { max_bytes: 15_000, max_ancestors: 4, max_descendants: 5, max_orphans: 3, ..Limits::default() };
        let mut world = World::new(tight);
        let mut coins: Vec<_> = (0..20).map(|index| world.coin(index)).collect();
        for step in steps {
            match step {
                Step::Pay { coins: chosen, outputs, fee } => {
                    let Some(tx) = world.pay(&coins, &chosen, outputs, fee) else { continue };
                    let _verdict = world.accept(&tx);
                    // Its outputs can be spent even if it was refused, so that orphans occur.
                    coins.extend((0..outputs as u32).map(|index| output(&tx, index)));
                }
                Step::Mine { .. } => drop(world.mine(&[])),
                Step::Reorganise { depth, .. } => {
                    let height = world.chain.tip().height.saturating_sub(depth).next();
                    let Some(hash) = world.chain.entry_at(height).map(|entry| entry.hash) else { continue };
                    let update = world.chain.invalidate(&hash).expect("known");
                    world.pool.update(&update, &world.chain, UnixTime::from_secs(world.now));
                }
            }
            check(&world);
        }
    }
}
