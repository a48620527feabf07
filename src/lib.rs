//! A proof-of-work blockchain node.

pub mod consensus;
pub mod primitives;
