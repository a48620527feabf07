//! Requests to the program that runs several nodes in this process: only it can start one and end one, and it holds their
//! wallets.

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::primitives::amount::Amount;
use crate::primitives::keys::PublicKey;
use crate::runtime::Handle;

/// The nodes of this process with their names, as they come and go; servers share the list.
#[derive(Debug, Clone, Default)]
pub struct Nodes(std::sync::Arc<std::sync::RwLock<Vec<(String, Handle)>>>);

impl Nodes {
    /// The nodes as they are now.
    pub fn list(&self) -> Vec<(String, Handle)> {
        // The lock is held only for a copy or an assignment, and neither can panic halfway.
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Replaces all of them.
    pub fn set(&self, nodes: Vec<(String, Handle)>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = nodes;
    }
}

/// Says that a node of a network that `cairn testnet` runs is paused.
pub fn paused(name: &str) -> String {
    format!(
        "{name} is paused: `cairn testnet resume {name} --data-dir DIR` lets it go on, DIR being the network's directory"
    )
}

/// What only the program that runs the network can do.
#[derive(Debug)]
pub enum Request {
    /// Start another node.
    Add {
        /// Whether to forget the snapshots; if not, and there are some, none is started.
        forget_snapshots: bool,
    },
    /// End a node, and remove its files.
    Remove {
        /// Its name.
        name: String,
        /// Whether to forget the snapshots; if not, and there are some, the node stays.
        forget_snapshots: bool,
    },
    /// Cause a reorganisation in which the first node gives up so many blocks.
    Fork(u32),
    /// Pay an address from the network's wallet.
    Pay(PublicKey, Amount),
}

/// Where to say what came of a request: the call's result, or an error for the caller to read. It is closed as soon as the
/// caller is gone.
pub type Answer = oneshot::Sender<Result<Value, String>>;

/// Where requests go.
pub type Operator = mpsc::Sender<(Request, Answer)>;
