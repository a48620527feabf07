//! The nodes of a test network, and what surrounds each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::board::Row;
use super::setup::{self, ADDRESS_PREFIX, Layout};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::keys::PublicKey;
use crate::rpc::auth::{ADDRESS_FILE, COOKIE_FILE};
use crate::rpc::{self, RpcServer, ServeError};
use crate::runtime::{Config, Running, StartError, unix_now};
use crate::wallet::Wallet;
use crate::wallet::keyfile::KeyFileError;
use crate::wallet::mnemonic::Mnemonic;

/// The first node's port for peers; the others' follow, each with its RPC port in between.
const FIRST_PORT: u16 = 7331;
/// What one node's store may keep in memory: there are several on one machine.
const STORE_CACHE_BYTES: u64 = 8 << 20;
/// Nodes started before that a node connects to; it learns of the others from them.
const CONNECT_TO: usize = 3;

/// A running network.
pub struct Network {
    nodes: Vec<Member>,
    payee: String,
}

struct Member {
    name: String,
    running: Running,
    rpc: RpcServer,
}

impl Network {
    /// Starts all nodes, from what is kept or from nothing.
    ///
    /// # Errors
    /// If files, ports or a store will not do. Nodes that had started are stopped.
    pub async fn start(layout: &Layout, count: usize, miners: usize, threads: usize) -> anyhow::Result<Self> {
        let funded = open_wallet(&layout.wallet())?;
        let params = Arc::new(open_genesis(layout, funded, miners * threads).await?);
        setup::point_to_first_node(layout, &[COOKIE_FILE, ADDRESS_FILE])?;
        let mut network = Self { nodes: Vec::new(), payee: String::new() };
        for number in 1..=count {
            let threads = if number <= miners { threads } else { 0 };
            if let Err(error) = network.add(layout, &params, number, threads).await {
                // This error is the cause; one met while stopping would hide it.
                let _ = network.stop().await;
                return Err(error.context(format!("node-{number} does not start")));
            }
        }
        Ok(network)
    }

    async fn add(
        &mut self,
        layout: &Layout,
        params: &Arc<Params>,
        number: usize,
        threads: usize,
    ) -> anyhow::Result<()> {
        let dir = layout.node(number);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        setup::write_whole(&dir.join("genesis.json"), &params.spec.to_json())?;
        let paid = open_wallet(&layout.miner_wallet(number))?;
        if number <= 2 {
            self.payee = address::encode(ADDRESS_PREFIX, &paid);
        }
        let mut config = Config::new(&dir, params.clone());
        config.name = Some(format!("node-{number}"));
        config.connect = self.nodes.iter().rev().take(CONNECT_TO).filter_map(Member::p2p_address).collect();
        config.store_cache_bytes = STORE_CACHE_BYTES;
        config.mine = (threads > 0).then_some(paid);
        config.threads = threads;
        let offset = u16::try_from(2 * (number - 1)).unwrap_or(0);
        let running = start_node(config, FIRST_PORT + offset).await?;
        match serve(&dir, &running, FIRST_PORT + 1 + offset).await {
            Ok(rpc) => self.nodes.push(Member { name: format!("node-{number}"), running, rpc }),
            Err(error) => {
                running.stop().await?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// An address to send coins to that is not the demo wallet's.
    pub fn payee(&self) -> &str {
        &self.payee
    }

    /// Every node, as it is now.
    ///
    /// # Errors
    /// If a node has stopped.
    pub async fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for node in &self.nodes {
            rows.push(node.row().await.with_context(|| node.name.clone())?);
        }
        Ok(rows)
    }

    /// Completes with the name of the first node that stops by itself, or is asked to over RPC.
    pub async fn any_finished(&self) -> &str {
        let mut waiting: Vec<_> = self.nodes.iter().map(|node| (node, Box::pin(node.running.finished()))).collect();
        std::future::poll_fn(|cx| {
            let ended =
                waiting.iter_mut().find_map(|(node, future)| future.as_mut().poll(cx).is_ready().then_some(node));
            ended.map_or(std::task::Poll::Pending, |node| std::task::Poll::Ready(node.name.as_str()))
        })
        .await
    }

    /// Stops all nodes at a time and waits for them.
    ///
    /// # Errors
    /// The first failure that a node had.
    pub async fn stop(self) -> anyhow::Result<()> {
        let stopping: Vec<_> = self.nodes.into_iter().map(|node| tokio::spawn(node.stop())).collect();
        let mut outcome = Ok(());
        for node in stopping {
            outcome = outcome.and(node.await.context("a node was not stopped").and_then(|result| result));
        }
        outcome
    }
}

impl Member {
    fn p2p_address(&self) -> Option<String> {
        self.running.p2p_address().map(|address| address.to_string())
    }

    async fn row(&self) -> anyhow::Result<Row> {
        let handle = self.running.handle();
        let tip = *handle.tip().borrow();
        let (peers, mempool) = handle.call(|node, now| (node.peers(now).len(), node.mempool().len())).await?;
        let status = handle.miner().status();
        Ok(Row {
            name: self.name.clone(),
            height: tip.height,
            tip: tip.hash,
            peers,
            mempool,
            hash_rate: status.payee.map(|_| handle.miner().hash_rate()),
            rpc: self.rpc.url(),
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.rpc.stop().await;
        self.running.stop().await.context(self.name)
    }
}

/// The address of the wallet in a file, which is made if it is not there.
fn open_wallet(path: &Path) -> anyhow::Result<PublicKey> {
    let wallet = match Wallet::open(path) {
        Err(KeyFileError::Missing { .. }) => {
            let mut rng = rand::rng();
            Wallet::create(path, &Mnemonic::generate(false, &mut rng), None, &mut rng)?
        }
        other => other?,
    };
    Ok(wallet.newest_key())
}

/// The network's parameters, which are made if they are not there.
async fn open_genesis(layout: &Layout, funded: PublicKey, miners: usize) -> anyhow::Result<Params> {
    let path = layout.genesis();
    match std::fs::read_to_string(&path) {
        Ok(text) => Params::from_json(&text).with_context(|| format!("{} will not do", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let making = move || setup::new_genesis(&funded, miners, unix_now());
            let params = tokio::task::spawn_blocking(making).await.context("genesis was not made")??;
            setup::write_whole(&path, &params.spec.to_json())?;
            Ok(params)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Starts a node on the port that is usual for it, or on a free one if that is taken.
async fn start_node(mut config: Config, port: u16) -> anyhow::Result<Running> {
    config.listen = Some(local(port));
    match Running::start(config.clone()).await {
        Err(StartError::Listen { .. }) => {
            config.listen = Some(local(0));
            Ok(Running::start(config).await?)
        }
        other => Ok(other?),
    }
}

/// Answers calls about a node on the port that is usual for it, or on a free one if that is taken.
async fn serve(dir: &Path, running: &Running, port: u16) -> Result<RpcServer, ServeError> {
    match rpc::serve(rpc::Config::new(local(port), dir), running.handle().clone()).await {
        Err(ServeError::Bind { .. }) => rpc::serve(rpc::Config::new(local(0), dir), running.handle().clone()).await,
        other => other,
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
