//! `cairn bench sync`: how fast blocks come from one node to another over loopback, and headers into one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{Fixture, Scratch};
use super::node::{self, Node};
use super::{Busy, Figure, payments, shortest};
use crate::chain::Chain;
use crate::consensus::headers::HeaderTail;
use crate::consensus::params::{GenesisSpec, Params, Retarget};
use crate::p2p::Command;
use crate::p2p::message::MAX_HEADERS;
use crate::primitives::address;
use crate::primitives::block::Block;
use crate::primitives::height::Height;
use crate::primitives::keys::{self, SecretKey};
use crate::primitives::time::UnixTime;
use crate::storage::SledStore;

/// Blocks with nothing in them but the coinbase.
const EMPTY_BLOCKS: u32 = 2_000;
/// Blocks of payments, and the payments in each.
const FULL_BLOCKS: u32 = 200;
const PAYMENTS: u32 = 1_500;
/// Blocks of an epoch on a network where these blocks have states; on another they are too few to have one.
const SHORT_EPOCH: u32 = 20;
/// Lengths to which chains of headers grow.
const HEADERS: [usize; 3] = [1_000, 10_000, 100_000];

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let tokio = tokio::runtime::Runtime::new()?;
    let mut figures = tokio.block_on(empty_blocks())?;
    figures.extend(tokio.block_on(full_blocks())?);
    figures.extend(headers()?);
    let about = "\
Synchronisation, between two nodes of this process over loopback. References: for empty blocks generated, as many
made in memory, without a node; for those fetched, generated; for full blocks made known, their signatures alone, on all cores;
for full blocks fetched, the same blocks made known to a node without a network, and where a root over all coins is computed for
them, without that; for headers, a verifier who keeps none.";
    Ok((about.to_owned(), figures))
}

/// Blocks made over RPC, and fetched by another node.
async fn empty_blocks() -> anyhow::Result<Vec<Figure>> {
    let params = Arc::new(Params::new(GenesisSpec::regtest())?);
    let first = Node::start(&params).await?;
    let payee = address::encode(&params.address_prefix, &SecretKey::from_seed([7; 32]).public_key());
    let made = first.answer_all(1, &[node::call("generatetoaddress", &[json!(EMPTY_BLOCKS), json!(payee)])]).await?;
    let fetched = fetch(&params, &first, Height::from_u32(EMPTY_BLOCKS)).await?;
    first.stop().await?;
    let figure = |what: &str, took: Duration, reference: Duration| {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        Figure::cost(format!("{EMPTY_BLOCKS} empty blocks {what}"), millis(took), "ms", millis(reference))
    };
    Ok(vec![figure("generated", made, made_in_memory()), figure("fetched", fetched, made)])
}

/// How long empty blocks take to make, with all that they commit to, where nothing is stored and no call is made.
fn made_in_memory() -> Duration {
    let mut fixture = Fixture::new(1);
    let start = Instant::now();
    (0..EMPTY_BLOCKS).for_each(|_| drop(black_box(fixture.pay(0))));
    start.elapsed()
}

/// How long a new node takes to have all blocks of another, from when it dials that.
async fn fetch(params: &Arc<Params>, from: &Node, height: Height) -> anyhow::Result<Duration> {
    let node = Node::start(params).await?;
    let start = Instant::now();
    node.connect(from).await?;
    node.reached(height).await?;
    let took = start.elapsed();
    node.stop().await?;
    Ok(took)
}

async fn full_blocks() -> anyhow::Result<Vec<Figure>> {
    let (params, coins) = payments::network(PAYMENTS)?;
    let checks = payments::signature_checks(&params, &coins);
    let alone = shortest(20, &mut [Box::new(|| assert_eq!(keys::verify_all(black_box(&checks)), Ok(())))]);
    let signatures = f64::from(PAYMENTS) / alone[0].as_secs_f64();
    let spec = GenesisSpec::regtest();
    let without = fetched(spec.clone()).await?;
    let with = fetched(GenesisSpec { epoch_blocks: SHORT_EPOCH, ..spec }).await?;
    let name = |what| format!("{FULL_BLOCKS} blocks of {PAYMENTS} payments {what}");
    let states = format!("  with a root over all coins every {SHORT_EPOCH} blocks");
    Ok(vec![
        Figure::rate(name("made known"), without.told, "payments/s", signatures),
        Figure::rate(name("fetched"), without.fetched, "payments/s", without.told),
        without.busy,
        Figure::rate(states, with.fetched, "payments/s", without.fetched),
        with.busy,
    ])
}

/// Payments a second of full blocks.
struct Rates {
    /// Made known to a node without a network.
    told: f64,
    /// Fetched by another from that node.
    fetched: f64,
    /// Cores that were busy meanwhile.
    busy: Figure,
}

async fn fetched(spec: GenesisSpec) -> anyhow::Result<Rates> {
    let mut chain = Fixture::of(spec, PAYMENTS as usize);
    let params = chain.params.clone();
    let blocks: Vec<Block> = (0..FULL_BLOCKS).map(|_| chain.pay(chain.coins())).collect();
    let payments = f64::from(FULL_BLOCKS * PAYMENTS);
    let first = Node::start(&params).await?;
    let start = Instant::now();
    for block in blocks {
        first.handle().command(move |reply| Command::SubmitBlock(block, reply)).await??;
    }
    first.reached(Height::from_u32(FULL_BLOCKS)).await?;
    let told = payments / start.elapsed().as_secs_f64();
    let busy = Busy::start()?;
    let fetched = payments / fetch(&params, &first, Height::from_u32(FULL_BLOCKS)).await?.as_secs_f64();
    let busy = busy.figure()?;
    first.stop().await?;
    Ok(Rates { told, fetched, busy })
}

/// Headers accepted into a node's tree and store, message by message, compared with a verifier that only checks them.
fn headers() -> anyhow::Result<Vec<Figure>> {
    let mut spec = GenesisSpec { retarget: Retarget::Asert, max_future_secs: 360, ..GenesisSpec::regtest() };
    spec.mine_nonce();
    let params = Arc::new(Params::new(spec)?);
    let all = payments::headers(&params, HEADERS[HEADERS.len() - 1]);
    let now = all.last().map_or(0, |header| u64::from(header.time));
    let dir = Scratch::new()?;
    let mut chain = Chain::open(params.clone(), Arc::new(SledStore::open(dir.path())?))?;
    let mut verifier = HeaderTail::new(&params);
    let (mut tree, mut alone, mut done) = (Duration::ZERO, Duration::ZERO, 0);
    let mut figures = Vec::new();
    for length in HEADERS {
        let start = (tree, alone, done);
        while done < length {
            let message = &all[done..length.min(done + MAX_HEADERS)];
            let begun = Instant::now();
            chain.accept_headers(message, UnixTime::from_secs(now)).map_err(|(_, error)| error)?;
            tree += begun.elapsed();
            let begun = Instant::now();
            verifier.extend(message, &params).map_err(|(_, error)| error)?;
            alone += begun.elapsed();
            done += message.len();
        }
        let micros = |took: Duration| took.as_secs_f64() * 1e6 / (done - start.2) as f64;
        let name = format!("headers {} to {length}", start.2 + 1);
        figures.push(Figure::cost(name, micros(tree - start.0), "us/header", micros(alone - start.1)));
    }
    Ok(figures)
}
