//! The server's configuration and bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::auth::RpcAuth;
use super::operator::{Nodes, Operator};
use crate::consensus::params::MAX_BLOCK_BYTES;
use crate::content::DEFAULT_MAX_BYTES;
use crate::runtime::Snapshots;
use crate::stratum;

/// Bounds on callers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. At the limit the idlest is closed for a new one.
    pub connections: usize,
    /// The owner's requests being read or answered at a time; more are answered 503.
    pub requests: usize,
    /// Requests in one batch.
    pub batch: usize,
    /// Bytes of a request: by default a block of the largest kind in hex.
    pub body_bytes: usize,
    /// Bytes of a batch's answers, after which its remaining requests are answered with an error.
    pub answer_bytes: usize,
    /// Time for a request's header to arrive, from when the connection was accepted or the last answer was written.
    pub header_timeout: Duration,
    /// Time for a request's body to arrive.
    pub body_timeout: Duration,
    /// Time after which a connection is closed if the client reads nothing.
    pub write_timeout: Duration,
    /// Time that a poll for a block template waits for a new tip; after it, better fees end the poll too.
    pub fee_patience: Duration,
    /// Listeners to `/events` at a time; more are answered 503.
    pub listeners: usize,
    /// Answers of the gateway at a time. More wait for some seconds, and are answered 503 then.
    pub downloads: usize,
    /// Bounds on `/public`.
    pub public: PublicLimits,
}

/// Bounds on callers without credentials.
#[derive(Debug, Clone)]
pub struct PublicLimits {
    /// Requests in one batch.
    pub batch: usize,
    /// Bytes of a request.
    pub body_bytes: usize,
    /// Bytes of an answer, also to a batch: a longer one is refused. The default has room for a block of a million
    /// bytes in hex.
    pub answer_bytes: usize,
    /// Bytes of all answers together, both in progress and unread.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            requests: 128,
            batch: 1_000,
            body_bytes: 2 * MAX_BLOCK_BYTES as usize + 65_536,
            answer_bytes: 64 << 20,
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(20),
            fee_patience: Duration::from_secs(60),
            listeners: 64,
            downloads: 16,
            public: PublicLimits { batch: 100, body_bytes: 65_536, answer_bytes: 2 << 20, memory: 64 << 20 },
        }
    }
}

/// How the content beside the chain is served under `/ipfs/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// It is not.
    Off,
    /// As blocks and CARs, which the caller can check.
    Trustless,
    /// As files and sites too.
    Files,
}

/// Where to listen, and which callers to accept.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to bind; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where the cookie and the bound address are written.
    pub data_dir: PathBuf,
    /// A user besides the cookie's; needs `password`.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<String>,
    /// More users, by salted hashes of their passwords.
    pub auth: Vec<RpcAuth>,
    /// Names under which the node answers, besides addresses and `localhost`.
    pub allow_hosts: Vec<String>,
    /// Stratum statistics, if the Stratum server runs.
    pub stratum: Option<Arc<stratum::Meters>>,
    /// Bounds on connections, requests and answers.
    pub limits: Limits,
    /// The nodes of this process with their names, if there are several: the link methods work on all of them. Empty if
    /// only one node is served.
    pub nodes: Nodes,
    /// Who starts and ends these nodes, if they can come and go.
    pub operator: Option<Operator>,
    /// Snapshots of these nodes, which their servers share.
    pub snapshots: Arc<Snapshots>,
    /// Whether the explorer is served: the page, and what it reads without credentials.
    pub explorer: bool,
    /// How content is served.
    pub gateway: Gateway,
    /// Whether what the gateway lacks is fetched from peers, for every caller.
    pub gateway_fetch: bool,
    /// The most bytes of content that calls may store.
    pub content_max: u64,
}

impl Config {
    /// Listens on `bind`, with the cookie in `data_dir` as the only key.
    pub fn new(bind: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            bind,
            data_dir: data_dir.into(),
            user: None,
            password: None,
            auth: Vec::new(),
            allow_hosts: Vec::new(),
            stratum: None,
            limits: Limits::default(),
            nodes: Nodes::default(),
            operator: None,
            snapshots: Arc::default(),
            explorer: true,
            gateway: Gateway::Trustless,
            gateway_fetch: false,
            content_max: DEFAULT_MAX_BYTES,
        }
    }
}
