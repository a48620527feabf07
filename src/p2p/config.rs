//! A node's settings, and its information about peers.

use std::time::Duration;

use crate::chain::Retention;
use crate::p2p::connection::{Direction, PeerId};
use crate::p2p::kad::NodeId;
use crate::p2p::message::TipClaim;
use crate::p2p::peer_addr::{PeerAddr, Transports};
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's id, which its driver proves to peers.
    pub id: NodeId,
    /// Where the driver accepts connections, without its IP, preferred address first.
    pub listens: Vec<PeerAddr>,
    /// What the driver can dial.
    pub transports: Transports,
    /// Addresses to stay connected to (`--connect`), besides those found by itself.
    pub connect: Vec<PeerAddr>,
    /// Addresses to join through when no other is known.
    pub seeds: Vec<PeerAddr>,
    /// How many peers to dial and keep, those of `connect` not counted.
    pub outbound_target: usize,
    /// Most peers that may dial in.
    pub max_inbound: usize,
    /// Most inbound peers from one address, loopback excepted: a local test network has but that one.
    pub max_inbound_per_address: usize,
    /// Which blocks to keep whole.
    pub retention: Retention,
    /// The share of the key space whose runs of old blocks are archived, in 2^-32, if old blocks are pruned: 0 for none.
    pub archive_share: u32,
    /// Whether to start from a state that is buried, instead of genesis, when there are no blocks yet.
    pub sync_state: bool,
    /// Whether the state may be one of a chain that shows less work than its miners did before.
    pub accept_slow_chain: bool,
    /// Whether the driver serves blocks of content.
    pub content: bool,
    /// What to say to peers about the software.
    pub user_agent: String,
    /// Seed of all randomness: dials, nonces, delays. From the system's generator, except in simulations.
    pub seed: [u8; 32],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: NodeId([0; 32]),
            listens: Vec::new(),
            transports: Transports::default(),
            connect: Vec::new(),
            seeds: Vec::new(),
            outbound_target: 8,
            max_inbound: 117,
            max_inbound_per_address: 4,
            retention: Retention::All,
            archive_share: 0,
            sync_state: false,
            accept_slow_chain: false,
            content: false,
            user_agent: concat!("/cairn:", env!("CARGO_PKG_VERSION"), "/").to_owned(),
            seed: [0; 32],
        }
    }
}

/// A peer's state. The driver counts bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// Its number.
    pub id: PeerId,
    /// Its id.
    pub node: NodeId,
    /// The number of the bucket that it belongs into: the power of two of its distance. `None` for this node's own id.
    pub bucket: Option<u8>,
    /// Its address, as the connection has it.
    pub address: PeerAddr,
    /// The preferred address at which it accepts connections, if it does.
    pub listens_at: Option<PeerAddr>,
    /// Who dialled.
    pub direction: Direction,
    /// One of those to stay connected to.
    pub manual: bool,
    /// Whether it has said hello and is of this network.
    pub ready: bool,
    /// When the connection came about.
    pub connected_at: UnixTime,
    /// When the last message came from it.
    pub last_received: UnixTime,
    /// When the last message went to it.
    pub last_sent: UnixTime,
    /// The version it speaks; 0 before its hello.
    pub version: u32,
    /// What it offers, as `SERVICE_` bits.
    pub services: u64,
    /// Its software, in printable ASCII.
    pub user_agent: String,
    /// The tip that its hello claimed.
    pub start_tip: Option<TipClaim>,
    /// Height of the best header that it is known to have.
    pub synced_headers: Height,
    /// Height of the last block that it and this node's best chain have in common.
    pub synced_blocks: Height,
    /// Heights of the blocks it has been asked for.
    pub in_flight: Vec<Height>,
    /// How long the last round trip took, if there was one.
    pub ping: Option<Duration>,
    /// How long the shortest round trip took.
    pub min_ping: Option<Duration>,
    /// Points of misbehaviour.
    pub score: u32,
}
