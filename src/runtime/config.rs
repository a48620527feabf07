//! Configuration of a node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::ExchangeConfig;
use crate::chain::Retention;
use crate::consensus::params::Params;
use crate::consensus::peer_name::PeerName;
use crate::content::DEFAULT_MAX_BYTES;
use crate::mempool;
use crate::primitives::keys::PublicKey;
use crate::storage::SledStore;

/// The configuration of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in its log lines, if several nodes share a process.
    pub name: Option<String>,
    /// Where blocks, coins, the address book and the node's key are kept. Made if it is not there; one node at a time may use it.
    pub data_dir: PathBuf,
    /// The parameters of the network that the node joins.
    pub params: Arc<Params>,
    /// Where to listen for peers; port 0 takes a free one. `None` only dials out.
    pub listen: Option<SocketAddr>,
    /// Where to listen for browsers, a UDP port; 0 takes a free one. Needs the feature `webrtc`.
    pub listen_webrtc: Option<SocketAddr>,
    /// Nodes to stay connected to; a host may have many addresses and change them.
    pub connect: Vec<PeerName>,
    /// The payee of blocks mined here; `None` to not mine.
    pub mine: Option<PublicKey>,
    /// Threads of the node's own miner, while it mines.
    pub threads: usize,
    /// Connections to keep open to nodes found in the address book.
    pub outbound_target: usize,
    /// Most connections that others may open to this node.
    pub max_inbound: usize,
    /// Which blocks to keep whole.
    pub retention: Retention,
    /// The share of the key space whose runs of old blocks are archived, in 2^-32: 0 for none.
    pub archive_share: u32,
    /// Whether to start from a state that is buried, instead of genesis, when there are no blocks yet.
    pub sync_state: bool,
    /// Whether the state may be one of a chain that shows less work than its miners did before.
    pub accept_slow_chain: bool,
    /// Bytes that the store may keep in memory.
    pub store_cache_bytes: u64,
    /// Bounds of the pool of unconfirmed transactions.
    pub mempool: mempool::Limits,
    /// Time-outs of sockets.
    pub sockets: SocketLimits,
    /// Whether links can be cut, slowed and made to lose messages; see [`Chaos`](super::Chaos).
    pub chaos: bool,
    /// The exchange of content with peers; `None` for none.
    pub exchange: Option<ExchangeConfig>,
    /// A new file for a record of the node's inputs; see [`record`](crate::record).
    pub record: Option<PathBuf>,
}

impl Config {
    /// Cached bytes of the store unless told otherwise; it fills only as data are touched.
    pub const STORE_CACHE_BYTES: u64 = SledStore::CACHE_BYTES;

    /// A node that neither listens, dials nor mines, with the usual bounds.
    pub fn new(data_dir: impl Into<PathBuf>, params: Arc<Params>) -> Self {
        Self {
            name: None,
            data_dir: data_dir.into(),
            params,
            listen: None,
            listen_webrtc: None,
            connect: Vec::new(),
            mine: None,
            threads: 1,
            outbound_target: 8,
            max_inbound: 117,
            retention: Retention::All,
            archive_share: 0,
            sync_state: false,
            accept_slow_chain: false,
            store_cache_bytes: Self::STORE_CACHE_BYTES,
            mempool: mempool::Limits::default(),
            sockets: SocketLimits::default(),
            chaos: false,
            exchange: Some(ExchangeConfig { max_bytes: DEFAULT_MAX_BYTES, upload: None }),
            record: None,
        }
    }
}

/// How long a socket may keep this node waiting.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// For a connection to be made.
    pub connect: Duration,
    /// From connecting until the first whole message: for the handshake of the encryption and the hello after it together.
    pub first_message: Duration,
    /// From the first byte of a message until its last: a slow link carries a full block in that time, and a peer that
    /// sends byte by byte to hold memory and a place does not last.
    pub message: Duration,
    /// For a write to make progress.
    pub write: Duration,
    /// Between asking the name service again for the addresses of a host.
    pub resolve_interval: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_message: Duration::from_secs(10),
            message: Duration::from_secs(60),
            write: Duration::from_secs(30),
            resolve_interval: Duration::from_secs(30),
        }
    }
}
