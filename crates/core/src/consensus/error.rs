//! One variant for each rule. Messages state the value found and the value expected.

use crate::primitives::amount::{Amount, counted};
use crate::primitives::codec::CodecError;
use crate::primitives::hash::{BlockHash, Commitment, MerkleRoot, Txid};
use crate::primitives::height::Height;
use crate::primitives::target::{Bits, BitsError};
use crate::primitives::time::UnixTime;
use crate::primitives::tx::OutPoint;

/// Why a transaction, header or block breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what was got and expected; the messages say the rest.
pub enum RuleError {
    // Encoding.
    /// Not the canonical encoding of a block or transaction.
    #[error("not a canonical encoding: {0}")]
    Encoding(#[from] CodecError),

    // Header alone.
    /// Bits that stand for no target.
    #[error(transparent)]
    BadBits(#[from] BitsError),
    /// A target easier than the network allows.
    #[error("bits {got} are easier than the network's limit {limit}")]
    EasierThanLimit { got: Bits, limit: Bits },
    /// The hash does not meet the target: no proof of work.
    #[error("hash {hash} does not meet its bits {bits}")]
    HighHash { hash: BlockHash, bits: Bits },

    // Header in its chain.
    /// Not the bits that the difficulty rule gives at this place.
    #[error("bits are {got}, expected {expected}")]
    WrongBits { got: Bits, expected: Bits },
    /// Before the parent's time.
    #[error("time {time} is before the parent's, {parent}")]
    TimeTooOld { time: u32, parent: u32 },
    /// Too far ahead of the clock: the header may become acceptable later.
    #[error("time {time} is later than {latest}, the latest accepted now")]
    TimeTooNew { time: u32, latest: UnixTime },
    /// A descendant of an invalid block.
    #[error("parent {parent} is invalid")]
    InvalidParent { parent: BlockHash },

    // Body against its header.
    /// The transactions do not hash to the header's root.
    #[error("transactions have Merkle root {got}, the header has {expected}")]
    WrongMerkleRoot { got: MerkleRoot, expected: MerkleRoot },
    /// Equal neighbours in the tree: the body has a repeated tail (CVE-2012-2459).
    #[error("the Merkle tree has two equal neighbours: transactions are repeated")]
    MutatedMerkleTree,
    /// Exactly 64 bytes: it could pass for an inner node of the tree (CVE-2017-12842).
    #[error("transaction {txid} is 64 bytes, the size of an inner Merkle node")]
    NodeSizedTransaction { txid: Txid },

    // Block alone.
    /// Larger than the network allows.
    #[error("block is {got} bytes, at most {max} are allowed")]
    BlockTooLarge { got: usize, max: u32 },
    /// No transactions at all.
    #[error("block has no transactions")]
    EmptyBlock,
    /// The first transaction spends something.
    #[error("the first transaction {txid} is not a coinbase")]
    FirstNotCoinbase { txid: Txid },
    /// A later transaction spends nothing.
    #[error("transaction {txid} has no inputs, but only the first of a block may")]
    NoInputs { txid: Txid },

    // Transaction alone.
    /// Larger than any may be, or than a coinbase may be.
    #[error("transaction {txid} is {got} bytes, at most {max} are allowed")]
    TransactionTooLarge { txid: Txid, got: usize, max: usize },
    /// No outputs.
    #[error("transaction {txid} has no outputs")]
    NoOutputs { txid: Txid },
    /// Spends one coin twice.
    #[error("transaction {txid} spends {outpoint} twice")]
    DuplicateInput { txid: Txid, outpoint: OutPoint },
    /// Too many bytes of data.
    #[error("transaction {txid}, output {index}: {got} bytes of data, at most {max} are allowed")]
    DataTooLong { txid: Txid, index: u32, got: usize, max: usize },
    /// A data output, which cannot be spent, with a value.
    #[error("transaction {txid}, output {index}: data with value {}, expected 0", value.as_grains())]
    DataWithValue { txid: Txid, index: u32, value: Amount },
    /// An output to a key with value 0: spending the coin costs more than its value, so every node would keep it for ever.
    #[error("transaction {txid}, output {index}: a key with value 0, expected at least 1")]
    KeyWithoutValue { txid: Txid, index: u32 },
    /// More than one data output.
    #[error("transaction {txid} has {got} data outputs, at most 1 is allowed")]
    TooManyData { txid: Txid, got: usize },
    /// The sum of the outputs exceeds the largest possible supply.
    #[error("transaction {txid}: the sum of its outputs exceeds {}", max.as_grains())]
    ValueOverflow { txid: Txid, max: Amount },

    // Coinbase in its block.
    /// A coinbase states its block's height, which makes its id unique.
    #[error("coinbase has lock height {got}, expected the block's height {expected}")]
    CoinbaseHeight { got: Height, expected: Height },
    /// No data output, which must hold the commitment.
    #[error("coinbase has no data output for the commitment")]
    NoCommitment,
    /// The data output is too short for the commitment.
    #[error("coinbase data is {got} bytes, at least 32 are needed for the commitment")]
    ShortCommitment { got: usize },
    /// Commits to other headers, coins or filters than those before the block.
    #[error("coinbase commits to {got}, expected {expected} over the headers, coins and filters before the block")]
    WrongCommitment { got: Commitment, expected: Commitment },
    /// Takes more than subsidy and fees.
    #[error("coinbase takes {}, at most {} are due (subsidy and fees)", counted(got.as_grains(), "grain"), max.as_grains())]
    CoinbaseTooHigh { got: Amount, max: Amount },

    // Transaction against coins.
    /// The lock height is above the block's height.
    #[error("transaction {txid} is locked until height {lock_height}, this is {height}")]
    Locked { txid: Txid, lock_height: Height, height: Height },
    /// The coin never existed or is already spent.
    #[error("transaction {txid} spends {outpoint}, which is unknown or already spent")]
    MissingCoin { txid: Txid, outpoint: OutPoint },
    /// A coinbase's coin that is not mature yet.
    #[error("transaction {txid} spends a coinbase of height {made}, spendable from {spendable}, at height {height}")]
    ImmatureCoin { txid: Txid, made: Height, spendable: Height, height: Height },
    /// The outputs exceed the inputs.
    #[error("transaction {txid} pays out {}, but its inputs are worth {}", counted(outputs.as_grains(), "grain"), inputs.as_grains())]
    Overspend { txid: Txid, inputs: Amount, outputs: Amount },
    /// Not a signature by the coin's key on this transaction and network.
    #[error("transaction {txid}, input {input}: the signature does not match the coin's key")]
    BadSignature { txid: Txid, input: u32 },
}

/// Who is at fault for an error. Decided only here and in the errors that wrap this one, without a wildcard arm, so a
/// new rule does not compile until its blame is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The peer: an honest node would not have sent this.
    Peer,
    /// This node: a full disk, a damaged store.
    Local,
    /// Neither: the nodes' clocks or views of the chain differ.
    None,
}

/// What a broken rule says about the block whose hash the body was sent under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The body does not match its header; the block itself may be valid.
    BodyMismatch,
    /// No body could make this block valid, now or ever.
    Invalid,
    /// Not acceptable now.
    NotYet,
}

impl RuleError {
    /// Who is at fault.
    pub fn blame(&self) -> Blame {
        match self.verdict() {
            Verdict::BodyMismatch | Verdict::Invalid => Blame::Peer,
            Verdict::NotYet => Blame::None,
        }
    }

    /// What the broken rule says about the block.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Encoding(_) | Self::WrongMerkleRoot { .. } | Self::MutatedMerkleTree => Verdict::BodyMismatch,
            // The bytes may be two hashes that an attacker passes off as a transaction of a valid block.
            Self::NodeSizedTransaction { .. } | Self::EmptyBlock => Verdict::BodyMismatch,
            Self::TimeTooNew { .. } => Verdict::NotYet,
            Self::BadBits(_)
            | Self::EasierThanLimit { .. }
            | Self::HighHash { .. }
            | Self::WrongBits { .. }
            | Self::TimeTooOld { .. }
            | Self::InvalidParent { .. }
            | Self::BlockTooLarge { .. }
            | Self::FirstNotCoinbase { .. }
            | Self::NoInputs { .. }
            | Self::TransactionTooLarge { .. }
            | Self::NoOutputs { .. }
            | Self::DuplicateInput { .. }
            | Self::DataTooLong { .. }
            | Self::DataWithValue { .. }
            | Self::KeyWithoutValue { .. }
            | Self::TooManyData { .. }
            | Self::ValueOverflow { .. }
            | Self::CoinbaseHeight { .. }
            | Self::NoCommitment
            | Self::ShortCommitment { .. }
            | Self::WrongCommitment { .. }
            | Self::CoinbaseTooHigh { .. }
            | Self::Locked { .. }
            | Self::MissingCoin { .. }
            | Self::ImmatureCoin { .. }
            | Self::Overspend { .. }
            | Self::BadSignature { .. } => Verdict::Invalid,
        }
    }
}
