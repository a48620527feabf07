//! Receipts: proofs of payments that a verifier with genesis.json checks offline, without trust.
//!
//! A receipt holds a transaction, the Merkle branch that ties it to a block, and [`Evidence`] that the block is buried in
//! a chain, in one of three shapes: every header since genesis; every header since a checkpoint that the verifier
//! already holds; or a sample whose size grows with the logarithm of the chain ([`succinct`]). The verifier follows the
//! chain by its rules and so learns how much work stands behind the payment; the signatures are vouched for by the
//! miners, who would have wasted that work on an invalid block.
//!
//! Confirmations are counted in work ([`weight`]), never in headers: those of a branch that begins at an old tip cost
//! next to nothing.
//!
//! What a receipt cannot say: that no chain with more work exists. Compare [`Proven::work`] with what others know.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use cairn_core::consensus::params::Params;
//! use cairn_core::primitives::time::UnixTime;
//! use cairn_core::receipt::Receipt;
//!
//! let params = Params::from_json(include_str!("../../tests/data/receipts/genesis.json"))?;
//! let receipt = Receipt::read(&include_bytes!("../../tests/data/receipts/succinct.bin")[..])?;
//! let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
//! let now = UnixTime::from_secs(now);
//! let proven = receipt.verify(&params, None, now)?;
//! assert_eq!((proven.height.as_u32(), proven.headers, proven.weight.confirmations >= 6), (101, 200, true));
//! # Ok(())
//! # }
//! ```

mod binary;
mod bump;
pub mod car;
mod error;
pub mod holding;
mod json;
pub mod succinct;
#[cfg(test)]
mod tests;
pub mod weight;

use std::io::Read;
use std::time::Duration;

pub use error::ReceiptError;
pub use holding::{Holding, HoldingError, HoldingReceipt, Question};
pub use json::{checkpoint_from_json, checkpoint_to_json};

use crate::consensus::check::NODE_SIZE;
use crate::consensus::headers::{Checkpoint, HeaderTail};
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Transaction;
use weight::{Milestone, Weight, backwards, due_until, weigh, work_of};

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
    pub height: Height,
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
        height: Height,
        /// That block.
        hash: BlockHash,
        /// The headers after it, to the tip.
        headers: Vec<Header>,
    },
    /// A sample of the headers, in the layout of [`succinct`].
    Succinct(Vec<u8>),
}

/// Block spacings after which a chain's end is old: what is shown is then not what miners work on now.
const OLD_SPACINGS: u64 = 64;

/// What a valid receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The transaction's id.
    pub txid: Txid,
    /// The block that holds it.
    pub block: BlockHash,
    /// That block's height.
    pub height: Height,
    /// That block's header.
    pub header: Header,
    /// Headers from the block to the tip, both included. They are no measure of safety: [`Weight::confirmations`] is.
    pub headers: u32,
    /// What stands on top of the payment, its block included.
    pub weight: Weight,
    /// The last block known to the receipt.
    pub tip: BlockHash,
    /// Its header's time, in seconds since 1970.
    pub tip_time: u32,
    /// Whether the tip is so old that its miners have long gone on: what came later is not shown.
    pub is_old: bool,
    /// Expected hashes behind the whole chain.
    pub work: Work,
    /// Where to go on from, for receipts to come. A sample leaves nothing to continue.
    pub checkpoint: Option<Checkpoint>,
}

impl Receipt {
    /// Checks everything; needs nothing but the network's parameters, the time `now`, and for
    /// evidence since a checkpoint that checkpoint. How much work is enough is for the caller to say: see
    /// [`Proven::demand`].
    ///
    /// # Errors
    /// The first reason why it proves nothing.
    pub fn verify(&self, params: &Params, held: Option<&Checkpoint>, now: UnixTime) -> Result<Proven, ReceiptError> {
        if self.network != params.genesis_hash {
            return Err(ReceiptError::OtherNetwork { got: self.network, expected: params.genesis_hash });
        }
        if self.transaction.size() == NODE_SIZE {
            return Err(ReceiptError::NodeSizedTransaction);
        }
        let followed = match &self.evidence {
            Evidence::Headers(headers) => self.follow(HeaderTail::new(params), headers, params, now)?,
            Evidence::Since { height, hash, headers } => {
                let (height, got) = (*height, *hash);
                let held = held.ok_or(ReceiptError::NeedsCheckpoint { height, hash: got })?;
                let chain = HeaderTail::resume(params, held).ok_or(ReceiptError::BadCheckpoint)?;
                if (chain.height(), chain.tip_hash()) != (height, got) {
                    return Err(ReceiptError::OtherCheckpoint { height, got, expected: chain.tip_hash() });
                }
                self.follow(chain, headers, params, now)?
            }
            Evidence::Succinct(proof) => succinct::verify(proof, self.height, params, now)?,
        };
        let Followed { header, block, weight, tip_height, tip, work, checkpoint } = followed;
        let (txid, tip_hash) = (self.transaction.txid(), tip.hash());
        if tip_hash != self.tip {
            return Err(ReceiptError::OtherTip { got: tip_hash, expected: self.tip });
        }
        // Nodes took the tip when their clocks had come near its time, so it is not ahead of a later clock; no header below
        // it has a later time.
        let latest = now.saturating_add(Duration::from_secs(params.max_future_secs.into()));
        if tip.unix_time() > latest {
            return Err(ReceiptError::FromTheFuture { time: tip.time, latest });
        }
        if !self.branch.verify(&txid, &header.merkle_root) {
            return Err(ReceiptError::NotInBlock { txid, block });
        }
        let old_after = Duration::from_secs(OLD_SPACINGS * u64::from(params.target_spacing_secs));
        Ok(Proven {
            txid,
            block,
            height: self.height,
            header,
            headers: tip_height.blocks_since(self.height).saturating_add(1),
            weight: weight.under(params),
            tip: tip_hash,
            tip_time: tip.time,
            is_old: now > tip.unix_time().saturating_add(old_after),
            work,
            checkpoint,
        })
    }

    /// Follows headers from the end of `chain`, and finds the payment's block on the way.
    fn follow(
        &self,
        mut chain: HeaderTail,
        headers: &[Header],
        params: &Params,
        now: UnixTime,
    ) -> Result<Followed, ReceiptError> {
        let first = chain.height();
        let start = *chain.tip();
        // The block's header, its hash, and the work up to it.
        let mut found = (self.height == first).then(|| (start, chain.tip_hash(), chain.work()));
        for header in headers {
            let hash = chain.push(header, params)?;
            if chain.height() == self.height {
                found = Some((*header, hash, chain.work()));
            }
        }
        let tip_height = chain.height();
        let none = ReceiptError::NoSuchHeight { height: self.height, first, tip: tip_height };
        let (header, block, after) = found.ok_or(none)?;
        let (tip, work, checkpoint) = (*chain.tip(), chain.work(), Some(chain.checkpoint()));
        // Those before the payment's block, the last one first; where it stands first, there is none.
        let before = [start];
        let before = before.iter().chain(headers).take(self.height.blocks_since(first) as usize).collect::<Vec<_>>();
        let milestone = Milestone { after, own: work_of(&header), time: header.time };
        let earlier = backwards(before.into_iter().rev(), after - milestone.own);
        let weight = weigh(milestone, earlier, work, due_until(tip.time, now, params));
        Ok(Followed { header, block, weight, tip_height, tip, work, checkpoint })
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

impl Proven {
    /// Demands that the work on top be worth `units` blocks such as there were shortly before the payment.
    ///
    /// # Errors
    /// [`ReceiptError::TooLittleWork`] if it is less.
    pub fn demand(&self, units: u32) -> Result<(), ReceiptError> {
        let Weight { confirmations, .. } = self.weight;
        if confirmations < units {
            return Err(ReceiptError::TooLittleWork { got: confirmations, expected: units, headers: self.headers });
        }
        Ok(())
    }

    /// Reasons to doubt that the chain shown is the one that miners work on: none of them refutes it.
    pub fn warnings(&self) -> Vec<String> {
        let old = self.is_old.then(|| {
            format!("the chain shown ends at time {}: what miners have done since then is not in it", self.tip_time)
        });
        self.weight.warnings().into_iter().chain(old).collect()
    }
}

/// What evidence of any shape comes to.
struct Followed {
    /// The payment's block.
    header: Header,
    block: BlockHash,
    weight: Weight,
    tip_height: Height,
    tip: Header,
    work: Work,
    checkpoint: Option<Checkpoint>,
}
