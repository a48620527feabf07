//! Why a receipt proves nothing.

use super::succinct::SuccinctError;
use crate::consensus::headers::HeaderChainError;
use crate::primitives::amount::counted;
use crate::primitives::codec::CodecError;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;

/// Why a receipt proves nothing. One variant a reason.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what was got and expected; the messages say the rest.
pub enum ReceiptError {
    // The file.
    /// The bytes cannot be read.
    #[error("cannot read the receipt: {0}")]
    Io(#[from] std::io::Error),
    /// More than is ever read.
    #[error("the receipt is larger than {max} bytes")]
    TooLarge { max: u64 },
    /// Not JSON, or not of this shape.
    #[error("not a receipt: {0}")]
    Syntax(#[from] serde_json::Error),
    /// The binary form ends in the middle.
    #[error("the receipt ends in the middle of its {field}")]
    Short { field: &'static str },
    /// The binary form says something that is none of what it may say.
    #[error("the receipt's {field} is {got}, expected {expected}")]
    Field { field: &'static str, got: u64, expected: &'static str },
    /// JSON of something else.
    #[error("not a receipt: its format is {got:?}, expected {expected:?}")]
    Format { got: String, expected: &'static str },
    /// Of a later program.
    #[error("the receipt has version {got}, this program reads version {supported}")]
    Version { got: u32, supported: u32 },
    /// A field that is not lower-case hex of the right length.
    #[error("the receipt's {field} is not {expected}")]
    Hex { field: &'static str, expected: &'static str },
    /// Bytes that are no transaction.
    #[error("the receipt's transaction: {0}")]
    Transaction(#[from] CodecError),

    // What it says.
    /// For another network.
    #[error("the receipt is for the network with genesis {got}, this is {expected}")]
    OtherNetwork { got: BlockHash, expected: BlockHash },
    /// Could be an inner node of the tree (CVE-2017-12842).
    #[error("the transaction is 64 bytes, the size of an inner Merkle node")]
    NodeSizedTransaction,
    /// It continues from a checkpoint, and none was given.
    #[error("the receipt continues from block {hash} at height {height}: give a checkpoint of it")]
    NeedsCheckpoint { height: Height, hash: BlockHash },
    /// It continues from another checkpoint.
    #[error("the receipt continues from block {got} at height {height}, the checkpoint is {expected}")]
    OtherCheckpoint { height: Height, got: BlockHash, expected: BlockHash },
    /// The checkpoint is none of this network.
    #[error("the checkpoint is not one of this network")]
    BadCheckpoint,
    /// Headers that are no chain.
    #[error("the receipt's headers are no chain: {0}")]
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
    /// Its tip is one that no node would have accepted yet.
    #[error("the receipt's tip is from the future: time {time}, at most {latest}")]
    FromTheFuture { time: u32, latest: UnixTime },
    /// It is there, but not as deep as was asked for.
    #[error("proven, but with the work of {} on top in {}, the work of {expected} is wanted", counted(*.got, "block"), counted(*.headers, "header"))]
    TooLittleWork { got: u32, expected: u32, headers: u32 },
    /// The branch leads elsewhere than to the block's root.
    #[error("transaction {txid} is not in block {block}: its branch does not lead to the header's Merkle root")]
    NotInBlock { txid: Txid, block: BlockHash },
}

impl ReceiptError {
    /// Whether the bytes are no receipt that this program can read, so that nothing was checked.
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
