//! Work for miners outside this process: the next block, and what becomes of one that was found.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::clock::Clock;
use super::link::{NodeLink, Stopped};
use crate::chain::{ChainError, ChainUpdate};
use crate::consensus::error::RuleError;
use crate::miner::template::{self, Template};
use crate::p2p::{Command, Node, Now};
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::PublicKey;
use crate::storage::StoreError;

/// How old work may be while the tip stays: new transactions wait so long for their first chance (Bitcoin Core's 5 s).
const MAX_AGE: Duration = Duration::from_secs(5);
/// The payee of a template until one is set.
const NO_PAYEE: PublicKey = PublicKey([0; 32]);

/// The block to mine next, made on the node's thread at each new tip and otherwise every five seconds at most, however
/// many ask for it.
pub struct Templates {
    link: NodeLink,
    clock: Clock,
    last: Mutex<Option<Built>>,
}

struct Built {
    template: Template,
    revision: u64,
    at: Instant,
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The chain does not say what the next block is like, or not yet.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl Templates {
    pub(super) fn new(link: NodeLink, clock: Clock) -> Self {
        Self { link, clock, last: Mutex::default() }
    }

    /// The next block, which pays `payee`, has an extra nonce that no other answer has, and the present time; and the
    /// mempool's revision that it was made at. What was made at revision `known` will not do if there is a newer one.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub async fn get(&self, payee: PublicKey, known: Option<u64>) -> Result<(Template, u64), TemplateError> {
        let mut last = self.last.lock().await;
        let tip = self.link.tip().borrow().hash;
        let is_fresh = |built: &Built| {
            built.template.header.previous == tip && built.at.elapsed() < MAX_AGE && known != Some(built.revision)
        };
        if !last.as_ref().is_some_and(is_fresh) {
            let known = last.as_ref().map(|built| (built.template.header.previous, built.revision));
            let renewed = self.link.read(move |node, now| {
                let (chain, mempool) = (node.chain(), node.mempool());
                if known == Some((chain.tip().hash, mempool.revision())) {
                    return Ok(None);
                }
                let template = template::build(chain, mempool, &NO_PAYEE, 0, now.unix)?;
                Ok::<_, ChainError>(Some(Built { template, revision: mempool.revision(), at: Instant::now() }))
            });
            match (renewed.await??, &mut *last) {
                (Some(built), _) => *last = Some(built),
                (None, Some(built)) => built.at = Instant::now(),
                // `None` is answered only if there is something to keep.
                (None, None) => {}
            }
        }
        let Some(built) = &*last else { return Err(Stopped.into()) };
        let mut template = built.template.clone();
        template.header.time =
            u32::try_from(self.clock.now().unix.as_secs()).unwrap_or(u32::MAX).max(template.min_time);
        template.set_payee(payee);
        template.set_extra_nonce(rand::random());
        Ok((template, built.revision))
    }
}

/// Why a submitted block is not the new tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// BIP-22's word for it, or Bitcoin Core's.
    pub reason: &'static str,
    /// The same for people.
    pub detail: String,
}

impl Rejection {
    fn new(reason: &'static str, detail: impl ToString) -> Self {
        Self { reason, detail: detail.to_string() }
    }

    fn of(error: ChainError) -> Result<Self, StoreError> {
        let reason = match &error {
            ChainError::Store(_) => "",
            ChainError::Rule { source, .. } => word(source),
            ChainError::UnknownParent { .. } => "prev-blk-not-found",
            ChainError::Duplicate { .. } => "duplicate",
            ChainError::Refused { .. }
            | ChainError::TooDeep { .. }
            | ChainError::Pruned { .. }
            | ChainError::NotPruning
            | ChainError::TooShort { .. }
            | ChainError::UnknownBlock { .. }
            | ChainError::StatePending { .. }
            | ChainError::Loading { .. }
            | ChainError::GenesisIsFixed => "rejected",
        };
        match error {
            ChainError::Store(error) => Err(error),
            error => Ok(Self::new(reason, error)),
        }
    }
}

/// Accepts a submitted block: `None` if it is in the best chain now, else why not.
///
/// # Errors
/// [`Stopped`] if the node stopped before it came to this; the store's, which say nothing about the block.
pub async fn submit(link: &NodeLink, block: Block) -> Result<Result<Option<Rejection>, StoreError>, Stopped> {
    let hash = block.hash();
    link.decide(move |node, _, reply| {
        if let Some(duplicate) = duplicate(node, hash) {
            reply.send(Ok(Some(duplicate)));
            return None;
        }
        let reply = reply.map(move |result: Result<ChainUpdate, ChainError>| match result {
            Ok(update) => {
                let connected = update.connected.iter().any(|block| block.hash() == hash);
                let aside =
                    || Rejection::new("inconclusive", format!("block {hash} is stored, but not in the best chain"));
                Ok((!connected).then(aside))
            }
            Err(error) => Rejection::of(error).map(Some),
        });
        Some(Command::SubmitBlock(block, reply))
    })
    .await
}

/// What is said of a block that the node has already.
fn duplicate(node: &Node, hash: BlockHash) -> Option<Rejection> {
    let entry = node.chain().entry(&hash).filter(|entry| entry.has_body())?;
    let reason = if entry.is_invalid() { "duplicate-invalid" } else { "duplicate" };
    Some(Rejection::new(reason, ChainError::Duplicate { hash }))
}

/// Whether a block could be the next, its proof of work aside: `None`, or why not. The block is not kept.
///
/// # Errors
/// The store's, which say nothing about the block.
pub fn propose(node: &Node, now: Now, block: Block) -> Result<Option<Rejection>, StoreError> {
    let (chain, mempool) = (node.chain(), node.mempool());
    let hash = block.hash();
    if let Some(duplicate) = duplicate(node, hash) {
        return Ok(Some(duplicate));
    }
    let (parent, tip) = (block.header.previous, chain.tip().hash);
    if parent != tip {
        let detail = format!("block {hash}: parent is {parent}, the tip is {tip}");
        return Ok(Some(Rejection::new("inconclusive-not-best-prevblk", detail)));
    }
    match chain.check_proposal(block, now.unix, &|txid| mempool.is_verified(txid)) {
        Ok(()) => Ok(None),
        Err(error) => Rejection::of(error).map(Some),
    }
}

/// A broken rule in the words that mining software knows.
fn word(rule: &RuleError) -> &'static str {
    match rule {
        RuleError::Encoding(_) => "rejected",
        RuleError::BadBits(_) | RuleError::EasierThanLimit { .. } | RuleError::WrongBits { .. } => "bad-diffbits",
        RuleError::HighHash { .. } => "high-hash",
        RuleError::TimeTooOld { .. } => "time-too-old",
        RuleError::TimeTooNew { .. } => "time-too-new",
        RuleError::InvalidParent { .. } => "bad-prevblk",
        RuleError::WrongMerkleRoot { .. } => "bad-txnmrklroot",
        RuleError::MutatedMerkleTree => "bad-txns-duplicate",
        RuleError::NodeSizedTransaction { .. } | RuleError::TransactionTooLarge { .. } => "bad-txns-size",
        RuleError::BlockTooLarge { .. } | RuleError::EmptyBlock => "bad-blk-length",
        RuleError::FirstNotCoinbase { .. } => "bad-cb-missing",
        RuleError::NoInputs { .. } => "bad-cb-multiple",
        RuleError::NoOutputs { .. } => "bad-txns-vout-empty",
        RuleError::DuplicateInput { .. } => "bad-txns-inputs-duplicate",
        RuleError::DataTooLong { .. } | RuleError::DataWithValue { .. } | RuleError::TooManyData { .. } => {
            "bad-txns-data"
        }
        RuleError::KeyWithoutValue { .. } => "bad-txns-vout-zero",
        RuleError::ValueOverflow { .. } => "bad-txns-txouttotal-toolarge",
        RuleError::CoinbaseHeight { .. } => "bad-cb-height",
        RuleError::NoCommitment | RuleError::ShortCommitment { .. } | RuleError::WrongCommitment { .. } => {
            "bad-cb-commitment"
        }
        RuleError::CoinbaseTooHigh { .. } => "bad-cb-amount",
        RuleError::Locked { .. } => "bad-txns-nonfinal",
        RuleError::MissingCoin { .. } => "bad-txns-inputs-missingorspent",
        RuleError::ImmatureCoin { .. } => "bad-txns-premature-spend-of-coinbase",
        RuleError::Overspend { .. } => "bad-txns-in-belowout",
        RuleError::BadSignature { .. } => "bad-txns-signature",
    }
}
