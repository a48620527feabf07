//! Signatures of transactions that are about to be admitted, checked many at once, on this thread or another.
//!
//! It decides nothing: [`Mempool::accept_from`] checks by itself whatever is not known to be valid. So no peer is
//! blamed for a signature in a batch, and a transaction that is refused for another reason gets that reason.

use super::Mempool;
use crate::chain::Chain;
use crate::consensus::connect::Signatures;
use crate::consensus::error::RuleError;
use crate::primitives::hash::Txid;
use crate::primitives::keyed::HashMap;
use crate::primitives::tx::HashedTransaction;

/// The signatures of some transactions, with the keys that they must be by.
#[derive(Debug, Default)]
pub struct Ahead {
    signatures: Signatures,
    txids: Vec<Txid>,
}

impl Ahead {
    /// How many signatures there are.
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// Checks all at once, which takes a fraction of the time. The transactions before the first with an invalid signature.
    pub fn verify(self) -> Vec<Txid> {
        let Self { signatures, mut txids } = self;
        let valid = match signatures.verify() {
            Ok(()) => txids.len(),
            Err(RuleError::BadSignature { txid, .. }) => txids.iter().position(|other| *other == txid).unwrap_or(0),
            Err(_) => 0,
        };
        txids.truncate(valid);
        txids
    }
}

impl Mempool {
    /// The signatures of transactions that are to be admitted one after the other, `earlier` ones first. Leaves out
    /// those that are known to be valid, and those of transactions that are refused anyway, because they break another
    /// rule, pay too little, or spend a coin that does not exist.
    pub fn ahead<'a>(
        &self,
        earlier: &[&'a HashedTransaction],
        transactions: impl IntoIterator<Item = &'a HashedTransaction>,
        chain: &Chain,
    ) -> Ahead {
        let mut parents: HashMap<Txid, &'a HashedTransaction> = earlier.iter().map(|tx| (tx.txid(), *tx)).collect();
        let mut ahead = Ahead::default();
        for tx in transactions {
            let txid = tx.txid();
            if let Ok((fee, coins)) = self.check_alone(tx, chain, &|parent| parents.get(parent).copied())
                && fee >= self.min_fee_rate().fee_for(tx.size())
            {
                parents.insert(txid, tx);
                if !self.verified.contains(&txid) {
                    ahead.signatures.add(tx, &txid, &coins, &self.params);
                    ahead.txids.push(txid);
                }
            }
        }
        ahead
    }

    /// The transactions that are known to have valid signatures, beside those that were here before, until the next call.
    pub fn set_verified_ahead(&mut self, txids: Vec<Txid>) {
        self.verified_ahead = txids.into_iter().collect();
    }
}
