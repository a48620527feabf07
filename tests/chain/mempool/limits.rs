//! The pool must not lose chains of payments that a reorganisation or a restart returns, however long, and a peer must
//! not make it check unbounded orphans with bad signatures.

use std::collections::BTreeSet;
use std::time::Instant;

use super::World;
use cairn::mempool::{Limits, MAX_RETURNING_CHAIN, MAX_SIGNATURES_A_CALL, MempoolError, Sender};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::codec;
use cairn::primitives::hash::Txid;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{HashedTransaction, OutPoint, Output, Transaction};
use cairn_testkit::{Ledger, funded, public, unsigned};

/// The fee of each payment.
const FEE: u64 = 1_000;

fn follower(ledger: &Ledger) -> World {
    World::on(ledger.params.clone(), Limits::default())
}

fn txids<'a>(txs: impl IntoIterator<Item = &'a Transaction>) -> BTreeSet<Txid> {
    txs.into_iter().map(Transaction::txid).collect()
}

/// A chain of payments, each spending the previous one; the first spends coin 1 of genesis.
fn chained(ledger: &Ledger, length: u64) -> Vec<Transaction> {
    let mut coin = ledger.allocation(1);
    let mut txs: Vec<Transaction> = Vec::new();
    for number in 1..=length {
        let tx = unsigned(&[coin], vec![Output::pay(public(1), Amount::from_grains(10 * COIN - number * FEE))]);
        let tx = ledger.sign(tx, &txs.last().into_iter().collect::<Vec<_>>());
        coin = OutPoint { txid: tx.txid(), index: 0 };
        txs.push(tx);
    }
    txs
}

/// Fifty chained payments in two blocks, 25 in each, and three blocks without any on another branch.
fn two_branches() -> (Ledger, Vec<Transaction>, [Block; 2], Vec<Block>) {
    let mut ledger = Ledger::new(funded(1..=2, 10 * COIN));
    let mut other = ledger.clone();
    let txs = chained(&ledger, 50);
    let blocks = [&txs[..25], &txs[25..]].map(|half| {
        let block = ledger.block(half.to_vec());
        ledger.append(&block);
        block
    });
    let better = (0..3).map(|_| {
        let block = other.block(Vec::new());
        other.append(&block);
        block
    });
    let better = better.collect();
    (other, txs, blocks, better)
}

#[test]
fn a_reorganisation_brings_back_a_chain_of_any_length() {
    let (mut ledger, txs, blocks, better) = two_branches();
    let mut world = follower(&ledger);
    blocks.iter().for_each(|block| world.take(block));
    better.iter().for_each(|block| world.take(block));
    assert_eq!(world.chain.tip().height, Height::from_u32(3));
    assert_eq!(world.pool.txids().into_iter().collect::<BTreeSet<_>>(), txids(&txs), "of 50 payments");
    // The limit applies to new payments.
    let last = OutPoint { txid: txs[49].txid(), index: 0 };
    let more = ledger.sign(unsigned(&[last], vec![Output::pay(public(1), Amount::from_grains(COIN))]), &[&txs[49]]);
    let verdict = world.pool.accept(more, &world.chain, UnixTime::from_secs(world.now));
    assert!(matches!(verdict, Err(MempoolError::TooManyAncestors { .. })), "{verdict:?}");
    // A block takes them all, in the order in which the pool gives them.
    let chosen: Vec<Transaction> = world.pool.select(1_000_000).iter().map(|entry| (*entry.tx).clone()).collect();
    assert_eq!(chosen, txs);
    let block = ledger.block(chosen);
    ledger.append(&block);
    world.take(&block);
    assert!(world.pool.is_empty());
}

/// Spends a coin, worth `value`, to so many outputs of key 1.
fn split(ledger: &Ledger, (coin, value): (OutPoint, u64), maker: Option<&Transaction>, outputs: u64) -> Transaction {
    let outputs = (0..outputs).map(|_| Output::pay(public(1), Amount::from_grains((value - FEE) / outputs))).collect();
    ledger.sign(unsigned(&[coin], outputs), &maker.into_iter().collect::<Vec<_>>())
}

/// Blocks whose payments depend on each other as much as they can, for the time that it takes the pool to take them back and to
/// let them go again. `cargo test --test chain large_families -- --nocapture` shows it.
#[test]
fn a_reorganisation_of_large_families_keeps_to_the_bounds() {
    // How many payments one after the other, how many that spend outputs of the last, and how many that spend each of those's.
    for (length, middle, leaves) in [(900, 0, 0), (250, 60, 70), (500, 60, 70)] {
        let mut ledger = Ledger::new(funded(1..=2, 10 * COIN));
        let other = ledger.clone();
        let (mut coin, mut value) = (ledger.allocation(1), 10 * COIN);
        let mut txs: Vec<Transaction> = Vec::new();
        for number in 1..=length {
            let outputs = if number == length { middle.max(1) } else { 1 };
            txs.push(split(&ledger, (coin, value), txs.last(), outputs));
            let tx = &txs[txs.len() - 1];
            (coin, value) = (OutPoint { txid: tx.txid(), index: 0 }, tx.outputs[0].value.as_grains());
        }
        let last = txs[txs.len() - 1].clone();
        for index in 0..middle as u32 {
            let tx = split(&ledger, (OutPoint { index, ..coin }, value), Some(&last), leaves);
            let (txid, value) = (tx.txid(), tx.outputs[0].value.as_grains());
            let leaf = |index| split(&ledger, (OutPoint { txid, index }, value), Some(&tx), 1);
            txs.extend((0..leaves as u32).map(leaf).collect::<Vec<_>>());
            txs.push(tx);
        }
        // Parents first: a payment of the middle was added after its leaves.
        txs[length as usize..].sort_by_key(|tx| tx.inputs[0].outpoint.txid != last.txid());
        let (count, max_count) = (txs.len(), MAX_RETURNING_CHAIN / txs[0].size());
        let mut block = ledger.block(Vec::new());
        block.transactions.extend(txs);
        cairn_testkit::seal(&mut block);
        let block_size = codec::encode(&block).len();
        ledger.append(&block);
        let mut world = follower(&ledger);
        world.take(&block);
        let mut longer = other.clone();
        let better: Vec<Block> = (0..2)
            .map(|_| {
                let block = longer.block(Vec::new());
                longer.append(&block);
                block
            })
            .collect();
        world.take(&better[0]);
        let start = Instant::now();
        world.take(&better[1]);
        let back = start.elapsed();
        assert_eq!(world.chain.tip().height, Height::from_u32(2));
        let returned = world.pool.len();
        let most =
            world.pool.txids().iter().filter_map(|txid| world.pool.get(txid)).map(|entry| entry.ancestors.bytes).max();
        assert!(most.is_some_and(|most| most <= MAX_RETURNING_CHAIN), "{most:?}");
        assert!(returned >= count.min(max_count - 1), "{returned} of {count}");
        let start = Instant::now();
        (0..2).for_each(|_| {
            let block = ledger.block(Vec::new());
            ledger.append(&block);
            world.take(&block);
        });
        let gone = start.elapsed();
        assert!(world.pool.is_empty());
        println!("{length} + {middle} * {leaves}, {block_size} bytes: {returned} back in {back:?}, gone in {gone:?}");
    }
}

#[test]
fn a_saved_pool_comes_back_whole() {
    let (ledger, txs, blocks, better) = two_branches();
    let mut world = follower(&ledger);
    blocks.iter().chain(&better).for_each(|block| world.take(block));
    world
        .pool
        .accept(
            ledger.payment(&[ledger.allocation(2)], vec![Output::pay(public(3), Amount::from_grains(COIN))]),
            &world.chain,
            UnixTime::from_secs(world.now),
        )
        .expect("good");
    let saved = world.pool.save();

    let mut again = follower(&ledger);
    better.iter().for_each(|block| again.take(block));
    assert_eq!(again.pool.restore(&saved), Ok(51));
    // Stopping before all payments are checked loses none.
    assert_eq!(again.pool.save(), saved);
    again.resume();
    assert_eq!(again.pool.txids().len(), txs.len() + 1);
    for txid in world.pool.txids() {
        let (before, after) = (world.pool.get(&txid).expect("listed"), again.pool.get(&txid).expect("restored"));
        assert_eq!((before.time, before.fee, before.ancestors), (after.time, after.fee, after.ancestors));
    }
    assert_eq!(again.pool.save(), saved);
}

#[test]
fn saved_transactions_are_checked_again() {
    let ledger = Ledger::new(funded(1..=2, 10 * COIN));
    let mut world = follower(&ledger);
    let tx = ledger.payment(&[ledger.allocation(1)], vec![Output::pay(public(3), Amount::from_grains(COIN))]);
    world.pool.accept(tx.clone(), &world.chain, UnixTime::from_secs(world.now)).expect("good");
    let saved = world.pool.save();
    // Files that are changed, truncated or of another network are refused as a whole.
    for at in (0..saved.len()).step_by(7) {
        let mut flipped = saved.clone();
        flipped[at] ^= 1;
        follower(&ledger).pool.restore(&flipped).expect_err("a flipped bit");
        follower(&ledger).pool.restore(&saved[..at]).expect_err("cut");
    }
    follower(&Ledger::new(funded(1..=3, 10 * COIN))).pool.restore(&saved).expect_err("another network");
    // One that a block has meanwhile, and one that has waited too long, are left out.
    let mut confirmed = follower(&ledger);
    confirmed.take(&ledger.block(vec![tx]));
    let mut late = follower(&ledger);
    late.now += Limits::default().expiry.as_secs() + 1;
    for mut world in [confirmed, late] {
        assert_eq!(world.pool.restore(&saved), Ok(1));
        world.resume();
        world.pool.expire(UnixTime::from_secs(world.now));
        assert!(world.pool.is_empty());
    }
}

/// Spends so many of the first outputs of `parent`; told apart by `number`.
fn orphan(ledger: &Ledger, parent: &Transaction, inputs: u32, number: u64, is_good: bool) -> Transaction {
    let txid = parent.txid();
    let coins: Vec<OutPoint> = (0..inputs).map(|index| OutPoint { txid, index }).collect();
    let mut tx =
        ledger.sign(unsigned(&coins, vec![Output::pay(public(2), Amount::from_grains(COIN + number))]), &[parent]);
    if !is_good && let Some(last) = tx.inputs.last_mut() {
        last.signature.0[3] ^= 1;
    }
    tx
}

/// Inputs of each orphan: nearly as many as one may have.
const INPUTS: u32 = 150;

/// A parent with enough outputs for an orphan, and one output more.
fn parent(ledger: &Ledger) -> Transaction {
    let mut outputs = vec![Output::pay(public(1), Amount::from_grains(10 * COIN / 200)); INPUTS as usize];
    outputs.push(Output::pay(public(1), Amount::from_grains(COIN)));
    ledger.payment(&[ledger.allocation(1)], outputs)
}

fn sender(connection: u64) -> Sender {
    Sender { connection, host: Some([10, 0, 0, connection as u8].into()) }
}

#[test]
fn a_call_checks_few_signatures_of_orphans_and_their_senders_answer_for_them() {
    let ledger = Ledger::new(funded(1..=2, 10 * COIN));
    let mut world = follower(&ledger);
    let parent = parent(&ledger);
    let senders = 30;
    for number in 0..senders {
        let tx = orphan(&ledger, &parent, INPUTS, number, false);
        let verdict = world.pool.accept_from(
            Some(sender(number)),
            HashedTransaction::new(tx),
            &world.chain,
            UnixTime::from_secs(world.now),
        );
        assert!(matches!(verdict, Err(MempoolError::MissingInputs { kept: true, .. })), "{verdict:?}");
    }
    let accepted = world.pool.accept(parent, &world.chain, UnixTime::from_secs(world.now)).expect("good");
    // 4,500 signatures are pending. One call checks at most 300, plus those of the orphan that crosses the bound.
    let most = MAX_SIGNATURES_A_CALL / INPUTS as usize + 1;
    let mut blamed: Vec<u64> = accepted.orphans.blamed.iter().map(|(sender, _)| sender.connection).collect();
    assert!((1..=most).contains(&blamed.len()), "{} orphans in one call", blamed.len());
    while world.pool.is_unfinished() {
        let progress = world.pool.resume(&world.chain, UnixTime::from_secs(world.now));
        assert!(progress.blamed.len() <= most, "{} orphans in one call", progress.blamed.len());
        blamed.extend(progress.blamed.iter().map(|(sender, _)| sender.connection));
    }
    blamed.sort_unstable();
    assert_eq!(blamed, (0..senders).collect::<Vec<_>>(), "each is blamed, once");
    assert_eq!((world.pool.len(), world.pool.orphan_count()), (1, 0));
}

#[test]
fn a_bad_orphan_drops_only_its_senders_orphans() {
    let ledger = Ledger::new(funded(1..=2, 10 * COIN));
    let mut world = follower(&ledger);
    let parent = parent(&ledger);
    let give = |world: &mut World, number: u64, tx: Transaction| {
        world
            .pool
            .accept_from(Some(sender(number)), HashedTransaction::new(tx), &world.chain, UnixTime::from_secs(world.now))
            .expect_err("an orphan");
    };
    (0..30).for_each(|number| give(&mut world, 7, orphan(&ledger, &parent, INPUTS, number, false)));
    let txid = parent.txid();
    let coin = OutPoint { txid, index: INPUTS };
    let good = ledger.sign(unsigned(&[coin], vec![Output::pay(public(2), Amount::from_grains(COIN / 2))]), &[&parent]);
    give(&mut world, 8, good.clone());
    let accepted = world.pool.accept(parent.clone(), &world.chain, UnixTime::from_secs(world.now)).expect("good");
    let mut blamed = accepted.orphans.blamed;
    while world.pool.is_unfinished() {
        blamed.extend(world.pool.resume(&world.chain, UnixTime::from_secs(world.now)).blamed);
    }
    assert_eq!(blamed.iter().map(|(sender, _)| *sender).collect::<Vec<_>>(), [sender(7)], "after one of 30");
    assert_eq!(world.pool.txids().into_iter().collect::<BTreeSet<_>>(), txids([&parent, &good]));
    assert_eq!(world.pool.orphan_count(), 0);
}
