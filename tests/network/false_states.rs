//! False states under most of the work: what a node believes that starts from one, and what a node does that validates all
//! blocks.

use std::sync::Arc;
use std::time::Duration;

use cairn::chain::{self, Chain, ChainError, LoadStep, SORTED_COINS};
use cairn::consensus::coins::{Coin, CoinView, Delta};
use cairn::consensus::error::RuleError;
use cairn::consensus::params::Params;
use cairn::p2p::{Config, Protocol};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::hash::Txid;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Output as TxOutput};
use cairn::state::Key;
use cairn::storage::{MemoryStore, StateBase};
use cairn_testkit::{Ledger, public};

use crate::connections::Bench;
use crate::state_sync::{EDGE, LENGTH, World, extend, node, params, with_blocks};

/// Who owns a coin in a false state, and nowhere else.
const THIEF: u8 = 250;
/// Blocks before the lie. Block 20 is the first that commits to it, as the state after block 15.
const BEFORE: u32 = 12;
const FIRST_FALSE: usize = 20;

/// A node that holds the state of a ledger whose blocks no node would validate, and serves it. `at_edge` is the ledger as it was
/// there.
fn with_state_of(ledger: &Ledger, at_edge: &Ledger) -> Bench {
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(ledger.params.clone(), store.clone()).unwrap();
    let headers: Vec<_> = ledger.blocks[1..].iter().map(|block| block.header).collect();
    let now = UnixTime::from_secs(ledger.tip().time.into());
    chain.accept_headers(&headers, now).unwrap();
    let target = chain.state_target(now, false).unwrap();
    assert_eq!(target.edge.height, at_edge.height());
    let base = StateBase {
        height: target.edge.height,
        block: target.edge.hash,
        root: at_edge.epochs.last().expect("a state at each edge").root,
        before: (target.before.hash, at_edge.committed().state),
        filters: at_edge.filters,
        // It does not ask whether there may be so much.
        issued: Amount::MAX,
    };
    chain.begin_load(base, 1).unwrap();
    let coins: Vec<_> = at_edge.epochs.table().leaves().copied().collect();
    assert!(chain.load_coins((&Key::MIN, &Key::MAX), &coins, None).unwrap());
    while chain.load_step(SORTED_COINS).unwrap() != LoadStep::Started {}
    drop(chain);
    let mut bench = Bench::on(&ledger.params, Config::default(), store);
    for block in &ledger.blocks[target.edge.height.as_usize() + 1..] {
        bench.node.submit_block(bench.now, block.clone()).unwrap();
    }
    bench.node.drain().for_each(drop);
    let table = bench.node.chain().state_table();
    while table.next_edge().unwrap().is_some() {}
    bench
}

/// From the next edge on, the ledger's blocks commit to a state that is also changed by `lie`; what they spend is checked
/// accordingly.
pub fn belie(ledger: &mut Ledger, lie: &Delta) {
    let (params, height, tip) = (ledger.params.clone(), ledger.height(), ledger.tip().hash());
    assert!(!params.is_edge(height));
    ledger.epochs.push(&params, height, tip, lie).unwrap();
    lie.spent.iter().for_each(|(outpoint, _)| drop(ledger.coins.0.remove(outpoint)));
    ledger.coins.0.extend(lie.created.iter().cloned());
}

/// That a coin of genesis has another owner: the total value stays right.
pub fn another_owner(ledger: &Ledger, outpoint: OutPoint) -> Delta {
    let coin = ledger.coins.0[&outpoint].clone();
    let output = TxOutput::pay(public(THIEF), coin.output.value);
    let created = vec![(outpoint, Coin { output, ..coin.clone() })];
    Delta { spent: vec![(outpoint, coin)], created, ..Delta::default() }
}

/// A ledger with [`BEFORE`] true blocks, then a lie; at the edge, and some blocks short of [`LENGTH`].
fn forged(params: &Arc<Params>, lie: impl FnOnce(&Ledger) -> Delta) -> (Ledger, Ledger) {
    let mut ledger = Ledger::on(params);
    (0..BEFORE).for_each(|_| drop(extend(&mut ledger)));
    let lie = lie(&ledger);
    belie(&mut ledger, &lie);
    ledger.extend(EDGE - BEFORE, 3);
    let at_edge = ledger.clone();
    ledger.extend(LENGTH - EDGE - 1, 3);
    (at_edge, ledger)
}

/// A node that validates all blocks takes those of a forged ledger up to the first that commits to the lie, and its store is in
/// order.
fn assert_refused(forged: &Ledger) {
    let mut full = with_blocks(&forged.params, &forged.blocks[..FIRST_FALSE]);
    let refused = full.node.submit_block(full.now, forged.blocks[FIRST_FALSE].clone()).unwrap_err();
    assert!(matches!(refused, ChainError::Rule { source: RuleError::WrongCommitment { .. }, .. }), "{refused:?}");
    let chain = full.node.chain();
    let report = chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
    assert_eq!((report.height, report.kept_from), (Height::from_u32(FIRST_FALSE as u32 - 1), Height::GENESIS));
}

/// Miners with most work take a coin of another owner, so the total value stays right. A node that validates every block
/// refuses theirs. A node that starts from a state believes it until a chain has more work.
#[test]
fn a_false_state_that_is_buried_is_believed_until_another_chain_has_more_work() {
    let params = params();
    let mut honest = Ledger::on(&params);
    (0..BEFORE).for_each(|_| drop(extend(&mut honest)));
    let mut false_one = honest.clone();
    let stolen = false_one.allocation(190);
    let mut theft = false_one.payment(&[stolen], vec![TxOutput::pay(public(THIEF), Amount::from_grains(COIN))]);
    theft.inputs[0].signature.0[0] ^= 1;
    let block = false_one.block(vec![theft.clone()]);
    false_one.push(block.clone());
    false_one.extend(EDGE - BEFORE - 1, 3);
    let at_edge = false_one.clone();
    false_one.extend(LENGTH - EDGE, 3);
    let taken = OutPoint { txid: theft.txid(), index: 0 };

    let mut full = node(&params, false);
    for honest in &honest.blocks[1..] {
        full.node.submit_block(full.now, honest.clone()).unwrap();
    }
    let refused = full.node.submit_block(full.now, block).unwrap_err();
    assert!(matches!(refused, ChainError::Rule { source: RuleError::BadSignature { .. }, .. }), "{refused:?}");

    let mut world = World::new(node(&params, true));
    world.connect(with_state_of(&false_one, &at_edge), Box::new(Some));
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), &world.offences[..]), (Some(EDGE), &[][..]));
    let has = |world: &World, outpoint: OutPoint| {
        let mut is_there = false;
        world.fresh.node.chain().db().for_each_coin(&mut |at, _| is_there |= *at == outpoint).unwrap();
        is_there
    };
    assert!(has(&world, taken) && !has(&world, stolen));

    while honest.height().as_u32() < LENGTH + 1 {
        extend(&mut honest);
    }
    world.honest(&params, &honest.blocks);
    world.after(Duration::from_secs(1));
    world.honest(&params, &honest.blocks);
    world.run_to(LENGTH + 1);
    assert!(!has(&world, taken) && has(&world, stolen));
    world.compare(&with_blocks(&params, &honest.blocks));

    // With both from the beginning, it is never believed.
    let mut world = World::new(node(&params, true));
    world.connect(with_state_of(&false_one, &at_edge), Box::new(Some));
    world.honest(&params, &honest.blocks);
    world.run_to(LENGTH + 1);
    assert!(has(&world, stolen) && world.offences.is_empty());
    world.compare(&with_blocks(&params, &honest.blocks));
}

/// Miners with most work commit to a state in which a coin has another owner, and break no other rule.
#[test]
fn a_false_root_of_the_right_total_is_believed_by_a_node_that_starts_from_it() {
    let params = params();
    let stolen = Ledger::on(&params).allocation(190);
    let (at_edge, mut forged) = forged(&params, |ledger| another_owner(ledger, stolen));
    let paid = forged.payment(&[stolen], vec![TxOutput::pay(public(THIEF), Amount::from_grains(COIN / 2))]);
    let block = forged.block(vec![paid.clone()]);
    forged.append(&block);
    assert_refused(&forged);

    let mut world = World::new(node(&params, true));
    world.connect(with_state_of(&forged, &at_edge), Box::new(Some));
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), &world.offences[..]), (Some(EDGE), &[][..]));
    // The thief has even spent the coin since, and the check of the store has nothing to compare the state with.
    let chain = world.fresh.node.chain();
    let coin = chain.db().coin(&OutPoint { txid: paid.txid(), index: 0 }).unwrap();
    assert_eq!(coin.and_then(|coin| coin.output.key().copied()), Some(public(THIEF)));
    let report = chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
    assert_eq!((report.height, report.kept_from), (Height::from_u32(LENGTH), Height::from_u32(EDGE + 1)));
}

/// The same with one grain more than was issued: no node starts from it, and one that tried validates all blocks.
#[test]
fn a_false_root_of_more_than_was_issued_is_not_started_from() {
    let params = params();
    let inflates = |ledger: &Ledger| {
        let output = TxOutput::pay(public(THIEF), Amount::from_grains(1));
        let coin = Coin { output, height: ledger.height(), coinbase: false };
        Delta { created: vec![(OutPoint { txid: Txid::of(b"no transaction"), index: 0 }, coin)], ..Delta::default() }
    };
    let (at_edge, mut forged) = forged(&params, inflates);
    forged.extend(1, 3);
    assert_refused(&forged);

    let mut world = World::new(node(&params, true));
    world.connect(with_state_of(&forged, &at_edge), Box::new(Some));
    for _ in 0..100 {
        world.after(Duration::from_millis(100));
    }
    assert!(world.servers.is_empty() && world.fresh.node.chain().is_fresh(), "all that came is removed");
    assert_eq!(world.offences, [], "the peer has shown what miners committed to");
    let mut honest = Ledger::on(&params);
    (0..=LENGTH).for_each(|_| drop(extend(&mut honest)));
    world.honest(&params, &honest.blocks);
    world.run_to(LENGTH + 1);
    assert_eq!(world.started_from(), None);
    world.compare(&with_blocks(&params, &honest.blocks));
}
