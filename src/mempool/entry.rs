//! A transaction of the pool and the sums kept with it.

use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::HashedTransaction;

/// Sums over a transaction and its ancestors, or it and its descendants, as far as they are in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// How many transactions, the one itself included.
    pub count: usize,
    /// Bytes of their encodings.
    pub bytes: usize,
    /// Their fees.
    pub fees: Amount,
}

impl Package {
    fn single(bytes: usize, fees: Amount) -> Self {
        Self { count: 1, bytes, fees }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.count += 1;
        self.bytes += entry.size;
        self.fees = self.fees.saturating_add(entry.fee);
    }

    pub(super) fn subtract(&mut self, entry: &Entry) {
        self.count -= 1;
        self.bytes -= entry.size;
        self.fees = self.fees.saturating_sub(entry.fee);
    }

    pub(super) fn rate(&self) -> FeeRate {
        self.fees.per(self.bytes)
    }
}

/// A transaction of the pool.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The transaction.
    pub tx: HashedTransaction,
    /// Its id.
    pub txid: Txid,
    /// What it leaves to the miner.
    pub fee: Amount,
    /// Bytes of its encoding.
    pub size: usize,
    /// When it came.
    pub time: UnixTime,
    /// Height of the tip when it came.
    pub height: Height,
    /// It and the transactions of the pool that it needs.
    pub ancestors: Package,
    /// It and the transactions of the pool that need it.
    pub descendants: Package,
    /// Whose coins its inputs spend, and their values, in the order of the inputs.
    pub(super) spends: Vec<(PublicKey, Amount)>,
    /// Orders entries of the same time; assigned by the graph.
    pub(super) number: u64,
    /// First height at which it may be mined, by its lock height and the coinbases it spends.
    pub(super) minable_from: Height,
    /// Transactions of the pool whose outputs it spends, each once.
    pub(super) parents: Vec<Txid>,
    /// Transactions of the pool that spend its outputs, each once.
    pub(super) children: Vec<Txid>,
}

impl Entry {
    /// An entry that stands alone until the graph links it.
    pub(super) fn new(
        tx: HashedTransaction,
        fee: Amount,
        time: UnixTime,
        height: Height,
        minable_from: Height,
    ) -> Self {
        let (txid, size) = (tx.txid(), tx.size());
        let alone = Package::single(size, fee);
        Self {
            tx,
            txid,
            fee,
            size,
            time,
            height,
            ancestors: alone,
            descendants: alone,
            spends: Vec::new(),
            number: 0,
            minable_from,
            parents: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Sets the owners of the coins that it spends, for the index by key.
    pub(super) fn spending(self, spends: Vec<(PublicKey, Amount)>) -> Self {
        Self { spends, ..self }
    }

    pub(super) fn rate(&self) -> FeeRate {
        self.fee.per(self.size)
    }

    /// What a miner judges it by: it with its ancestors, or it alone if they pay no less than it. So a high-fee ancestor
    /// does not raise it above its own rate.
    pub fn mining_package(&self) -> Package {
        if self.rate() <= self.ancestors.rate() { Package::single(self.size, self.fee) } else { self.ancestors }
    }

    /// The fee rate of this package.
    pub fn mining_rate(&self) -> FeeRate {
        self.mining_package().rate()
    }

    /// The fee rate lost by evicting it with its descendants. Low-fee descendants do not lower it below its own rate.
    pub(super) fn keeping_rate(&self) -> FeeRate {
        self.rate().max(self.descendants.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::graph::tests::entry;

    #[test]
    fn a_poor_parent_makes_a_child_poorer_and_a_rich_one_does_not_make_it_richer() {
        let child = entry(1, &[], 1_000);
        let with_ancestors = |fees| {
            let ancestors = Package { count: 2, bytes: 2 * child.size, fees: Amount::from_grains(fees) };
            Entry { ancestors, ..child.clone() }.mining_rate()
        };
        assert_eq!(with_ancestors(1_000), Amount::from_grains(500).per(child.size));
        assert_eq!(with_ancestors(9_000), Amount::from_grains(1_000).per(child.size));
    }
}
