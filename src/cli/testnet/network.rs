//! The nodes of a test network and their servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::board::{Counts, Row};
use super::control::{Control, name_of};
use super::links::{Action, LinkState, Links};
use super::setup::{self, ADDRESS_PREFIX, Layout, MAX_NODES, Pace, Settings};
use super::{faucet, fork};
use crate::cli::genesis;
use crate::consensus::params::Params;
use crate::p2p::{Command, PeerAddr};
use crate::primitives::address;
use crate::primitives::keys::PublicKey;
use crate::rpc::auth::{ADDRESS_FILE, COOKIE_FILE};
use crate::rpc::{self, Answer, Nodes, Operator, Request, RpcServer, ServeError};
use crate::runtime::{
    Config, Handle, HeldSnapshots, LinkKey, LinkSettings, Running, Snapshots, StartError, descriptors, unix_now,
};
use crate::storage::private_file;

/// The first node's port for peers; the others' follow, each with its RPC port in between.
const FIRST_PORT: u16 = 7331;
/// Cache of one node's store: there are several nodes on one machine.
pub(super) const STORE_CACHE_BYTES: u64 = 8 << 20;
/// Nodes started before that a node connects to; it learns of the others from them.
const CONNECT_TO: usize = 3;

/// A running network: the nodes, their RPC servers and their miners.
pub struct Network {
    /// In the order of their numbers.
    nodes: Vec<Member>,
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
    number: usize,
    name: String,
    running: Running,
    /// `None` until all nodes are there.
    server: Option<RpcServer>,
}

impl Network {
    /// Starts all nodes, from existing files or new ones; without connections if `is_offline`. What comes through `operator` is for
    /// [`Network::serve_request`].
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
        setup::point_to_first_node(layout, &[COOKIE_FILE, ADDRESS_FILE])?;
        let connections = descriptors::connections_of(&Config::new(&layout.dir, params.clone()));
        descriptors::reserve_for(usize::from(count) * (connections + rpc::Limits::default().connections));
        let mut network = Self {
            nodes: Vec::new(),
            shown: Nodes::default(),
            snapshots: Arc::default(),
            operator,
            params,
            settings: settings.clone(),
            payee: String::new(),
        };
        for (place, number) in settings.numbers().into_iter().enumerate() {
            let threads = if place < usize::from(miners) { usize::from(threads) } else { 0 };
            if let Err(error) = network.start_node(layout, number, threads, is_offline).await {
                // This error matters more than one from stopping.
                let _ = network.stop().await;
                return Err(error.context(format!("node-{number} does not start")));
            }
        }
        let snapshots = network.snapshots.clone();
        let finished = match network.serve(&mut snapshots.hold().await, layout).await {
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
        let name = name_of(number);
        let paid = setup::open_wallet(&layout.miner_wallet(number), self.settings.seed, &name)?.newest_key();
        if self.nodes.len() < 2 {
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
            Err(StartError::Listen { address, source }) => return Err(taken(&name, address, &source)),
            other => other?,
        };
        if is_offline {
            running.handle().command(|reply| Command::SetActive(false, reply)).await?;
        }
        let place = self.nodes.partition_point(|node| node.number < number);
        self.nodes.insert(place, Member { number, name, running, server: None });
        Ok(())
    }

    /// Answers calls about each node that has no server yet, and about the links of all of them.
    async fn serve(&mut self, held: &mut HeldSnapshots<'_>, layout: &Layout) -> anyhow::Result<()> {
        self.show(held, layout);
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            if node.server.is_some() {
                continue;
            }
            let (nodes, snapshots) = (self.shown.clone(), self.snapshots.clone());
            let operator = Some(self.operator.clone());
            let mut config = rpc::Config::new(local(self.port(node.number) + 1), layout.node(node.number));
            config = rpc::Config { nodes, snapshots, operator, ..config };
            let handle = node.running.handle().clone();
            let server = match rpc::serve(config.clone(), handle.clone()).await {
                Err(ServeError::Bind { .. }) if self.settings.base_port.is_none() => {
                    rpc::serve(rpc::Config { bind: local(0), ..config }, handle).await?
                }
                Err(ServeError::Bind { address, source }) => return Err(taken(&node.name, address, &source)),
                other => other.with_context(|| node.name.clone())?,
            };
            self.nodes[place].server = Some(server);
        }
        Ok(())
    }

    /// Tells the servers which nodes there are, and the snapshots which wallets.
    fn show(&self, held: &mut HeldSnapshots<'_>, layout: &Layout) {
        let shown = self.nodes.iter().map(|node| (node.name.clone(), node.running.handle().clone()));
        self.shown.set(shown.collect());
        let miners = self.nodes.iter().map(|node| layout.miner_wallet(node.number));
        held.keep_files(std::iter::once(layout.wallet()).chain(miners).collect());
    }

    /// The port for peers of node `number`; its RPC port is the next.
    fn port(&self, number: usize) -> u16 {
        let first = self.settings.base_port.unwrap_or(FIRST_PORT);
        first.saturating_add(u16::try_from(2 * (number - 1)).unwrap_or(0))
    }

    /// Does what a caller of a node asks of the whole network. What takes long is done apart, and given up when the caller goes.
    pub async fn serve_request(&mut self, request: Request, answer: Answer, layout: &Layout) {
        let done = match request {
            Request::Fork(depth) => return drop(tokio::spawn(serve_fork(layout.clone(), depth, answer))),
            Request::Pay(to, amount) => {
                let layout = layout.clone();
                let pay = move || answer.send(told(faucet::work(&layout, to, amount).map(|txid| json!(txid))));
                return drop(tokio::task::spawn_blocking(pay));
            }
            Request::Add { forget_snapshots } => self.grow(forget_snapshots, layout).await,
            Request::Remove { name, forget_snapshots } => self.shrink(&name, forget_snapshots, layout).await,
        };
        // A caller that has left learns nothing.
        let _ = answer.send(told(done));
    }

    fn numbers(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.number).collect()
    }

    /// The nodes before they become others. None of them may be paused.
    fn all_running(&self) -> anyhow::Result<Vec<Handle>> {
        if let Some(paused) = self.nodes.iter().find(|node| node.running.handle().is_paused()) {
            bail!(rpc::paused(&paused.name));
        }
        Ok(self.nodes.iter().map(|node| node.running.handle().clone()).collect())
    }

    /// Waits for the snapshots, which a change of the nodes loses. Fails if there are some that are not given up.
    async fn hold<'a>(&self, snapshots: &'a Snapshots, forget_snapshots: bool) -> anyhow::Result<HeldSnapshots<'a>> {
        // A snapshot that is being taken waits for a node that is paused, and this would wait for it.
        self.all_running()?;
        let held = snapshots.hold().await;
        let names: Vec<String> = held.names().map(|name| format!("{name:?}")).collect();
        ensure!(
            forget_snapshots || names.is_empty(),
            "this network has snapshots, which do not fit other nodes: forget_snapshots (--forget-snapshots) gives up {}",
            names.join(", ")
        );
        Ok(held)
    }

    /// Adds a node, with the lowest number that is free.
    async fn grow(&mut self, forget_snapshots: bool, layout: &Layout) -> anyhow::Result<Value> {
        let snapshots = self.snapshots.clone();
        let mut held = self.hold(&snapshots, forget_snapshots).await?;
        let numbers = self.numbers();
        let free = (1..=usize::from(MAX_NODES)).find(|number| !numbers.contains(number));
        let number = free.with_context(|| format!("there are {MAX_NODES} nodes, the most there can be"))?;
        let before = self.all_running()?;
        self.start_node(layout, number, 0, false).await?;
        if let Err(error) = self.serve(&mut held, layout).await {
            let place = self.nodes.iter().position(|node| node.number == number);
            let node = place.map(|place| self.nodes.remove(place));
            self.show(&mut held, layout);
            if let Some(node) = node {
                // The first error matters more.
                let _ = node.stop().await;
            }
            return Err(error);
        }
        held.forget_all(&before).await?;
        self.keep_settings(layout)?;
        let node = self.nodes.iter().find(|node| node.number == number).context("the node is gone")?;
        let rpc = node.server.as_ref().map(RpcServer::url);
        Ok(json!({ "name": node.name, "address": node.running.p2p_address(), "rpc": rpc }))
    }

    /// Removes a node. The first stays: it is the one that commands call.
    async fn shrink(&mut self, name: &str, forget_snapshots: bool, layout: &Layout) -> anyhow::Result<Value> {
        let snapshots = self.snapshots.clone();
        let mut held = self.hold(&snapshots, forget_snapshots).await?;
        let place = self.nodes.iter().position(|node| node.name == name);
        let place = place.with_context(|| format!("there is no node {name:?}"))?;
        ensure!(place > 0, "{name} stays, since commands call it");
        held.forget_all(&self.all_running()?).await?;
        let mut node = self.nodes.remove(place);
        self.show(&mut held, layout);
        // From now on snapshots are of the other nodes.
        drop(held);
        if let Some(server) = node.server.take() {
            server.stop().await;
        }
        let (address, dir) = (node.running.p2p_address(), layout.node(node.number));
        let listened_at = node.running.handle().listens_at();
        node.stop().await?;
        // The next node may listen there.
        for chaos in self.nodes.iter().filter_map(|other| other.running.handle().chaos()) {
            listened_at.into_iter().for_each(|address| chaos.forget(address));
        }
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        self.keep_settings(layout)?;
        Ok(json!({ "name": name, "address": address, "rpc": null }))
    }

    fn keep_settings(&mut self, layout: &Layout) -> anyhow::Result<()> {
        self.settings.set_numbers(&self.numbers());
        self.settings.write(layout)
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

    /// All links between the nodes.
    ///
    /// # Errors
    /// If a node has stopped.
    pub async fn links(&self) -> anyhow::Result<Links> {
        let mut links = Links::new(self.numbers());
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
                node.running.handle().change_link(LinkKey::Listening(address), change).await?;
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
        let url = self.url().unwrap_or_default();
        Ok(format!("{url}/#key={}", key.trim()))
    }

    /// The URL of node 1's server.
    fn url(&self) -> Option<String> {
        self.nodes.first()?.server.as_ref().map(RpcServer::url)
    }

    /// The URL of node 1's light client page, if this program has one.
    pub fn light_link(&self) -> Option<String> {
        cfg!(feature = "webrtc").then(|| self.url().map(|url| format!("{url}/light")))?
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
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let servers = self.nodes.iter_mut().filter_map(|node| node.server.take());
        let closing: Vec<_> = servers.map(|server| tokio::spawn(server.stop())).collect();
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
    async fn row(&self) -> anyhow::Result<Row> {
        let handle = self.running.handle();
        let tip = *handle.tip().borrow();
        let takes_pages = handle.webrtc_at().is_some();
        let counts = handle.read(move |node, now| {
            let peers = node.peers(now);
            let pages = peers.iter().filter(|peer| matches!(peer.address, PeerAddr::WebRtc { .. })).count();
            Counts { peers: peers.len() - pages, pages: takes_pages.then_some(pages), mempool: node.mempool().len() }
        });
        let counts = handle.unless_paused(counts).await.transpose()?;
        let status = handle.miner().status();
        Ok(Row {
            name: self.name.clone(),
            height: tip.height,
            tip: tip.hash,
            counts,
            hash_rate: (status.threads > 0).then_some(status.hash_rate),
            rpc: self.server.as_ref().map(RpcServer::url).unwrap_or_default(),
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.running.stop().await.context(self.name)
    }
}

/// A node's port is not to be had: `--base-port` decides on it, and not the option of `cairn node`.
fn taken(name: &str, address: SocketAddr, source: &io::Error) -> anyhow::Error {
    anyhow!(
        "{name} cannot listen on {address}: {source} (when the network starts, other ports can be given with --base-port)"
    )
}

/// What a caller is told.
fn told(done: anyhow::Result<Value>) -> Result<Value, String> {
    done.map_err(|error| format!("{error:#}"))
}

/// Causes a reorganisation. If the caller goes, the network is healed at once.
async fn serve_fork(layout: Layout, depth: u32, mut answer: Answer) {
    let interrupted = Arc::new(AtomicBool::new(false));
    let given_up = interrupted.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        let control = Control::find(&layout)?.interrupted_by(given_up);
        Ok(json!(fork::work(&control, &layout, depth)?))
    });
    let done = tokio::select! {
        done = &mut work => done,
        () = answer.closed() => {
            interrupted.store(true, Ordering::SeqCst);
            work.await
        }
    };
    // A caller that has left learns nothing.
    let _ = answer.send(told(done.context("the fork failed").flatten()));
}

/// The network's parameters, created if missing.
async fn open_genesis(layout: &Layout, funded: PublicKey, pace: Pace) -> anyhow::Result<Params> {
    let path = layout.genesis();
    if let Some(params) = genesis::read_params_if_there(&path)? {
        return Ok(params);
    }
    let making = move || setup::new_genesis(&funded, pace, unix_now());
    let params = tokio::task::spawn_blocking(making).await.context("genesis was not made")??;
    setup::write_whole(&path, &params.spec.to_json())?;
    Ok(params)
}

/// A port of this machine that others do not reach.
pub(super) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
