//! `cairn bench epochs`: the root over all coins, once an epoch, and its coins served to nodes that start from them.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::Figure;
use super::connect::{accept, millis, open};
use super::fixture::{Fixture, Scratch};
use crate::chain::{Chain, STEP_CHANGES, Step};
use crate::consensus::params::GenesisSpec;
use crate::p2p::state::STATE_PAGE_COINS;
use crate::primitives::block::Block;
use crate::state::KeyRange;

/// Options of `cairn bench epochs`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Numbers of coins at which edges are measured, in ascending order; ten million take more than ten minutes
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(100_000..=50_000_000)
    )]
    coins: Vec<u32>,
}

/// Blocks of an epoch, and payments of a block, each of which spends a coin and makes one: 10,000 coins change.
const EPOCH: u32 = 10;
const PAYMENTS: usize = 500;
/// Epochs measured at each number of coins.
const EPOCHS: u32 = 5;
/// Pages that are served.
const PAGES: u32 = 100;
/// Coins of genesis: enough that none is split so often that nothing is left.
const FIRST_COINS: usize = 2_000;
/// Transactions of a block that makes coins, and coins that each makes.
const SPREAD: (usize, usize) = (10, 2_000);

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let mut fixture = Fixture::of(GenesisSpec { epoch_blocks: EPOCH, ..GenesisSpec::regtest() }, FIRST_COINS);
    let dir = Scratch::new()?;
    let mut chain = open(&fixture.params, dir.path())?;
    chain.await_states()?;
    let mut figures = Vec::new();
    for coins in &args.coins {
        let coins = *coins as usize;
        while fixture.coins() < coins {
            accept(&mut chain, fixture.spend(SPREAD.0, SPREAD.1), true)?;
            follow(&mut chain)?;
        }
        // To the next edge: what is measured begins with one.
        while !chain.params().is_edge(chain.tip().height) {
            accept(&mut chain, fixture.pay(PAYMENTS), true)?;
        }
        follow(&mut chain)?;
        let mut times = Vec::new();
        for _ in 0..EPOCHS {
            let blocks: Vec<Block> = (0..EPOCH).map(|_| fixture.pay(PAYMENTS)).collect();
            let mut connected = Duration::ZERO;
            for block in blocks {
                connected += accept(&mut chain, block, true)?;
            }
            anyhow::ensure!(chain.is_state_due(), "the epoch does not end with an edge");
            times.push((follow(&mut chain)?, connected));
        }
        times.sort_unstable();
        let (edge, connected) = times[times.len() / 2];
        let changed = EPOCH as usize * PAYMENTS * 2;
        let name = |what: &str| format!("{what}, {changed} of {coins} coins changed");
        figures.push(Figure::cost(name("an edge"), millis(edge), "ms", millis(connected)));
        let each = |time: Duration| time.as_secs_f64() * 1e6 / changed as f64;
        figures.push(Figure::cost(name("  for each of them"), each(edge), "µs", each(connected)));
        // As on a node that serves: most of the time nothing waits to be written.
        chain.db().store().flush()?;
        let (proved, checked) = serve(&chain)?;
        let name = format!("a page of {STATE_PAGE_COINS} of {coins} coins, two edges back");
        figures.push(Figure::cost(name, millis(proved), "ms", millis(checked)));
    }
    let about = "The table of the state, moved over the blocks of an epoch to the next edge, on the disk. The reference is the \
                 time\nin which the chain connected these blocks, whose signatures it knew. Then pages of such a state, proved; the \
                 reference is\nthe time in which they are checked."
        .to_owned();
    Ok((about, figures))
}

/// The times in which a page of the coins two edges before the tip is proved, and checked: the means of many in a row.
fn serve(chain: &Chain) -> anyhow::Result<(Duration, Duration)> {
    let edge = chain.tip().height.saturating_sub(2 * EPOCH);
    let id = chain.db().edge(edge)?.context("the state is kept")?.id(edge);
    let (mut proved, mut checked, mut rest) = (Duration::ZERO, Duration::ZERO, Some(KeyRange::ALL));
    for _ in 0..PAGES {
        let range = rest.context("there are more coins than in these pages")?;
        let start = Instant::now();
        let found = chain.db().with_state(edge, EPOCH, |source| source.prove_page_of(STATE_PAGE_COINS, &range))?;
        let (proof, end) = found.context("the state can be read")??;
        proved += start.elapsed();
        let start = Instant::now();
        rest = id.page_of(STATE_PAGE_COINS, &range, end.as_ref(), &proof)?.rest;
        checked += start.elapsed();
    }
    Ok((proved / PAGES, checked / PAGES))
}

/// Moves the table as far as it goes, which takes the time returned.
fn follow(chain: &mut Chain) -> anyhow::Result<Duration> {
    let (table, start) = (chain.state_table(), Instant::now());
    loop {
        match table.advance(STEP_CHANGES)? {
            Step::Between => {}
            Step::Edge(block) => chain.state_ready(&block)?,
            Step::Idle => return Ok(start.elapsed()),
        }
    }
}
