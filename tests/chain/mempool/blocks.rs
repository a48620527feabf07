//! Payments through blocks and reorganisations.

use std::collections::BTreeSet;

use super::{VALUE, World, chain_of, check, output, spend, txids};
use cairn::mempool::Limits;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::Transaction;

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
