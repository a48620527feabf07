//! Control of a running test network from other terminals, over each node's RPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::setup::{ADDRESS_PREFIX, Layout};
use crate::cli::client::call;
use crate::primitives::address;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::rpc::client::{Client, ClientConfig, ClientError};
use crate::wallet::Wallet;

/// Longest wait for an answer, and for nodes to agree.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Polling interval.
const POLL: Duration = Duration::from_millis(50);
/// Hashes tried in one call, about a second, after which Ctrl-C is checked.
const HASHES_PER_CALL: u64 = 4_000_000;

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Tip {
    /// Blocks below it, genesis included.
    #[serde(alias = "blocks")]
    pub height: Height,
    /// The hash of its header.
    #[serde(alias = "bestblockhash")]
    pub hash: BlockHash,
}

/// All nodes of a running network.
pub struct Control {
    nodes: Vec<Client>,
    /// Which of them stand still.
    paused: Vec<bool>,
    interrupted: Arc<AtomicBool>,
}

/// The settings with which a node's miner is restarted.
struct Miner {
    node: usize,
    threads: u64,
    payee: String,
}

impl Control {
    /// Finds the network that runs in a directory.
    ///
    /// # Errors
    /// [`ClientError::NoNode`] if none does, or a node's error.
    pub fn find(layout: &Layout) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Links {
            nodes: Vec<Node>,
        }
        #[derive(Deserialize)]
        struct Node {
            paused: bool,
        }
        let client =
            |number| Client::new(ClientConfig { url: None, data_dir: layout.node(number), timeout: Some(TIMEOUT) });
        let first = client(1).map_err(|error| match error {
            // The directory that was named, rather than the node's in it.
            ClientError::NoNode { .. } => ClientError::NoNode { data_dir: layout.dir.clone() },
            other => other,
        })?;
        let links: Links = call(&first, "getlinks", &[])?;
        let paused: Vec<bool> = links.nodes.iter().map(|node| node.paused).collect();
        let mut nodes = vec![first];
        for number in 2..=paused.len() {
            nodes.push(client(number)?);
        }
        Ok(Self { nodes, paused, interrupted: Arc::default() })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Fails if a node is paused, for what needs all of them.
    ///
    /// # Errors
    /// Names the node.
    pub fn require_running(&self) -> anyhow::Result<()> {
        match self.paused.iter().position(|is_paused| *is_paused) {
            Some(node) => bail!("node-{} is paused: resume it first", node + 1),
            None => Ok(()),
        }
    }

    /// A node, counted from 0.
    pub fn node(&self, index: usize) -> &Client {
        &self.nodes[index]
    }

    /// From now on Ctrl-C makes the next step of [`Control::mine`] or [`Control::agree`] fail, instead of ending the
    /// process, so that temporary changes can be reverted.
    ///
    /// # Errors
    /// If there is no thread to wait for signals.
    pub fn catch_interrupts(&self) -> anyhow::Result<()> {
        let interrupted = self.interrupted.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if runtime.block_on(crate::runtime::interrupted()).is_ok() {
                interrupted.store(true, Ordering::SeqCst);
            }
        })?;
        Ok(())
    }

    fn check_interrupted(&self) -> anyhow::Result<()> {
        ensure!(!self.interrupted.load(Ordering::SeqCst), "interrupted");
        Ok(())
    }

    /// A node's tip.
    ///
    /// # Errors
    /// The node's error.
    pub fn tip(&self, node: usize) -> anyhow::Result<Tip> {
        Ok(call(self.node(node), "getblockchaininfo", &[])?)
    }

    /// Runs `work` while no node mines; afterwards restarts the miners, whatever its result.
    ///
    /// # Errors
    /// Those of `work`, or a node's error.
    pub fn while_quiet<R>(&self, work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
        #[derive(Deserialize)]
        struct Info {
            generate: bool,
            genproclimit: u64,
            address: Option<String>,
        }
        let mut miners = Vec::new();
        let mut stop = || -> anyhow::Result<()> {
            // The miner of a paused node rests.
            let running = self.nodes.iter().enumerate().filter(|(node, _)| !self.paused[*node]);
            for (node, client) in running {
                let Info { generate, genproclimit, address } = call(client, "getmininginfo", &[])?;
                if generate && let Some(payee) = address {
                    miners.push(Miner { node, threads: genproclimit, payee });
                    call::<Value>(client, "setgenerate", &[json!(false)])?;
                }
            }
            Ok(())
        };
        let outcome = stop().and_then(|()| work());
        let most = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        for Miner { node, threads, payee } in miners {
            let params = [json!(true), json!(threads.min(most)), json!(payee)];
            let started = call::<Value>(self.node(node), "setgenerate", &params);
            if outcome.is_ok() {
                started.with_context(|| format!("node-{} does not mine again", node + 1))?;
            }
        }
        outcome
    }

    /// Waits until some nodes have the same tip twice in a row, and returns it.
    ///
    /// # Errors
    /// If they do not agree within a minute, or a node's error.
    pub fn agree(&self, nodes: std::ops::Range<usize>) -> anyhow::Result<Tip> {
        let end = Instant::now() + TIMEOUT;
        let mut before = None;
        loop {
            self.check_interrupted()?;
            let mut tips = Vec::new();
            for node in nodes.clone() {
                tips.push(self.tip(node)?);
            }
            let agreed = tips.first().copied().filter(|first| tips.iter().all(|tip| tip == first));
            match agreed {
                Some(tip) if before == agreed => return Ok(tip),
                _ if Instant::now() > end => {
                    let list: Vec<String> = nodes
                        .zip(&tips)
                        .map(|(node, tip)| format!("node-{} at height {}, {}", node + 1, tip.height, tip.hash))
                        .collect();
                    bail!("the nodes do not agree ({}): is a link cut?", list.join("; "));
                }
                _ => before = agreed,
            }
            std::thread::sleep(POLL);
        }
    }

    /// Mines a block on a node's tip, as long as that takes.
    ///
    /// # Errors
    /// If interrupted, or the node's error.
    pub fn mine(&self, node: usize, payee: &str) -> anyhow::Result<BlockHash> {
        loop {
            self.check_interrupted()?;
            let params = [json!(1), json!(payee), json!(HASHES_PER_CALL)];
            let hashes: Vec<BlockHash> = call(self.node(node), "generatetoaddress", &params)?;
            if let Some(hash) = hashes.first() {
                return Ok(*hash);
            }
        }
    }
}

/// The address that node `number`, counted from 1, mines to.
///
/// # Errors
/// If its wallet cannot be read.
pub fn payee(layout: &Layout, number: usize) -> anyhow::Result<String> {
    Ok(address::encode(ADDRESS_PREFIX, &Wallet::open(&layout.miner_wallet(number))?.newest_key()))
}

/// A progress bar of mined blocks; on a terminal only.
pub fn progress(blocks: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{spinner} {pos}/{len} blocks, {msg}, {elapsed}")?;
    let bar = ProgressBar::new(blocks).with_style(style).with_message("mining");
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}
