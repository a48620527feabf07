//! `cairn bench`: the speed of a node's work on this machine, each figure beside a reference measured in the same run.

use std::time::{Duration, Instant};

use clap::Subcommand;
use serde::Serialize;

use super::Common;
use crate::runtime::process as own_process;

mod connect;
mod content;
mod epochs;
mod fixture;
mod functions;
mod hash;
mod light;
mod load;
mod long_chain;
mod mempool;
mod merkle;
mod node;
#[cfg(feature = "webrtc")]
mod page;
#[cfg(feature = "webrtc")]
mod pages;
mod payments;
mod process;
mod receipts;
mod relay;
mod restart;
mod rpc;
mod start;
mod state;
mod store;
mod sync;
mod thread;
mod transport;

/// Cache of one node's store where many nodes are in one process.
const STORE_CACHE_BYTES: u64 = 4 << 20;

/// Options of `cairn bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  cairn bench hash
  cairn bench merkle --json

With --json, prints a list of objects: name, value, unit, the reference's value in the same unit, and the ratio to the \
reference (above 1 is better).")]
pub struct Args {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum BenchCommand {
    /// Measure the nonce search with every kernel that this processor supports, on one and two threads
    Hash,
    /// Measure Merkle roots of 1 to 65,536 leaves
    Merkle,
    /// Measure functions that every block needs: headers, signatures, decoding, checks, filters; the state tree and its proofs
    Functions,
    /// Measure encryption between nodes: handshakes and messages
    Transport,
    /// Measure receipts of all shapes and the light client's headers
    Receipts(receipts::Args),
    /// Measure what a light client without anything needs to come to the tip of a long chain: bytes, time, memory
    Light(long_chain::Args),
    /// Measure the time that blocks and transactions take on the node's thread
    Thread,
    /// Measure the relay of blocks and payments between real nodes over loopback: propagation times and bytes
    Relay(relay::Args),
    /// Measure what a node without anything needs to come to the tip of a long chain: by a state, and by all blocks
    Start(long_chain::Args),
    /// Measure a node that is started again with a long chain: memory, time to the first answer, disk
    Restart(long_chain::Args),
    /// Measure the store's batches, single writes and reads, compared with plain sled
    Store(store::Args),
    /// Measure how full blocks are connected on the disk, and how time, memory and disk grow; takes a minute or two
    Connect,
    /// Measure how long the root over all coins takes, once an epoch
    Epochs(epochs::Args),
    /// Measure how the coins of a state are loaded into an empty store
    Load,
    /// Measure admission to the mempool: directly, from a peer, and over RPC
    Mempool,
    /// Measure how one node synchronises blocks and headers from another
    Sync,
    /// Measure content: adding a file, reading it from another node, memory, and a directory found among many nodes
    Content(content::Args),
    /// Measure what browsers cost a node: memory, processor time, and the throughput of a data channel
    #[cfg(feature = "webrtc")]
    Pages(pages::Args),
    /// Measure the rate of JSON-RPC calls
    Rpc,
}

/// A figure, and what it is to be compared with.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// The same of the reference, measured in the same run or, for a limit, known.
    reference: f64,
    /// How many times better than the reference: above 1 is better, whether more or less of the unit is.
    ratio: f64,
}

impl Figure {
    /// A figure where more is better.
    fn rate(name: String, value: f64, unit: &'static str, reference: f64) -> Self {
        Self { name, value, unit, reference, ratio: value / reference }
    }

    /// A figure where less is better.
    fn cost(name: String, value: f64, unit: &'static str, reference: f64) -> Self {
        Self { name, value, unit, reference, ratio: reference / value }
    }
}

/// Runs one of the benchmarks.
///
/// # Errors
/// If a node cannot be started here, or stdout or a directory for temporary files cannot be written to.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let (about, figures) = match &args.command {
        BenchCommand::Hash => hash::run(),
        BenchCommand::Merkle => merkle::run(),
        BenchCommand::Functions => functions::run()?,
        BenchCommand::Transport => transport::run()?,
        BenchCommand::Receipts(args) => receipts::run(args)?,
        BenchCommand::Light(args) => light::run(args)?,
        BenchCommand::Thread => thread::run()?,
        BenchCommand::Relay(args) => relay::run(args)?,
        BenchCommand::Start(args) => start::run(args)?,
        BenchCommand::Restart(args) => restart::run(args)?,
        BenchCommand::Store(args) => store::run(args)?,
        BenchCommand::Connect => connect::run()?,
        BenchCommand::Epochs(args) => epochs::run(args)?,
        BenchCommand::Load => load::run()?,
        BenchCommand::Mempool => mempool::run()?,
        BenchCommand::Sync => sync::run()?,
        BenchCommand::Content(args) => content::run(args)?,
        #[cfg(feature = "webrtc")]
        BenchCommand::Pages(args) => pages::run(args)?,
        BenchCommand::Rpc => rpc::run()?,
    };
    common.print(|| format!("{about}\n\n{}", table(&figures)), || serde_json::json!(figures))
}

fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
    let head = format!("{:width$}  {:>9}  {:<12}  {:>9}  {:>6}", "", "measured", "", "reference", "ratio");
    let lines = figures.iter().map(|Figure { name, value, unit, reference, ratio }| {
        format!("{name:width$}  {value:>9.2}  {unit:<12}  {reference:>9.2}  {ratio:>5.2}x")
    });
    [head].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// The cost of one of `count` things: the first time beside the second; `unit` is a name and how many make a second.
fn cost(name: &str, times: &[Duration], count: usize, unit: (&'static str, f64)) -> Figure {
    let each = |time: Duration| time.as_secs_f64() * unit.1 / count as f64;
    Figure::cost(name.to_owned(), each(times[0]), unit.0, each(times[1]))
}

/// The shortest time of `rounds` runs of each job. They take turns, so that other load disturbs all alike, and the
/// shortest run is the least disturbed.
fn shortest(rounds: u32, jobs: &mut [Box<dyn FnMut() + '_>]) -> Vec<Duration> {
    let mut shortest = vec![Duration::MAX; jobs.len()];
    for _ in 0..rounds {
        for (job, shortest) in jobs.iter_mut().zip(&mut shortest) {
            let start = Instant::now();
            job();
            *shortest = start.elapsed().min(*shortest);
        }
    }
    shortest
}

/// How busy this process keeps the cores: the limit of parallel work.
struct Busy {
    start: Instant,
    /// Processor time before.
    before: Duration,
}

impl Busy {
    fn start() -> anyhow::Result<Self> {
        Ok(Self { start: Instant::now(), before: own_process::usage()?.cpu })
    }

    /// Cores busy since the start, on average, against how many there are.
    fn figure(&self) -> anyhow::Result<Figure> {
        let cores = (own_process::usage()?.cpu - self.before).as_secs_f64() / self.start.elapsed().as_secs_f64();
        let all = std::thread::available_parallelism()?.get();
        Ok(Figure::rate("  cores busy meanwhile".to_owned(), cores, "cores", all as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_above_one_are_better() {
        assert_eq!(Figure::rate("a".to_owned(), 6.0, "MH/s", 3.0).ratio, 2.0);
        assert_eq!(Figure::cost("b".to_owned(), 3.0, "ns/leaf", 6.0).ratio, 2.0);
    }

    #[test]
    fn each_job_runs_in_each_round() {
        let (mut a, mut b) = (0, 0);
        let times = shortest(3, &mut [Box::new(|| a += 1), Box::new(|| b += 10)]);
        assert_eq!((times.len(), a, b), (2, 3, 30));
    }
}
