//! One node's chain, store, mempool and nonce search, called directly.

mod branches;
mod bury;
mod epochs;
mod guarded;
mod kernels;
mod late;
mod laws;
mod load;
mod mempool;
mod prune;
mod storage;
mod tree;
