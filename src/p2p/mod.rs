//! The peer-to-peer protocol, as a state machine without I/O.
//!
//! A node takes an [`Input`] with the time, and what is to be done about it is then drained from it as
//! [`Output`]s. It knows no socket, clock or source of randomness but the seed in its [`Config`], so sockets and a
//! simulation drive the same code, and the same inputs give the same outputs.
//!
//! Each file is one sub-protocol, which knows nothing of the others; `node.rs` puts them together.

pub mod bans;
mod config;
pub mod frame;
mod interface;
pub mod message;
pub mod misbehaviour;

pub use config::{Config, PeerInfo};
pub use interface::{Direction, Event, Input, Now, Output, PeerId, Reason};
