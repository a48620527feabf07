//! A scenario's nodes in virtual time.

use std::sync::Arc;
use std::time::Duration;

use super::plan::Scenario;
use super::world::{World, WorldError};
use crate::consensus::params::{Params, ParamsError};
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Config, Node, Now, PeerAddr, Reply};
use crate::primitives::time::{MonoTime, UnixTime};
use crate::sim::{LinkSettings, NetworkConditions, Sim};
use crate::storage::StoreError;

/// The time of genesis: any will do.
const GENESIS: UnixTime = UnixTime::from_secs(1_767_225_600);

/// The simulated network of a scenario.
pub struct Virtual {
    sim: Sim,
    names: Vec<String>,
    /// The mempool that a node saved when it stopped.
    saved: Vec<Option<Vec<u8>>>,
}

impl Virtual {
    /// A network with the scenario's nodes, all of them down.
    ///
    /// # Errors
    /// [`ParamsError`] if so many payments do not fit into a genesis.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, ParamsError> {
        let params: Arc<Params> = Arc::new(scenario.params(GENESIS)?);
        let mut sim = Sim::new(params, NetworkConditions::default(), seed);
        let names = scenario.names();
        for node in 0..names.len() {
            let max_inbound = scenario.max_inbound(node).unwrap_or(Config::default().max_inbound);
            sim.add_place(Config { max_inbound, ..Config::default() });
        }
        let saved = vec![None; names.len()];
        Ok(Self { sim, names, saved })
    }

    /// A hash over all that happened.
    pub fn trace(&self) -> String {
        self.sim.trace()
    }

    fn failed(&self, node: usize, error: StoreError) -> WorldError {
        WorldError { name: self.names[node].clone(), source: error.into() }
    }
}

impl World for Virtual {
    fn now(&self) -> Duration {
        self.sim.now().mono.saturating_since(MonoTime::START)
    }

    fn wait_until(&mut self, at: Duration) -> Result<(), WorldError> {
        self.sim.run_for(at.saturating_sub(self.now()));
        Ok(())
    }

    fn start(&mut self, node: usize) -> Result<(), WorldError> {
        self.sim.start(node).map_err(|error| self.failed(node, error))?;
        if let Some(saved) = self.saved[node].take() {
            self.sim.command(node, |reply| Command::RestoreMempool(saved, reply));
        }
        Ok(())
    }

    fn stop(&mut self, node: usize) -> Result<(), WorldError> {
        self.saved[node] = self.sim.node(node).map(|node| node.mempool().save());
        self.sim.stop(node).map_err(|error| self.failed(node, error))
    }

    fn contact(&self, node: usize) -> Option<(PeerAddr, NodeId)> {
        self.sim.node(node).map(|_| (Sim::address(node), Sim::id(node)))
    }

    fn set_link(&mut self, from: usize, to: usize, settings: LinkSettings) -> Result<(), WorldError> {
        self.sim.set_link(from, to, settings);
        Ok(())
    }

    fn read<R, F>(&mut self, node: usize, look: F) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        F: FnOnce(&Node, Now) -> R + Send + 'static,
    {
        let now = self.sim.now();
        Ok(self.sim.node(node).map(|node| look(node, now)))
    }

    fn command<R, F>(&mut self, node: usize, make: F) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        F: FnOnce(Reply<R>) -> Command + Send + 'static,
    {
        Ok(self.sim.command(node, make))
    }
}
