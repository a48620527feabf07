//! The verification core of Cairn: what a program needs to check blocks, headers and receipts, and nothing else.
//!
//! Modules are listed from low to high; each imports only from those before it (a test enforces this):
//!
//! 1. [`primitives`]: bytes, hashes, trees, keys and numbers, without any rule.
//! 2. [`ipld`]: content addressing as IPFS has it: CIDs, UnixFS, CAR files.
//! 3. [`consensus`]: the rules, as pure functions with no clock, disk or randomness.
//! 4. [`state`]: all coins in one tree, and proofs about them.
//! 5. [`receipt`]: a payment's proof, and its check.
//!
//! It has no sockets, no store and no clock, and its only threads check signatures in batches; it compiles for
//! `wasm32-unknown-unknown`. The kernels that hash many messages and check many signatures at once are in
//! `cairn-sha256d` and `cairn-ed25519`, so this crate needs no unsafe code.

#![forbid(unsafe_code)]

pub mod consensus;
pub mod ipld;
pub mod primitives;
pub mod receipt;
pub mod state;
