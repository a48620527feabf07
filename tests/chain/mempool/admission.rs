//! Transactions with the verdict each must get, and what replacements and long chains may do.

use std::collections::BTreeSet;

use super::{VALUE, World, chain_of, check, output, spend, txids};
use cairn::consensus::error::{Blame, RuleError};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::mempool::{Accepted, Limits, MAX_TX_SIZE, MempoolError};
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::Txid;
use cairn::primitives::height::Height;
use cairn::primitives::keys::SecretKey;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn_testkit::{key, public};

#[test]
fn each_refusal_has_its_verdict() {
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
        ("a worthless coin", world.spend(&[a], &[VALUE - 1000, 0]), |r| {
            matches!(r, Err(E::Rule(RuleError::KeyWithoutValue { index: 1, .. })))
        }),
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
    assert_eq!(blame(&spend(&world.params, &[a], &[VALUE], |tx| tx.lock_height = Height::from_u32(9))), Blame::None);
    assert_eq!(blame(&world.spend(&[a], &[VALUE])), Blame::None, "no fee");
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
    // A far better fee rate than the parent's, but too little to pay for the child as well and for its own relay.
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
    // A transaction that replaces one of the family does not enlarge it.
    let swap = world.spend(&[output(&wide, 0), output(&wide, 24)], &[VALUE / 50]);
    world.accept(&swap).expect("replaces one of the family");
    check(&world);
    // A confirmed ancestor no longer counts.
    world.mine(&[&chain[0]]);
    world.accept(&chain[25]).expect("24 ancestors are left");
    check(&world);
}
