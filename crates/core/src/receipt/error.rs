//! Why a receipt proves nothing.

use super::succinct::SuccinctError;
use crate::consensus::headers::HeaderChainError;
use crate::primitives::amount::counted;
use crate::primitives::codec::CodecError;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;

/// Why a receipt proves nothing; one variant for each reason.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what was got and expected; the messages say the rest.
pub enum ReceiptError {
    // The file.
    /// The bytes cannot be read.
    #[error("cannot read the receipt: {0}")]
    Io(#[from] std::io::Error),
    /// Larger than the reader accepts.
    #[error("the receipt is larger than {max} bytes")]
    TooLarge { max: u64 },
    /// Not JSON, or not of this shape.
    #[error("not a receipt: {0}")]
    Syntax(#[from] serde_json::Error),
    /// The binary form ends in the middle.
    #[error("the receipt ends within its {field}")]
    Short { field: &'static str },
    /// A field of the binary form has a value that is not allowed.
    #[error("the receipt's {field} is {got}, expected {expected}")]
    Field { field: &'static str, got: u64, expected: &'static str },
    /// JSON of another format.
    #[error("not a receipt: its format is {got:?}, expected {expected:?}")]
    Format { got: String, expected: &'static str },
    /// Written by a program with another format version.
    #[error("the receipt has version {got}, this program reads version {supported}")]
    Version { got: u32, supported: u32 },
    /// A field that is not lower-case hex of the right length.
    #[error("the receipt's {field} is not {expected}")]
    Hex { field: &'static str, expected: &'static str },
    /// The transaction cannot be decoded.
    #[error("the receipt's transaction: {0}")]
    Transaction(#[from] CodecError),

    // What it says.
    /// For another network.
    #[error("the receipt is for the network with genesis {got}, this is {expected}")]
    OtherNetwork { got: BlockHash, expected: BlockHash },
    /// The transaction could be an inner node of the Merkle tree (CVE-2017-12842).
    #[error("the transaction is 64 bytes, the size of an inner Merkle node")]
    NodeSizedTransaction,
    /// It continues from a checkpoint, and none was given.
    #[error("the receipt continues from block {hash} at height {height}: give a checkpoint of it")]
    NeedsCheckpoint { height: Height, hash: BlockHash },
    /// It continues from another checkpoint.
    #[error("the receipt continues from block {got} at height {height}, the checkpoint is {expected}")]
    OtherCheckpoint { height: Height, got: BlockHash, expected: BlockHash },
    /// The checkpoint is not one of this network.
    #[error("the checkpoint is not one of this network")]
    BadCheckpoint,
    /// The headers do not form a valid chain.
    #[error("the receipt's headers do not form a chain: {0}")]
    Headers(#[from] HeaderChainError),
    /// The succinct evidence does not hold.
    #[error("the receipt's succinct evidence does not hold: {0}")]
    Succinct(#[from] SuccinctError),
    /// The block is not among the headers.
    #[error("the receipt places the transaction at height {height}, but its headers are those from {first} to {tip}")]
    NoSuchHeight { height: Height, first: Height, tip: Height },
    /// The headers end elsewhere than stated.
    #[error("the receipt's headers end in {got}, it states {expected}")]
    OtherTip { got: BlockHash, expected: BlockHash },
    /// The tip's time is too far ahead of the clock for a node to accept it now.
    #[error("the receipt's tip is from the future: time {time}, at most {latest}")]
    FromTheFuture { time: u32, latest: UnixTime },
    /// The payment is proven, but not as deep as requested.
    #[error("proven, but with the work of {} on top in {}, the work of {expected} is wanted", counted(*.got, "block"), counted(*.headers, "header"))]
    TooLittleWork { got: u32, expected: u32, headers: u32 },
    /// The branch leads elsewhere than to the block's root.
    #[error("transaction {txid} is not in block {block}: its branch does not lead to the header's Merkle root")]
    NotInBlock { txid: Txid, block: BlockHash },
}

impl ReceiptError {
    /// Whether the bytes could not be read as a receipt, so that nothing was checked.
    pub fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::Io(_)
                | Self::TooLarge { .. }
                | Self::Syntax(_)
                | Self::Short { .. }
                | Self::Field { .. }
                | Self::Format { .. }
                | Self::Version { .. }
                | Self::Hex { .. }
                | Self::Transaction(_)
        )
    }
}
