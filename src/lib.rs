//! A proof-of-work blockchain node, as a library.
//!
//! Modules run from low to high, and each imports only from those before it in this list (a test holds them to it), so
//! the crate can be read from the top down without meeting anything unexplained:
//!
//! 1. [`primitives`]: bytes, hashes, trees, keys and numbers, without any rule.
//! 2. [`ipld`]: content addressing as IPFS has it: CIDs, UnixFS, CAR files.
//! 3. [`consensus`]: the rules, as pure functions with no clock, disk or randomness.
//! 4. [`state`]: all coins in one tree, and proofs about them.
//! 5. [`receipt`]: a payment's proof, and its check.
//! 6. [`storage`]: an ordered store with atomic batches, and the schema laid over it.
//! 7. [`chain`]: the tree of headers, and the state at the best chain's end.
//! 8. [`mempool`]: transactions that wait for a block.
//! 9. [`p2p`]: the protocol between nodes as a state machine; inputs and the time go in, outputs come out.
//! 10. [`light`]: the same protocol for those who keep headers only.
//! 11. [`content`]: blocks under their hashes on disk, and pins.
//! 12. [`wallet`]: keys, coin selection and signing.
//! 13. [`miner`]: block templates, the nonce search, and its threads.
//! 14. [`record`]: everything that enters a node, in a file, and the node run again from it.
//! 15. [`sim`]: networks of such nodes in virtual time, from a seed.
//! 16. [`runtime`]: sockets and timers around the one thread that owns a node.
//! 17. [`stratum`]: work for miners of others over Stratum.
//! 18. [`rpc`]: JSON-RPC methods, server and client.
//! 19. [`cli`]: commands and wiring.
//!
//! The first five are the verifying core, a crate of their own (`crates/core`) for programs that only check receipts. Its
//! kernels for many hashes and many signatures at once are in two more (`crates/sha256d`, `crates/ed25519`), the only ones
//! with unsafe code. The next five, without `storage`'s disk, are what is left without the feature `node`: a browser's light
//! client (`crates/web`) is made of them, and of the part of `wallet` that has no files.
//!
//! `docs/protocol.md` specifies formats and rules; this crate's documentation says where each is implemented.

#![forbid(unsafe_code)]

pub mod chain;
#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod content;
pub mod light;
pub mod mempool;
#[cfg(feature = "node")]
pub mod miner;
pub mod p2p;
#[cfg(feature = "node")]
pub mod record;
#[cfg(feature = "node")]
pub mod rpc;
#[cfg(feature = "node")]
pub mod runtime;
#[cfg(feature = "node")]
pub mod sim;
pub mod storage;
#[cfg(feature = "node")]
pub mod stratum;
#[cfg(feature = "wallet")]
pub mod wallet;

pub use cairn_core::{consensus, ipld, primitives, receipt, state};
