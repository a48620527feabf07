//! Transactions waiting for a block.
//!
//! The pool admits transactions that the next block could include, and follows the chain: all its transactions, in the
//! order of [`Mempool::select`], are valid on the present tip. `admission.rs` decides, `ahead.rs` collects signatures to
//! check many at once, `graph.rs` holds the transactions with their links and sums, `by_key.rs` finds those of an address,
//! `select.rs` picks for a block, `orphans.rs` waits for parents, `update.rs` follows the chain, `unfinished.rs` does a
//! part of long work at each call, `saved.rs` carries the pool over a restart.
//!
//! Nothing here reads a clock: the time comes in with each call.

mod admission;
mod ahead;
mod by_key;
mod entry;
mod error;
mod graph;
mod limits;
mod orphans;
mod recent;
mod saved;
mod select;
mod unfinished;
mod update;
mod usage;

use std::sync::Arc;

use crate::chain::Chain;
use crate::consensus::params::Params;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::keyed::HashSet;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::{HashedTransaction, OutPoint, Transaction};
use graph::Graph;
use limits::MinFeeRate;
use orphans::Orphans;
pub(crate) use recent::Recent;
use recent::Removed;
use unfinished::PendingWork;

pub use ahead::Ahead;
pub use by_key::{KeyEntry, KeySums};
pub use entry::{Entry, Package};
pub use error::MempoolError;
pub use limits::{Limits, MAX_REPLACED, MAX_RETURNING_CHAIN, MAX_RETURNING_LINKS, MAX_TX_SIZE, TX_VERSION};
pub use orphans::Sender;
pub use saved::SavedError;
pub use unfinished::{MAX_SIGNATURES_A_CALL, Progress};

/// How many ids of transactions that left the pool are remembered as verified.
const MIN_VERIFIED: usize = 20_000;

/// The result of an admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub txid: Txid,
    /// What it leaves to the miner.
    pub fee: Amount,
    /// Bytes of its encoding.
    pub size: usize,
    /// Those it replaced, with their descendants.
    pub replaced: Vec<Txid>,
    /// Orphans admitted after it, in relay order, and peers that sent invalid ones. There may be more: see
    /// [`Mempool::resume`].
    pub orphans: Progress,
}

/// Transactions that wait for a block, within [`Limits`].
#[derive(Debug, Clone)]
pub struct Mempool {
    params: Arc<Params>,
    limits: Limits,
    graph: Graph,
    orphans: Orphans,
    unfinished: PendingWork,
    /// Links from returning transactions to their ancestors that this call has followed.
    links: usize,
    verified: Recent<Txid>,
    /// Those of [`Mempool::set_verified_ahead`].
    verified_ahead: HashSet<Txid>,
    removed: Removed,
    floor: MinFeeRate,
    /// The latest time given.
    clock: UnixTime,
}

impl Mempool {
    /// An empty pool.
    pub fn new(params: Arc<Params>, limits: Limits) -> Self {
        Self {
            params,
            limits,
            graph: Graph::default(),
            orphans: Orphans::default(),
            unfinished: PendingWork::default(),
            links: 0,
            verified: Recent::new(MIN_VERIFIED),
            verified_ahead: HashSet::default(),
            removed: Removed::default(),
            floor: MinFeeRate::default(),
            clock: UnixTime::EPOCH,
        }
    }

    /// Becomes an earlier copy of itself. The revision goes on, since a template may have been made at each since then.
    pub fn become_again(&mut self, earlier: Self) {
        let revision = self.graph.revision().max(earlier.graph.revision());
        *self = earlier;
        self.graph.set_revision(revision + 1);
    }

    /// Admits a transaction, in place of those it conflicts with if it pays for that, and the orphans that waited for
    /// it.
    ///
    /// # Errors
    /// The first reason against it. With [`MempoolError::MissingInputs`] it may have been kept as an orphan.
    pub fn accept(&mut self, tx: Transaction, chain: &Chain, now: UnixTime) -> Result<Accepted, MempoolError> {
        self.accept_from(None, HashedTransaction::new(tx), chain, now)
    }

    /// [`Mempool::accept`] for a transaction that a peer sent. The peer is blamed if the transaction becomes an orphan
    /// that later proves invalid.
    ///
    /// # Errors
    /// As [`Mempool::accept`].
    pub fn accept_from(
        &mut self,
        sender: Option<Sender>,
        tx: HashedTransaction,
        chain: &Chain,
        now: UnixTime,
    ) -> Result<Accepted, MempoolError> {
        self.expire(now);
        let txid = tx.txid();
        let candidate = match self.check(tx.clone(), chain, self.clock) {
            Err(MempoolError::MissingInputs { txid, missing, .. }) => {
                let kept = self.orphans.add(tx, (missing.clone(), sender), self.clock, &self.limits);
                return Err(MempoolError::MissingInputs { txid, missing, kept });
            }
            checked => checked?,
        };
        let (fee, size) = (candidate.fee, candidate.size);
        let replaced = self.admit(candidate, self.clock, chain);
        self.trim();
        if !self.contains(&txid) {
            return Err(MempoolError::FeeTooLow { got: fee, min: self.min_fee_rate().fee_for(size), size });
        }
        self.queue_children_of([txid]);
        let orphans = self.resume(chain, now);
        Ok(Accepted { txid, fee, size, replaced, orphans })
    }

    /// What [`Mempool::accept`] would return, without changing anything. With a full pool it may be too optimistic.
    ///
    /// # Errors
    /// As [`Mempool::accept`].
    pub fn test(&self, tx: &Transaction, chain: &Chain, now: UnixTime) -> Result<Accepted, MempoolError> {
        let candidate = self.check(HashedTransaction::new(tx.clone()), chain, now)?;
        Ok(candidate.into_quote())
    }

    /// What a transaction would pay and replace, whatever its signatures and this node's policy: cheaper than
    /// [`Mempool::test`], for a caller that is about to submit it.
    ///
    /// # Errors
    /// As [`Mempool::accept`], but nothing is kept as an orphan.
    pub fn quote(&self, tx: &Transaction, chain: &Chain) -> Result<Accepted, MempoolError> {
        let (candidate, _) = self.check_but_policy_and_signatures(HashedTransaction::new(tx.clone()), chain)?;
        Ok(candidate.into_quote())
    }

    /// The entry of a transaction.
    pub fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.graph.get(txid)
    }

    /// Whether it is in the pool; orphans are not.
    pub fn contains(&self, txid: &Txid) -> bool {
        self.get(txid).is_some()
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.graph.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all their encodings.
    pub fn bytes(&self) -> usize {
        self.graph.bytes()
    }

    /// Bytes of memory that the pool takes, indexes included: what [`Limits::max_bytes`] bounds.
    pub fn usage(&self) -> usize {
        self.graph.usage()
    }

    /// Grows whenever a transaction comes or goes: the same number again means the same transactions.
    pub fn revision(&self) -> u64 {
        self.graph.revision()
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// All transactions from which a compact block may be reconstructed, in no order: the pool, orphans, and those that
    /// last left the pool unconfirmed. One may occur twice.
    pub fn at_hand(&self) -> impl Iterator<Item = &HashedTransaction> {
        let entries = self.graph.iter().map(|entry| &entry.tx);
        entries.chain(self.orphans.iter()).chain(self.removed.iter())
    }

    /// Ids, in the order in which they came.
    pub fn txids(&self) -> Vec<Txid> {
        self.graph.txids().collect()
    }

    /// The entry that spends a coin.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.graph.spender(outpoint)
    }

    /// What the pool's transactions together do to a key.
    pub fn key_sums(&self, key: &PublicKey) -> KeySums {
        self.graph.by_key().sums(key)
    }

    /// The transactions that pay a key or spend its coins, in the order in which they came.
    pub fn key_entries(&self, key: &PublicKey) -> impl DoubleEndedIterator<Item = &KeyEntry> {
        self.graph.by_key().entries(key)
    }

    /// Outputs to a key that nothing in the pool spends, in the order in which they came, with their values.
    pub fn key_unspent(&self, key: &PublicKey) -> impl Iterator<Item = (OutPoint, Amount)> {
        self.graph.by_key().unspent(key)
    }

    /// Fees of all transactions.
    pub fn fees(&self) -> Amount {
        self.graph.fees()
    }

    /// Ids in the order in which they came, after that of `after` if that is in the pool, and from the first otherwise.
    pub fn txids_after(&self, after: Option<&Txid>) -> impl Iterator<Item = Txid> {
        self.graph.txids_after(after)
    }

    /// Transactions of the pool that `txid` needs, in order of their ids.
    pub fn ancestors(&self, txid: &Txid) -> Vec<Txid> {
        self.graph.with_ancestors(&[*txid]).into_iter().filter(|ancestor| ancestor != txid).collect()
    }

    /// Transactions of the pool that need `txid`, in order of their ids.
    pub fn descendants(&self, txid: &Txid) -> Vec<Txid> {
        self.graph.with_descendants(&[*txid]).into_iter().filter(|descendant| descendant != txid).collect()
    }

    /// Transactions for a block, of at most `max_bytes` together, each after those it needs, and those that pay best
    /// first.
    pub fn select(&self, max_bytes: usize) -> Vec<&Entry> {
        select::select(&self.graph, max_bytes)
    }

    /// Whether the transaction's signatures were checked here before: it is in the pool, or was not long ago.
    pub fn is_verified(&self, txid: &Txid) -> bool {
        self.contains(txid) || self.verified.contains(txid)
    }

    /// Least fee rate at the latest time given. Rises when the pool is full, and falls again with time.
    pub fn min_fee_rate(&self) -> FeeRate {
        self.min_fee_rate_at(self.clock)
    }

    fn min_fee_rate_at(&self, now: UnixTime) -> FeeRate {
        self.floor.at(now).max(self.limits.min_fee_rate)
    }

    /// Whether a transaction is an orphan.
    pub fn is_orphan(&self, txid: &Txid) -> bool {
        self.orphans.contains(txid)
    }

    /// Number of orphans.
    pub fn orphan_count(&self) -> usize {
        self.orphans.len()
    }

    /// Bytes of memory of the orphans.
    pub fn orphan_usage(&self) -> usize {
        self.orphans.usage()
    }
}
