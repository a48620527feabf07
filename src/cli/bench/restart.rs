//! `cairn bench restart`: what a node takes that is started again with a long chain, as a process of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::long_chain::{self, LongChain};
use super::node::{self, Caller};
use super::process::Process;
use super::{Figure, connect};
use crate::cli::start_threads;
use crate::runtime::STORE_DIR;

/// Old blocks that are asked for after the first answer.
const ASKED: u32 = 1_000;
/// Aims: megabytes of memory, and seconds until the first answer.
const GOALS: (f64, f64) = (80.0, 1.0);

pub(super) fn run(args: &long_chain::Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let runtime = start_threads()?;
    let chain = LongChain::new(args)?;
    let figures = runtime.block_on(measure(&chain, args.blocks))?;
    let about = format!(
        "A node started again with {} blocks without payments. The references are the aims: {} MB and {} s; for the time of\n\
         an answer, that of one about the newest blocks; for the disk, the encoding of a block.",
        args.blocks, GOALS.0, GOALS.1
    );
    Ok((about, figures))
}

async fn measure(chain: &LongChain, blocks: u32) -> anyhow::Result<Vec<Figure>> {
    let start = Instant::now();
    let (process, mut caller) = Process::start(chain.dir()).await?;
    let first = start.elapsed();
    let resident = process.resident_bytes()?;
    let old = ask(&mut caller, 1).await?;
    let new = ask(&mut caller, blocks - ASKED).await?;
    let after = process.resident_bytes()?;
    let hash = hash_at(&mut caller, blocks).await?;
    let block = result(&mut caller, "getblock", &[hash, json!(0)]).await?;
    let encoded = block.as_str().context("a block in hex")?.len() as f64 / 2.0;
    process.stop(&mut caller).await?;
    let disk = connect::open(&chain.params, &chain.dir().join(STORE_DIR))?.db().store().bytes_on_disk();
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
