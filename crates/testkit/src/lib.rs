//! Keys, coins, blocks and chains for tests, benchmarks and fuzz targets.
//!
//! It depends on `cairn-core` alone, so the tests of every crate can use it. Helpers that need a whole node, a process
//! or a browser stay beside the tests that use them.

#![forbid(unsafe_code)]

pub mod forge;
mod ledger;
mod payments;
mod work;

pub use ledger::{Ledger, MINER, full_block};
pub use payments::{funded, genesis_coin, key, params, public, sign, spend, twins, unsigned};
pub use work::{HeaderFields, header, mine, seal, unmine};
