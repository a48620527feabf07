//! `cairn bench content`: a large file added and read from another node, and a directory found among many nodes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command as Program, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::fixture::Scratch;
use super::node::{self, Caller};
use super::process::Process;
use super::{Figure, STORE_CACHE_BYTES};
use crate::cli::genesis::KEPT_FILE;
use crate::cli::start_threads;
use crate::consensus::params::{GenesisSpec, Params};
use crate::content::CONTENT_DIR;
use crate::ipld::Cid;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Event};
use crate::runtime::exchange::{Fetches, Part, Wanted};
use crate::runtime::{Config, Running};

/// Bytes that are read and written at a time.
const PIECE: usize = 1 << 20;
/// Files of the directory, and bytes of each.
const FILES: u32 = 40;
const FILE_BYTES: usize = 250_000;
/// Aims: bytes a second from node to node, in MB, and megabytes of memory above those of an idle node.
const GOALS: (f64, f64) = (300.0, 64.0);
/// Contacts that each node has before anything is measured.
const CONTACTS: usize = 8;
/// Time-out of every wait; not part of a measurement.
const TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(20);
/// Time in which few messages come when the nodes have got to know each other.
const CALM: Duration = Duration::from_secs(1);

/// Options of the benchmark.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// Megabytes of the file; three times as many are written to the directory for temporary files
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    megabytes: u32,
    /// Nodes among which a directory of 10 MB is found
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..=200))]
    nodes: u16,
}

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let dir = Scratch::new()?;
    let runtime = start_threads()?;
    let mut figures = file(args.megabytes, dir.path(), &runtime)?;
    figures.extend(runtime.block_on(directory(args.nodes, dir.path()))?);
    let about = format!(
        "A file of {} MB, and a directory of 10 MB among {} nodes. References: for adding, SHA-256 over the same bytes on one\n\
         core; for nodes, the aims: {} MB/s and {} MB of memory more than an idle node; for the directory, copying its files.",
        args.megabytes, args.nodes, GOALS.0, GOALS.1
    );
    Ok((about, figures))
}

fn megabytes(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

/// Runs a command of this program on a data directory. What it prints.
fn cairn(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let mut program = Program::new(std::env::current_exe()?);
    let output =
        program.arg("--data-dir").arg(dir).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "cairn {} failed", args.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn file(size: u32, dir: &Path, runtime: &tokio::runtime::Runtime) -> anyhow::Result<Vec<Figure>> {
    let path = dir.join("file");
    let bytes = u64::from(size) * 1_000_000;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut out, mut left) = (File::create(&path)?, bytes);
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let part = (PIECE as u64).min(left) as usize;
        rng.fill_bytes(&mut piece[..part]);
        out.write_all(&piece[..part])?;
        left -= part as u64;
    }
    out.sync_all()?;
    let start = Instant::now();
    let (mut input, mut hash) = (File::open(&path)?, Sha256::new());
    loop {
        match input.read(&mut piece)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    std::hint::black_box(hash.finalize());
    let hashed = megabytes(bytes, start.elapsed());

    let params = spec()?;
    let [from, to] = ["from", "to"].map(|name| dir.join(name));
    for place in [&from, &to] {
        fs::create_dir(place)?;
        fs::write(place.join(KEPT_FILE), serde_json::to_string(&params)?)?;
    }
    let text = path.to_str().context("a path that is not UTF-8")?;
    let max = format!("{}MB", 2 * u64::from(size) + 10);
    let timed = |args: &[&str]| -> anyhow::Result<(f64, String)> {
        let start = Instant::now();
        let printed = cairn(&from, args)?;
        Ok((megabytes(bytes, start.elapsed()), printed))
    };
    let (computed, _) = timed(&["content", "add", "-Qn", text])?;
    let (added, cid) = timed(&["content", "--content-max", &max, "add", "-Q", text])?;
    let mut figures = vec![
        Figure::rate("add without storing".to_owned(), computed, "MB/s", hashed),
        Figure::rate("add".to_owned(), added, "MB/s", hashed),
    ];
    figures.extend(runtime.block_on(between(&cid, bytes, [&from, &to], &max))?);
    Ok(figures)
}

fn spec() -> anyhow::Result<GenesisSpec> {
    let mut spec = GenesisSpec::regtest();
    spec.mine_nonce();
    Ok(spec)
}

/// Reads what the first node has with a command at the second, over loopback.
async fn between(cid: &str, bytes: u64, dirs: [&Path; 2], max: &str) -> anyhow::Result<Vec<Figure>> {
    // A free port, which another program might take before the node does.
    let address = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
    let (one, mut one_caller) = Process::start_with(dirs[0], &["--content-max", max, "--listen", &address]).await?;
    let (other, mut other_caller) =
        Process::start_with(dirs[1], &["--content-max", max, "--no-listen", "--connect", &address]).await?;
    let start = Instant::now();
    while result(&mut other_caller, "getconnectioncount", &[]).await? == json!(0) {
        ensure!(start.elapsed() < TIMEOUT, "the nodes are not connected");
        tokio::time::sleep(POLL).await;
    }
    let idle = [one.peak_bytes()?, other.peak_bytes()?];
    let (dir, cid) = (dirs[1].to_owned(), cid.to_owned());
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<(u64, Duration)> {
        let start = Instant::now();
        let mut program = Program::new(std::env::current_exe()?);
        program.arg("--data-dir").arg(&dir).args(["content", "cat", &cid]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = program.spawn()?;
        let read = std::io::copy(&mut child.stdout.take().context("no output")?, &mut std::io::sink())?;
        ensure!(child.wait()?.success(), "cairn content cat failed");
        Ok((read, start.elapsed()))
    });
    let (read, time) = reading.await??;
    ensure!(read == bytes, "{read} bytes came");
    let peaks = [one.peak_bytes()?, other.peak_bytes()?];
    one.stop(&mut one_caller).await?;
    other.stop(&mut other_caller).await?;
    let memory = |name: &str, n: usize| {
        Figure::cost(name.to_owned(), peaks[n].saturating_sub(idle[n]) as f64 / 1e6, "MB", GOALS.1)
    };
    Ok(vec![
        Figure::rate("cat from another node".to_owned(), megabytes(bytes, time), "MB/s", GOALS.0),
        memory("  memory of the node that sends, above idle", 0),
        memory("  memory of the node that fetches, above idle", 1),
    ])
}

async fn result(caller: &mut Caller, method: &str, params: &[Value]) -> anyhow::Result<Value> {
    let answer: Value = serde_json::from_slice(caller.send(&node::call(method, params)).await?)?;
    Ok(answer["result"].clone())
}

/// Adds a directory at one of the nodes, and finds and fetches it at another.
async fn directory(count: u16, dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let params = Arc::new(Params::new(spec()?)?);
    let site = dir.join("site");
    fs::create_dir(&site)?;
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for number in 0..FILES {
        let mut bytes = vec![0; FILE_BYTES];
        rng.fill_bytes(&mut bytes);
        fs::write(site.join(number.to_string()), bytes)?;
    }
    let start = Instant::now();
    let copy = dir.join("copy");
    fs::create_dir(&copy)?;
    for number in 0..FILES {
        fs::copy(site.join(number.to_string()), copy.join(number.to_string()))?;
    }
    let copied = start.elapsed();
    let mut nodes = Vec::new();
    let mut join = Vec::new();
    for number in 0..count {
        let mut config = Config::new(dir.join(format!("node-{number}")), params.clone());
        config.listen = Some(([127, 0, 0, 1], 0).into());
        config.connect.clone_from(&join);
        config.store_cache_bytes = STORE_CACHE_BYTES;
        let node = Running::start(config).await?;
        if join.is_empty() {
            join.extend(node.handle().peer_name());
        }
        nodes.push(node);
    }
    let measured = find_and_fetch(&nodes, dir, &site, copied).await;
    for node in nodes {
        node.stop().await?;
    }
    measured
}

/// Messages that a node has received.
fn received(node: &Running) -> u64 {
    node.handle().network_totals().received.by_kind().map(|(_, messages)| messages.count).sum()
}

/// Waits until the nodes, which have all joined at once, have made their first lookups: until they receive a message a second.
async fn until_calm(nodes: &[Running]) {
    let all = || nodes.iter().map(received).sum::<u64>();
    let mut before = all();
    loop {
        tokio::time::sleep(CALM).await;
        let now = all();
        if now - before <= nodes.len() as u64 {
            return;
        }
        before = now;
    }
}

async fn find_and_fetch(nodes: &[Running], dir: &Path, site: &Path, copied: Duration) -> anyhow::Result<Vec<Figure>> {
    let wanted = CONTACTS.min(nodes.len() - 1);
    for node in nodes {
        let acquainted = async {
            while node.handle().read(|node, _| node.contacts().len()).await? < wanted {
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(())
        };
        timeout(TIMEOUT, acquainted).await.context("the nodes do not find each other")??;
    }
    timeout(TIMEOUT, until_calm(nodes)).await.context("the nodes do not come to rest")?;
    let (first, last) = (nodes.len() / 2, nodes.len() - 1);
    let place = dir.join(format!("node-{first}"));
    let site = site.to_str().context("a path that is not UTF-8")?.to_owned();
    let added = tokio::task::spawn_blocking(move || cairn(&place, &["content", "add", "-rQ", &site])).await??;
    let root: Cid = added.parse()?;
    let key = NodeId::of_content(&root.multihash());

    let provider = nodes[first].handle();
    let mut events = provider.subscribe();
    let start = Instant::now();
    provider.command(move |reply| Command::Announce(key, reply)).await?;
    let announced = async {
        loop {
            if let Event::Announced { key: told, nodes } = events.recv().await?
                && told == key
            {
                return anyhow::Ok(nodes);
            }
        }
    };
    let kept = timeout(TIMEOUT, announced).await.context("the announcement does not end")??;
    let announced = start.elapsed();

    let seeker = nodes[last].handle();
    let mut events = seeker.subscribe();
    let start = Instant::now();
    let number = seeker.command(move |reply| Command::FindProviders(key, reply)).await?;
    let mut first_named = None;
    let finding = async {
        loop {
            match events.recv().await? {
                Event::ProviderNamed { number: named, .. } if Some(named) == number => {
                    first_named.get_or_insert(start.elapsed());
                }
                Event::NodesFound(found) if found.number == number => return anyhow::Ok(found),
                _ => {}
            }
        }
    };
    let found = timeout(TIMEOUT, finding).await.context("the lookup does not end")??;
    let named = first_named.context("no node named a provider")?;
    let exchange = seeker.exchange().context("no exchange")?;
    let before = received(&nodes[last]);
    let (fetches, start) = (Fetches::default(), Instant::now());
    let fetching =
        fetches.fetch(exchange, Wanted { root, path: Vec::new(), part: Part::All }, Duration::from_secs(30), TIMEOUT);
    let status = fetching.await.context("no place for a fetch")?;
    let fetched = start.elapsed();
    status.ended.context("the fetch does not end")??;
    let messages = received(&nodes[last]) - before;
    let here = dir.join(format!("node-{last}")).join(CONTENT_DIR).join("blocks");
    ensure!(here.is_dir(), "nothing was stored");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let copied = millis(copied);
    Ok(vec![
        Figure::cost(format!("a directory announced to {kept} nodes"), millis(announced), "ms", copied),
        Figure::cost(format!("  found with {} questions", found.path.len()), millis(named), "ms", copied),
        Figure::cost(format!("  fetched with {messages} messages"), millis(fetched), "ms", copied),
    ])
}
