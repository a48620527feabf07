//! Follows the chain.

use super::{Mempool, Progress};
use crate::chain::{Chain, ChainUpdate};
use crate::primitives::hash::Txid;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::{HashedTransaction, Transaction};

impl Mempool {
    /// Follows the chain to its new tip: removes confirmed transactions and their conflicts, readmits those of
    /// disconnected blocks, removes those that cannot be in the next block, and retries the orphans. `chain` must
    /// already be at the tip of `update`.
    ///
    /// Returns the transactions admitted from disconnected blocks or from the orphans, parents first. There may be
    /// more: see [`Mempool::resume`].
    pub fn update(&mut self, update: &ChainUpdate, chain: &Chain, now: UnixTime) -> Progress {
        self.expire(now);
        self.links = 0;
        let connected =
            || update.connected.iter().flat_map(|block| block.txids().iter().zip(&block.block().transactions));
        connected().for_each(|(txid, tx)| self.confirm(txid, tx));
        let disconnected =
            || update.disconnected.iter().rev().flat_map(|block| block.txids().iter().zip(&block.block().transactions));
        // Entries that spend outputs of disconnected blocks are removed with their descendants, and readmitted after
        // the transactions that they spend. So no entry is ever inserted as the parent of another.
        let stranded: Vec<_> = disconnected()
            .flat_map(|(txid, tx)| tx.outpoints(*txid))
            .filter_map(|(outpoint, _)| self.graph.spender(&outpoint))
            .collect();
        let stranded = self.remove(&stranded);
        let mut returned = Vec::new();
        let returning = update.disconnected.iter().rev().flat_map(|block| block.matched().transactions());
        for tx in returning.filter(|tx| !tx.is_coinbase()) {
            let txid = tx.txid();
            self.verified.insert(txid); // A block of the best chain has held it.
            if self.readmit(tx, self.clock, chain) {
                returned.push(txid);
            }
        }
        for entry in stranded {
            self.verified.insert(entry.txid);
            self.readmit(entry.tx, entry.time, chain);
        }
        let next = chain.tip().height.next();
        while let Some(txid) = self.graph.not_minable_at(next) {
            self.remove(&[txid]);
        }
        self.trim();
        returned.retain(|txid| self.contains(txid));
        self.queue_children_of(connected().map(|(txid, _)| *txid).chain(returned.iter().copied()));
        let Progress { admitted, blamed } = self.resume(chain, now);
        returned.extend(admitted);
        Progress { admitted: returned, blamed }
    }

    /// Removes expired transactions.
    pub fn expire(&mut self, now: UnixTime) {
        self.clock = now;
        while let Some(txid) = self.graph.older_than(self.clock.saturating_sub(self.limits.expiry)) {
            self.remove(&[txid]);
        }
        self.orphans.expire(self.clock.saturating_sub(self.limits.orphan_expiry));
    }

    /// A block of the best chain has this transaction.
    fn confirm(&mut self, txid: &Txid, tx: &Transaction) {
        self.orphans.remove(txid);
        // A block of another branch may include it too, or a reorganisation may return it.
        self.verified.insert(*txid);
        if self.graph.remove(txid).is_some() {
            return;
        }
        for input in &tx.inputs {
            self.orphans.drop_spenders(&input.outpoint);
            if let Some(conflict) = self.graph.spender(&input.outpoint) {
                self.remove(&[conflict]);
            }
        }
    }

    /// Readmits a transaction that was in a block or in the pool; `false` if it is refused.
    pub(super) fn readmit(&mut self, tx: HashedTransaction, time: UnixTime, chain: &Chain) -> bool {
        let txid = tx.txid();
        match self.check_again(tx, chain) {
            Ok(candidate) => {
                self.admit(candidate, time, chain);
                true
            }
            Err(error) => {
                tracing::debug!(%txid, %error, "not taken back into the mempool");
                false
            }
        }
    }
}
