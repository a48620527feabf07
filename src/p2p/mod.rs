//! The peer-to-peer protocol, as a state machine without I/O.
//!
//! A [`Node`] takes an [`Input`], or its owner's [`Command`], with the time, and its [`Output`]s are then drained.
//! Nothing else changes it. It has no socket, clock or source of randomness except the seed in its [`Config`], so
//! sockets and a simulation drive the same code, and the same inputs give the same outputs.
//!
//! Each file is one sub-protocol, which knows nothing of the others (but that bodies are downloaded along the headers
//! that peers have, and peers are chosen among the contacts that discovery made). `peering` puts those together that light
//! clients have too; `node` puts all together, and has what the node's owner may ask. Everything that a peer can make grow
//! has a bound, a constant in the file that keeps it.

pub mod addrbook;
pub mod anchors;
pub mod announcer;
pub mod archive;
pub mod bans;
pub mod blocks;
mod bodies;
pub(crate) mod bucket;
pub mod budget;
pub mod chain_proofs;
pub mod chain_prover;
mod coin_prover;
pub mod coins;
mod command;
pub mod compact;
mod config;
mod connection;
pub mod content_message;
pub mod dialer;
pub mod discovery;
pub mod download;
mod eviction;
pub mod fanout;
mod filters;
pub mod frame;
pub mod handshake;
mod interface;
pub mod kad;
pub mod late_headers;
#[cfg(feature = "node")]
pub mod ledger;
pub mod lowwork;
pub mod message;
pub mod misbehaviour;
mod node;
pub mod noise;
pub(crate) mod outbox;
pub mod peer_addr;
pub(crate) mod peering;
pub(crate) mod peers;
pub mod ping;
pub mod proofs;
mod prover;
pub mod providers;
pub mod pushes;
pub(crate) mod reach;
mod records;
pub mod relay;
pub mod requests;
pub mod search;
pub mod serve;
pub mod signal;
pub mod signalling;
pub mod state;
pub mod state_servers;
pub mod state_start;
pub mod state_sync;
pub mod sync;
pub mod upkeep;
pub mod wants;

pub use addrbook::Record;
pub use bans::{Ban, Subnet};
pub use command::{Command, MAX_SNAPSHOTS, Reply, SnapshotError};
pub use config::{Config, PeerInfo};
pub use connection::{Direction, Now, PeerId};
pub use interface::{Event, Input, OtherParty, Output, Protocol, Reason, SPEAKS_HTTP};
pub use node::{MAX_REFUSED, Node};
pub use peer_addr::{PeerAddr, Transports};
