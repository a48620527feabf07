//! `cairn bench relay`: how fast blocks and payments reach all nodes of a real network, and how many bytes that costs.
//!
//! The nodes are in this process, each with its thread, its store and its sockets; they join through the first and find
//! the others themselves. Each round makes the payments twice: once known to all nodes before they are in a block, as
//! relay expects, and once known to none, so that the block travels whole.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fixture::Scratch;
use super::payments::{self, OwnedCoin};
use super::{Figure, STORE_CACHE_BYTES};
use crate::cli::start_threads;
use crate::consensus::params::Params;
use crate::miner::{kernel, template};
use crate::p2p::Command;
use crate::p2p::message::Kind;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::SecretKey;
use crate::primitives::merkle;
use crate::primitives::tx::Transaction;
use crate::runtime::{Config, Handle, Running};

/// Peers that each node has, dialled or not, before anything is measured.
const PEERS: usize = 8;
/// Time-out of every wait in a round; not part of a measurement.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Polling interval of conditions without an event.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Options of `cairn bench relay`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// Nodes in the network
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=200))]
    nodes: u16,
    /// Blocks of each kind
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    blocks: u16,
    /// Payments in a block
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
    payments: u16,
}

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let runtime = start_threads()?;
    let dir = Scratch::new()?;
    runtime.block_on(async {
        let (params, coins) = payments::network(args.payments.into())?;
        let mut nodes = Vec::new();
        let result = match start(args, dir.path(), &params, &mut nodes).await {
            Ok(()) => measure(args, &params, coins, &nodes).await,
            Err(error) => Err(error),
        };
        for node in nodes {
            node.stop().await?;
        }
        result
    })
}

/// Starts all nodes, and waits until each has peers.
async fn start(args: &Args, dir: &Path, params: &Arc<Params>, nodes: &mut Vec<Running>) -> anyhow::Result<()> {
    let mut join = Vec::new();
    for number in 0..args.nodes {
        let mut config = Config::new(dir.join(number.to_string()), params.clone());
        config.listen = Some(([127, 0, 0, 1], 0).into());
        config.connect.clone_from(&join);
        config.store_cache_bytes = STORE_CACHE_BYTES;
        let node = Running::start(config).await?;
        if join.is_empty() {
            join.extend(node.handle().peer_name());
        }
        nodes.push(node);
    }
    let wanted = PEERS.min(nodes.len() - 1);
    for node in &*nodes {
        let connected = async {
            loop {
                let (inbound, outbound) = node.handle().read(|node, _| node.connection_counts()).await?;
                if inbound + outbound >= wanted {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        timeout(TIMEOUT, connected).await.context("the nodes do not find each other")??;
    }
    Ok(())
}

/// What all nodes received of some kinds of messages: how many, and their bytes.
fn received(nodes: &[Running], is_meant: impl Fn(Kind) -> bool) -> (u64, u64) {
    let totals = nodes.iter().map(|node| node.handle().network_totals().received);
    let meant = totals.flat_map(|flow| flow.by_kind().collect::<Vec<_>>()).filter(|(kind, _)| is_meant(*kind));
    meant.fold((0, 0), |(count, bytes), (_, messages)| (count + messages.count, bytes + messages.bytes))
}

/// Bytes of all messages that carry or announce blocks and payments.
fn relayed(nodes: &[Running]) -> u64 {
    let is_other = |kind| matches!(kind, Kind::Hello | Kind::Ping | Kind::Pong | Kind::FindNode | Kind::Nodes);
    received(nodes, |kind| !is_other(kind)).1
}

/// How often payments came whole.
fn copies(nodes: &[Running]) -> u64 {
    received(nodes, |kind| kind == Kind::Transaction).0
}

/// The bytes relayed, once they no longer grow.
async fn settled(nodes: &[Running]) -> u64 {
    let mut before = relayed(nodes);
    loop {
        tokio::time::sleep(4 * POLL_INTERVAL).await;
        let now = relayed(nodes);
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Milliseconds in which a block reached the other nodes, in the order in which it did.
type Arrivals = Vec<f64>;

/// Results of the rounds of one kind.
#[derive(Default)]
struct Rounds {
    arrivals: Vec<Arrivals>,
    /// Bytes that all nodes together received for the blocks.
    bytes: u64,
}

impl Rounds {
    /// Milliseconds to a share of all nodes, from the fastest block to the slowest.
    fn until(&self, share: f64) -> Vec<f64> {
        let at = |arrivals: &Arrivals| arrivals[at_share(arrivals.len(), share)];
        let mut times: Vec<f64> = self.arrivals.iter().map(at).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    }
}

/// The place, among so many in order, of the first that a share of them does not exceed.
fn at_share(count: usize, share: f64) -> usize {
    ((count as f64 * share).ceil() as usize).clamp(1, count) - 1
}

async fn measure(
    args: &Args,
    params: &Params,
    mut coins: Vec<OwnedCoin>,
    nodes: &[Running],
) -> anyhow::Result<(String, Vec<Figure>)> {
    let (mut known, mut unknown) = (Rounds::default(), Rounds::default());
    let (mut payment_bytes, mut payment_copies, mut block_bytes, mut payment_size) = (0, 0, 0, 0);
    for round in 0..usize::from(args.blocks) {
        let miner = nodes[round * 7 % nodes.len()].handle();

        let payments = transactions(params, &mut coins);
        payment_size = payments[0].size();
        let (before, copies_before) = (settled(nodes).await, copies(nodes));
        for (number, payment) in payments.into_iter().enumerate() {
            let node = nodes[number % nodes.len()].handle();
            node.command(move |reply| Command::SubmitTransaction(payment, reply)).await??;
        }
        for node in nodes {
            timeout(TIMEOUT, holds(node.handle(), coins.len())).await.context("payments do not reach all nodes")??;
        }
        let told = settled(nodes).await;
        payment_bytes += told - before;
        payment_copies += copies(nodes) - copies_before;
        let block = mine(miner, Vec::new()).await?;
        block_bytes = block.size();
        known.arrivals.push(spread(miner, block, nodes).await?);
        let after = settled(nodes).await;
        known.bytes += after - told;

        let payments = transactions(params, &mut coins);
        let block = mine(miner, payments).await?;
        unknown.arrivals.push(spread(miner, block, nodes).await?);
        unknown.bytes += settled(nodes).await - after;
    }
    let mut links = 0;
    for node in nodes {
        links += node.handle().read(|node, _| node.connection_counts().1).await?;
    }
    let mut figures = Vec::new();
    for (share, whom) in [(0.5, "half of the nodes"), (0.95, "95 % of them"), (1.0, "all")] {
        let (fast, slow) = (known.until(share), unknown.until(share));
        for (part, name) in [(0.5, "median"), (0.95, "95 of 100 blocks")] {
            let place = at_share(fast.len(), part);
            figures.push(Figure::cost(format!("block to {whom}, {name}"), fast[place], "ms", slow[place]));
        }
    }
    let each = |bytes: u64| bytes as f64 / f64::from(args.blocks) / (nodes.len() - 1) as f64;
    figures.push(Figure::cost("a node gets for a block".to_owned(), each(known.bytes), "bytes", each(unknown.bytes)));
    let whole =
        Figure::cost("the same, reference is the block".to_owned(), each(known.bytes), "bytes", block_bytes as f64);
    figures.push(whole);
    let payments = f64::from(args.blocks) * coins.len() as f64;
    let on_link = payment_bytes as f64 / payments / f64::from(u32::try_from(links).unwrap_or(u32::MAX).max(1));
    figures.push(Figure::cost("a payment, over each link".to_owned(), on_link, "bytes", payment_size as f64));
    let at_node = payment_bytes as f64 / payments / nodes.len() as f64;
    figures.push(Figure::cost("a node gets for a payment".to_owned(), at_node, "bytes", payment_size as f64));
    let got = payment_copies as f64 / payments / (nodes.len() - 1) as f64;
    figures.push(Figure::cost("a node gets a payment".to_owned(), got, "times", 1.0));
    let about = format!(
        "Relay between {} real nodes in this process with {links} links over loopback; {} blocks of {} payments known to all, \
         {block_bytes} bytes each.\nThe reference is as many blocks whose payments no node knew; for bytes of payments, the \
         payment itself.",
        nodes.len(),
        args.blocks,
        args.payments,
    );
    Ok((about, figures))
}

/// The coins paid to their owners once more.
fn transactions(params: &Params, coins: &mut [OwnedCoin]) -> Vec<Transaction> {
    payments::payments(params, coins).into_iter().map(|(_, tx)| tx).collect()
}

/// Waits until a node's mempool has so many transactions.
async fn holds(node: &Handle, count: usize) -> anyhow::Result<()> {
    let mut events = node.subscribe();
    while node.read(|node, _| node.mempool().len()).await? < count {
        // A lagged receiver is also a reason to check again.
        let _ = timeout(POLL_INTERVAL, events.recv()).await;
    }
    Ok(())
}

/// The next block of a node, with further transactions that it has not heard of.
async fn mine(node: &Handle, more: Vec<Transaction>) -> anyhow::Result<Block> {
    let payee = SecretKey::from_seed([8; 32]).public_key();
    let template = node
        .read(move |node, now| template::build(node.chain(), node.mempool(), &payee, now.mono.as_millis(), now.unix))
        .await??;
    let mut block = template.block(0);
    block.transactions.extend(more);
    block.header.merkle_root = merkle::root(block.txids()).hash;
    block.header.nonce = kernel::search(&block.header, template.target, 0..=u32::MAX).context("no nonce is enough")?;
    Ok(block)
}

/// Gives a block to its miner, and waits until all have it.
async fn spread(miner: &Handle, block: Block, nodes: &[Running]) -> anyhow::Result<Arrivals> {
    let hash: BlockHash = block.hash();
    let mut arrivals = JoinSet::new();
    for node in nodes.iter().filter(|node| !node.handle().is_same_node(miner)) {
        let mut tip = node.handle().tip();
        arrivals.spawn(async move { tip.wait_for(|tip| tip.hash == hash).await.map(|_| Instant::now()) });
    }
    let start = Instant::now();
    miner.command(move |reply| Command::SubmitBlock(block, reply)).await??;
    let mut times = Vec::new();
    while let Some(arrived) =
        timeout(TIMEOUT, arrivals.join_next()).await.context("a block does not reach all nodes")?
    {
        times.push((arrived??.saturating_duration_since(start)).as_secs_f64() * 1e3);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_up() {
        assert_eq!(
            [(1, 0.5), (2, 0.5), (49, 0.95), (49, 1.0), (3, 0.0)].map(|(n, share)| at_share(n, share)),
            [0, 0, 46, 48, 0]
        );
    }

    #[test]
    fn four_nodes_relay() {
        let (_, figures) = run(&Args { nodes: 4, blocks: 2, payments: 5 }).expect("four nodes run");
        assert!(figures.iter().all(|figure| figure.value > 0.0 && figure.ratio.is_finite()), "{figures:?}");
    }
}
