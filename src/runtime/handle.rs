//! What the rest of the program holds of a running node.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::link::NodeLink;
use super::mining::MiningControl;
use super::traffic::{Totals, Traffic};
use crate::consensus::params::Params;
use crate::p2p::PeerId;
use crate::storage::Database;

/// Reaches a node from any task; clones reach the same one. What [`NodeLink`] offers, it offers too.
///
/// A handle keeps the store open: another node can open the directory once all handles are dropped.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) link: NodeLink,
    pub(super) database: Database,
    pub(super) params: Arc<Params>,
    pub(super) mining: MiningControl,
    pub(super) traffic: Arc<Traffic>,
    pub(super) clock: Clock,
}

impl Deref for Handle {
    type Target = NodeLink;

    fn deref(&self) -> &NodeLink {
        &self.0.link
    }
}

impl Handle {
    /// Blocks, coins and indexes, read without troubling the node's thread. What spans several keys is to be checked
    /// against the tip before and after, since the store has no snapshots.
    pub fn db(&self) -> &Database {
        &self.0.database
    }

    /// The network's parameters.
    pub fn params(&self) -> &Arc<Params> {
        &self.0.params
    }

    /// Starts, stops and watches mining.
    pub fn miner(&self) -> &MiningControl {
        &self.0.mining
    }

    /// What went over all connections since the start.
    pub fn network_totals(&self) -> Totals {
        self.0.traffic.totals()
    }

    /// What went over one connection; `None` once it is closed.
    pub fn peer_totals(&self, peer: PeerId) -> Option<Totals> {
        self.0.traffic.of(peer)
    }

    /// Since the start.
    pub fn uptime(&self) -> Duration {
        self.0.clock.elapsed()
    }
}
