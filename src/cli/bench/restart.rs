//! `cairn bench restart`: what a node takes that is started again with a long chain, as a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::fixture::Scratch;
use super::node::{self, Caller, Node};
use super::process::Process;
use super::{Figure, connect};
use crate::cli::genesis::KEPT_FILE;
use crate::consensus::params::{GenesisSpec, Params};
use crate::primitives::address;
use crate::primitives::keys::SecretKey;

/// Blocks that one call has a node make.
const PART: u32 = 2_000;
/// Old blocks that are asked for after the first answer.
const ASKED: u32 = 1_000;
/// Aims: megabytes of memory, and seconds until the first answer.
const GOALS: (f64, f64) = (80.0, 1.0);

/// Options of the benchmark.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// Blocks of the chain; a million take about ten minutes
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2_000..=4_000_000))]
    blocks: u32,
}

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let dir = Scratch::new()?;
    let figures = runtime.block_on(measure(args.blocks, dir.path()))?;
    let about = format!(
        "A node started again with {} blocks without payments. The references are the aims: {} MB and {} s; for the time of\n\
         an answer, that of one about the newest blocks; for the disk, the encoding of a block.",
        args.blocks, GOALS.0, GOALS.1
    );
    Ok((about, figures))
}

async fn measure(blocks: u32, dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut spec = GenesisSpec::regtest();
    spec.mine_nonce();
    std::fs::write(dir.join(KEPT_FILE), serde_json::to_string(&spec)?)?;
    let params = Arc::new(Params::new(spec)?);
    let payee = address::encode(&params.address_prefix, &SecretKey::from_seed([7; 32]).public_key());
    let builder = Node::start_in(&params, dir).await?;
    let mut caller = builder.caller().await?;
    let mut made = 0;
    while made < blocks {
        let part = PART.min(blocks - made);
        caller.send(&node::call("generatetoaddress", &[json!(part), json!(payee)])).await?;
        made += part;
    }
    drop(caller);
    builder.stop().await?;

    let start = Instant::now();
    let (process, mut caller) = Process::start(dir).await?;
    let first = start.elapsed();
    let resident = process.resident_bytes()?;
    let old = ask(&mut caller, 1).await?;
    let new = ask(&mut caller, blocks - ASKED).await?;
    let after = process.resident_bytes()?;
    let hash = hash_at(&mut caller, blocks).await?;
    let block = result(&mut caller, "getblock", &[hash, json!(0)]).await?;
    let encoded = block.as_str().context("a block in hex")?.len() as f64 / 2.0;
    process.stop(&mut caller).await?;
    let disk = connect::open(&params, &dir.join(crate::runtime::STORE_DIR))?.db().store().bytes_on_disk();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(ASKED);
    Ok(vec![
        Figure::cost("first answer".to_owned(), first.as_secs_f64(), "s", GOALS.1),
        Figure::cost("memory at the first answer".to_owned(), resident as f64 / 1e6, "MB", GOALS.0),
        Figure::cost(format!("memory after answers about {} blocks", 2 * ASKED), after as f64 / 1e6, "MB", GOALS.0),
        Figure::cost("header of an old block, by height and by hash".to_owned(), each(old), "us", each(new)),
        Figure::cost("disk for a block".to_owned(), disk as f64 / f64::from(blocks), "bytes", encoded),
    ])
}

/// The result of a call.
pub(super) async fn result(caller: &mut Caller, method: &str, params: &[Value]) -> anyhow::Result<Value> {
    let answer: Value = serde_json::from_slice(caller.send(&node::call(method, params)).await?)?;
    Ok(answer["result"].clone())
}

async fn hash_at(caller: &mut Caller, height: u32) -> anyhow::Result<Value> {
    result(caller, "getblockhash", &[json!(height)]).await
}

/// The time to answer about each of some blocks, once by height and once by hash.
async fn ask(caller: &mut Caller, from: u32) -> anyhow::Result<Duration> {
    let start = Instant::now();
    for height in from..from + ASKED {
        let hash = hash_at(caller, height).await?;
        let header = result(caller, "getblockheader", std::slice::from_ref(&hash)).await?;
        ensure!(header["height"] == json!(height), "block {hash} is not at height {height}");
    }
    Ok(start.elapsed())
}
