//! What a scenario runs in.

use std::time::Duration;

use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Node, Now, PeerAddr, Reply};
use crate::sim::LinkSettings;

/// A world failed, not the scenario: a node did not start, or its store could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {source}")]
pub struct WorldError {
    /// The node.
    pub name: String,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Nodes that can be started, stopped, connected, read and commanded: in virtual time or over sockets. Nodes are counted from
/// 0, in the order of the file.
pub trait World {
    /// The time since the beginning.
    fn now(&self) -> Duration;

    /// Lets time pass until then; returns at once if it is later.
    ///
    /// # Errors
    /// If the run was interrupted.
    fn wait_until(&mut self, at: Duration) -> Result<(), WorldError>;

    /// Starts a node, with its store if it ran before. It knows no other node.
    ///
    /// # Errors
    /// [`WorldError`].
    fn start(&mut self, node: usize) -> Result<(), WorldError>;

    /// Stops a node in order.
    ///
    /// # Errors
    /// [`WorldError`].
    fn stop(&mut self, node: usize) -> Result<(), WorldError>;

    /// Where a node listens, and its id; `None` if it is down.
    fn contact(&self, node: usize) -> Option<(PeerAddr, NodeId)>;

    /// Sets the faults of a link between two nodes that are up, on the side of the first.
    ///
    /// # Errors
    /// [`WorldError`].
    fn set_link(&mut self, from: usize, to: usize, settings: LinkSettings) -> Result<(), WorldError>;

    /// Reads a node; `None` if it is down.
    ///
    /// # Errors
    /// [`WorldError`].
    fn read<R, F>(&mut self, node: usize, look: F) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        F: FnOnce(&Node, Now) -> R + Send + 'static;

    /// Has a node carry out a command; `None` if it is down.
    ///
    /// # Errors
    /// [`WorldError`].
    fn command<R, F>(&mut self, node: usize, make: F) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        F: FnOnce(Reply<R>) -> Command + Send + 'static;
}
