//! The pool on a real chain: a table of transactions with the verdict each must get, the life of a payment through
//! blocks and reorganisations, and random histories against a naive pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn::chain::{Chain, ChainUpdate};
use cairn::consensus::check::check_block;
use cairn::consensus::coins::CoinView;
use cairn::consensus::connect::{BlockContext, connect};
use cairn::consensus::error::{Blame, RuleError};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::mempool::{Accepted, Limits, MAX_TX_SIZE, Mempool, MempoolError};
use cairn::miner::{kernel, template};
use cairn::primitives::amount::{Amount, FeeRate};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{MmrRoot, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::SecretKey;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::storage::MemoryStore;
use cairn_testkit::{funded, key, public, sign, unsigned};
use proptest::prelude::*;

/// Coins that genesis makes for these tests, and what each is worth.
const COINS: usize = 200;
const VALUE: u64 = 1_000_000;

fn params() -> Arc<Params> {
    Arc::new(Params::new(funded([1; COINS], VALUE)).expect("valid parameters"))
}

/// A pool, its chain, and the clock.
pub struct World {
    params: Arc<Params>,
    pub chain: Chain,
    pub pool: Mempool,
    pub now: u64,
    /// Makes every block another.
    extra_nonce: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self::on(params(), limits)
    }

    pub fn on(params: Arc<Params>, limits: Limits) -> Self {
        let chain = Chain::open(params.clone(), Arc::new(MemoryStore::default())).expect("a chain in memory");
        let pool = Mempool::new(params.clone(), limits);
        let now = u64::from(params.timestamp) + 1_000_000;
        Self { params, chain, pool, now, extra_nonce: 0 }
    }

    /// The `index`th coin of genesis.
    fn coin(&self, index: usize) -> (OutPoint, u64) {
        let txid = self.params.genesis.transactions[0].txid();
        // Output 0 is the message.
        (OutPoint { txid, index: index as u32 + 1 }, VALUE)
    }

    fn spend(&self, coins: &[(OutPoint, u64)], values: &[u64]) -> Transaction {
        spend(&self.params, coins, values, |_| ())
    }

    /// A payment of those of `coins` that were `chosen`, each once, to so many outputs; `None` if they hold too little.
    fn pay(&self, coins: &[(OutPoint, u64)], chosen: &[usize], outputs: u64, fee: u64) -> Option<Transaction> {
        let mut inputs: Vec<_> = chosen.iter().map(|choice| coins[choice % coins.len()]).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let sum: u64 = inputs.iter().map(|(_, value)| value).sum();
        let left = sum.checked_sub(fee).filter(|left| *left > 4)?;
        let mut values = vec![left / outputs; outputs as usize];
        values[0] += left % outputs;
        Some(self.spend(&inputs, &values))
    }

    fn accept(&mut self, tx: &Transaction) -> Result<Accepted, MempoolError> {
        self.pool.accept(tx.clone(), &self.chain, UnixTime::from_secs(self.now))
    }

    fn admit(&mut self, tx: &Transaction) -> Txid {
        self.accept(tx).expect("acceptable").txid
    }

    /// Mines a block of `txs` on the tip; the pool is not told.
    fn mine_only(&mut self, txs: &[&Transaction]) -> (Block, ChainUpdate) {
        let limits = Limits { min_fee_rate: FeeRate::ZERO, ..Limits::default() };
        let mut chosen = Mempool::new(self.params.clone(), limits);
        for tx in txs {
            chosen.accept(Transaction::clone(tx), &self.chain, UnixTime::from_secs(self.now)).expect("minable");
        }
        self.extra_nonce += 1;
        let block = mine(&self.chain, &chosen, self.extra_nonce, self.now);
        let update =
            self.chain.accept_block(block.clone(), UnixTime::from_secs(self.now), &|_| false).expect("a valid block");
        (block, update)
    }

    /// Mines a block of `txs` on the tip; what came back into the pool.
    fn mine(&mut self, txs: &[&Transaction]) -> Vec<Txid> {
        let (_, update) = self.mine_only(txs);
        self.pool.update(&update, &self.chain, UnixTime::from_secs(self.now)).admitted
    }

    /// Takes a block in, and the pool follows.
    pub fn take(&mut self, block: &Block) {
        let update =
            self.chain.accept_block(block.clone(), UnixTime::from_secs(self.now), &|_| false).expect("a valid block");
        self.pool.update(&update, &self.chain, UnixTime::from_secs(self.now));
    }

    /// Goes on until nothing is left to do; the most transactions that one call admitted.
    pub fn resume(&mut self) -> usize {
        let mut most = 0;
        while self.pool.is_unfinished() {
            most = most.max(self.pool.resume(&self.chain, UnixTime::from_secs(self.now)).admitted.len());
        }
        most
    }

    /// Takes in another chain's blocks in one step; what came back into the pool.
    fn follow(&mut self, other: &World, from: u32) -> Vec<Txid> {
        let mut last = Vec::new();
        for height in from..=other.chain.tip().height.as_u32() {
            let hash = other.chain.entry_at(Height::from_u32(height)).expect("on the best chain").hash;
            let block = other.chain.db().block(&hash).expect("readable").expect("stored");
            let update = self
                .chain
                .accept_block(block, UnixTime::from_secs(self.now), &|txid| self.pool.is_verified(txid))
                .expect("valid");
            last.extend(self.pool.update(&update, &self.chain, UnixTime::from_secs(self.now)).admitted);
        }
        last
    }
}

/// A transaction of the tests' key, changed before it is signed.
fn spend(params: &Params, coins: &[(OutPoint, u64)], values: &[u64], change: impl Fn(&mut Transaction)) -> Transaction {
    let outputs = values.iter().map(|value| Output::pay(public(1), Amount::from_grains(*value))).collect();
    let mut tx = unsigned(&coins.iter().map(|(outpoint, _)| *outpoint).collect::<Vec<_>>(), outputs);
    change(&mut tx);
    let key = key(1);
    let spent: Vec<Output> =
        coins.iter().map(|(_, value)| Output::pay(public(1), Amount::from_grains(*value))).collect();
    sign(params, tx, &spent.iter().map(|output| (output, &key)).collect::<Vec<_>>())
}

fn output(tx: &Transaction, index: u32) -> (OutPoint, u64) {
    (OutPoint { txid: tx.txid(), index }, tx.outputs[index as usize].value.as_grains())
}

fn mine(chain: &Chain, pool: &Mempool, extra_nonce: u64, now: u64) -> Block {
    let mut template = template::build(chain, pool, &public(1), 0, UnixTime::from_secs(now)).expect("a template");
    // Changes the Merkle root through the coinbase's branch alone, which the block's check then makes anew.
    template.set_extra_nonce(extra_nonce);
    let nonce = kernel::search(&template.header, template.target, 0..=u32::MAX).expect("easy bits");
    template.block(nonce)
}

/// A chain of payments, each spending the one before, of which every one pays `fee`.
fn chain_of(world: &World, start: (OutPoint, u64), length: usize, fee: u64) -> Vec<Transaction> {
    let mut coin = start;
    (0..length)
        .map(|_| {
            let tx = world.spend(&[coin], &[coin.1 - fee]);
            coin = output(&tx, 0);
            tx
        })
        .collect()
}

fn txids(txs: &[Transaction]) -> Vec<Txid> {
    txs.iter().map(Transaction::txid).collect()
}

/// What must hold of any pool on any chain.
fn check(world: &World) {
    let World { pool, chain, params, .. } = world;
    let ids = pool.txids();
    assert_eq!(ids.len(), pool.len());
    let entries: BTreeMap<_, _> = ids.iter().map(|txid| (*txid, pool.get(txid).expect("listed"))).collect();
    let mut spent = BTreeSet::new();
    for entry in entries.values() {
        for input in &entry.tx.inputs {
            assert!(spent.insert(input.outpoint), "two entries spend one coin");
            assert_eq!(pool.spender(&input.outpoint), Some(entry.txid));
            let known = match entries.get(&input.outpoint.txid) {
                Some(parent) => (input.outpoint.index as usize) < parent.tx.outputs.len(),
                None => chain.coin(&input.outpoint).expect("readable").is_some(),
            };
            assert!(known, "an input of {} is not there", entry.txid);
        }
        assert!(entry.ancestors.count <= pool.limits().max_ancestors);
        assert!(entry.descendants.count <= pool.limits().max_descendants);
        assert_eq!(entry.ancestors.count, pool.ancestors(&entry.txid).len() + 1);
        assert_eq!(entry.descendants.count, pool.descendants(&entry.txid).len() + 1);
        assert!(pool.is_verified(&entry.txid));
    }
    assert_eq!(pool.bytes(), entries.values().map(|entry| entry.tx.size()).sum::<usize>());
    assert!(pool.usage() <= pool.limits().max_bytes);
    assert!(pool.orphan_count() <= pool.limits().max_orphans);
    // The best block is a valid one, and holds everything if there is room.
    let block = mine(chain, pool, 77, world.now);
    assert!(block.size() <= params.max_block_bytes as usize);
    assert_eq!(block.transactions.len(), pool.len() + 1);
    let checked = check_block(block, params).expect("a good body");
    let context = BlockContext { params, height: chain.tip().height.next(), commitment: commitment(chain) };
    let delta = connect(&checked, &context, chain, |_| false).expect("a good block");
    assert_eq!(delta.fees, Amount::saturating_sum(entries.values().map(|entry| entry.fee)));
}

fn commitment(chain: &Chain) -> MmrRoot {
    chain.commitment()
}

#[test]
fn verdicts() {
    use MempoolError as E;
    let mut world = World::new(Limits::default());
    let coinbase = world.mine_only(&[]).0.transactions[0].clone();
    let confirmed = world.spend(&[world.coin(0)], &[VALUE - 1000]);
    world.mine(&[&confirmed]);
    let pending = world.spend(&[world.coin(1)], &[VALUE / 2, VALUE / 2 - 1000]);
    world.admit(&pending);
    let params = world.params.clone();
    let (a, b) = (world.coin(2), world.coin(3));
    let unknown = (OutPoint { txid: Txid::from_bytes([9; 32]), index: 0 }, VALUE);
    let changed = |change: fn(&mut Transaction)| spend(&params, &[a], &[VALUE - 1000], change);
    let height = world.chain.tip().height.next();

    type Verdict = fn(&Result<Accepted, MempoolError>) -> bool;
    let cases: Vec<(&str, Transaction, Verdict)> = vec![
        (
            "a payment",
            world.spend(&[a], &[VALUE - 1000]),
            |r| matches!(r, Ok(Accepted { fee, .. }) if fee.as_grains() == 1000),
        ),
        ("two coins into two", world.spend(&[a, b], &[VALUE, VALUE - 1000]), |r| r.is_ok()),
        ("a child of the pool", world.spend(&[output(&pending, 0)], &[VALUE / 2 - 500]), |r| r.is_ok()),
        ("with data", changed(|tx| tx.outputs.push(Output::data(vec![1; 256]))), |r| r.is_ok()),
        ("the same again", pending.clone(), |r| matches!(r, Err(E::AlreadyKnown { .. }))),
        (
            "one in a block",
            confirmed.clone(),
            |r| matches!(r, Err(E::AlreadyConfirmed { height, .. }) if *height == Height::from_u32(2)),
        ),
        ("spent by a block", world.spend(&[world.coin(0)], &[5]), |r| matches!(r, Err(E::MissingInputs { .. }))),
        (
            "of an unknown coin",
            world.spend(&[unknown], &[5]),
            |r| matches!(r, Err(E::MissingInputs { missing, kept: true, .. }) if missing.len() == 1),
        ),
        (
            "of an output that is not there",
            world.spend(&[(OutPoint { index: 2, ..output(&pending, 0).0 }, 1)], &[1]),
            |r| matches!(r, Err(E::Rule(RuleError::MissingCoin { .. }))),
        ),
        ("version 2", changed(|tx| tx.version = 2), |r| matches!(r, Err(E::Version { got: 2, expected: 1 }))),
        ("too large", spend(&params, &[a], &vec![1; 2500], |_| ()), |r| {
            matches!(r, Err(E::TooLarge { max: MAX_TX_SIZE, .. }))
        }),
        ("a coinbase", coinbase.clone(), |r| matches!(r, Err(E::Rule(RuleError::NoInputs { .. })))),
        ("no outputs", changed(|tx| tx.outputs.clear()), |r| matches!(r, Err(E::Rule(RuleError::NoOutputs { .. })))),
        ("one coin twice", world.spend(&[a, a], &[5]), |r| matches!(r, Err(E::Rule(RuleError::DuplicateInput { .. })))),
        ("too much data", changed(|tx| tx.outputs.push(Output::data(vec![1; 257]))), |r| {
            matches!(r, Err(E::Rule(RuleError::DataTooLong { got: 257, .. })))
        }),
        ("two pieces of data", changed(|tx| tx.outputs.extend([Output::data(vec![]), Output::data(vec![])])), |r| {
            matches!(r, Err(E::Rule(RuleError::TooManyData { got: 2, .. })))
        }),
        ("a worthless coin", world.spend(&[a], &[VALUE - 1000, 0]), |r| matches!(r, Err(E::Dust { index: 1, .. }))),
        ("out of nothing", world.spend(&[a], &[VALUE + 1]), |r| matches!(r, Err(E::Rule(RuleError::Overspend { .. })))),
        ("locked till the next block", changed(|tx| tx.lock_height = Height::from_u32(3)), |r| r.is_ok()),
        (
            "locked for longer",
            changed(|tx| tx.lock_height = Height::from_u32(4)),
            |r| matches!(r, Err(E::Rule(RuleError::Locked { lock_height, height, .. })) if *lock_height == Height::from_u32(4) && *height == Height::from_u32(3)),
        ),
        (
            "immature",
            world.spend(&[output(&coinbase, 0)], &[5]),
            |r| matches!(r, Err(E::Rule(RuleError::ImmatureCoin { made, spendable, height, .. })) if *made == Height::from_u32(1) && *spendable == Height::from_u32(11) && *height == Height::from_u32(3)),
        ),
        ("no fee", world.spend(&[a], &[VALUE]), |r| matches!(r, Err(E::FeeTooLow { got: Amount::ZERO, .. }))),
        ("another's signature", spend_as(&params, a, key(2)), |r| {
            matches!(r, Err(E::Rule(RuleError::BadSignature { input: 0, .. })))
        }),
        ("another network's", other_network(a), |r| matches!(r, Err(E::Rule(RuleError::BadSignature { .. })))),
        ("a cheap conflict", world.spend(&[world.coin(1)], &[VALUE - 1000]), |r| {
            matches!(r, Err(E::ReplacementRate { .. }) | Err(E::ReplacementFee { .. }))
        }),
        (
            "a dear conflict",
            world.spend(&[world.coin(1)], &[VALUE - 5000]),
            |r| matches!(r, Ok(Accepted { replaced, .. }) if replaced.len() == 1),
        ),
        ("a conflict with its own parent", world.spend(&[world.coin(1), output(&pending, 0)], &[VALUE]), |r| {
            matches!(r, Err(E::ReplacesAncestor { .. }))
        }),
    ];
    assert_eq!(height, Height::from_u32(3));
    for (name, tx, expected) in &cases {
        let mut fresh = World::on(params.clone(), Limits::default());
        fresh.follow(&world, 1);
        fresh.admit(&pending);
        let before = fresh.pool.txids();
        let tested = fresh.pool.test(tx, &fresh.chain, UnixTime::from_secs(fresh.now));
        assert_eq!(fresh.pool.txids(), before, "{name}: testing changed the pool");
        let verdict = fresh.accept(tx);
        assert!(expected(&verdict), "{name}: {verdict:?}");
        assert_eq!(tested.is_ok(), verdict.is_ok(), "{name}: tested {tested:?}");
        if verdict.is_err() {
            assert_eq!(fresh.pool.txids(), before, "{name}: a refusal changed the pool");
        }
        check(&fresh);
    }
}

fn spend_as(params: &Params, coin: (OutPoint, u64), thief: SecretKey) -> Transaction {
    let mut tx = spend(params, &[coin], &[VALUE - 1000], |_| ());
    let owner = Output::pay(public(1), Amount::from_grains(coin.1));
    tx.inputs[0].signature = thief.sign(&tx.signature_digest(&params.genesis_hash, [&owner]));
    tx
}

fn other_network(coin: (OutPoint, u64)) -> Transaction {
    let other = Params::new(GenesisSpec::regtest()).expect("valid parameters");
    spend(&other, &[coin], &[VALUE - 1000], |_| ())
}

#[test]
fn rules_that_depend_on_the_tip_blame_no_peer() {
    let world = World::new(Limits::default());
    let a = world.coin(0);
    let blame = |tx: &Transaction| {
        world.pool.test(tx, &world.chain, UnixTime::from_secs(world.now)).expect_err("refused").blame()
    };
    assert_eq!(blame(&spend(&world.params, &[a], &[VALUE], |tx| tx.lock_height = Height::from_u32(9))), Blame::Nobody);
    assert_eq!(blame(&world.spend(&[a], &[VALUE])), Blame::Nobody, "no fee");
    assert_eq!(blame(&world.spend(&[a], &[VALUE * 2])), Blame::Peer, "out of nothing");
    assert_eq!(blame(&other_network(a)), Blame::Peer);
}

#[test]
fn a_replacement_pays_for_what_it_throws_out() {
    let mut world = World::new(Limits::default());
    let parent = world.spend(&[world.coin(0)], &[VALUE - 300]);
    let child = world.spend(&[output(&parent, 0)], &[VALUE - 300 - 50_000]);
    world.admit(&parent);
    world.admit(&child);
    let lost = 300 + 50_000;
    let size = parent.size() as u64;
    // Far better a byte than the parent, but not enough for the child as well, nor for its own relay.
    for fee in [10_000, lost - 1, lost + size - 1] {
        let verdict = world.accept(&world.spend(&[world.coin(0)], &[VALUE - fee]));
        let least = Amount::from_grains(lost + size);
        assert!(matches!(verdict, Err(MempoolError::ReplacementFee { min, .. }) if min == least), "{verdict:?}");
    }
    let replacement = world.spend(&[world.coin(0)], &[VALUE - lost - size]);
    let accepted = world.accept(&replacement).expect("pays enough");
    assert_eq!(BTreeSet::from_iter(accepted.replaced), BTreeSet::from_iter(txids(&[parent, child])));
    assert_eq!(world.pool.txids(), txids(&[replacement]));
    check(&world);
}

#[test]
fn a_replacement_needs_no_new_unconfirmed_coin() {
    let mut world = World::new(Limits::default());
    let first = world.spend(&[world.coin(0)], &[VALUE - 300]);
    let other = world.spend(&[world.coin(1)], &[VALUE - 300]);
    world.admit(&first);
    let parent = world.admit(&other);
    let verdict = world.accept(&world.spend(&[world.coin(0), output(&other, 0)], &[VALUE]));
    assert!(matches!(verdict, Err(MempoolError::ReplacementNeedsMore { parent: p }) if p == parent), "{verdict:?}");
}

#[test]
fn a_replacement_throws_out_at_most_a_hundred() {
    let mut world = World::new(Limits::default());
    let coins: Vec<_> = (0..5).map(|index| world.coin(index)).collect();
    for coin in &coins {
        for tx in chain_of(&world, *coin, 21, 300) {
            world.admit(&tx);
        }
    }
    let verdict = world.accept(&world.spend(&coins, &[VALUE]));
    assert!(matches!(verdict, Err(MempoolError::TooManyReplaced { got: 105, max: 100 })), "{verdict:?}");
    world.accept(&world.spend(&coins[..4], &[VALUE])).expect("84 are few enough");
    assert_eq!(world.pool.len(), 22);
    check(&world);
}

#[test]
fn chains_and_families_end_at_25() {
    let mut world = World::new(Limits::default());
    let chain = chain_of(&world, world.coin(0), 26, 300);
    for tx in &chain[..25] {
        world.admit(tx);
    }
    let verdict = world.accept(&chain[25]);
    assert!(matches!(verdict, Err(MempoolError::TooManyAncestors { got: 26, max: 25 })), "{verdict:?}");
    let wide = world.spend(&[world.coin(1)], &vec![VALUE / 50; 30]);
    world.admit(&wide);
    for index in 0..24 {
        world.admit(&world.spend(&[output(&wide, index)], &[VALUE / 50 - 300]));
    }
    let verdict = world.accept(&world.spend(&[output(&wide, 24)], &[VALUE / 50 - 300]));
    assert!(matches!(verdict, Err(MempoolError::TooManyDescendants { got: 26, max: 25, .. })), "{verdict:?}");
    // In place of one of them, it is no more.
    let swap = world.spend(&[output(&wide, 0), output(&wide, 24)], &[VALUE / 50]);
    world.accept(&swap).expect("replaces one of the family");
    check(&world);
    // A confirmed ancestor counts no more.
    world.mine(&[&chain[0]]);
    world.accept(&chain[25]).expect("24 ancestors are left");
    check(&world);
}

#[test]
fn orphans_wait_for_their_parents() {
    let mut world = World::new(Limits::default());
    let chain = chain_of(&world, world.coin(0), 4, 300);
    for tx in chain[1..].iter().rev() {
        assert!(matches!(world.accept(tx), Err(MempoolError::MissingInputs { kept: true, .. })));
        assert!(world.pool.is_orphan(&tx.txid()) && !world.pool.contains(&tx.txid()));
    }
    let accepted = world.accept(&chain[0]).expect("its coin is known");
    assert_eq!(accepted.orphans.admitted, txids(&chain[1..]));
    assert_eq!((world.pool.len(), world.pool.orphan_count(), world.pool.orphan_usage()), (4, 0, 0));
    check(&world);
}

#[test]
fn orphans_come_in_with_a_block_or_go_with_it() {
    let mut world = World::new(Limits::default());
    let parent = world.spend(&[world.coin(0)], &[VALUE / 2, VALUE / 2 - 300]);
    let child = world.spend(&[output(&parent, 0)], &[VALUE / 2 - 300]);
    let spent = world.spend(&[output(&parent, 1)], &[VALUE / 2 - 600]);
    let late = world.spend(&[output(&parent, 1)], &[VALUE / 2 - 900]);
    assert!(world.accept(&child).is_err() && world.accept(&late).is_err());
    let returned = world.mine(&[&parent, &spent]);
    assert_eq!(returned, [child.txid()]);
    assert_eq!(world.pool.txids(), returned);
    assert_eq!((world.pool.orphan_count(), world.pool.orphan_usage()), (0, 0));
    check(&world);
}

#[test]
fn orphans_are_few_small_and_soon_gone() {
    let limits = Limits { max_orphans: 10, max_orphan_bytes: 50_000, ..Limits::default() };
    let mut world = World::new(limits.clone());
    let orphan = |world: &World, number: u8, outputs: usize| {
        let coin = (OutPoint { txid: Txid::from_bytes([number; 32]), index: 0 }, VALUE);
        world.spend(&[coin], &vec![1; outputs])
    };
    let many: Vec<_> = (1..=20).map(|number| orphan(&world, number, 1)).collect();
    for tx in &many {
        world.accept(tx).expect_err("an orphan");
    }
    let kept: Vec<_> = many.iter().map(|tx| world.pool.is_orphan(&tx.txid())).collect();
    assert_eq!(kept, [[false; 10], [true; 10]].concat(), "the oldest make room");
    let large = orphan(&world, 30, limits.max_orphan_size / 40);
    assert!(matches!(world.accept(&large), Err(MempoolError::MissingInputs { kept: false, .. })));
    for number in 40..60 {
        world.accept(&orphan(&world, number, 200)).expect_err("an orphan");
        assert!(world.pool.orphan_usage() <= limits.max_orphan_bytes);
    }
    assert!((1..10).contains(&world.pool.orphan_count()));
    world.pool.expire(UnixTime::from_secs(world.now + limits.orphan_expiry.as_secs() + 1));
    assert_eq!((world.pool.orphan_count(), world.pool.orphan_usage()), (0, 0));
}

#[test]
fn a_full_pool_keeps_what_pays_best_and_asks_more() {
    let limits = Limits { max_bytes: 40_000, ..Limits::default() };
    let mut world = World::new(limits.clone());
    let mut fees = Vec::new();
    for index in 0..COINS {
        // Neither rising nor falling.
        let fee = 300 + (index as u64 * 7919) % 10_000;
        let tx = world.spend(&[world.coin(index)], &[VALUE - fee]);
        match world.accept(&tx) {
            Ok(_) => fees.push(fee),
            Err(MempoolError::FeeTooLow { got, .. }) => assert_eq!(got.as_grains(), fee),
            Err(error) => panic!("{error}"),
        }
        check(&world);
    }
    let raised = world.pool.min_fee_rate();
    assert!(raised > limits.min_fee_rate);
    let mut kept: Vec<_> =
        world.pool.txids().iter().map(|txid| world.pool.get(txid).expect("listed").fee.as_grains()).collect();
    kept.sort_unstable();
    fees.sort_unstable();
    assert_eq!(kept, fees[fees.len() - kept.len()..], "the best of those that were let in");
    world.now += limits.expiry.as_secs() / 2;
    world.pool.expire(UnixTime::from_secs(world.now));
    assert_eq!(world.pool.min_fee_rate(), limits.min_fee_rate, "forgotten with time");
}

#[test]
fn a_rich_child_keeps_its_parent() {
    let limits = Limits { max_bytes: 20_000, ..Limits::default() };
    let mut world = World::new(limits);
    let parent = world.spend(&[world.coin(0)], &[VALUE - 300]);
    let child = world.spend(&[output(&parent, 0)], &[VALUE - 100_000]);
    world.admit(&parent);
    world.admit(&child);
    for index in 1..100 {
        let _full = world.accept(&world.spend(&[world.coin(index)], &[VALUE - 2_000]));
    }
    assert!(world.pool.len() < 50);
    assert!(world.pool.contains(&parent.txid()) && world.pool.contains(&child.txid()));
    check(&world);
}

#[test]
fn the_old_expire_with_their_descendants() {
    let mut world = World::new(Limits::default());
    let old = chain_of(&world, world.coin(0), 2, 300);
    world.admit(&old[0]);
    world.now += world.pool.limits().expiry.as_secs();
    world.admit(&old[1]);
    let fresh = world.spend(&[world.coin(1)], &[VALUE - 300]);
    world.admit(&fresh);
    assert_eq!(world.pool.len(), 3, "not a second too early");
    world.now += 1;
    world.pool.expire(UnixTime::from_secs(world.now));
    assert_eq!(world.pool.txids(), txids(&[fresh]));
    check(&world);
}

#[test]
fn a_block_takes_its_own_and_their_conflicts() {
    let mut world = World::new(Limits::default());
    let confirmed = chain_of(&world, world.coin(0), 3, 300);
    let beaten = chain_of(&world, world.coin(1), 3, 300);
    let winner = world.spend(&[world.coin(1)], &[VALUE - 999]);
    for tx in confirmed.iter().chain(&beaten) {
        world.admit(tx);
    }
    world.mine(&[&confirmed[0], &winner]);
    assert_eq!(world.pool.txids(), txids(&confirmed[1..]));
    assert_eq!(world.pool.get(&confirmed[1].txid()).expect("there").ancestors.count, 1);
    check(&world);
}

/// Two chains from one genesis: the first has mined `ours`, the second is one block longer and has mined `theirs`.
fn fork(ours: &[&[&Transaction]], theirs: &[&[&Transaction]]) -> (World, World) {
    let mut first = World::new(Limits::default());
    let mut second = World::on(first.params.clone(), Limits::default());
    second.extra_nonce = 1_000_000;
    ours.iter().for_each(|txs| drop(first.mine(txs)));
    theirs.iter().for_each(|txs| drop(second.mine(txs)));
    (first, second)
}

#[test]
fn a_reorganisation_brings_payments_back() {
    let world = World::new(Limits::default());
    let chain = chain_of(&world, world.coin(0), 4, 300);
    let both = world.spend(&[world.coin(1)], &[VALUE - 300]);
    let lost = world.spend(&[world.coin(2)], &[VALUE - 300]);
    let lost_child = world.spend(&[output(&lost, 0)], &[VALUE - 600]);
    let winner = world.spend(&[world.coin(2)], &[VALUE - 400]);
    let (mut first, second) = fork(&[&[&chain[0], &lost], &[&chain[1], &both]], &[&[&both], &[&winner], &[]]);
    // In the pool on top of what the first chain has.
    for tx in [&chain[2], &chain[3], &lost_child] {
        first.admit(tx);
    }
    check(&first);
    let returned = first.follow(&second, 1);
    assert_eq!(returned, txids(&chain[..2]), "parents first, without what the other chain has or rules out");
    assert_eq!(BTreeSet::from_iter(first.pool.txids()), BTreeSet::from_iter(txids(&chain)));
    assert_eq!(first.pool.get(&chain[3].txid()).expect("there").ancestors.count, 4);
    assert!(chain.iter().chain([&both]).all(|tx| first.pool.is_verified(&tx.txid())));
    check(&first);
    first.mine(&chain.iter().collect::<Vec<_>>());
    assert!(first.pool.is_empty());
}

#[test]
fn a_reorganisation_drops_what_it_makes_unminable() {
    let mut world = World::new(Limits::default());
    let coinbase = world.mine_only(&[]).0.transactions[0].clone();
    let (stale, _) = world.mine_only(&[]);
    (0..8).for_each(|_| drop(world.mine(&[])));
    let (coin, value) = output(&coinbase, 0);
    let mature = world.spend(&[(coin, value)], &[value - 300]);
    let locked = spend(&world.params, &[world.coin(0)], &[VALUE - 300], |tx| tx.lock_height = Height::from_u32(11));
    let child = world.spend(&[output(&locked, 0)], &[VALUE - 600]);
    let plain = world.spend(&[world.coin(1)], &[VALUE - 300]);
    for tx in [&mature, &locked, &child, &plain] {
        world.admit(tx);
    }
    check(&world);
    let update = world.chain.invalidate(&stale.hash()).expect("known");
    world.pool.update(&update, &world.chain, UnixTime::from_secs(world.now));
    assert_eq!(world.chain.tip().height, Height::from_u32(1));
    assert_eq!(world.pool.txids(), txids(&[plain]));
    check(&world);
}

#[test]
fn spends_of_a_coinbase_that_is_gone_go_with_it() {
    let mut first = World::new(Limits::default());
    let coinbase = first.mine_only(&[]).0.transactions[0].clone();
    (0..10).for_each(|_| drop(first.mine(&[])));
    let mut second = World::on(first.params.clone(), Limits::default());
    second.extra_nonce = 1_000_000;
    (0..12).for_each(|_| drop(second.mine(&[])));
    let (coin, value) = output(&coinbase, 0);
    let mature = first.spend(&[(coin, value)], &[value - 300]);
    let child = first.spend(&[output(&mature, 0)], &[value - 600]);
    first.admit(&mature);
    first.admit(&child);
    first.follow(&second, 1);
    assert!(first.pool.is_empty());
    check(&first);
}

#[derive(Debug, Clone)]
enum Step {
    /// Spends coins chosen by number among all there ever were, for a fee.
    Pay { coins: Vec<usize>, outputs: u64, fee: u64 },
    /// A block of about this share, in percent, of the best selection.
    Mine { share: usize },
    /// A longer branch from so many blocks back, of empty blocks or with a share of what was mined.
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

/// What a pool without limits or orphans must hold, found by trying everything again.
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

    /// After the chain has moved: `back` and all there was, as far as it still stands.
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
                        .map(|height| world.chain.entry_at(height).expect("on the best chain").hash)
                        .map(|hash| world.chain.db().block(&hash).expect("readable").expect("stored"))
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
                    // Spent whether it came in or not: so there are orphans too.
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
