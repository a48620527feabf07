//! Admission checks, cheapest first; signatures come last.

use std::collections::BTreeSet;

use super::entry::Entry;
use super::limits::{MAX_REPLACED, MAX_RETURNING_CHAIN, MAX_RETURNING_LINKS, MAX_TX_SIZE, TX_VERSION};
use super::{Accepted, Mempool, MempoolError, Progress};
use crate::chain::Chain;
use crate::consensus::check;
use crate::consensus::coins::{Coin, CoinView};
use crate::consensus::connect;
use crate::consensus::error::RuleError;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::HashedTransaction;

/// A transaction that passed the checks.
pub(super) struct Candidate {
    pub(super) tx: HashedTransaction,
    pub(super) fee: Amount,
    pub(super) size: usize,
    minable_from: Height,
    /// Whose coins it spends, and their values.
    spends: Vec<(PublicKey, Amount)>,
    /// Entries that spend what it spends.
    pub(super) conflicts: Vec<Txid>,
    /// Those and their descendants.
    pub(super) evicted: BTreeSet<Txid>,
}

impl Candidate {
    fn rate(&self) -> FeeRate {
        self.fee.per(self.size)
    }

    /// What admitting it would do.
    pub(super) fn into_quote(self) -> Accepted {
        let replaced = self.evicted.into_iter().collect();
        Accepted { txid: self.tx.txid(), fee: self.fee, size: self.size, replaced, orphans: Progress::default() }
    }
}

impl Mempool {
    /// Checks a transaction as it comes from a peer or a client.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub(super) fn check(&self, tx: HashedTransaction, chain: &Chain, now: UnixTime) -> Result<Candidate, MempoolError> {
        let txid = tx.txid();
        let (candidate, coins) = self.check_but_policy_and_signatures(tx, chain)?;
        self.check_family(&candidate)?;
        let least = self.min_fee_rate_at(now).fee_for(candidate.size);
        if candidate.fee < least {
            return Err(MempoolError::FeeTooLow { got: candidate.fee, min: least, size: candidate.size });
        }
        if !candidate.conflicts.is_empty() {
            self.check_replacement(&candidate)?;
        }
        if !self.verified.contains(&txid) && !self.verified_ahead.contains(&txid) {
            connect::check_signatures(&candidate.tx, &txid, &coins, &self.params)?;
        }
        Ok(candidate)
    }

    /// Checks a transaction that was in a block or in this pool before: it need not pay the present minimum, may have a
    /// longer chain of ancestors, and replaces nothing.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub(super) fn check_again(&mut self, tx: HashedTransaction, chain: &Chain) -> Result<Candidate, MempoolError> {
        let txid = tx.txid();
        let (candidate, coins) = self.check_but_policy_and_signatures(tx, chain)?;
        if let Some(conflict) = candidate.conflicts.first() {
            let Candidate { fee, size, .. } = candidate;
            return Err(MempoolError::ReplacementRate { conflict: *conflict, fee, size });
        }
        self.check_returning_family(&candidate)?;
        if !self.verified.contains(&txid) {
            connect::check_signatures(&candidate.tx, &txid, &coins, &self.params)?;
        }
        Ok(candidate)
    }

    pub(super) fn check_but_policy_and_signatures(
        &self,
        tx: HashedTransaction,
        chain: &Chain,
    ) -> Result<(Candidate, Vec<Coin>), MempoolError> {
        let (fee, coins) = self.check_alone(&tx, chain, &|_| None)?;
        let size = tx.size();
        let maturity = self.params.coinbase_maturity;
        let mature = coins.iter().filter(|coin| coin.coinbase).map(|coin| coin.height.saturating_add(maturity));
        let minable_from = mature.max().unwrap_or_default().max(tx.lock_height);
        let mut conflicts: Vec<_> = tx.inputs.iter().filter_map(|input| self.graph.spender(&input.outpoint)).collect();
        conflicts.sort_unstable();
        conflicts.dedup();
        if conflicts.len() > MAX_REPLACED {
            return Err(MempoolError::TooManyReplaced { got: conflicts.len(), max: MAX_REPLACED });
        }
        let evicted = self.graph.with_descendants(&conflicts);
        let spends = coins.iter().filter_map(|coin| Some((*coin.output.key()?, coin.output.value))).collect();
        let candidate = Candidate { tx, fee, size, minable_from, spends, conflicts, evicted };
        Ok((candidate, coins))
    }

    /// Checks what does not depend on other entries that spend the same coins or are spent, signatures aside. `pending` has
    /// further transactions whose outputs count as coins. The fee, and the coins spent in the order of the inputs.
    pub(super) fn check_alone<'a>(
        &self,
        tx: &HashedTransaction,
        chain: &Chain,
        pending: &dyn Fn(&Txid) -> Option<&'a HashedTransaction>,
    ) -> Result<(Amount, Vec<Coin>), MempoolError> {
        let txid = tx.txid();
        if self.contains(&txid) {
            return Err(MempoolError::AlreadyKnown { txid });
        }
        if tx.version != TX_VERSION {
            return Err(MempoolError::Version { got: tx.version, expected: TX_VERSION });
        }
        let size = tx.size();
        if size > MAX_TX_SIZE {
            return Err(MempoolError::TooLarge { got: size, max: MAX_TX_SIZE });
        }
        check::check_transaction(tx, &txid)?;
        let height = chain.tip().height.next();
        let coins = self.coins_of(tx, chain, height, pending)?;
        let fee = connect::check_spend(tx, &txid, &coins, height, &self.params)?;
        Ok((fee, coins))
    }

    /// The coins that a transaction spends, from the pool, the chain or `pending` transactions, spent by another or not.
    fn coins_of<'a>(
        &self,
        tx: &HashedTransaction,
        chain: &Chain,
        height: Height,
        pending: &dyn Fn(&Txid) -> Option<&'a HashedTransaction>,
    ) -> Result<Vec<Coin>, MempoolError> {
        let txid = tx.txid();
        let mut coins = Vec::with_capacity(tx.inputs.len());
        let mut missing = Vec::new();
        for input in &tx.inputs {
            let outpoint = input.outpoint;
            let parent = self.get(&outpoint.txid).map(|entry| &entry.tx);
            let coin = match parent.or_else(|| pending(&outpoint.txid)) {
                Some(parent) => {
                    let output = parent.outputs.get(outpoint.index as usize).filter(|output| output.key().is_some());
                    // The transaction is known but has no such output, so waiting cannot help.
                    let output = output.ok_or(RuleError::MissingCoin { txid, outpoint })?.clone();
                    Some(Coin { output, height, coinbase: false })
                }
                None => chain.coin(&outpoint)?,
            };
            match coin {
                Some(coin) => coins.push(coin),
                None => missing.push(outpoint),
            }
        }
        if missing.is_empty() {
            return Ok(coins);
        }
        if let Some(location) = chain.db().tx_location(&txid)? {
            return Err(MempoolError::AlreadyConfirmed { txid, height: location.height });
        }
        Err(MempoolError::MissingInputs { txid, missing, kept: false })
    }

    /// Bounds the chains of unconfirmed transactions as they would be after the replacement.
    fn check_family(&self, candidate: &Candidate) -> Result<(), MempoolError> {
        let parents: BTreeSet<_> = candidate.tx.inputs.iter().map(|input| input.outpoint.txid).collect();
        let parents: Vec<_> = parents.into_iter().filter(|txid| self.contains(txid)).collect();
        let max = self.limits.max_ancestors;
        // If the parents alone are too many, stop: an attacker could make the walk long.
        if parents.len() >= max {
            return Err(MempoolError::TooManyAncestors { got: parents.len() + 1, max });
        }
        let ancestors = self.graph.with_ancestors(&parents);
        if let Some(ancestor) = ancestors.intersection(&candidate.evicted).next() {
            return Err(MempoolError::ReplacesAncestor { ancestor: *ancestor });
        }
        if ancestors.len() >= max {
            return Err(MempoolError::TooManyAncestors { got: ancestors.len() + 1, max });
        }
        for ancestor in ancestors {
            let leaving = match candidate.evicted.is_empty() {
                true => 0,
                false => self.graph.with_descendants(&[ancestor]).intersection(&candidate.evicted).count(),
            };
            let got = self.get(&ancestor).map_or(0, |entry| entry.descendants.count) + 1 - leaving;
            if got > self.limits.max_descendants {
                return Err(MempoolError::TooManyDescendants { ancestor, got, max: self.limits.max_descendants });
            }
        }
        Ok(())
    }

    /// Bounds the bytes of a chain of unconfirmed transactions that once were in a block or in this pool. Their number
    /// may exceed the limit, since a block may hold a chain of any length and a reorganisation must not lose its end.
    /// The number of links to follow is bounded.
    fn check_returning_family(&mut self, candidate: &Candidate) -> Result<(), MempoolError> {
        let is_few = self.links < MAX_RETURNING_LINKS;
        let max_count = if is_few { usize::MAX } else { self.limits.max_ancestors };
        let check = |count: usize, bytes: usize| {
            if count > max_count {
                return Err(MempoolError::TooManyAncestors { got: count, max: max_count });
            }
            match bytes + candidate.size {
                got if got > MAX_RETURNING_CHAIN => Err(MempoolError::ChainTooLarge { got, max: MAX_RETURNING_CHAIN }),
                _ => Ok(()),
            }
        };
        let parents: Vec<Txid> = candidate.tx.inputs.iter().map(|input| input.outpoint.txid).collect();
        // The size of each parent's chain is known, so most chains that are too long are refused without following
        // links.
        for parent in parents.iter().filter_map(|txid| self.get(txid)) {
            check(parent.ancestors.count + 1, parent.ancestors.bytes)?;
        }
        let ancestors = self.graph.with_ancestors(&parents);
        let bytes = ancestors.iter().filter_map(|txid| self.get(txid)).map(|entry| entry.size).sum::<usize>();
        self.links += ancestors.len();
        check(ancestors.len() + 1, bytes)
    }

    /// Full replacement by fee: the rules of BIP-125 except the first.
    fn check_replacement(&self, candidate: &Candidate) -> Result<(), MempoolError> {
        let Candidate { fee, size, .. } = *candidate;
        if candidate.evicted.len() > MAX_REPLACED {
            return Err(MempoolError::TooManyReplaced { got: candidate.evicted.len(), max: MAX_REPLACED });
        }
        let replaced: Vec<&Entry> = candidate.conflicts.iter().filter_map(|txid| self.get(txid)).collect();
        if let Some(conflict) = replaced.iter().find(|conflict| conflict.rate() >= candidate.rate()) {
            return Err(MempoolError::ReplacementRate { conflict: conflict.txid, fee, size });
        }
        // A replacement with unconfirmed parents might never be mined, which would harm the replaced transaction's
        // payee.
        let parents = candidate.tx.inputs.iter().map(|input| input.outpoint.txid).filter(|txid| self.contains(txid));
        for parent in parents {
            if !replaced.iter().any(|conflict| conflict.parents.contains(&parent)) {
                return Err(MempoolError::ReplacementNeedsMore { parent });
            }
        }
        let evicted = candidate.evicted.iter().filter_map(|txid| self.get(txid));
        let lost = Amount::saturating_sum(evicted.map(|entry| entry.fee));
        let min = lost.saturating_add(self.limits.min_fee_rate.fee_for(size));
        if fee < min {
            return Err(MempoolError::ReplacementFee { got: fee, min });
        }
        Ok(())
    }

    /// Adds a candidate and removes the transactions that it evicts, which are returned.
    pub(super) fn admit(&mut self, candidate: Candidate, time: UnixTime, chain: &Chain) -> Vec<Txid> {
        let replaced = self.remove(&candidate.conflicts);
        let Candidate { tx, fee, minable_from, spends, .. } = candidate;
        self.orphans.remove(&tx.txid());
        self.graph.insert(Entry::new(tx, fee, time, chain.tip().height, minable_from).spending(spends));
        replaced.into_iter().map(|entry| entry.txid).collect()
    }

    /// Evicts the lowest fee rates until the pool is within its bounds.
    pub(super) fn trim(&mut self) {
        while self.graph.usage() > self.limits.max_bytes
            && let Some(worst) = self.graph.worst()
        {
            let (txid, rate) = (worst.txid, worst.keeping_rate());
            let raised = rate.fee_for(1).saturating_add(self.limits.min_fee_rate.fee_for(1));
            self.floor.raise(raised.per(1), self.clock);
            self.remove(&[txid]);
        }
    }

    /// Removes entries and their descendants, parents first, and remembers that their signatures are valid.
    pub(super) fn remove(&mut self, roots: &[Txid]) -> Vec<Entry> {
        let removed = self.graph.remove_with_descendants(roots);
        for entry in &removed {
            self.verified.insert(entry.txid);
            self.removed.push(entry.tx.clone());
        }
        removed
    }
}
