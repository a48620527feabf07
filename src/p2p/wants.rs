//! What nodes say to each other to exchange blocks of content. The runtime handles these messages beside the node's thread.

use crate::primitives::codec::{Decode, Encode};

/// Most elements in a [`Message::WantBlocks`](crate::p2p::message::Message::WantBlocks) or
/// [`Message::HaveBlocks`](crate::p2p::message::Message::HaveBlocks).
pub const MAX_WANTS: usize = 256;
/// Most bytes of a multihash: code and length, and 64 of a digest.
pub const MAX_HASH_BYTES: usize = 80;
/// Most bytes of a block, as in IPFS.
pub const MAX_CONTENT_BYTES: usize = crate::ipld::MAX_BLOCK_BYTES;

/// A block that the sender wants.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// Its multihash.
    pub hash: Vec<u8>,
    /// The block; else only whether the receiver has it.
    pub whole: bool,
}

/// Whether the sender has a block.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Have {
    /// Its multihash.
    pub hash: Vec<u8>,
    /// Whether it has it.
    pub here: bool,
}

/// A block that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ContentBlock {
    /// Its multihash. Whether the bytes are right is for the receiver to check.
    pub hash: Vec<u8>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How a peer can break the rules of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ContentFault {
    /// It sent other bytes than those of the block with this multihash.
    False {
        /// The multihash.
        hash: Vec<u8>,
    },
    /// It sent a block, or word of one, that was not asked for.
    Unrequested,
    /// It asked for more blocks than may wait.
    Flood,
}
