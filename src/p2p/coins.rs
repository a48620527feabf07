//! Proofs of what a key owned after an edge of the chain, for light clients.
//!
//! The coinbase of every block commits to the root over all coins after an earlier block. An [`Opening`] shows that root
//! and leads to the block's header. A [`CoinAnswer`] leads from the root to the coins of one key.

use crate::consensus::commitment::Committed;
use crate::consensus::connect::commitment_of;
use crate::consensus::error::RuleError;
use crate::p2p::proofs::{MAX_OVERHEAD, TxProof};
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{Commitment, StateRoot, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::OutPoint;
use crate::state::proof::ProveError;
use crate::state::{Key, KeyRange, Leaf, Source, StateId, StateProofError, Total};

/// Coins of a page of a key's that is not the last: as many as the node's thread proves in some milliseconds.
pub const PEER_PAGE_COINS: usize = 500;

/// Most bytes of the proof of a page: those of its coins, 86 each, and of at most 1,088 hidden nodes beside them, 50 each.
pub(super) const fn max_proof_bytes(coins: usize) -> usize {
    86 * coins + 50 * 1_088 + 1_024
}

/// Most bytes of an opening besides its coinbase.
pub(super) const MAX_OPENING_OVERHEAD: usize = MAX_OVERHEAD + 3 * 32;

/// What the coinbase of a block commits to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// The coinbase, in its block.
    pub coinbase: TxProof,
    /// What its data begins with the hash of.
    pub committed: Committed,
}

/// Why an opening does not hold. That of its branch is a [`ProofFault`](crate::p2p::proofs::ProofFault).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningFault {
    /// It is of another block than was asked for.
    #[error("it is not of the requested block")]
    OtherBlock,
    /// The transaction is not the first of its block, or has inputs.
    #[error("transaction {txid} is no coinbase")]
    NotCoinbase {
        /// The transaction shown.
        txid: Txid,
    },
    /// The coinbase has no commitment.
    #[error("the coinbase: {0}")]
    NoCommitment(RuleError),
    /// The coinbase commits to something else.
    #[error("the coinbase commits to {expected}, not to {got}")]
    OtherCommitment {
        /// What the shown parts come to.
        got: Commitment,
        /// What the coinbase says.
        expected: Commitment,
    },
}

impl Opening {
    /// Checks that the coinbase commits to what is shown. Whether it is in a block of the chain is for the caller to check.
    ///
    /// # Errors
    /// The first reason why it does not.
    pub fn check(&self) -> Result<&Committed, OpeningFault> {
        let coinbase = &self.coinbase.transaction;
        if !coinbase.is_coinbase() || self.coinbase.branch.index != 0 {
            return Err(OpeningFault::NotCoinbase { txid: coinbase.txid() });
        }
        let expected = commitment_of(coinbase).map_err(OpeningFault::NoCommitment)?;
        let got = self.committed.commitment();
        if got == expected { Ok(&self.committed) } else { Err(OpeningFault::OtherCommitment { got, expected }) }
    }
}

/// A question about the coins of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct CoinQuery {
    /// The root over all coins after the edge.
    pub root: StateRoot,
    /// Whose coins.
    pub owner: PublicKey,
    /// Which of them.
    pub about: About,
}

/// Which coins of a key a [`CoinQuery`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum About {
    /// The value and number of all.
    Total,
    /// Each, from this one on, in the order of transaction id and index: up to [`PEER_PAGE_COINS`].
    From(OutPoint),
    /// This one alone.
    One(OutPoint),
}

impl About {
    /// The first page of a key's coins.
    pub const FIRST: Self = Self::From(OutPoint { txid: Txid::from_bytes([0; 32]), index: 0 });
}

/// The answer to a [`CoinQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CoinAnswer {
    /// What was asked.
    pub query: CoinQuery,
    /// `None` if the sender does not have that state, or no longer.
    pub proof: Option<CoinProof>,
}

/// A proof in the layout of [`crate::state::proof`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CoinProof {
    /// The proof.
    pub bytes: Vec<u8>,
    /// The last coin of a page that others follow.
    pub end: Option<OutPoint>,
}

/// What a valid [`CoinAnswer`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownCoins {
    /// The value and number of all coins.
    Total(Total),
    /// Coins, none left out, and where the next page begins.
    Page(Vec<Leaf>, Option<OutPoint>),
    /// The coin, or that the key has no such coin.
    One(Option<Leaf>),
}

impl CoinQuery {
    /// Most bytes of an encoding.
    pub const MAX_LEN: usize = 32 + 32 + 4 + 36;

    fn range(&self) -> KeyRange {
        let lock = KeyRange::lock(&self.owner);
        match &self.about {
            About::Total => lock,
            // Of the same owner, so not beyond its last key.
            About::From(first) => KeyRange::new(Key::new(&self.owner, first), *lock.last()).unwrap_or(lock),
            About::One(outpoint) => KeyRange::key(Key::new(&self.owner, outpoint)),
        }
    }

    /// Proves the answer from the state.
    ///
    /// # Errors
    /// [`ProveError`].
    pub(super) fn prove<E>(&self, source: &Source<'_, E>) -> Result<CoinProof, ProveError<E>> {
        let (bytes, end) = match self.about {
            About::Total => (source.prove_total(&self.range())?, None),
            About::From(_) | About::One(_) => source.prove_page_of(PEER_PAGE_COINS, &self.range())?,
        };
        Ok(CoinProof { bytes, end: end.map(|end| end.outpoint()) })
    }

    /// What a proof shows of the state `id`, whose root is the query's.
    ///
    /// # Errors
    /// The first reason why it shows nothing.
    pub fn check(&self, id: &StateId, proof: &CoinProof) -> Result<ShownCoins, StateProofError> {
        let (range, bytes) = (self.range(), &proof.bytes);
        let end = proof.end.map(|end| Key::new(&self.owner, &end));
        Ok(match self.about {
            About::Total => ShownCoins::Total(id.total(&range, bytes)?),
            About::From(_) => {
                let page = id.page_of(PEER_PAGE_COINS, &range, end.as_ref(), bytes)?;
                ShownCoins::Page(page.leaves, page.rest.map(|rest| rest.first().outpoint()))
            }
            About::One(_) => ShownCoins::One(id.page(&range, None, bytes)?.leaves.pop()),
        })
    }
}

impl CoinAnswer {
    /// Most bytes of an encoding.
    pub(super) const MAX_LEN: usize = CoinQuery::MAX_LEN + 1 + 8 + max_proof_bytes(PEER_PAGE_COINS) + 1 + 36;
}
