//! `cairn testnet run`: a scenario over real nodes, in real time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::network::{STORE_CACHE_BYTES, local};
use crate::cli::scenario::{self, Args};
use crate::cli::{Common, Interrupted, start_threads};
use crate::consensus::params::Params;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Node, Now, PeerAddr, Reply};
use crate::primitives::time::UnixTime;
use crate::runtime::{Config, LinkKey, Running, descriptors, unix_now};
use crate::sim::LinkSettings;
use crate::sim::scenario::{Scenario, World, WorldError};
use crate::storage::private_file;

pub(super) const EXAMPLES: &str = "\
The nodes are real, talk TCP on loopback, and are gone afterwards. Times are real: a scenario of a minute takes one. The same \
file runs in virtual time with `cairn sim run`: docs/scenarios.md describes it.

Exit code 0 if every check holds, 1 if one does not, 2 if the file is no scenario.

Example:
  cairn testnet run scenarios/partition.toml";

/// How long before the run genesis is dated, as in virtual time.
const HEAD_START: Duration = Duration::from_secs(600);

/// Nodes over sockets.
struct Real {
    runtime: Runtime,
    names: Vec<String>,
    configs: Vec<Config>,
    nodes: Vec<Option<Running>>,
    /// When the scenario began: at the first wait, after the first nodes were started.
    began: Option<Instant>,
    interrupted: CancellationToken,
    /// Removed in the end.
    dir: PathBuf,
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let prepared = scenario::prepare(args, common)?;
    let mut world = Real::new(&prepared.scenario)?;
    let played = scenario::play(&prepared, &mut world, common, |_| None);
    played.and(world.stop_all())
}

impl Real {
    fn new(scenario: &Scenario) -> anyhow::Result<Self> {
        let runtime = start_threads()?;
        let interrupted = CancellationToken::new();
        let signal = interrupted.clone();
        runtime.spawn(async move {
            // Without signals, the run goes on to its end.
            if crate::runtime::interrupted().await.is_ok() {
                signal.cancel();
            }
        });
        let genesis = UnixTime::from_secs(unix_now().as_secs().saturating_sub(HEAD_START.as_secs()));
        let params: Arc<Params> = Arc::new(scenario.params(genesis)?);
        let dir = std::env::temp_dir().join(format!("cairn-scenario-{:016x}", rand::random::<u64>()));
        private_file::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let names = scenario.names();
        let config = |(node, name): (usize, &String)| {
            let mut config = Config::new(dir.join(name), params.clone());
            config.name = Some(name.clone());
            config.listen = Some(local(0));
            config.max_inbound = scenario.max_inbound(node).unwrap_or(config.max_inbound);
            config.store_cache_bytes = STORE_CACHE_BYTES;
            config.chaos = true;
            config
        };
        let configs: Vec<Config> = names.iter().enumerate().map(config).collect();
        descriptors::reserve_for(configs.iter().map(descriptors::connections_of).sum());
        let nodes = names.iter().map(|_| None).collect();
        Ok(Self { runtime, names, configs, nodes, began: None, interrupted, dir })
    }

    fn failed(&self, node: usize, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WorldError {
        WorldError { name: self.names[node].clone(), source: source.into() }
    }

    /// Stops all nodes at a time.
    fn stop_all(&mut self) -> anyhow::Result<()> {
        let nodes: Vec<_> = self.nodes.iter_mut().zip(&self.names).collect();
        let stopping: Vec<_> = nodes
            .into_iter()
            .filter_map(|(node, name)| Some((self.runtime.spawn(node.take()?.stop()), name)))
            .collect();
        let mut outcome = Ok(());
        for (node, name) in stopping {
            let stopped = self.runtime.block_on(node).context("a node was not stopped");
            outcome = outcome.and(stopped.and_then(|stopped| stopped.context(name.clone())));
        }
        outcome
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // An error that ended the run matters more.
        let _ = self.stop_all();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl World for Real {
    fn now(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn wait_until(&mut self, at: Duration) -> Result<(), WorldError> {
        let until = *self.began.get_or_insert_with(Instant::now) + at;
        let interrupted = self.interrupted.clone();
        let waited = self.runtime.block_on(async move {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => true,
                () = interrupted.cancelled() => false,
            }
        });
        if waited { Ok(()) } else { Err(WorldError { name: "the run".to_owned(), source: Interrupted.into() }) }
    }

    fn start(&mut self, node: usize) -> Result<(), WorldError> {
        let started = self.runtime.block_on(Running::start(self.configs[node].clone()));
        let running = started.map_err(|error| self.failed(node, error))?;
        // Others know it by this address from now on.
        self.configs[node].listen = running.p2p_address();
        self.nodes[node] = Some(running);
        Ok(())
    }

    fn stop(&mut self, node: usize) -> Result<(), WorldError> {
        let Some(running) = self.nodes[node].take() else { return Ok(()) };
        self.runtime.block_on(running.stop()).map_err(|error| self.failed(node, error))
    }

    fn contact(&self, node: usize) -> Option<(PeerAddr, NodeId)> {
        let handle = self.nodes[node].as_ref()?.handle();
        Some((handle.listens_at()?, handle.id()))
    }

    fn set_link(&mut self, from: usize, to: usize, settings: LinkSettings) -> Result<(), WorldError> {
        if let (Some(running), Some((address, _))) = (&self.nodes[from], self.contact(to)) {
            let changing = running.handle().change_link(LinkKey::Listening(address), |present| *present = settings);
            self.runtime.block_on(changing).map_err(|error| self.failed(from, error))?;
        }
        Ok(())
    }

    fn read<R, F>(&mut self, node: usize, look: F) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        F: FnOnce(&Node, Now) -> R + Send + 'static,
    {
        let Some(running) = &self.nodes[node] else { return Ok(None) };
        let read = running.handle().read(move |node, now| look(node, now));
        self.runtime.block_on(read).map(Some).map_err(|error| self.failed(node, error))
    }

    fn command<R, F>(&mut self, node: usize, make: F) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        F: FnOnce(Reply<R>) -> Command + Send + 'static,
    {
        let Some(running) = &self.nodes[node] else { return Ok(None) };
        self.runtime.block_on(running.handle().command(make)).map(Some).map_err(|error| self.failed(node, error))
    }
}
