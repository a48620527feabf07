//! `cairn bench epochs`: the root over all coins, once an epoch, and its coins served to nodes that start from them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Figure;
use super::connect::{accept, millis, open};
use super::fixture::{Fixture, Scratch};
use crate::chain::{Chain, LoadStep, SORTED_COINS};
use crate::consensus::params::GenesisSpec;
use crate::p2p::state::STATE_PAGE_COINS;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::hash::StateRoot;
use crate::primitives::height::Height;
use crate::state::{Builder, Inner, Key, KeyRange, Node, StateId};
use crate::storage::StateBase;

/// Options of `cairn bench epochs`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Numbers of coins at which edges are measured; ten million take some minutes, and 2 GB on the disk
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(100_000..=50_000_000)
    )]
    coins: Vec<u32>,
}

/// Blocks of an epoch, and payments of a block. Each payment spends a coin and makes one: 10,000 coins change.
const EPOCH: u32 = 10;
const PAYMENTS: usize = 500;
/// Times that an edge is measured at each number of coins, by itself and while blocks come.
const ROUNDS: u32 = 5;
/// Pages that are served.
const PAGES: u32 = 100;

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let mut figures = Vec::new();
    for coins in &args.coins {
        let dir = Scratch::new()?;
        let mut bench = Bench::new(*coins, dir.path())?;
        let changed = EPOCH as usize * PAYMENTS * 2;
        let name = |what: &str| format!("{what}, {changed} of {coins} coins changed");
        let Edges { alone, connected, cleaned, beside, longest, longest_after } = bench.edges()?;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / changed as f64;
        let block = format!("the longest block of {PAYMENTS} meanwhile, {coins} coins");
        // As on a node that serves: most of the time nothing waits to be written.
        bench.chain.db().store().flush()?;
        let (proved, checked) = serve(&bench.chain)?;
        let page = format!("a page of {STATE_PAGE_COINS} of {coins} coins, two edges back");
        figures.extend([
            Figure::cost(name("an edge"), millis(alone), "ms", millis(connected)),
            Figure::cost(name("  for each of them"), each(alone), "us", each(connected)),
            Figure::cost(name("  an old one forgotten"), millis(cleaned), "ms", millis(alone)),
            Figure::cost(name("  while blocks come"), millis(beside), "ms", millis(alone)),
            Figure::cost(block, millis(longest), "ms", millis(longest_after)),
            Figure::cost(page, millis(proved), "ms", millis(checked)),
        ]);
    }
    let about = "The table of the state, moved over the blocks of an epoch to the next edge, on the disk, until the root is known. The \
                 reference\nis the time in which the chain connected these blocks, whose signatures it knew. After it what was kept \
                 of an old edge\nis removed; and the same on another thread while the chain connects the next blocks: the reference \
                 is an edge by itself, and\nfor the longest of these blocks the longest after an edge, while much of that \
                 is written. Then pages of such a state,\nproved; the reference is the time in which they are checked."
        .to_owned();
    Ok((about, figures))
}

/// A chain that loaded its coins, and makes of more blocks.
struct Bench {
    fixture: Fixture,
    chain: Chain,
}

/// Medians of the times of edges, and what blocks took.
struct Edges {
    /// An edge by itself.
    alone: Duration,
    /// The blocks of its epoch.
    connected: Duration,
    /// What was kept of an old edge removed.
    cleaned: Duration,
    /// An edge while blocks are connected.
    beside: Duration,
    /// The longest block meanwhile, and the longest after an edge, while the table stays.
    longest: Duration,
    longest_after: Duration,
}

impl Bench {
    /// Loads `coins` coins into a store in `dir`, as a node does that starts from a state: blocks that make so many take
    /// long, and their states, computed beside the chain, gigabytes of memory.
    fn new(coins: u32, dir: &Path) -> anyhow::Result<Self> {
        let fixture = Fixture::on_loaded(GenesisSpec { epoch_blocks: EPOCH, ..GenesisSpec::regtest() });
        let mut builder = Builder::new(|_: &Inner, _: &Node| ());
        fixture.loaded(coins).flatten().try_for_each(|leaf| builder.push_coin(&leaf))?;
        let (block, filters) = (fixture.params.genesis_hash, fixture.committed().filters);
        let StateId { height, root, .. } = StateId::new(Height::GENESIS, block, builder.finish()?.as_ref());
        let before = (block, StateRoot::ZERO);
        let mut chain = open(&fixture.params, dir)?;
        chain.begin_load(StateBase { height, block, root, before, filters, issued: Amount::MAX }, 1)?;
        let mut owners = fixture.loaded(coins).peekable();
        let mut first = Key::MIN;
        while let Some(leaves) = owners.next() {
            let last = leaves.last().filter(|_| owners.peek().is_some()).map_or(Key::MAX, |leaf| leaf.key);
            anyhow::ensure!(chain.load_coins((&first, &last), &leaves, None)?, "the coins are not missing");
            first = last.next().unwrap_or(Key::MAX);
        }
        drop(owners);
        while chain.load_step(SORTED_COINS)? == LoadStep::Loading {}
        chain.await_states()?;
        chain.db().store().flush()?;
        Ok(Self { fixture, chain })
    }

    /// Goes on by epochs, whose edges are computed by themselves and on another thread by turns.
    fn edges(&mut self) -> anyhow::Result<Edges> {
        let (mut alone, mut cleaned, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        let [mut longest, mut longest_after] = [Duration::ZERO; 2];
        for _ in 0..ROUNDS {
            let times = self.connect(EPOCH)?;
            let (edge, rest) = self.follow()?;
            alone.push((edge, times.iter().sum::<Duration>()));
            cleaned.push(rest);
            longest_after = times.into_iter().max().unwrap_or_default().max(longest_after);

            self.connect(EPOCH)?;
            let (store, table) = (self.chain.db().store().clone(), self.chain.state_table());
            let (blocks, pause) = (self.blocks(EPOCH - 1)?, edge / EPOCH);
            store.flush()?;
            let (edge, time) = std::thread::scope(|scope| -> anyhow::Result<_> {
                let moving = scope.spawn(move || {
                    let start = Instant::now();
                    table.next_edge().map(|edge| (edge, start.elapsed()))
                });
                for block in blocks {
                    // So that they come at all times of the edge.
                    std::thread::sleep(pause);
                    longest = accept(&mut self.chain, block, true)?.max(longest);
                }
                Ok(moving.join().map_err(|_| anyhow::anyhow!("the table's thread has panicked"))??)
            })?;
            self.chain.state_ready(&edge.context("there is no edge")?)?;
            beside.push(time);
            self.connect(1)?;
            self.follow()?;
        }
        alone.sort_unstable();
        cleaned.sort_unstable();
        beside.sort_unstable();
        let middle = alone.len() / 2;
        let ((alone, connected), cleaned, beside) = (alone[middle], cleaned[middle], beside[middle]);
        Ok(Edges { alone, connected, cleaned, beside, longest, longest_after })
    }

    /// Connects the next blocks, and returns the time that each took.
    fn connect(&mut self, blocks: u32) -> anyhow::Result<Vec<Duration>> {
        self.blocks(blocks)?.into_iter().map(|block| accept(&mut self.chain, block, true)).collect()
    }

    /// The next blocks, of one epoch up to its edge.
    fn blocks(&mut self, count: u32) -> anyhow::Result<Vec<Block>> {
        let mut blocks = Vec::new();
        for n in 0..count {
            let height = self.chain.tip().height.saturating_add(n + 1);
            if let Some(edge) = self.chain.params().committed_state(height) {
                let state = self.chain.db().edge(edge)?.context("the state is not computed")?;
                self.fixture.commit_to(state.id(edge).root);
            }
            blocks.push(self.fixture.pay(PAYMENTS));
        }
        Ok(blocks)
    }

    /// Moves the table to the edge that the chain has come to, and then has it remove what is not needed any more; the times
    /// that both take. Before, all is written to the disk, as at the end of an epoch that took an hour.
    fn follow(&mut self) -> anyhow::Result<(Duration, Duration)> {
        self.chain.db().store().flush()?;
        let (table, start) = (self.chain.state_table(), Instant::now());
        let edge = table.next_edge()?.context("the epoch does not end with an edge")?;
        let time = start.elapsed();
        self.chain.state_ready(&edge)?;
        anyhow::ensure!(table.next_edge()?.is_none(), "the table goes beyond the edge");
        Ok((time, start.elapsed() - time))
    }
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
