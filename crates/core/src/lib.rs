//! The verifying core of Cairn: what a program needs to check blocks, headers and receipts, and nothing else.
//!
//! Modules run from low to high, and each imports only from those before it in this list (a test holds them to it):
//!
//! 1. [`primitives`]: bytes, hashes, trees, keys and numbers, without any rule.
//! 2. [`consensus`]: the rules, as pure functions with no clock, disk or randomness.
//! 3. [`state`]: all coins in one tree, and proofs about them.
//! 4. [`receipt`]: a payment's proof, and its check.
//!
//! No sockets, no store, no clock, and no threads but those that check signatures in batches; it compiles for
//! `wasm32-unknown-unknown`. The kernels that hash many messages at once are in `cairn-sha256d`, so that no unsafe code is
//! here.

#![forbid(unsafe_code)]

pub mod consensus;
pub mod primitives;
pub mod receipt;
pub mod state;
