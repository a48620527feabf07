//! Orphans, a full pool, and expiry.

use super::{COINS, VALUE, World, chain_of, check, output, txids};
use cairn::mempool::{Limits, MempoolError};
use cairn::primitives::hash::Txid;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Transaction};

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
fn a_clock_that_was_ahead_is_not_believed_for_ever() {
    let mut world = World::new(Limits::default());
    let right = world.now;
    let [early, late] = [0, 1].map(|index| world.spend(&[world.coin(index)], &[VALUE - 300]));
    world.now += 1_000_000;
    world.admit(&early);
    world.now = right;
    world.admit(&late);
    let time = |tx: &Transaction| world.pool.get(&tx.txid()).expect("it was let in").time;
    assert_eq!([&early, &late].map(time), [right + 1_000_000, right].map(UnixTime::from_secs));
    check(&world);
}
