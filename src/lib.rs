//! A proof-of-work blockchain node, as a library.
//!
//! Modules run from low to high, and each imports only from those before it in this list (a test holds them to it), so
//! the crate can be read from the top down without meeting anything unexplained:
//!
//! 1. [`primitives`]: bytes, hashes, trees, keys and numbers, without any rule.
//! 2. [`consensus`]: the rules, as pure functions with no clock, disk or randomness.
//!
//! `docs/protocol.md` specifies formats and rules; this crate's documentation says where each is implemented.

pub mod chain;
pub mod cli;
pub mod consensus;
pub mod mempool;
pub mod miner;
pub mod p2p;
pub mod primitives;
pub mod receipt;
pub mod rpc;
pub mod runtime;
pub mod sim;
pub mod storage;
pub mod wallet;
