//! The rules: pure functions of their arguments, with no clock, disk or randomness.
//!
//! Files are named by what a rule needs to know: [`check`] only the bytes, [`context`] the headers before, [`connect`]
//! the coins spent.

pub mod asert;
pub mod check;
pub mod coins;
pub mod connect;
pub mod context;
pub mod error;
pub mod filter;
pub mod genesis;
pub mod headers;
pub mod params;
pub mod peer_name;
