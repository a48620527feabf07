//! The rules: pure functions of their arguments, with no clock, disk or randomness.
//!
//! Files are named after what a rule needs to know: [`check`] needs only the bytes, [`context`] the earlier headers,
//! [`connect`] the coins spent.

pub mod asert;
pub mod check;
pub mod coins;
pub mod commitment;
pub mod connect;
pub mod context;
pub mod error;
pub mod filter;
pub mod genesis;
pub mod headers;
pub mod params;
pub mod peer_name;
