//! `cairn bench light`: what a light client without anything needs to come to the tip of a long chain.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Figure;
use super::fixture::Scratch;
use super::long_chain::{self, LongChain};
use crate::runtime::{self, Running};

/// Interval at which the client's memory is read.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Times that each client is run; the median of the times counts.
const ROUNDS: usize = 5;

/// What a run of the client took.
struct Taken {
    bytes: u64,
    file_bytes: u64,
    time: Duration,
    /// Its greatest resident memory in bytes, where the system tells it.
    memory: u64,
}

pub(super) fn run(args: &long_chain::Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let chain = LongChain::new(args)?;
    let tokio = tokio::runtime::Runtime::new()?;
    let [proven, whole] = tokio.block_on(measure(&chain, args.blocks))?;
    let name = |what: &str| format!("{what}, {} blocks", args.blocks);
    let figure = |what, unit, of: &dyn Fn(&Taken) -> f64| Figure::cost(name(what), of(&proven), unit, of(&whole));
    let figures = vec![
        figure("received", "kB", &|taken| taken.bytes as f64 / 1e3),
        figure("time", "s", &|taken| taken.time.as_secs_f64()),
        figure("memory", "MB", &|taken| taken.memory as f64 / 1e6),
        figure("kept on the disk", "kB", &|taken| taken.file_bytes as f64 / 1e3),
    ];
    let about = "\
A light client in a process of its own, which has nothing but genesis.json, syncs with a node over loopback: from its start to
its end, and the bytes of all messages that it received. The reference is the same with --all-headers.";
    Ok((about.to_owned(), figures))
}

/// Runs both clients against a node with the chain.
async fn measure(chain: &LongChain, blocks: u32) -> anyhow::Result<[Taken; 2]> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = Running::start(runtime::Config {
        listen: Some(local),
        ..runtime::Config::new(chain.dir(), chain.params.clone())
    })
    .await?;
    let address = running.p2p_address().context("it does not wait for peers")?;
    let genesis = chain.genesis();
    let both = tokio::task::spawn_blocking(move || -> anyhow::Result<[Taken; 2]> {
        let median = |more: &[&str]| -> anyhow::Result<Taken> {
            let runs = (0..ROUNDS).map(|_| client(address, &genesis, more, blocks));
            let mut runs = runs.collect::<anyhow::Result<Vec<Taken>>>()?;
            runs.sort_by_key(|taken| taken.time);
            Ok(runs.swap_remove(ROUNDS / 2))
        };
        Ok([median(&[])?, median(&["--all-headers"])?])
    });
    let both = both.await?;
    running.stop().await?;
    both
}

/// Runs a client until it has come to the tip.
fn client(node: SocketAddr, genesis: &Path, more: &[&str], blocks: u32) -> anyhow::Result<Taken> {
    let data = Scratch::new()?;
    let start = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["light", "sync", "--json", "--accept-slow-chain", "--peer", &node.to_string()])
        .args(more)
        .arg("--data-dir")
        .arg(data.path())
        .arg("--genesis")
        .arg(genesis)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut memory = 0;
    while child.try_wait()?.is_none() {
        memory = memory.max(peak_memory(child.id()).unwrap_or_default());
        std::thread::sleep(POLL_INTERVAL);
    }
    let time = start.elapsed();
    let output = child.wait_with_output()?;
    let said: Value = serde_json::from_slice(&output.stdout).context("the client failed")?;
    ensure!(said["height"] == blocks, "the client came to height {} only", said["height"]);
    let received = said["received_bytes"].as_object().into_iter().flat_map(|kinds| kinds.values());
    let bytes = received.filter_map(Value::as_u64).sum();
    let mut file_bytes = 0;
    for entry in std::fs::read_dir(data.path().join("light"))? {
        file_bytes += entry?.metadata()?.len();
    }
    Ok(Taken { bytes, file_bytes, time, memory })
}

/// The greatest resident memory of a process in bytes, as Linux tells it.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1_024)
}
