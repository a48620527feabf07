//! Keys followed by filters: through payments, spends, reorganisations and lies.

use std::collections::BTreeSet;

use cairn::light::{Config, Notice, Payment, Stage};
use cairn::p2p::Reason;
use cairn::p2p::coins::Opening;
use cairn::p2p::message::Message;
use cairn::p2p::misbehaviour::Offence;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::gcs::Filter;
use cairn::primitives::hash::{BlockHash, FilterHeader, Hash256, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::Output;

use crate::world::{Lie, World, honest};
use cairn_testkit::{Ledger, genesis_coin, key, params, public, spend};

const VALUE: u64 = 1_000 * COIN;

fn watch(world: &mut World, keys: &[u8], min_confirmations: u32) {
    let keys: BTreeSet<PublicKey> = keys.iter().map(|n| public(*n)).collect();
    world.light.watch(world.now, keys, Height::GENESIS, min_confirmations);
}

/// Everything told of payments until the keys have been followed to the tip.
fn told(world: &mut World) -> Vec<Payment> {
    let tip = world.light.chain().height();
    world.run_until("all filters", move |world| {
        world.notices.iter().any(|notice| matches!(notice, Notice::Watched { height } if *height >= tip))
    });
    payments(world)
}

fn payments(world: &mut World) -> Vec<Payment> {
    let told = world.notices.drain(..).filter_map(|notice| match notice {
        Notice::Payment(payment) => Some(payment),
        _ => None,
    });
    told.collect()
}

fn ids(payments: &[Payment]) -> Vec<Txid> {
    payments.iter().map(|payment| payment.txid).collect()
}

/// A branch with a payment of key 1 to key 50 in block 5, spent on to key 51 in block 150; 250 blocks in all.
fn branch() -> (Ledger, Vec<Txid>) {
    let params = params();
    let mut branch = Ledger::on(&params);
    branch.extend(4, 1);
    let (outpoint, coin) = genesis_coin(&params, 1);
    let first = spend(&params, &[(outpoint, coin, &key(1))], vec![Output::pay(public(50), Amount::from_grains(VALUE))]);
    let block = branch.make(&public(9), std::slice::from_ref(&first), 0, 0);
    branch.push(block);
    branch.extend(144, 1);
    let (outpoint, coin) = branch.coin(first.txid(), 0);
    let second =
        spend(&params, &[(outpoint, coin, &key(50))], vec![Output::pay(public(51), Amount::from_grains(VALUE))]);
    let block = branch.make(&public(9), std::slice::from_ref(&second), 0, 0);
    branch.push(block);
    branch.extend(100, 1);
    (branch, vec![first.txid(), second.txid()])
}

#[test]
fn payments_and_spends_are_found_and_no_peer_learns_the_keys() {
    let (branch, txids) = branch();
    let mut world = World::new(&branch.params, 3, Config::default());
    for _ in 0..3 {
        world.serve(&branch.blocks[1..], honest());
    }
    world.sync();
    watch(&mut world, &[50], 1);
    let value = Amount::from_grains(VALUE);
    let expected =
        [(txids[0], 5, (value, Amount::ZERO)), (txids[1], 150, (Amount::ZERO, value))].map(|(txid, height, change)| {
            Payment {
                txid,
                changes: [(public(50), change)].into(),
                stage: Stage::Confirmed {
                    height: Height::from_u32(height),
                    block: branch.blocks[height as usize].hash(),
                    confirmations: 251 - height,
                },
            }
        });
    assert_eq!(told(&mut world), expected);
    let heard = |name: &str| world.servers.iter().flat_map(|s| &s.heard).filter(|heard| **heard == name).count();
    let all = ["getproofs", "getcoins", "getopening", "getfilterheaders", "getfilters"].map(heard);
    assert_eq!(all, [0, 0, 1, 1, 3]);
    assert!(heard("getdata") <= 4, "two blocks of 250, and false matches are rare: {}", heard("getdata"));
}

#[test]
fn reorganised_payments_are_reported_both_ways() {
    let (mut branch, _) = branch();
    let params = branch.params.clone();
    let mut rival = branch.clone();
    let mut world = World::new(&params, 2, Config::default());
    world.serve(&branch.blocks[1..], honest());
    world.serve(&branch.blocks[1..], honest());
    world.sync();
    watch(&mut world, &[60], 3);
    assert_eq!(told(&mut world), []);

    let (outpoint, coin) = genesis_coin(&params, 2);
    let paid = Amount::from_grains(VALUE - 100_000);
    let tx = spend(&params, &[(outpoint, coin, &key(2))], vec![Output::pay(public(60), paid)]);
    let at = |stage| Payment { txid: tx.txid(), changes: [(public(60), (paid, Amount::ZERO))].into(), stage };
    let is_payment = |notice: &Notice| matches!(notice, Notice::Payment(_));
    world.servers[0].node.submit_transaction(world.now, tx.clone()).unwrap();
    world.run_until("the payment seen", |world| world.notices.iter().any(is_payment));
    assert_eq!(payments(&mut world), [at(Stage::Seen)]);

    let block = branch.make(&public(9), std::slice::from_ref(&tx), 0, 0);
    branch.push(block.clone());
    world.mine(0, std::slice::from_ref(&block));
    world.run_until("the block", |world| world.notices.iter().any(is_payment));
    let (height, hash) = (251, block.hash());
    assert_eq!(payments(&mut world), [at(Stage::Mined { height: Height::from_u32(height), block: hash })]);

    // The other server finds two blocks without it.
    let others = rival.extend(2, 7);
    world.mine(1, &others);
    world.run_until("the reorganisation", |world| world.light.chain().tip_hash() == others[1].hash());
    assert_eq!(told(&mut world), [at(Stage::Reorganised { height: Height::from_u32(height), block: hash })]);

    let block = rival.make(&public(9), std::slice::from_ref(&tx), 0, 0);
    rival.push(block.clone());
    world.mine(1, std::slice::from_ref(&block));
    world.mine(1, &rival.extend(2, 8));
    let confirmed = at(Stage::Confirmed { height: Height::from_u32(253), block: block.hash(), confirmations: 3 });
    world.run_until("three confirmations", |world| world.notices.contains(&Notice::Payment(confirmed.clone())));
    assert_eq!(payments(&mut world).last(), Some(&confirmed));
}

/// A filter that has nothing in it.
fn empty() -> Filter {
    Filter::from_bytes(vec![0]).unwrap()
}

/// Serves an empty filter of a block, and promises it if asked for hashes of the blocks from height `start` on.
fn leaves_out(hidden: BlockHash, place: impl Fn(usize) -> Option<usize> + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::FilterHeaders { stop, previous, mut hashes } => {
            if let Some(hash) = place(hashes.len()).and_then(|place| hashes.get_mut(place)) {
                *hash = empty().hash();
            }
            vec![Message::FilterHeaders { stop, previous, hashes }]
        }
        Message::Filters(mut filters) => {
            for (_, bytes) in filters.iter_mut().filter(|(block, _)| *block == hidden) {
                *bytes = empty().as_bytes().to_vec();
            }
            vec![Message::Filters(filters)]
        }
        other => vec![other],
    })
}

#[test]
fn filters_that_leave_something_out_are_refused_by_what_the_chain_commits_to() {
    let (branch, txids) = branch();
    let hidden = branch.blocks[5].hash();
    // Both promise a filter of block 5 with nothing in it; the third only serves one.
    let mut world = World::new(&branch.params, 4, Config::default());
    world.serve(&branch.blocks[1..], leaves_out(hidden, |_| Some(5)));
    world.serve(&branch.blocks[1..], leaves_out(hidden, |_| Some(5)));
    world.serve(&branch.blocks[1..], leaves_out(hidden, |_| None));
    world.serve(&branch.blocks[1..], honest());
    world.sync();
    watch(&mut world, &[50], 1);
    assert_eq!(ids(&told(&mut world)), txids, "one honest peer is enough");
    let tip = branch.blocks[250].hash();
    let expected = [
        (0, Offence::FalseFilterHeaders { block: tip }),
        (1, Offence::FalseFilterHeaders { block: tip }),
        (2, Offence::FalseFilter { block: hidden }),
    ];
    let expected = expected.map(|(server, offence)| (server, Reason::Misbehaved(offence)));
    assert_eq!(world.goodbyes, expected);
}

#[test]
fn openings_of_something_else_are_refused() {
    let (branch, txids) = branch();
    let lie = |bend: fn(&mut Opening)| -> Lie {
        Box::new(move |message| match message {
            Message::Opening { block, opening: Some(mut opening) } => {
                bend(&mut opening);
                vec![Message::Opening { block, opening: Some(opening) }]
            }
            other => vec![other],
        })
    };
    let mut world = World::new(&branch.params, 5, Config::default());
    let denies: Lie = Box::new(|message| match message {
        Message::Opening { block, .. } => vec![Message::Opening { block, opening: None }],
        other => vec![other],
    });
    world.serve(&branch.blocks[1..], denies);
    world.serve(&branch.blocks[1..], lie(|opening| opening.committed.filters = FilterHeader::of(b"other")));
    world.serve(&branch.blocks[1..], lie(|opening| opening.coinbase.height = Height::from_u32(7)));
    world.serve(&branch.blocks[1..], lie(|opening| opening.coinbase.branch.siblings.push(Hash256::of(b"forged"))));
    world.serve(&branch.blocks[1..], honest());
    world.sync();
    watch(&mut world, &[50], 1);
    assert_eq!(ids(&told(&mut world)), txids);
    let caught: Vec<usize> = world.goodbyes.iter().map(|(server, _)| *server).collect();
    assert_eq!(caught, [1, 2, 3], "to refuse an answer is no offence: {:?}", world.goodbyes);
}

#[test]
fn a_payment_that_a_peer_hides_in_the_newest_block_shows_with_the_next_one() {
    let (mut branch, _) = branch();
    let params = branch.params.clone();
    let (outpoint, coin) = genesis_coin(&params, 2);
    let paid = Amount::from_grains(VALUE - 100_000);
    let tx = spend(&params, &[(outpoint, coin, &key(2))], vec![Output::pay(public(60), paid)]);
    let block = branch.make(&public(9), std::slice::from_ref(&tx), 0, 0);
    branch.push(block.clone());
    let mut world = World::new(&params, 2, Config::default());
    world.serve(&branch.blocks[1..], leaves_out(block.hash(), |_| None));
    world.serve(&branch.blocks[1..], honest());
    world.sync();
    watch(&mut world, &[60], 1);
    assert_eq!(told(&mut world), [], "the first peer is believed for now");
    let next = branch.extend(1, 3);
    [0, 1].into_iter().for_each(|server| world.mine(server, &next));
    world.run_until("the payment", |world| world.notices.iter().any(|notice| matches!(notice, Notice::Payment(_))));
    assert_eq!(ids(&payments(&mut world)), [tx.txid()]);
    let caught = (0, Reason::Misbehaved(Offence::FalseFilter { block: block.hash() }));
    assert_eq!(world.goodbyes, [caught], "it said the same again, against what the next block commits to");
}

#[test]
fn peers_without_filters_or_with_other_bodies_do_not_stop_it() {
    let (branch, txids) = branch();
    let mut world = World::new(&branch.params, 4, Config::default());
    let wrong = branch.blocks[5].transactions[0].clone();
    let lies: [Lie; 3] = [
        Box::new(|message| match message {
            Message::FilterHeaders { .. } => vec![],
            other => vec![other],
        }),
        Box::new(|message| match message {
            Message::Filters(_) => vec![],
            other => vec![other],
        }),
        Box::new(move |message| match message {
            Message::Block(block) => {
                let mut other = (*block).clone();
                other.transactions.push(wrong.clone());
                vec![Message::Block(other.into())]
            }
            other => vec![other],
        }),
    ];
    for lie in lies {
        world.serve(&branch.blocks[1..], lie);
    }
    world.serve(&branch.blocks[1..], honest());
    world.sync();
    watch(&mut world, &[50], 1);
    assert_eq!(ids(&told(&mut world)), txids);
}

#[test]
fn peers_on_another_branch_cost_no_time() {
    let (branch, txids) = branch();
    let mut rival = Ledger::on(&branch.params);
    let mut world = World::new(&branch.params, 2, Config::default());
    world.serve(&rival.extend(20, 9), honest());
    world.serve(&branch.blocks[1..], honest());
    world.sync();
    let before = world.now.mono;
    watch(&mut world, &[50], 1);
    assert_eq!(ids(&told(&mut world)), txids);
    assert_eq!(world.now.mono, before, "no time-out had to come first");
}
