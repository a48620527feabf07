//! Control of a running test network from other terminals, over each node's RPC.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::nodes_in;
use super::setup::{ADDRESS_PREFIX, Layout};
use crate::cli::Interrupted;
use crate::cli::client::call;
use crate::primitives::address;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::rpc;
use crate::rpc::client::{Client, ClientConfig, ClientError};
use crate::runtime::STORE_DIR;
use crate::wallet::Wallet;

/// Longest wait for an answer, and for nodes to agree.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Polling interval.
const POLL: Duration = Duration::from_millis(50);
/// Hashes tried in one call, about a second, after which Ctrl-C is checked.
const HASHES_PER_CALL: u64 = 4_000_000;
/// How long the miners of a command that was killed still rest.
const REST: Duration = Duration::from_secs(6);

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

/// All nodes of a running network, in the order of their numbers.
pub struct Control {
    nodes: Vec<Client>,
    /// The number of each, as in its name.
    numbers: Vec<usize>,
    /// Which of them stand still.
    paused: Vec<bool>,
    interrupted: Arc<AtomicBool>,
}

impl Control {
    /// The first node of the network that runs in a directory. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::NoNode`] if none does; if the directory is that of a node.
    pub fn first(layout: &Layout, timeout: Option<Duration>) -> anyhow::Result<Client> {
        if layout.dir.join(STORE_DIR).is_dir() {
            let dir = layout.dir.display();
            let above = layout.dir.parent().filter(|above| nodes_in(above) > 0);
            let advice = above.map_or_else(String::new, |above| format!(", {}", above.display()));
            bail!("{dir} is the directory of a node: give that of its test network{advice}");
        }
        Ok(Client::new(ClientConfig { url: None, data_dir: layout.node(1), timeout }).map_err(|error| match error {
            // The directory that was named, rather than the node's in it.
            ClientError::NoNode { .. } => ClientError::NoNode { data_dir: layout.dir.clone() },
            other => other,
        })?)
    }

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
            name: String,
            paused: bool,
        }
        let first = Self::first(layout, Some(TIMEOUT))?;
        let Links { nodes: there } = call(&first, "getlinks", &[])?;
        let (mut nodes, mut numbers, mut paused) = (Vec::new(), Vec::new(), Vec::new());
        for node in there {
            let number =
                number_of(&node.name).with_context(|| format!("{:?} is no node of a test network", node.name))?;
            let data_dir = layout.node(number);
            nodes.push(Client::new(ClientConfig { url: None, data_dir, timeout: Some(TIMEOUT) })?);
            numbers.push(number);
            paused.push(node.paused);
        }
        Ok(Self { nodes, numbers, paused, interrupted: Arc::default() })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The numbers of the nodes, as in their names, lowest first.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The name of a node, counted from 0.
    pub fn name(&self, index: usize) -> String {
        name_of(self.numbers[index])
    }

    /// The place of the node with that number, counted from 0.
    pub fn index_of(&self, number: usize) -> Option<usize> {
        self.numbers.iter().position(|known| *known == number)
    }

    /// Fails if a node is paused, for what needs all of them.
    ///
    /// # Errors
    /// Names the node.
    pub fn require_running(&self) -> anyhow::Result<()> {
        match self.paused.iter().position(|is_paused| *is_paused) {
            Some(node) => bail!(rpc::paused(&self.name(node))),
            None => Ok(()),
        }
    }

    /// A node, counted from 0.
    pub fn node(&self, index: usize) -> &Client {
        &self.nodes[index]
    }

    /// Once `flag` is true, as by Ctrl-C with [`interrupt_flag`](crate::runtime::interrupt_flag), the next step of
    /// [`Control::mine`] or [`Control::agree`] fails, so that temporary changes are reverted.
    pub fn interrupted_by(self, flag: Arc<AtomicBool>) -> Self {
        Self { interrupted: flag, ..self }
    }

    /// Fails after an interrupt.
    ///
    /// # Errors
    /// [`Interrupted`].
    fn check_interrupted(&self) -> anyhow::Result<()> {
        Ok(Interrupted::check(&self.interrupted)?)
    }

    /// A node's tip.
    ///
    /// # Errors
    /// The node's error.
    pub fn tip(&self, node: usize) -> anyhow::Result<Tip> {
        Ok(call(self.node(node), "getblockchaininfo", &[])?)
    }

    /// Runs `work` while no node mines. The miners' rest is renewed in time, and ends by itself if this process does.
    ///
    /// # Errors
    /// Those of `work`, or a node's error.
    pub fn while_quiet<R>(&self, work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
        // The miner of a paused node rests.
        let running =
            || self.nodes.iter().zip(&self.paused).filter(|(_, is_paused)| !**is_paused).map(|(node, _)| node);
        let rest = |how_long: Duration| -> anyhow::Result<()> {
            for node in running() {
                call::<Value>(node, "restminer", &[json!(how_long.as_millis() as u64)])?;
            }
            Ok(())
        };
        rest(REST)?;
        let outcome = std::thread::scope(|scope| {
            let (done, is_done) = mpsc::channel::<()>();
            let renewing = scope.spawn(|| {
                let is_done = is_done;
                while is_done.recv_timeout(REST / 3) == Err(RecvTimeoutError::Timeout) {
                    rest(REST)?;
                }
                anyhow::Ok(())
            });
            let outcome = work();
            drop(done);
            let failed = |_| Err(anyhow!("the thread that keeps the miners quiet failed"));
            let renewed = renewing.join().unwrap_or_else(failed);
            outcome.and_then(|done| renewed.map(|()| done))
        });
        let ended = rest(Duration::ZERO);
        outcome.and_then(|done| ended.map(|()| done))
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
                        .map(|(node, tip)| format!("{} at height {}, {}", self.name(node), tip.height, tip.hash))
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

/// The name of the node with a number.
pub fn name_of(number: usize) -> String {
    format!("node-{number}")
}

/// The number in a node's name.
pub fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse().ok().filter(|number| name_of(*number) == name)
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
