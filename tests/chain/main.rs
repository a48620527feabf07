//! One node's chain, store, mempool and nonce search, called directly.

mod branches;
#[path = "../common/mod.rs"]
mod common;
mod kernels;
mod laws;
mod mempool;
mod mempool_limits;
mod storage;
#[path = "../../crates/core/tests/support/mod.rs"]
mod support;
mod tree;
