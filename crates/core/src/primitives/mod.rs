//! Bytes, hashes, trees, keys and numbers: building blocks that know no rule of the chain.

pub mod address;
pub mod amount;
pub mod block;
pub mod codec;
pub mod compact_size;
pub mod gcs;
pub mod hash;
pub mod header;
pub mod height;
pub mod keyed;
pub mod keys;
pub mod merkle;
pub mod meter;
pub mod mmr;
pub mod target;
pub mod time;
pub mod tx;
pub mod varint;

pub use cairn_sha256d as sha256;
