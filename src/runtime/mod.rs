//! Runs a node: its thread, its sockets, its clock and its miner.
//!
//! One OS thread (`driver.rs`) owns the [`Node`](crate::p2p::Node) with chain, mempool and peers, so none of them is
//! behind a lock. Sockets are tokio tasks that verify peers' ids, decrypt and decode messages, and wait when the node
//! is busy. All other code holds a [`Handle`]: reads go to the store or, as closures over `&Node`, to the node's
//! thread; changes go there as a [`Command`](crate::p2p::Command).

mod browsers;
mod chaos;
mod checks;
mod clock;
mod config;
mod connection;
pub mod descriptors;
mod driver;
mod error;
pub mod exchange;
mod handle;
mod header_file;
mod light;
mod link;
mod lobby;
mod mempool_file;
pub mod mining;
mod net;
pub mod noise;
mod pause;
mod pinned;
pub mod process;
mod proofs;
mod read;
mod resolve;
mod running;
mod send_queue;
mod signals;
mod snapshots;
pub mod states;
mod thread;
mod traffic;
mod turns;
#[cfg(feature = "webrtc")]
pub mod webrtc;
pub mod work;

pub use crate::sim::{LinkSettings, MAX_DELAY};
pub use chaos::{Chaos, LinkKey};
pub use clock::unix_now;
pub use config::{Config, SocketLimits};
pub use error::{Failure, StartError};
pub use handle::Handle;
pub use header_file::HeaderFile;
pub use light::RunningLight;
pub use link::{Link, NodeLink, Stage, Stopped, Tip};
pub use running::{Running, STORE_DIR, Starting};
pub use signals::{interrupt_flag, interrupted};
pub use snapshots::{HeldSnapshots, NetworkSnapshotError, Reverted, Snapshots};
pub use traffic::{Flow, Messages, Totals};
