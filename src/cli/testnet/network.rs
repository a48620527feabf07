//! The nodes of a test network and their servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::board::Row;
use super::links::{Action, LinkState, Links};
use super::setup::{self, ADDRESS_PREFIX, Layout, MAX_NODES, Pace, Settings};
use super::snapshot;
use crate::consensus::params::Params;
use crate::p2p::Command;
use crate::primitives::address;
use crate::primitives::keys::PublicKey;
use crate::rpc::auth::{ADDRESS_FILE, COOKIE_FILE};
use crate::rpc::{self, ChangedNode, NodeChange, Nodes, Operator, RpcServer, ServeError};
use crate::runtime::{Config, LinkKey, LinkSettings, Running, Snapshots, StartError, descriptors, unix_now};
use crate::storage::private_file;

/// The first node's port for peers; the others' follow, each with its RPC port in between.
const FIRST_PORT: u16 = 7331;
/// Cache of one node's store: there are several nodes on one machine.
pub(super) const STORE_CACHE_BYTES: u64 = 8 << 20;
/// Nodes started before that a node connects to; it learns of the others from them.
const CONNECT_TO: usize = 3;

/// A running network: the nodes, their RPC servers and their miners.
pub struct Network {
    nodes: Vec<Member>,
    /// One for each node; empty until all nodes are there.
    servers: Vec<RpcServer>,
    /// The nodes as all servers see them.
    shown: Nodes,
    snapshots: Arc<Snapshots>,
    /// Takes requests to change the nodes.
    operator: Operator,
    params: Arc<Params>,
    settings: Settings,
    payee: String,
}

struct Member {
    name: String,
    running: Running,
}

impl Network {
    /// Starts all nodes, from existing files or new ones; without connections if `is_offline`. What comes through `operator` is for
    /// [`Network::change`].
    ///
    /// # Errors
    /// If files, ports or a store cannot be used. Nodes that had started are stopped.
    pub async fn start(
        layout: &Layout,
        (settings, block_time): (&Settings, u32),
        is_offline: bool,
        operator: Operator,
    ) -> anyhow::Result<Self> {
        let Settings { nodes: count, miners, threads, seed, .. } = *settings;
        let funded = setup::open_wallet(&layout.wallet(), seed, "wallet")?.newest_key();
        let pace = Pace { block_time, threads: usize::from(miners) * usize::from(threads), is_seeded: seed.is_some() };
        let params = Arc::new(open_genesis(layout, funded, pace).await?);
        snapshot::forget_all(layout)?;
        setup::point_to_first_node(layout, &[COOKIE_FILE, ADDRESS_FILE])?;
        let connections = descriptors::connections_of(&Config::new(&layout.dir, params.clone()));
        descriptors::reserve_for(usize::from(count) * (connections + rpc::Limits::default().connections));
        let mut network = Self {
            nodes: Vec::new(),
            servers: Vec::new(),
            shown: Nodes::default(),
            snapshots: Arc::default(),
            operator,
            params,
            settings: settings.clone(),
            payee: String::new(),
        };
        for number in 1..=usize::from(count) {
            let threads = if number <= usize::from(miners) { usize::from(threads) } else { 0 };
            if let Err(error) = network.start_node(layout, number, threads, is_offline).await {
                // This error matters more than one from stopping.
                let _ = network.stop().await;
                return Err(error.context(format!("node-{number} does not start")));
            }
        }
        let finished = match network.serve(layout).await {
            Ok(()) => settings.write(layout),
            Err(error) => Err(error),
        };
        if let Err(error) = finished {
            let _ = network.stop().await;
            return Err(error);
        }
        Ok(network)
    }

    async fn start_node(
        &mut self,
        layout: &Layout,
        number: usize,
        threads: usize,
        is_offline: bool,
    ) -> anyhow::Result<()> {
        let dir = layout.node(number);
        private_file::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        setup::write_whole(&dir.join("genesis.json"), &self.params.spec.to_json())?;
        let name = format!("node-{number}");
        let paid = setup::open_wallet(&layout.miner_wallet(number), self.settings.seed, &name)?.newest_key();
        if number <= 2 {
            self.payee = address::encode(ADDRESS_PREFIX, &paid);
        }
        let mut config = Config::new(&dir, self.params.clone());
        // For pages on this machine.
        config.listen_webrtc = cfg!(feature = "webrtc").then(|| local(0));
        config.name = Some(name.clone());
        config.connect =
            self.nodes.iter().rev().take(CONNECT_TO).filter_map(|node| node.running.handle().peer_name()).collect();
        config.store_cache_bytes = STORE_CACHE_BYTES;
        config.mine = (threads > 0).then_some(paid);
        config.threads = threads;
        config.chaos = true;
        config.listen = Some(local(self.port(number)));
        let running = match Running::start(config.clone()).await {
            Err(StartError::Listen { .. }) if self.settings.base_port.is_none() => {
                config.listen = Some(local(0));
                Running::start(config).await?
            }
            other => other?,
        };
        if is_offline {
            running.handle().command(|reply| Command::SetActive(false, reply)).await?;
        }
        self.nodes.push(Member { name, running });
        Ok(())
    }

    /// Answers calls about each node that has no server yet, and about the links of all of them.
    async fn serve(&mut self, layout: &Layout) -> anyhow::Result<()> {
        self.show();
        while let Some(node) = self.nodes.get(self.servers.len()) {
            let number = self.servers.len() + 1;
            let (nodes, snapshots) = (self.shown.clone(), self.snapshots.clone());
            let operator = Some(self.operator.clone());
            let mut config = rpc::Config::new(local(self.port(number) + 1), layout.node(number));
            config = rpc::Config { nodes, snapshots, operator, ..config };
            let handle = node.running.handle().clone();
            let server = match rpc::serve(config.clone(), handle.clone()).await {
                Err(ServeError::Bind { .. }) if self.settings.base_port.is_none() => {
                    rpc::serve(rpc::Config { bind: local(0), ..config }, handle).await?
                }
                other => other.with_context(|| node.name.clone())?,
            };
            self.servers.push(server);
        }
        Ok(())
    }

    /// Tells the servers which nodes there are.
    fn show(&self) {
        let shown = self.nodes.iter().map(|node| (node.name.clone(), node.running.handle().clone()));
        self.shown.set(shown.collect());
    }

    /// The port for peers of node `number`; its RPC port is the next.
    fn port(&self, number: usize) -> u16 {
        let first = self.settings.base_port.unwrap_or(FIRST_PORT);
        first.saturating_add(u16::try_from(2 * (number - 1)).unwrap_or(0))
    }

    /// Adds a node, or removes the last: nodes are numbered without gaps.
    ///
    /// # Errors
    /// If a node is paused, there is no such node, or it cannot be started or stopped.
    pub async fn change(&mut self, change: NodeChange, layout: &Layout) -> anyhow::Result<ChangedNode> {
        if let Some(paused) = self.nodes.iter().find(|node| node.running.handle().is_paused()) {
            bail!("{} is paused: resume it first", paused.name);
        }
        let last = self.nodes.last().map(|node| node.name.clone()).unwrap_or_default();
        if let NodeChange::Remove(name) = &change {
            ensure!(self.nodes.iter().any(|node| node.name == *name), "there is no node {name:?}: the last is {last}");
            ensure!(*name == last, "{name} is not the last node, {last} is: nodes are numbered without gaps");
            ensure!(self.nodes.len() > 1, "{name} is the only node");
        } else {
            ensure!(self.nodes.len() < usize::from(MAX_NODES), "there are {MAX_NODES} nodes, the most there can be");
        }
        // No snapshot fits the network afterwards.
        let handles: Vec<_> = self.nodes.iter().map(|node| node.running.handle().clone()).collect();
        self.snapshots.forget_all(&handles).await?;
        snapshot::forget_all(layout)?;
        drop(handles);
        let changed = match change {
            NodeChange::Add => self.grow(layout).await?,
            NodeChange::Remove(_) => self.shrink(layout).await?,
        };
        self.settings.nodes = self.nodes.len() as u16;
        self.settings.miners = self.settings.miners.min(self.settings.nodes);
        self.settings.write(layout)?;
        Ok(changed)
    }

    async fn grow(&mut self, layout: &Layout) -> anyhow::Result<ChangedNode> {
        self.start_node(layout, self.nodes.len() + 1, 0, false).await?;
        if let Err(error) = self.serve(layout).await {
            let node = self.nodes.pop();
            self.show();
            if let Some(node) = node {
                // The first error matters more.
                let _ = node.stop().await;
            }
            return Err(error);
        }
        let node = self.nodes.last().context("the node is gone")?;
        let rpc = self.servers.last().map(RpcServer::url);
        Ok(ChangedNode { name: node.name.clone(), address: node.running.p2p_address(), rpc })
    }

    async fn shrink(&mut self, layout: &Layout) -> anyhow::Result<ChangedNode> {
        let number = self.nodes.len();
        let node = self.nodes.pop().context("there is no node")?;
        self.show();
        if let Some(server) = self.servers.pop() {
            server.stop().await;
        }
        let changed = ChangedNode { name: node.name.clone(), address: node.running.p2p_address(), rpc: None };
        node.stop().await?;
        let dir = layout.node(number);
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        Ok(changed)
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
        for (node, server) in self.nodes.iter().zip(&self.servers) {
            rows.push(node.row(server.url()).await.with_context(|| node.name.clone())?);
        }
        Ok(rows)
    }

    /// All links between the nodes.
    ///
    /// # Errors
    /// If a node has stopped.
    pub async fn links(&self) -> anyhow::Result<Links> {
        let mut links = Links::new(self.nodes.len());
        for (from, node) in self.nodes.iter().enumerate() {
            let handle = node.running.handle();
            let peers = handle.unless_paused(handle.read(|node, now| node.peers(now))).await;
            let peers = peers.transpose().with_context(|| node.name.clone())?.unwrap_or_default();
            for (to, other) in self.nodes.iter().enumerate().filter(|(to, _)| *to != from) {
                let Some(address) = other.running.handle().listens_at() else { continue };
                let settings = handle.chaos().map(|chaos| chaos.get(LinkKey::Listening(address))).unwrap_or_default();
                let is_connected = peers.iter().any(|peer| peer.ready && peer.listens_at == Some(address));
                links.see(from, to, LinkState::of(&settings, is_connected));
            }
        }
        Ok(links)
    }

    /// Does something to both ends of a link; nodes are counted from 0.
    ///
    /// # Errors
    /// If a node has stopped.
    pub async fn change_link(&self, between: (usize, usize), action: Action) -> anyhow::Result<()> {
        for (from, to) in [between, (between.1, between.0)] {
            if let (Some(node), Some(other)) = (self.nodes.get(from), self.nodes.get(to))
                && let Some(address) = other.running.handle().listens_at()
            {
                let settings = action.settings();
                let change = |present: &mut LinkSettings| *present = settings;
                let handle = node.running.handle();
                // A paused node dials when it goes on.
                handle.unless_paused(handle.change_link(LinkKey::Listening(address), change)).await.transpose()?;
            }
        }
        Ok(())
    }

    /// The URL of node 1's explorer, with its credentials.
    ///
    /// # Errors
    /// If the cookie cannot be read.
    pub fn explorer_link(&self, layout: &Layout) -> anyhow::Result<String> {
        let cookie = layout.node(1).join(COOKIE_FILE);
        let key = std::fs::read_to_string(&cookie).with_context(|| format!("cannot read {}", cookie.display()))?;
        let url = self.servers.first().map(RpcServer::url).unwrap_or_default();
        Ok(format!("{url}/#key={}", key.trim()))
    }

    /// The URL of node 1's light client page, if this program has one.
    pub fn light_link(&self) -> Option<String> {
        cfg!(feature = "webrtc").then(|| self.servers.first().map(|server| format!("{}/light", server.url())))?
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
        let closing: Vec<_> = self.servers.into_iter().map(|server| tokio::spawn(server.stop())).collect();
        for server in closing {
            server.await.context("a server was not stopped")?;
        }
        let stopping: Vec<_> = self.nodes.into_iter().map(|node| tokio::spawn(node.stop())).collect();
        let mut outcome = Ok(());
        for node in stopping {
            outcome = outcome.and(node.await.context("a node was not stopped").and_then(|result| result));
        }
        outcome
    }
}

impl Member {
    async fn row(&self, rpc: String) -> anyhow::Result<Row> {
        let handle = self.running.handle();
        let tip = *handle.tip().borrow();
        let counts = handle.read(|node, now| (node.peers(now).len(), node.mempool().len()));
        let counts = handle.unless_paused(counts).await.transpose()?;
        let status = handle.miner().status();
        Ok(Row {
            name: self.name.clone(),
            height: tip.height,
            tip: tip.hash,
            counts,
            hash_rate: (status.threads > 0).then_some(status.hash_rate),
            rpc,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.running.stop().await.context(self.name)
    }
}

/// The network's parameters, created if missing.
async fn open_genesis(layout: &Layout, funded: PublicKey, pace: Pace) -> anyhow::Result<Params> {
    let path = layout.genesis();
    match std::fs::read_to_string(&path) {
        Ok(text) => Params::from_json(&text).with_context(|| format!("{} is not valid", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let making = move || setup::new_genesis(&funded, pace, unix_now());
            let params = tokio::task::spawn_blocking(making).await.context("genesis was not made")??;
            setup::write_whole(&path, &params.spec.to_json())?;
            Ok(params)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A port of this machine that others do not reach.
pub(super) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
