//! `cairn bench load`: the coins of a state written into an empty store, as a node does that starts from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Figure;
use super::connect::open;
use super::fixture::Scratch;
use crate::chain::{LoadStep, SORTED_COINS};
use crate::consensus::coins::Coin;
use crate::consensus::params::{GenesisSpec, Params};
use crate::p2p::state::RangePage;
use crate::p2p::state::STATE_PAGE_COINS;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{FilterHeader, Hash256, StateRoot, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{OutPoint, Output};
use crate::state::{Leaf, StateId, Table};
use crate::storage::{Counts, StateBase};

/// Coins of the states that are loaded.
const COINS: [u32; 2] = [100_000, 1_000_000];
/// Ranges that are loaded side by side.
const PARTS: usize = 32;
/// Microseconds an entry that are aimed at.
const GOAL: f64 = 2.5;

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let mut figures = Vec::new();
    for coins in COINS {
        figures.extend(load(coins)?);
    }
    let about = format!(
        "A state loaded into an empty store on the disk: ranges of {STATE_PAGE_COINS} coins at most, each a commit, in {PARTS} parts of the \
         keys by turns;\nthen the records above the coins and their indexes; then all is on the disk. A coin has three entries, and some \
         coins have a record.\nThe reference is the goal of {GOAL} us an entry, and for the check of the ranges' proofs the whole of \
         the rest."
    );
    Ok((about, figures))
}

fn load(coins: u32) -> anyhow::Result<[Figure; 3]> {
    let params = Arc::new(Params::new(GenesisSpec::regtest())?);
    let table = Table::new((0..coins).filter_map(leaf))?;
    let (block, before) = (params.genesis_hash, (params.genesis_hash, StateRoot::ZERO));
    let id = StateId::new(Height::GENESIS, block, table.top());
    let base = StateBase {
        height: Height::GENESIS,
        block,
        root: id.root,
        before,
        filters: FilterHeader::ZERO,
        issued: Amount::MAX,
    };
    let dir = Scratch::new()?;
    let mut chain = open(&params, dir.path())?;
    chain.begin_load(base, PARTS)?;
    let (mut checking, mut writing) = (Duration::ZERO, Duration::ZERO);
    let mut turn = 0;
    while let Some(load) = chain.state_load().filter(|load| !load.missing.is_empty()) {
        let range = load.missing[turn % load.missing.len()];
        turn += 1;
        let (proof, end) = table.with_source(|source| source.prove_page_of(STATE_PAGE_COINS, &range))?;
        let page = RangePage { proof, end: end.map(|end| *end.as_bytes()) };
        let start = Instant::now();
        let shown = page.check(&id, &range)?;
        checking += start.elapsed();
        let start = Instant::now();
        chain.load_coins((range.first(), &end.unwrap_or(*range.last())), &shown.leaves, shown.split.as_ref())?;
        writing += start.elapsed();
    }
    let start = Instant::now();
    while chain.load_step(SORTED_COINS)? == LoadStep::Loading {}
    chain.db().store().flush()?;
    writing += start.elapsed();
    let Counts { coins: found, address_coins, .. } = chain.db().counts()?;
    anyhow::ensure!(found == u64::from(coins), "{found} coins are there");
    let entries = found + address_coins + found + table.records().count() as u64;
    let micros = |time: Duration, count: u64| time.as_secs_f64() * 1e6 / count as f64;
    let name = |what: &str| format!("{coins} coins: {what}");
    let bytes = chain.db().store().bytes_on_disk() as f64 / f64::from(coins);
    Ok([
        Figure::cost(name("an entry written"), micros(writing, entries), "us", GOAL),
        Figure::cost(name("a coin checked"), micros(checking, found), "us", micros(writing, found)),
        Figure::cost(name("bytes on the disk for a coin"), bytes, "bytes", 3.0 * 80.0),
    ])
}

/// One coin of its transaction and lock.
fn leaf(n: u32) -> Option<Leaf> {
    let lock = PublicKey(Hash256::of(&n.to_be_bytes()).to_bytes());
    let output = Output::pay(lock, Amount::from_grains(u64::from(n) + 1));
    let outpoint = OutPoint { txid: Txid::of(&n.to_le_bytes()), index: 0 };
    Leaf::new(&outpoint, &Coin { output, height: Height::GENESIS, coinbase: false })
}
