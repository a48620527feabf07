//! Block templates: the next block without its nonce.

use std::sync::Arc;

use crate::chain::{Chain, ChainError};
use crate::mempool::Mempool;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::{Commitment, Hash256, MerkleRoot, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::merkle::Branch;
use crate::primitives::target::Target;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::{Lock, Output, Transaction};

/// Bytes of the extra nonce in a coinbase's data, after the commitment.
pub const EXTRA_NONCE_LEN: usize = size_of::<u64>();
/// Follows the extra nonce.
const TAG: &[u8] = b"/cairn/";

/// Margin below the latest time that this node accepts, because other nodes' clocks may be some seconds behind, as may
/// this node's when the block is submitted.
const TIME_MARGIN_SECS: u32 = 10;

/// The latest time that external miners may give a block at `now`, where blocks may be `max_future_secs` ahead of the
/// clock. A later minimum time of the block overrides it.
pub fn latest_time(now: UnixTime, max_future_secs: u32) -> u32 {
    let ahead = max_future_secs - TIME_MARGIN_SECS.min(max_future_secs / 2);
    u32::try_from(now.as_secs().saturating_add(u64::from(ahead))).unwrap_or(u32::MAX)
}

/// A block without a nonce. Cheap to clone and to give another extra nonce: the transactions are shared, and of the
/// Merkle tree only the coinbase's branch is hashed again.
#[derive(Debug, Clone)]
pub struct Template {
    /// The header, with nonce 0.
    pub header: Header,
    /// Its height.
    pub height: Height,
    /// What its hash must meet.
    pub target: Target,
    /// The earliest time that its header may have.
    pub min_time: u32,
    /// Fees of its transactions.
    pub fees: Amount,
    /// The coinbase, which has the extra nonce.
    pub coinbase: Transaction,
    /// The other transactions, in order.
    pub transactions: Arc<[Arc<Transaction>]>,
    /// Id and fee of each of them.
    pub details: Arc<[(Txid, Amount)]>,
    extra_nonce: u64,
    commitment: Commitment,
    /// The coinbase's siblings in the Merkle tree, lowest first.
    siblings: Arc<[Hash256]>,
}

/// The best block to put on `chain`'s tip: fullest with fees from `mempool`, all of it and the subsidy to `payee`,
/// who gets no output where both are nothing.
/// The block's time is `now`, or later if the chain's is.
///
/// Miners that search in parallel use different `extra_nonce`s or payees.
///
/// # Errors
/// [`ChainError::StatePending`] while the root over the coins is computed that the block commits to;
/// [`ChainError::Loading`]; [`ChainError::Store`]; and
/// [`RuleError::BadBits`](crate::consensus::error::RuleError::BadBits) if the bits due stand for no target, which those of a
/// valid network never do.
pub fn build(
    chain: &Chain,
    mempool: &Mempool,
    payee: &PublicKey,
    extra_nonce: u64,
    now: UnixTime,
) -> Result<Template, ChainError> {
    let choose = |room| {
        let entries = mempool.select(room).into_iter();
        entries.map(|entry| (entry.tx.shared().clone(), entry.txid, entry.fee)).collect()
    };
    assemble(chain, payee, extra_nonce, now, choose)
}

/// A block of `transactions` alone, in this order, on `chain`'s tip; they are not checked. The coinbase takes the subsidy, and
/// not their fees.
///
/// # Errors
/// As [`build`]'s.
pub fn build_of(
    chain: &Chain,
    transactions: Vec<Arc<Transaction>>,
    payee: &PublicKey,
    extra_nonce: u64,
    now: UnixTime,
) -> Result<Template, ChainError> {
    let chosen = |tx: Arc<Transaction>| {
        let txid = tx.txid();
        (tx, txid, Amount::ZERO)
    };
    let choose = |_| transactions.into_iter().map(chosen).collect();
    assemble(chain, payee, extra_nonce, now, choose)
}

/// A transaction, its id, and its fee as far as the coinbase takes it.
type Chosen = (Arc<Transaction>, Txid, Amount);

/// A block of what `choose` chooses for so many bytes.
fn assemble(
    chain: &Chain,
    payee: &PublicKey,
    extra_nonce: u64,
    now: UnixTime,
    choose: impl FnOnce(usize) -> Vec<Chosen>,
) -> Result<Template, ChainError> {
    let context = chain.next_context();
    let commitment = chain.committed()?.commitment();
    let subsidy = chain.params().subsidy_at(context.height);
    let mut coinbase = Transaction {
        version: 1,
        inputs: Vec::new(),
        outputs: vec![Output::pay(*payee, subsidy), data_output(&commitment, extra_nonce)],
        lock_height: context.height,
    };
    let frame = Header::LEN + codec::encoded_len(&0u64) + coinbase.size();
    let chosen = choose((chain.params().max_block_bytes as usize).saturating_sub(frame));
    let fees = Amount::saturating_sum(chosen.iter().map(|(_, _, fee)| *fee));
    let reward = subsidy.saturating_add(fees);
    coinbase.outputs[0].value = reward;
    if reward == Amount::ZERO {
        // Without a reward there is no payee: an output to a key with value 0 is invalid.
        coinbase.outputs.remove(0);
    }
    // The first leaf may have any value: its siblings do not depend on it.
    let leaves = [coinbase.txid()].into_iter().chain(chosen.iter().map(|(_, txid, _)| *txid)).collect();
    let siblings = Branch::new(leaves, 0).map_or_else(Vec::new, |branch| branch.siblings);
    let min_time = context.min_time;
    let parent = chain.tip().hash;
    let target = context.bits.target().map_err(|error| ChainError::Rule { hash: parent, source: error.into() })?;
    let header = Header {
        version: 1,
        previous: parent,
        merkle_root: MerkleRoot::ZERO,
        time: u32::try_from(now.as_secs()).unwrap_or(u32::MAX).max(min_time),
        bits: context.bits,
        nonce: 0,
    };
    let mut template = Template {
        header,
        height: context.height,
        target,
        min_time,
        fees,
        coinbase,
        transactions: chosen.iter().map(|(tx, ..)| tx.clone()).collect(),
        details: chosen.iter().map(|(_, txid, fee)| (*txid, *fee)).collect(),
        extra_nonce,
        commitment,
        siblings: siblings.into(),
    };
    template.set_extra_nonce(extra_nonce);
    Ok(template)
}

fn data_output(commitment: &Commitment, extra_nonce: u64) -> Output {
    Output::data([&commitment.as_bytes()[..], &extra_nonce.to_le_bytes(), TAG].concat())
}

impl Template {
    /// The number in the coinbase that makes the Merkle root different.
    pub fn extra_nonce(&self) -> u64 {
        self.extra_nonce
    }

    /// Gives the coinbase another extra nonce, and so the header another Merkle root.
    pub fn set_extra_nonce(&mut self, extra_nonce: u64) {
        self.extra_nonce = extra_nonce;
        if let Some(data) = self.coinbase.outputs.last_mut() {
            *data = data_output(&self.commitment, extra_nonce);
        }
        self.update_root();
    }

    /// Changes the payee, if there is one.
    pub fn set_payee(&mut self, payee: PublicKey) {
        if let [paid, _data] = &mut self.coinbase.outputs[..] {
            paid.lock = Lock::Key(payee);
        }
        self.update_root();
    }

    fn update_root(&mut self) {
        let leaf = self.coinbase.txid().as_leaf();
        let top = self.siblings.iter().fold(leaf, |left, right| Hash256::of_pair(&left, right));
        self.header.merkle_root = MerkleRoot::from_node(top);
    }

    /// The coinbase's siblings in the Merkle tree, lowest first, from which a miner that changes the coinbase computes
    /// the root.
    pub fn siblings(&self) -> &[Hash256] {
        &self.siblings
    }

    /// The coinbase's encoding before and after the [`EXTRA_NONCE_LEN`] bytes of its extra nonce.
    pub fn coinbase_halves(&self) -> (Vec<u8>, Vec<u8>) {
        let mut first = codec::encode(&self.coinbase);
        // The data output is the last; after it comes only the lock height.
        let tail = first.split_off(first.len() - codec::encoded_len(&self.coinbase.lock_height) - TAG.len());
        first.truncate(first.len() - EXTRA_NONCE_LEN);
        (first, tail)
    }

    /// The block, with a nonce found for its header.
    pub fn block(&self, nonce: u32) -> Block {
        let rest = self.transactions.iter().map(|tx| Transaction::clone(tx));
        Block {
            header: Header { nonce, ..self.header },
            transactions: std::iter::once(self.coinbase.clone()).chain(rest).collect(),
        }
    }
}
