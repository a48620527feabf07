//! `cairn bench connect`: blocks full of payments through the chain and onto the disk, and how both grow.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fixture::{Fixture, Scratch};
use super::{Busy, Figure, shortest};
use crate::chain::Chain;
use crate::consensus::coins::Coin;
use crate::consensus::filter::block_filter;
use crate::consensus::params::Params;
use crate::primitives::block::Block;
use crate::primitives::height::Height;
use crate::primitives::keys::SignatureCheck;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Output;
use crate::runtime::process;
use crate::storage::SledStore;

/// Payments of a full block, and of the largest that fits.
const PAYMENTS: [usize; 2] = [1_500, 5_000];
const ROUNDS: u32 = 5;
/// Full blocks connected one after another.
const BLOCKS: usize = 200;
/// Numbers of coins at which a block is connected.
const COINS: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Blocks connected at each.
const BLOCKS_AT: u32 = 8;
/// Transactions of a block that makes coins, and coins that each makes.
const SPREAD: (usize, usize) = (10, 2_000);
/// Lengths of chain at which it is opened again.
const LENGTHS: [u32; 2] = [10_000, 100_000];

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let mut figures = growth()?;
    for payments in PAYMENTS {
        figures.extend(one_block(payments)?);
    }
    figures.extend(many_blocks()?);
    figures.extend(lengths()?);
    let about = "Blocks of payments with one input and one output, accepted by a chain on the disk. Signatures are unknown as when a \
                 node\ncatches up, or known as when the mempool has the transactions. The reference is the verification of \
                 their signatures one\nby one, on one thread; for growth, the first figure of its kind, in proportion where \
                 it says so."
        .to_owned();
    Ok((about, figures))
}

pub(super) fn open(params: &Arc<Params>, dir: &Path) -> anyhow::Result<Chain> {
    let store = Arc::new(SledStore::open(dir)?);
    Ok(Chain::open(params.clone(), store)?)
}

/// Accepts a block, which becomes the tip; returns the seconds that this took.
pub(super) fn accept(chain: &mut Chain, block: Block, known: bool) -> anyhow::Result<Duration> {
    let now = u64::from(block.header.time);
    let start = Instant::now();
    let update = chain.accept_block(block, UnixTime::from_secs(now), &|_| known)?;
    let time = start.elapsed();
    anyhow::ensure!(update.connected.len() == 1, "the block does not become the tip");
    Ok(time)
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Seconds that one signature takes by itself.
fn one_signature() -> f64 {
    let key = crate::primitives::keys::SecretKey::from_seed([1; 32]);
    let digest = crate::primitives::hash::SignatureDigest::of(b"a payment");
    let check = SignatureCheck { key: key.public_key(), signature: key.sign(&digest), digest };
    const TIMES: u32 = 100;
    let times = shortest(20, &mut [Box::new(|| (0..TIMES).for_each(|_| assert!(check.holds())))]);
    times[0].as_secs_f64() / f64::from(TIMES)
}

/// One block on coins that are on the disk, and what it commits to besides headers: its filter, and a hash. The state is moved
/// by another thread.
fn one_block(payments: usize) -> anyhow::Result<Vec<Figure>> {
    let mut fixture = Fixture::new(payments);
    let committed = fixture.committed();
    let block = fixture.pay(payments);
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (known, best) in [false, true].into_iter().zip(&mut best) {
            let dir = Scratch::new()?;
            let mut chain = open(&fixture.params, dir.path())?;
            chain.db().store().flush()?;
            *best = accept(&mut chain, block.clone(), known)?.min(*best);
        }
    }
    let outputs = fixture.params.genesis.transactions[0].outputs.iter().filter(|output| output.key().is_some());
    let coin = |output: &Output| Coin { output: output.clone(), height: Height::GENESIS, coinbase: false };
    let spent: Vec<Coin> = outputs.map(coin).collect();
    let commit = || _ = black_box((block_filter(&block, &spent).header(&committed.filters), committed.commitment()));
    let commitment = shortest(ROUNDS, &mut [Box::new(commit)])[0];
    let reference = one_signature() * payments as f64 * 1e3;
    let figure =
        |what, time, reference| Figure::cost(format!("a block of {payments}, {what}"), millis(time), "ms", reference);
    Ok(vec![
        figure("unknown", best[0], reference),
        figure("known", best[1], reference),
        figure("its commitment; unknown", commitment, millis(best[0])),
        figure("its commitment; known", commitment, millis(best[1])),
    ])
}

/// Many full blocks, until all is on the disk.
fn many_blocks() -> anyhow::Result<Vec<Figure>> {
    let payments = PAYMENTS[0];
    let mut fixture = Fixture::new(payments);
    let blocks: Vec<Block> = (0..BLOCKS).map(|_| fixture.pay(payments)).collect();
    let mut figures = Vec::new();
    for (what, known) in [("unknown", false), ("known", true)] {
        let dir = Scratch::new()?;
        let mut chain = open(&fixture.params, dir.path())?;
        let busy = Busy::start()?;
        let mut time = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for block in &blocks {
            let one = accept(&mut chain, block.clone(), known)?;
            time += one;
            longest = longest.max(one);
        }
        let start = Instant::now();
        chain.db().store().flush()?;
        time += start.elapsed();
        let busy = busy.figure()?;
        let total = (BLOCKS * payments) as f64;
        let rate = total / time.as_secs_f64();
        figures.push(Figure::rate(
            format!("{BLOCKS} blocks of {payments}, {what}"),
            rate,
            "payments/s",
            1.0 / one_signature(),
        ));
        figures.push(busy);
        let mean = millis(time) / BLOCKS as f64;
        figures.push(Figure::cost(format!("  the longest of them, {what}; the mean"), millis(longest), "ms", mean));
        let bytes = chain.db().store().bytes_on_disk() as f64 / total;
        let encoded: usize = blocks.iter().map(Block::size).sum();
        let name = format!("  disk for a payment, {what}; its encoding");
        figures.push(Figure::cost(name, bytes, "bytes", encoded as f64 / total));
    }
    Ok(figures)
}

/// Blocks that spend the oldest of ever more coins.
fn growth() -> anyhow::Result<Vec<Figure>> {
    let payments = PAYMENTS[0];
    let mut fixture = Fixture::new(payments);
    let dir = Scratch::new()?;
    let mut chain = open(&fixture.params, dir.path())?;
    let mut figures: Vec<Figure> = Vec::new();
    for coins in COINS {
        while fixture.coins() < coins {
            let transactions = SPREAD.0.min((coins - fixture.coins()).div_ceil(SPREAD.1));
            let block = fixture.spend(transactions, SPREAD.1);
            accept(&mut chain, block, true)?;
        }
        chain.db().store().flush()?;
        let mut time = Duration::ZERO;
        for _ in 0..BLOCKS_AT {
            let block = fixture.pay(payments);
            time += accept(&mut chain, block, true)?;
        }
        let bytes = chain.db().store().bytes_on_disk() as f64 / coins as f64;
        let values = [
            ("a block, known", millis(time / BLOCKS_AT), "ms"),
            ("memory", process::usage()?.resident_bytes as f64 / 1e6, "MB"),
            ("disk for a coin", bytes, "bytes"),
        ];
        for (n, (what, value, unit)) in values.into_iter().enumerate() {
            let reference = figures.get(n).map_or(value, |first| first.value);
            figures.push(Figure::cost(format!("{what}, at {coins} coins"), value, unit, reference));
        }
    }
    Ok(figures)
}

/// Chains of blocks without payments, opened again.
fn lengths() -> anyhow::Result<Vec<Figure>> {
    let mut fixture = Fixture::new(1);
    let dir = Scratch::new()?;
    let mut figures: Vec<Figure> = Vec::new();
    for length in LENGTHS {
        let mut chain = open(&fixture.params, dir.path())?;
        while chain.tip().height < Height::from_u32(length) {
            let block = fixture.pay(0);
            accept(&mut chain, block, false)?;
        }
        chain.db().store().flush()?;
        let bytes = chain.db().store().bytes_on_disk() as f64 / f64::from(length);
        drop(chain);
        let start = Instant::now();
        drop(open(&fixture.params, dir.path())?);
        let values =
            [("opened again, in proportion,", millis(start.elapsed()), "ms"), ("disk for a block", bytes, "bytes")];
        for (n, (what, value, unit)) in values.into_iter().enumerate() {
            let times = if unit == "ms" { f64::from(length) / f64::from(LENGTHS[0]) } else { 1.0 };
            let reference = figures.get(n).map_or(value, |first| first.value * times);
            figures.push(Figure::cost(format!("{what} at {length} blocks"), value, unit, reference));
        }
    }
    Ok(figures)
}
