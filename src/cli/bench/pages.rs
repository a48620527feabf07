//! `cairn bench pages`: what browsers cost a node, beside light clients over TCP.
//!
//! Each page is the light client over a WebRTC stack of its own, all in this process; the node is in another. What is measured
//! is the node: browsers would take the machine's memory and time themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Figure;
use super::fixture::Scratch;
use super::node::Caller;
use super::page::Page;
use super::process::Process;
use super::restart::result;
use crate::cli::genesis::KEPT_FILE;
use crate::consensus::params::{GenesisSpec, Params};
use crate::p2p::noise::Carrier;
use crate::p2p::{PeerAddr, noise};
use crate::primitives::address;
use crate::primitives::height::Height;
use crate::primitives::keys::SecretKey;
use crate::runtime::noise as shake;
use crate::runtime::webrtc::{Dialler, Listener, Session, SessionError};

/// Blocks before the first page: so many that pages begin with a proof. Then those that they follow.
const BLOCKS: u32 = 2_500;
const FOLLOWED: u32 = 20;
/// Blocks made by a call, whose answer has to fit into what a caller reads.
const MADE_AT_ONCE: u32 = 500;
/// Blocks of an epoch.
const EPOCH: u32 = 100;
/// Dials at a time: a browser more would not come sooner on a few cores.
const AT_ONCE: usize = 16;
/// How long pages are left alone.
const IDLE: Duration = Duration::from_secs(10);
/// After which a benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of a stream that may wait.
const STREAM_BYTES: usize = 64 << 10;
/// What goes through a data channel each way, and in which pieces.
const VOLUME: usize = 32 << 20;
const PIECE: usize = 16 << 10;

/// Options of `cairn bench pages`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Numbers of pages that are connected at a time
    #[arg(long, value_delimiter = ',', default_values_t = [250, 500], value_parser = clap::value_parser!(u32).range(1..))]
    pages: Vec<u32>,
}

/// What a number of clients took of a node, each.
struct Cost {
    handshake: Duration,
    open: Duration,
    idle_bytes: f64,
    idle: Duration,
    block: Duration,
    balance: Duration,
    busy_bytes: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let tokio = tokio::runtime::Runtime::new()?;
    let mut figures = tokio.block_on(throughput())?;
    for pages in args.pages.iter().map(|pages| *pages as usize) {
        let costs =
            tokio.block_on(async { anyhow::Ok([clients(pages, true).await?, clients(pages, false).await?]) })?;
        let mut figure = |what: &str, unit, of: &dyn Fn(&Cost) -> f64| {
            let name = format!("{what}, each of {pages}");
            figures.push(Figure::cost(name, of(&costs[0]), unit, of(&costs[1])));
        };
        figure("dialled until ids are proven, processor time", "ms", &|cost| cost.handshake.as_secs_f64() * 1e3);
        figure("dialled until synced, processor time", "ms", &|cost| cost.open.as_secs_f64() * 1e3);
        figure("memory, idle", "kB", &|cost| cost.idle_bytes / 1e3);
        figure("idle for 10 s, processor time", "ms", &|cost| cost.idle.as_secs_f64() * 1e3);
        figure("a block, processor time", "ms", &|cost| cost.block.as_secs_f64() * 1e3);
        figure("a balance proven, processor time", "ms", &|cost| cost.balance.as_secs_f64() * 1e3);
        figure("memory after that", "kB", &|cost| cost.busy_bytes / 1e3);
    }
    let about = format!(
        "A node in a process of its own, with {BLOCKS} blocks, and pages that a native WebRTC stack connects to it: its memory and processor\n\
         time for each of them. They dial, follow {FOLLOWED} blocks, and each has the coins of an address proven. The references are the same\n\
         of light clients over TCP; for a data channel, a TCP connection over loopback, both without the node's own encryption."
    );
    Ok((about, figures))
}

/// Connects clients to a new node, by WebRTC or TCP.
async fn clients(count: usize, by_webrtc: bool) -> anyhow::Result<Cost> {
    let start = Instant::now();
    let note = |what: &str| {
        let seconds = start.elapsed().as_secs();
        eprintln!("{count} {}, {seconds} s: {what}", if by_webrtc { "pages" } else { "light clients over TCP" });
    };
    let (dir, payee) = (Scratch::new()?, SecretKey::from_seed([7; 32]).public_key());
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..GenesisSpec::regtest() };
    ensure!(spec.mine_nonce(), "regtest has no nonce");
    std::fs::write(dir.path().join(KEPT_FILE), spec.to_json())?;
    let params = Arc::new(Params::new(spec)?);
    let payee_address = address::encode(&params.address_prefix, &payee);
    // A free port, which another program might take before the node does.
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let (listen, most) = (tcp.to_string(), (count + 16).to_string());
    let options = ["--listen", &listen, "--listen-webrtc", "127.0.0.1:0", "--max-inbound", &most];
    let (process, mut caller) = Process::start_with(dir.path(), &options).await?;
    note("a node makes blocks");
    generate(&mut caller, BLOCKS, &payee_address).await?;
    let info = result(&mut caller, "getnetworkinfo", &[]).await?;
    let webrtc: PeerAddr = info["webrtc"].as_str().context("it takes no browsers")?.parse()?;
    let dialler = Arc::new(Dialler::new()?);
    let dial = |to: Arc<Dialler>| {
        let params = params.clone();
        async move {
            let page = if by_webrtc { over_webrtc(&to, webrtc, params).await? } else { over_tcp(tcp, params).await? };
            page.reach(Height::from_u32(BLOCKS)).await?;
            anyhow::Ok(page)
        }
    };
    // The first makes what the node has once.
    let mut pages = vec![timeout(PATIENCE, dial(dialler.clone())).await??];
    sleep(Duration::from_secs(1)).await;

    note("they dial it");
    let each = |total: Duration| total / count as u32;
    let (cpu, bytes) = (process.cpu()?, process.resident_bytes()?);
    let grown = || anyhow::Ok(process.resident_bytes()?.saturating_sub(bytes) as f64 / count as f64);
    let mut dialling = JoinSet::new();
    for started in 0..count {
        if started >= AT_ONCE {
            pages.push(next(&mut dialling).await?);
        }
        dialling.spawn(dial(dialler.clone()));
    }
    while pages.len() <= count {
        pages.push(next(&mut dialling).await?);
    }
    let open = each(process.cpu()? - cpu);
    let mut caller = process.caller().await?;
    let connected = result(&mut caller, "getconnectioncount", &[]).await?;
    ensure!(connected == json!(count + 1), "the node has {connected} connections of {}", count + 1);
    note("they are idle");

    let cpu = process.cpu()?;
    sleep(IDLE).await;
    let (idle, idle_bytes) = (each(process.cpu()? - cpu), grown()?);

    note("they follow blocks");
    let mut caller = process.caller().await?;
    let cpu = process.cpu()?;
    for more in 1..=FOLLOWED {
        generate(&mut caller, 1, &payee_address).await?;
        for page in &pages {
            timeout(PATIENCE, page.reach(Height::from_u32(BLOCKS + more))).await.context("a page stays behind")??;
        }
    }
    let block = each(process.cpu()? - cpu) / FOLLOWED;

    note("they have coins proven");
    let cpu = process.cpu()?;
    // A few at a time: checking proofs takes this process' time, which its connections need too.
    for some in pages.chunks(AT_ONCE) {
        some.iter().for_each(|page| page.prove(payee));
        for page in some {
            timeout(PATIENCE, page.proven()).await.context("a balance is not proven")??;
        }
    }
    let balance = each(process.cpu()? - cpu);
    let busy_bytes = grown()?;
    drop(pages);

    note("handshakes alone");
    let (shake, cpu) = (|to: Arc<Dialler>| handshake(to, by_webrtc.then_some(webrtc), tcp), process.cpu()?);
    let mut shaking = JoinSet::new();
    for started in 0..count {
        if started >= AT_ONCE {
            next(&mut shaking).await?;
        }
        shaking.spawn(shake(dialler.clone()));
    }
    while !shaking.is_empty() {
        next(&mut shaking).await?;
    }
    let handshake = each(process.cpu()? - cpu);
    let mut caller = process.caller().await?;
    process.stop(&mut caller).await?;
    note("done");
    Ok(Cost { handshake, open, idle_bytes, idle, block, balance, busy_bytes })
}

async fn next<T: 'static>(dialling: &mut JoinSet<anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(PATIENCE, dialling.join_next()).await.context("a page does not come to the tip")?.context("no dial")??
}

/// Dials, has both ids proven, and ends.
async fn handshake(dialler: Arc<Dialler>, webrtc: Option<PeerAddr>, tcp: SocketAddr) -> anyhow::Result<()> {
    let own = noise::Identity::from_secret(rand::random());
    match webrtc {
        Some(node) => {
            let (session, carrier) = dialler.dial(node).await?;
            let (mut stream, carrying) = carry(session);
            shake::initiate_over(&mut stream, &own, &carrier, None).await?;
            drop(stream);
            carrying.await?;
        }
        None => {
            let mut stream = TcpStream::connect(tcp).await?;
            stream.set_nodelay(true)?;
            shake::initiate_over(&mut stream, &own, &Carrier::Tcp, None).await?;
        }
    }
    Ok(())
}

async fn generate(caller: &mut Caller, blocks: u32, payee: &str) -> anyhow::Result<()> {
    let mut left = blocks;
    while left > 0 {
        let now = left.min(MADE_AT_ONCE);
        let made = result(caller, "generatetoaddress", &[json!(now), json!(payee)]).await?;
        ensure!(made.as_array().map(Vec::len) == Some(now as usize), "no blocks were made: {made}");
        left -= now;
    }
    Ok(())
}

async fn over_webrtc(dialler: &Dialler, node: PeerAddr, params: Arc<Params>) -> anyhow::Result<Page> {
    let (session, carrier) = dialler.dial(node).await?;
    let (mut stream, carrying) = carry(session);
    let own = noise::Identity::from_secret(rand::random());
    let shaken = shake::initiate_over(&mut stream, &own, &carrier, None).await?;
    Ok(Page::begin(stream, shaken, node, params, Some(carrying)))
}

/// The stream of a session that is open, and what carries it.
fn carry(session: Session) -> (DuplexStream, JoinHandle<SessionError>) {
    let (ours, theirs) = duplex(STREAM_BYTES);
    (ours, tokio::spawn(session.carry(theirs)))
}

async fn over_tcp(node: SocketAddr, params: Arc<Params>) -> anyhow::Result<Page> {
    let mut stream = TcpStream::connect(node).await?;
    stream.set_nodelay(true)?;
    let own = noise::Identity::from_secret(rand::random());
    let shaken = shake::initiate_over(&mut stream, &own, &Carrier::Tcp, None).await?;
    Ok(Page::begin(stream, shaken, node.into(), params, None))
}

/// Bytes a second through a data channel each way, beside a TCP connection.
async fn throughput() -> anyhow::Result<Vec<Figure>> {
    let dir = Scratch::new()?;
    let socket = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let listener = Listener::new(socket, dir.path())?;
    let address = listener.address();
    let (arrivals, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn(listener.run(move |arrival| {
        let _ = arrivals.send(arrival.session);
    }));
    let dialler = Dialler::new()?;
    let accept = async {
        let mut session = arrived.recv().await.context("no page came")?;
        session.open().await?;
        anyhow::Ok(carry(session).0)
    };
    let dial = async { anyhow::Ok(carry(dialler.dial(address).await?.0).0) };
    let (page, node) = tokio::try_join!(dial, accept)?;
    let channel = both_ways(page, node).await?;
    listening.abort();

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (dialled, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let tcp = both_ways(dialled?, accepted?.0).await?;
    let names = ["page to node", "node to page"];
    let figure = |n: usize| Figure::rate(names[n].to_owned(), channel[n] / 1e6, "MB/s", tcp[n] / 1e6);
    Ok(vec![figure(0), figure(1)])
}

/// Bytes a second from the first end to the second, then back.
async fn both_ways<S>(mut one: S, mut other: S) -> anyhow::Result<[f64; 2]>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    async fn one_way<S>(from: &mut S, to: &mut S) -> anyhow::Result<f64>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let (piece, mut room) = (vec![7; PIECE], vec![0; PIECE]);
        let start = Instant::now();
        let write = async {
            for _ in 0..VOLUME / PIECE {
                from.write_all(&piece).await?;
            }
            from.flush().await?;
            anyhow::Ok(())
        };
        let read = async {
            let mut left = VOLUME;
            while left > 0 {
                let count = to.read(&mut room).await?;
                ensure!(count > 0, "the connection ended");
                left -= count;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, async { tokio::try_join!(write, read) }).await.context("the bytes do not come")??;
        Ok(VOLUME as f64 / start.elapsed().as_secs_f64())
    }
    Ok([one_way(&mut one, &mut other).await?, one_way(&mut other, &mut one).await?])
}
