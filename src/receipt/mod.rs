//! Receipts: a payment's proof, checked by anyone who holds genesis.json, offline and trusting nobody.
//!
//! A receipt holds a transaction, the Merkle branch that ties it to a block, and [`Evidence`] that the block is buried in
//! a chain, in one of three shapes: every header since genesis; every header since a checkpoint that the verifier
//! already holds; or a sample whose size grows with the logarithm of the chain ([`succinct`]). The verifier follows the
//! chain by its rules and so learns how much work stands behind the payment; the signatures are vouched for by the
//! miners, who would have wasted that work on an invalid block.
//!
//! What a receipt cannot say: that no chain with more work exists. Compare [`Proven::work`] with what others know.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use cairn::consensus::params::Params;
//! use cairn::receipt::Receipt;
//!
//! let params = Params::from_json(include_str!("../../tests/data/receipts/genesis.json"))?;
//! let receipt = Receipt::read(&include_bytes!("../../tests/data/receipts/succinct.bin")[..])?;
//! let proven = receipt.verify(&params, None)?;
//! assert_eq!((proven.height, proven.confirmations), (101, 200));
//! # Ok(())
//! # }
//! ```

mod binary;
#[cfg(feature = "node")]
pub mod car;
mod error;
mod json;
pub mod succinct;
#[cfg(test)]
mod tests;

use std::io::Read;

pub use error::ReceiptError;
pub use json::{checkpoint_from_json, checkpoint_to_json};

use crate::consensus::check::NODE_SIZE;
use crate::consensus::headers::{Checkpoint, HeaderChain};
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::merkle::Branch;
use crate::primitives::target::Work;
use crate::primitives::tx::Transaction;

/// The version written and read.
pub const VERSION: u32 = 1;
/// Most bytes of a file that are read: in JSON, a chain of about 1.6 million headers.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// A transaction, and why to believe that it is in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Hash of genesis of the network it is for.
    pub network: BlockHash,
    /// The transaction.
    pub transaction: Transaction,
    /// From the transaction to the root in its block's header.
    pub branch: Branch,
    /// Height of its block.
    pub height: u32,
    /// That the block is in a chain.
    pub evidence: Evidence,
    /// Hash of the last header: nothing else names it, so where difficulty is trivial damage to it would go unseen.
    pub tip: BlockHash,
}

/// Kinds of evidence that a block is buried in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// All headers from height 1 to the tip.
    Headers(Vec<Header>),
    /// All headers after a block that the verifier holds a checkpoint of.
    Since {
        /// That block's height.
        height: u32,
        /// That block.
        hash: BlockHash,
        /// The headers after it, to the tip.
        headers: Vec<Header>,
    },
    /// A sample of the headers, in the layout of [`succinct`].
    Succinct(Vec<u8>),
}

/// What a valid receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The transaction's id.
    pub txid: Txid,
    /// The block that holds it.
    pub block: BlockHash,
    /// That block's height.
    pub height: u32,
    /// That block's header.
    pub header: Header,
    /// Blocks on top of it, and it.
    pub confirmations: u32,
    /// The last block known to the receipt.
    pub tip: BlockHash,
    /// Its header's time, in seconds since 1970.
    pub tip_time: u32,
    /// The latest time of any header checked one after another, and of the tip. What has no clock cannot judge it.
    pub latest_time: u32,
    /// Expected hashes behind the whole chain.
    pub work: Work,
    /// Expected hashes from the transaction's block to the tip: what it would take to undo the payment.
    pub work_on_top: Work,
    /// Where to go on from, for receipts to come. A sample leaves nothing to continue.
    pub checkpoint: Option<Checkpoint>,
}

impl Receipt {
    /// Checks everything; needs nothing but the network's parameters, and for evidence since a checkpoint that
    /// checkpoint.
    ///
    /// # Errors
    /// The first reason why it proves nothing.
    pub fn verify(&self, params: &Params, held: Option<&Checkpoint>) -> Result<Proven, ReceiptError> {
        if self.network != params.genesis_hash {
            return Err(ReceiptError::OtherNetwork { got: self.network, expected: params.genesis_hash });
        }
        if self.transaction.size() == NODE_SIZE {
            return Err(ReceiptError::NodeSizedTransaction);
        }
        let Followed { header, block, before, tip_height, tip, latest_time, work, checkpoint } = match &self.evidence {
            Evidence::Headers(headers) => self.follow(HeaderChain::new(params), headers)?,
            Evidence::Since { height, hash, headers } => {
                let (height, got) = (*height, *hash);
                let held = held.ok_or(ReceiptError::NeedsCheckpoint { height, hash: got })?;
                let chain = HeaderChain::resume(params, held).ok_or(ReceiptError::BadCheckpoint)?;
                if (chain.height(), chain.tip_hash()) != (height, got) {
                    return Err(ReceiptError::OtherCheckpoint { height, got, expected: chain.tip_hash() });
                }
                self.follow(chain, headers)?
            }
            Evidence::Succinct(proof) => {
                let shown = succinct::verify(proof, self.height, params)?;
                let (header, block, before) = shown.block;
                let (tip_height, tip, latest_time) = (shown.height, shown.tip, shown.tip.time);
                Followed { header, block, before, tip_height, tip, latest_time, work: shown.work, checkpoint: None }
            }
        };
        let (txid, tip_hash) = (self.transaction.txid(), tip.hash());
        if tip_hash != self.tip {
            return Err(ReceiptError::OtherTip { got: tip_hash, expected: self.tip });
        }
        if !self.branch.verify(&txid, &header.merkle_root) {
            return Err(ReceiptError::NotInBlock { txid, block });
        }
        Ok(Proven {
            txid,
            block,
            height: self.height,
            header,
            confirmations: (tip_height - self.height).saturating_add(1),
            tip: tip_hash,
            tip_time: tip.time,
            latest_time,
            work,
            work_on_top: work - before,
            checkpoint,
        })
    }

    /// Follows headers from the end of `chain`, and finds the payment's block on the way.
    fn follow(&self, mut chain: HeaderChain<'_>, headers: &[Header]) -> Result<Followed, ReceiptError> {
        let first = chain.height();
        // The block's header, its hash, and the work before it.
        let mut found = (self.height == first).then(|| {
            let own_work = chain.tip().bits.target().map(|target| target.work()).unwrap_or_default();
            (*chain.tip(), chain.tip_hash(), chain.work() - own_work)
        });
        let mut latest_time = chain.tip().time;
        for header in headers {
            latest_time = latest_time.max(header.time);
            let before = chain.work();
            let hash = chain.push(header)?;
            if chain.height() == self.height {
                found = Some((*header, hash, before));
            }
        }
        let tip_height = chain.height();
        let none = ReceiptError::NoSuchHeight { height: self.height, first, tip: tip_height };
        let (header, block, before) = found.ok_or(none)?;
        let (tip, work, checkpoint) = (*chain.tip(), chain.work(), Some(chain.checkpoint()));
        Ok(Followed { header, block, before, tip_height, tip, latest_time, work, checkpoint })
    }

    /// Reads a file's content in either form, up to [`MAX_FILE_BYTES`].
    ///
    /// # Errors
    /// [`ReceiptError`] if it is not a receipt that this program reads. Whether it proves anything is for
    /// [`Receipt::verify`].
    pub fn read(reader: impl Read) -> Result<Self, ReceiptError> {
        let mut bytes = Vec::new();
        reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(ReceiptError::TooLarge { max: MAX_FILE_BYTES });
        }
        if bytes.starts_with(&binary::MAGIC) { Self::from_bytes(&bytes) } else { Self::from_json(&bytes) }
    }
}

/// What evidence of any shape comes to.
struct Followed {
    /// The payment's block.
    header: Header,
    block: BlockHash,
    /// Work of all blocks before it.
    before: Work,
    tip_height: u32,
    tip: Header,
    latest_time: u32,
    work: Work,
    checkpoint: Option<Checkpoint>,
}
