//! Why a node does not start, or failed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::noise::IdentityError;
#[cfg(feature = "webrtc")]
use super::webrtc::CertificateError;
use crate::content::ContentError;
use crate::storage::StoreError;

/// Why a node does not start. The text is meant for the person who started it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum StartError {
    /// The data directory can be neither found nor made.
    #[error("cannot use data directory {}: {source}", path.display())]
    DataDir {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store does not open: locked, damaged, of another network or a newer version…
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address to wait for peers on is taken, or not this machine's.
    #[error("cannot listen for peers on {address}: {source} (another address can be given with --listen)")]
    Listen {
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The address to wait for browsers on is taken, or not this machine's.
    #[error("cannot listen for browsers on {address}: {source} (another address can be given with --listen-webrtc)")]
    ListenWebRtc {
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The certificate by which browsers know the node cannot be used.
    #[cfg(feature = "webrtc")]
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// This program was built without the feature.
    #[error("this cairn was built without WebRTC: build it with `cargo build --release --features webrtc`")]
    NoWebRtc,
    /// The node's key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The name of a node to connect to has no address.
    #[error("cannot find {name}: {source}")]
    NoAddress {
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file for the record cannot be made, or is there already.
    #[error("cannot record to {}: {source}", path.display())]
    Record {
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store of content is another version's.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The system gives no thread.
    #[error("cannot start the node's thread: {0}")]
    Thread(io::Error),
    /// The node's thread ended while starting.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a node's thread ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A defect in this program.
    #[error("the node stopped because of an internal error: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The store failed while the node ran: a full disk, or damage.
    #[error("the node stopped because its store failed: {message}")]
    Store {
        /// The store's error.
        message: String,
    },
    /// What was held in memory could not be written at the end.
    #[error("the node stopped, but its store could not be flushed: {0}")]
    Flush(#[source] StoreError),
}

/// The text of a caught panic.
pub(super) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}
