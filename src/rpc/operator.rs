//! Requests to the program that runs several nodes in this process: only it can start one and end one.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};

use crate::runtime::Handle;

/// The nodes of this process with their names, as they come and go; servers share the list.
#[derive(Debug, Clone, Default)]
pub struct Nodes(std::sync::Arc<std::sync::RwLock<Vec<(String, Handle)>>>);

impl Nodes {
    /// The nodes as they are now.
    pub fn list(&self) -> Vec<(String, Handle)> {
        // The lock is held for a copy or an assignment, neither of which can panic halfway.
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Replaces all of them.
    pub fn set(&self, nodes: Vec<(String, Handle)>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = nodes;
    }
}

/// A change of the nodes of this process.
#[derive(Debug)]
pub enum NodeChange {
    /// Start another one.
    Add,
    /// End the one of that name, and remove its files.
    Remove(String),
}

/// A node that was added or removed.
#[derive(Debug, Clone)]
pub struct ChangedNode {
    /// Its name.
    pub name: String,
    /// Where it takes, or took, connections.
    pub address: Option<SocketAddr>,
    /// The URL of its JSON-RPC.
    pub rpc: Option<String>,
}

/// A change, and where to say what came of it. An error is for the caller to read.
pub type Request = (NodeChange, oneshot::Sender<Result<ChangedNode, String>>);

/// Where requests go.
pub type Operator = mpsc::Sender<Request>;
