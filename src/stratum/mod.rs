//! Work for external miners over Stratum, version 1: JSON lines over TCP, without credentials other than a payee's
//! address.
//!
//! Every miner mines for itself: the finder of a block is paid all of it. Shares, which are easier than blocks, only
//! show that a miner works and how fast.
//!
//! [`protocol`] parses lines, [`job`] builds jobs and checks shares, [`level`] and [`vardiff`] set the difficulty of
//! shares, [`session`] keeps one connection's state without I/O, and `connection` and [`server`] do the I/O.

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
