//! Work for miners elsewhere over Stratum, version 1: JSON lines over TCP, and no credentials but an address to be paid.
//!
//! Every miner mines for itself: whoever finds a block is paid all of it. Shares, which are easier than blocks, only show that
//! a miner works and how fast.
//!
//! [`protocol`] says what a line is, [`job`] what a miner is given and how a share is checked, [`level`] and [`vardiff`] how
//! hard shares are, [`session`] keeps one connection's state without doing any I/O, `connection` and [`server`] do that.

mod connection;
pub mod job;
pub mod level;
mod limits;
pub mod meters;
pub mod protocol;
pub mod server;
pub mod session;
pub mod vardiff;

pub use limits::Limits;
pub use meters::{Meters, Miner, Shares};
pub use server::{Config, StratumError, StratumServer, serve};
