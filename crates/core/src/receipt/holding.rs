//! Receipts for coins: what a key owned after an edge of the chain, all of it, checked with genesis.json alone.
//!
//! Such a receipt is one for the coinbase of a block, with what that coinbase commits to: the root over all coins after an
//! earlier block ([`Params::committed_state`]). A proof from that root shows the coins ([`crate::state`]). The work on top
//! of the coinbase's block vouches for the root; what became of the coins since is not in it.

use serde::{Deserialize, Serialize};

use super::json::{File, check_format, hash, lower_hex};
use super::{Proven, Receipt, ReceiptError};
use crate::consensus::commitment::{commitment, ledger_root};
use crate::consensus::connect::commitment_of;
use crate::consensus::error::RuleError;
use crate::consensus::headers::Checkpoint;
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{BlockHash, Commitment, FilterHeader, MmrRoot};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::OutPoint;
use crate::state::proof::ProveError;
use crate::state::{Key, KeyRange, Leaf, Source, StateId, StateProofError, Total};

/// The `format` field of every one.
const FORMAT: &str = "cairn-holding";

/// What a [`HoldingReceipt`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// What the coins of a key are worth, and how many they are.
    Balance(PublicKey),
    /// All coins of a key, up to [`PAGE_COINS`](crate::state::proof::PAGE_COINS).
    Coins(PublicKey),
    /// One coin, of a key.
    Coin(PublicKey, OutPoint),
}

impl Question {
    /// Whose coins they are.
    pub fn owner(&self) -> &PublicKey {
        let (Self::Balance(owner) | Self::Coins(owner) | Self::Coin(owner, _)) = self;
        owner
    }

    /// Proves the answer from a state; `None` if there are more coins than one proof shows.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove<E>(&self, source: &Source<'_, E>) -> Result<Option<Vec<u8>>, ProveError<E>> {
        let range = match self {
            Self::Balance(owner) => return source.prove_total(&KeyRange::lock(owner)).map(Some),
            Self::Coins(owner) => KeyRange::lock(owner),
            Self::Coin(owner, outpoint) => KeyRange::key(Key::new(owner, outpoint)),
        };
        source.prove_page(&range).map(|(proof, end)| end.is_none().then_some(proof))
    }

    /// The answer that a proof shows.
    ///
    /// # Errors
    /// The first reason why it shows none.
    pub fn answer(&self, state: &StateId, proof: &[u8]) -> Result<Holding, StateProofError> {
        Ok(match self {
            Self::Balance(owner) => Holding::Balance(state.total(&KeyRange::lock(owner), proof)?),
            Self::Coins(owner) => Holding::Coins(state.page(&KeyRange::lock(owner), None, proof)?.leaves),
            Self::Coin(owner, outpoint) => Holding::Coin(state.coin(&Key::new(owner, outpoint), proof)?),
        })
    }
}

/// What a valid receipt shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// The value and number of all coins of the key.
    Balance(Total),
    /// All coins of the key.
    Coins(Vec<Leaf>),
    /// The coin; `None` if the key had no such coin: it was spent, or is another's, or was never made.
    Coin(Option<Leaf>),
}

impl Holding {
    /// What the coins are worth, and how many they are.
    pub fn total(&self) -> Total {
        if let Self::Balance(total) = self {
            return *total;
        }
        let coins = self.coins().unwrap_or_default();
        // A valid proof has no more value than there can be.
        Total { sum: Amount::saturating_sum(coins.iter().map(|leaf| leaf.value)), count: coins.len() as u64 }
    }

    /// The coins, if each is shown.
    pub fn coins(&self) -> Option<&[Leaf]> {
        match self {
            Self::Balance(_) => None,
            Self::Coins(leaves) => Some(leaves),
            Self::Coin(leaf) => Some(leaf.as_slice()),
        }
    }
}

/// A question about a key's coins after a block, its answer, and why to believe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingReceipt {
    /// The question.
    pub question: Question,
    /// The coins that it is about: those after this block.
    pub state: StateId,
    /// The answer, in the layout of [`crate::state::proof`].
    pub proof: Vec<u8>,
    /// What the coinbase commits to besides the state: all headers before its block,
    pub range: MmrRoot,
    /// and the filter header of its block's parent.
    pub filters: FilterHeader,
    /// Of the coinbase of a block that commits to the state.
    pub receipt: Receipt,
}

/// Why a receipt for coins shows nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what was got and expected; the messages say the rest.
pub enum HoldingError {
    /// The receipt for the coinbase is at fault.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The transaction is no coinbase.
    #[error("the receipt is not for a coinbase, which alone commits to coins")]
    NotCoinbase,
    /// The coinbase has no commitment: no valid block has such a one.
    #[error("the receipt's coinbase: {0}")]
    Coinbase(#[from] RuleError),
    /// Blocks at that height commit to the coins after another block, or to none.
    #[error("block {height} does not commit to the coins after block {got}")]
    OtherState { height: Height, got: Height },
    /// The coinbase commits to something else.
    #[error("the coinbase commits to {expected}, not to {got}, which is over these headers, coins and filters")]
    OtherCommitment { got: Commitment, expected: Commitment },
    /// The proof does not lead from the state to the answer.
    #[error("the proof of the coins: {0}")]
    Proof(#[from] StateProofError),
}

impl HoldingReceipt {
    /// Checks everything, as [`Receipt::verify`] does. How much work is enough is for the caller to say.
    ///
    /// # Errors
    /// The first reason why it shows nothing.
    pub fn verify(
        &self,
        params: &Params,
        held: Option<&Checkpoint>,
        now: UnixTime,
    ) -> Result<(Proven, Holding), HoldingError> {
        let proven = self.receipt.verify(params, held, now)?;
        let coinbase = &self.receipt.transaction;
        if !coinbase.is_coinbase() || self.receipt.branch.index != 0 {
            return Err(HoldingError::NotCoinbase);
        }
        if params.committed_state(proven.height) != Some(self.state.height) {
            return Err(HoldingError::OtherState { height: proven.height, got: self.state.height });
        }
        let got = commitment(&self.range, &ledger_root(&self.state.root, &self.filters));
        let expected = commitment_of(coinbase)?;
        if got != expected {
            return Err(HoldingError::OtherCommitment { got, expected });
        }
        let holding = self.question.answer(&self.state, &self.proof)?;
        Ok((proven, holding))
    }

    /// Whether JSON text claims to be one.
    pub fn is_format_of(text: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Named {
            format: String,
        }

        serde_json::from_slice::<Named>(text).is_ok_and(|named| named.format == FORMAT)
    }

    /// Reads one from JSON text.
    ///
    /// # Errors
    /// [`HoldingError::Receipt`] if it is not of this form.
    pub fn from_json(text: &[u8]) -> Result<Self, HoldingError> {
        let file: HoldingFile = serde_json::from_slice(text).map_err(ReceiptError::from)?;
        Ok(file.into_receipt()?)
    }

    /// Reads one from parsed JSON.
    ///
    /// # Errors
    /// [`HoldingError::Receipt`] if it is not of this form.
    pub fn from_value(value: serde_json::Value) -> Result<Self, HoldingError> {
        let file: HoldingFile = serde_json::from_value(value).map_err(ReceiptError::from)?;
        Ok(file.into_receipt()?)
    }

    /// The receipt as JSON text, with a newline at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialize");
        text.push('\n');
        text
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldingFile {
    format: String,
    version: u32,
    question: FileQuestion,
    /// Height and hash of the block after which the coins are, and the root over them.
    height: Height,
    block: String,
    state_root: String,
    /// In the layout of the module `state::proof`.
    proof: String,
    range_root: String,
    filter_header: String,
    /// The coinbase's.
    receipt: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
enum FileQuestion {
    Balance { owner: String },
    Coins { owner: String },
    Coin { owner: String, txid: String, index: u32 },
}

/// Serializes the form that [`HoldingReceipt::to_json`] writes.
impl Serialize for HoldingReceipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let owner = hex::encode(self.question.owner().0);
        let question = match self.question {
            Question::Balance(_) => FileQuestion::Balance { owner },
            Question::Coins(_) => FileQuestion::Coins { owner },
            Question::Coin(_, OutPoint { txid, index }) => FileQuestion::Coin { owner, txid: txid.to_string(), index },
        };
        HoldingFile {
            format: FORMAT.to_owned(),
            version: super::VERSION,
            question,
            height: self.state.height,
            block: self.state.block.to_string(),
            state_root: self.state.root.to_string(),
            proof: hex::encode(&self.proof),
            range_root: self.range.to_string(),
            filter_header: self.filters.to_string(),
            receipt: File::new(&self.receipt),
        }
        .serialize(serializer)
    }
}

impl HoldingFile {
    fn into_receipt(self) -> Result<HoldingReceipt, ReceiptError> {
        check_format(&self.format, FORMAT, self.version)?;
        let owner = |text: &str| {
            let expected = "a public key: 64 lower-case hex digits";
            let key = lower_hex("owner", expected, text)?.try_into();
            key.map(PublicKey).map_err(|_| ReceiptError::Hex { field: "owner", expected })
        };
        let question = match &self.question {
            FileQuestion::Balance { owner: text } => Question::Balance(owner(text)?),
            FileQuestion::Coins { owner: text } => Question::Coins(owner(text)?),
            FileQuestion::Coin { owner: text, txid, index } => {
                Question::Coin(owner(text)?, OutPoint { txid: hash("txid", txid)?, index: *index })
            }
        };
        let block: BlockHash = hash("block", &self.block)?;
        Ok(HoldingReceipt {
            question,
            state: StateId { height: self.height, block, root: hash("state_root", &self.state_root)? },
            proof: lower_hex("proof", "lower-case hex", &self.proof)?,
            range: hash("range_root", &self.range_root)?,
            filters: hash("filter_header", &self.filter_header)?,
            receipt: self.receipt.into_receipt()?,
        })
    }
}
