//! `cairn bench start`: what a node without anything needs to come to the tip of a long chain.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::sleep;

use super::Figure;
use super::fixture::Scratch;
use super::long_chain::{self, LongChain};
use super::process::Process;
use super::restart::result;
use crate::chain::Retention;
use crate::cli::genesis::KEPT_FILE;
use crate::consensus::params::Params;
use crate::runtime::{self, Running};

/// How often a node is asked where it is, and for how long.
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Times that a state is started from, each way; the median of the times counts.
const ROUNDS: usize = 3;

/// What a node took until its tip was that of the chain.
struct Taken {
    bytes: u64,
    time: Duration,
    /// Its greatest resident memory in bytes.
    memory: u64,
    /// Bytes received and time until it had all headers too.
    whole: (u64, Duration),
}

pub(super) fn run(args: &long_chain::Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let chain = LongChain::new(args)?;
    let tokio = tokio::runtime::Runtime::new()?;
    let [proven, headers, blocks] = tokio.block_on(measure(&chain, args.blocks))?;
    let mut figures = Vec::new();
    for (name, other) in [("headers first", &headers), ("all blocks", &blocks)] {
        let mut figure = |what: &str, unit, of: &dyn Fn(&Taken) -> f64| {
            figures.push(Figure::cost(format!("{what}, compared with {name}"), of(&proven), unit, of(other)));
        };
        figure("received until the tip", "MB", &|taken| taken.bytes as f64 / 1e6);
        figure("time until the tip", "s", &|taken| taken.time.as_secs_f64());
        figure("greatest memory", "MB", &|taken| taken.memory as f64 / 1e6);
        figure("received until all headers are here", "MB", &|taken| taken.whole.0 as f64 / 1e6);
        figure("time until all headers are here", "s", &|taken| taken.whole.1.as_secs_f64());
    }
    let about = format!(
        "A node in a process of its own, which has nothing but genesis.json, comes to the tip of {} blocks by a state, from one\n\
         node over loopback that proves its chain: from its start to an answer that names the tip, and all bytes that it received,\n\
         the median of {ROUNDS} runs. The references are the same from a node that proves nothing, and a node that validates all blocks.",
        args.blocks
    );
    Ok((about, figures))
}

/// Runs the three nodes.
async fn measure(chain: &LongChain, blocks: u32) -> anyhow::Result<[Taken; 3]> {
    let params = &chain.params;
    let state = ["--sync", "state"];
    let serving = serve(params, chain.dir(), Retention::All).await?;
    let proven = median(params, &serving, &state, blocks).await?;
    let whole = fresh(params, &serving, &[], blocks).await?;
    serving.stop().await?;
    // One that may prune some day proves no chains.
    let serving = serve(params, chain.dir(), Retention::Manual).await?;
    let headers = median(params, &serving, &state, blocks).await?;
    serving.stop().await?;
    Ok([proven, headers, whole])
}

async fn median(params: &Arc<Params>, serving: &Running, more: &[&str], blocks: u32) -> anyhow::Result<Taken> {
    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        runs.push(fresh(params, serving, more, blocks).await?);
    }
    runs.sort_by_key(|taken| taken.time);
    Ok(runs.swap_remove(ROUNDS / 2))
}

async fn serve(params: &Arc<Params>, node: &Path, retention: Retention) -> anyhow::Result<Running> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = Running::start(runtime::Config {
        listen: Some(local),
        retention,
        ..runtime::Config::new(node.to_owned(), params.clone())
    });
    Ok(running.await?)
}

/// Runs a node until it has come to the tip and has all headers.
async fn fresh(params: &Arc<Params>, serving: &Running, more: &[&str], blocks: u32) -> anyhow::Result<Taken> {
    let dir = Scratch::new()?;
    std::fs::write(dir.path().join(KEPT_FILE), params.spec.to_json())?;
    let peer = serving.p2p_address().context("it does not wait for peers")?.to_string();
    let start = Instant::now();
    let options = [more, &["--listen", "127.0.0.1:0", "--connect", &peer]].concat();
    let (process, mut caller) = Process::start_with(dir.path(), &options).await?;
    let mut tip = None;
    loop {
        let info = result(&mut caller, "getblockchaininfo", &[]).await?;
        if info["blocks"] == blocks {
            let totals = result(&mut caller, "getnettotals", &[]).await?;
            let now = (totals["totalbytesrecv"].as_u64().context("bytes received")?, start.elapsed());
            let (bytes, time) = *tip.get_or_insert(now);
            let warnings = info["warnings"].as_array().context("warnings")?;
            if !warnings.iter().any(|warning| warning.as_str().is_some_and(|text| text.contains("being fetched"))) {
                let memory = process.peak_bytes()?;
                process.stop(&mut caller).await?;
                return Ok(Taken { bytes, time, memory, whole: now });
            }
        }
        ensure!(start.elapsed() < PATIENCE, "the node does not come to the tip: {info}");
        sleep(POLL).await;
    }
}
