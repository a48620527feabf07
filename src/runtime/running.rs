//! Starting a node and stopping it, in order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::browsers::{Bound, Browsers};
use super::chaos::Chaos;
use super::clock::Clock;
use super::config::Config;
use super::connection::Inbox;
use super::driver::Due;
use super::error::{Failure, StartError};
use super::exchange::Exchange;
use super::handle::{Handle, Inner};
use super::link::NodeLink;
use super::mempool_file::MempoolFile;
use super::mining::MiningControl;
use super::net::{Net, TRANSPORTS};
use super::noise::open_identity;
use super::pause::Pause;
use super::resolve::{self, Role};
use super::states;
use super::thread::{NodeThread, ThreadParts};
use super::traffic::Traffic;
use super::work::Templates;
use super::{pinned, proofs};
use crate::chain::Chain;
use crate::content::CONTENT_DIR;
use crate::mempool::Mempool;
use crate::p2p::kad::NodeId;
use crate::p2p::noise::Identity;
use crate::p2p::{self, Node, PeerAddr};
use crate::record::{Recorded, Recorder, Start};
use crate::storage::{Database, SledStore, Store, private_file};

/// Where in the data directory the store lies.
pub const STORE_DIR: &str = "chain";

/// A node whose store is open and whose port is bound, while its chain is being read.
pub struct Starting {
    running: Running,
    ready: oneshot::Receiver<Result<(), StartError>>,
    config: Config,
}

/// A node at work. [`Running::stop`] ends it in order; dropped without that, it works on until the process ends.
pub struct Running {
    handle: Handle,
    net: Net,
    thread: NodeThread,
    p2p_address: Option<SocketAddr>,
}

impl Starting {
    /// The handle, whose calls wait until the node is ready.
    pub fn handle(&self) -> &Handle {
        &self.running.handle
    }

    /// Waits until the chain is read; then dials and mines.
    ///
    /// # Errors
    /// [`StartError`] if the chain cannot be used.
    pub async fn ready(self) -> Result<Running, StartError> {
        let Self { running, ready, config } = self;
        match ready.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                // This error matters more than one from stopping.
                let _ = running.stop().await;
                return Err(error);
            }
            Err(_) => {
                running.stop().await?;
                return Err(StartError::Thread(std::io::Error::other("it ended before it was ready")));
            }
        }
        running.follow_names(&config);
        running.handle.miner().set(config.mine, config.threads).await;
        Ok(running)
    }
}

impl Running {
    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// [`StartError`], whose text is meant for the person who started the node.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::launch(config).await?.ready().await
    }

    /// Opens the store and binds the port, but does not load the chain, so that the caller can report meanwhile that
    /// the node is warming up.
    ///
    /// # Errors
    /// [`StartError`], whose text is meant for the person who started the node.
    pub async fn launch(config: Config) -> Result<Starting, StartError> {
        let mut recorder = config.record.as_deref().map(record).transpose()?;
        let listener = bind(config.listen).await?;
        let p2p_address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let browsers = Bound::new(config.listen_webrtc).await?;
        let store_failed = CancellationToken::new();
        let (store, identity, browsers) =
            open_store(config.data_dir.clone(), config.store_cache_bytes, store_failed.clone(), browsers).await?;
        let webrtc_at = browsers.as_ref().map(Browsers::address);

        let id = identity.id();
        info!(%id, "this node");
        let clock = Clock::start();
        let traffic = Arc::<Traffic>::default();
        let (inbox, sockets) = Inbox::new();
        let chaos = config.chaos.then(Arc::<Chaos>::default);
        let (link, ends) = NodeLink::new(config.params.genesis_hash);
        let exchange = match config.exchange {
            Some(exchange) => Some(Exchange::new(link.clone(), &config.data_dir.join(CONTENT_DIR), exchange)?),
            None => None,
        };
        let net = Net::new(
            inbox,
            traffic.clone(),
            (chaos.clone(), exchange.clone()),
            config.sockets,
            config.params.max_block_bytes,
            config.max_inbound,
            identity,
        );
        let protocol = p2p::Config {
            id,
            // Peers know the IP better.
            listens: p2p_address
                .map(PeerAddr::from)
                .into_iter()
                .chain(webrtc_at)
                .map(|address| address.at(Ipv4Addr::UNSPECIFIED.into()))
                .collect(),
            transports: TRANSPORTS,
            outbound_target: config.outbound_target,
            max_inbound: config.max_inbound,
            retention: config.retention,
            archive_share: config.archive_share,
            sync_state: config.sync_state,
            accept_slow_chain: config.accept_slow_chain,
            content: config.exchange.is_some(),
            seed: rand::random(),
            ..p2p::Config::default()
        };
        let (announce, ready) = oneshot::channel();
        let (params, limits, opened, closed) =
            (config.params.clone(), config.mempool.clone(), store.clone(), store.clone());
        let (tree, due) = (Arc::<OnceLock<_>>::default(), Arc::<Due>::default());
        let saved = MempoolFile::of(&config.data_dir);
        let (keep, mempool_file) = (saved.clone(), saved.clone());
        let known = tree.clone();
        let parts = ThreadParts {
            name: config.name.clone(),
            store_failed,
            open: Box::new(move |now| {
                if let Some(recorder) = &mut recorder {
                    recorder.begin(&Start::new(&params, &protocol, &limits, now), &*opened)?;
                }
                let mut chain = Chain::open(params.clone(), opened)?;
                chain.await_states()?;
                known.get_or_init(|| chain.reader());
                let node = Node::new(chain, Mempool::new(params, limits), protocol, now)?;
                Ok((Recorded::new(node, recorder, now), saved.load().into_iter().collect()))
            }),
            headers: None,
            keep: Box::new(move |node| keep.save(node)),
            close: Box::new(move || closed.flush()),
            clock: clock.clone(),
            net: net.clone(),
            ends,
            sockets,
            due: due.clone(),
        };
        let thread = NodeThread::start(parts, announce)?;
        net.spawn(states::work(link.clone(), due.clone()));
        net.spawn(proofs::work(link.clone(), Database::new(store.clone()), due));
        net.spawn(pinned::work(link.clone(), config.data_dir.join(CONTENT_DIR)));
        if let (Some(listener), Some(address)) = (listener, p2p_address) {
            info!(connect = address_for_others(id, address), %address, "waiting for peers");
            net.listen(listener);
        }
        if let (Some(browsers), Some(address)) = (browsers, webrtc_at) {
            info!(%address, "waiting for browsers");
            browsers.listen(&net);
        }
        let handle = Handle(Arc::new(Inner {
            mining: MiningControl::new(link.clone()),
            templates: Templates::new(link.clone(), clock.clone()),
            link,
            database: Database::new(store),
            tree,
            params: config.params.clone(),
            traffic,
            clock,
            chaos,
            exchange,
            id,
            listens_at: p2p_address.map(PeerAddr::from),
            webrtc_at,
            mempool_file,
            pause: Pause::default(),
        }));
        Ok(Starting { running: Self { handle, net, thread, p2p_address }, ready, config })
    }

    /// The handle, to be cloned by users of the node.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where peers reach this node: the address bound, with the port that was chosen if 0 was asked for.
    pub fn p2p_address(&self) -> Option<SocketAddr> {
        self.p2p_address
    }

    /// Completes when a shutdown was requested through a handle, or the node's thread ended by itself.
    pub async fn finished(&self) {
        tokio::select! {
            () = self.handle.shutdown_requested() => {}
            () = self.handle.stopped() => {}
        }
    }

    /// Stops mining, the node's thread and all connections, in this order, flushes the store and waits for all of it.
    ///
    /// The directory is free for another node once all clones of the handle are dropped too.
    ///
    /// # Errors
    /// [`Failure`] if the node's thread failed, or the store could not be flushed.
    pub async fn stop(self) -> Result<(), Failure> {
        let Self { handle, net, thread, .. } = self;
        // A paused node could not stop.
        handle.resume();
        handle.miner().stop().await;
        let result = thread.stop().await;
        handle.shutdown();
        net.stop().await;
        result
    }

    fn follow_names(&self, config: &Config) {
        let connect = config.connect.iter().map(|name| (name, Role::Connect));
        let seeds = config.params.seeds.iter().map(|name| (name, Role::Seed));
        for (name, role) in connect.chain(seeds) {
            let link = self.handle.0.link.clone();
            self.net.spawn(resolve::follow(name.clone(), role, link, config.sockets.resolve_interval));
        }
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
    Ok(Some(listener))
}

fn record(path: &Path) -> Result<Recorder, StartError> {
    Recorder::create(path).map_err(|source| StartError::Record { path: path.to_owned(), source })
}

/// The argument of `--connect` on other nodes.
fn address_for_others(id: NodeId, address: SocketAddr) -> String {
    // The node does not know which of its addresses peers can reach.
    if address.ip().is_unspecified() { format!("{id}@HOST:{}", address.port()) } else { format!("{id}@{address}") }
}

/// The store, which keeps other processes out of the directory, and the keys beside it.
async fn open_store(
    data_dir: PathBuf,
    cache_bytes: u64,
    failed: CancellationToken,
    browsers: Option<Bound>,
) -> Result<(Arc<dyn Store>, Identity, Option<Browsers>), StartError> {
    let opening = tokio::task::spawn_blocking(move || {
        private_file::create_dir(&data_dir).map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
        let on_failure = move |reason: &str| {
            error!(reason, "the store failed: the node stops");
            failed.cancel();
        };
        let store = SledStore::open_with(&data_dir.join(STORE_DIR), cache_bytes, on_failure)?;
        let browsers = browsers.map(|bound| bound.with_certificate(&data_dir)).transpose()?;
        Ok::<_, StartError>((store, open_identity(&data_dir)?, browsers))
    });
    let (store, identity, browsers) = opening.await.map_err(|error| StartError::Thread(error.into()))??;
    Ok((Arc::new(store), identity, browsers))
}
