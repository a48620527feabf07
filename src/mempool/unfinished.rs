//! Work that is split over several calls: orphans whose parents arrived, and transactions saved by an earlier run.
//! Signatures are the costly part, so each call checks a bounded number.

use std::collections::VecDeque;

use super::orphans::Orphan;
use super::saved::Saved;
use super::{Mempool, MempoolError, Sender};
use crate::chain::Chain;
use crate::consensus::error::RuleError;
use crate::primitives::hash::Txid;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::HashedTransaction;

/// Signatures after which a call stops, some milliseconds. The transaction that reaches it is checked whole.
pub const MAX_SIGNATURES_A_CALL: usize = 256;

/// Results of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Transactions admitted, parents first.
    pub admitted: Vec<Txid>,
    /// Peers that sent an invalid orphan, and the rule that it breaks.
    pub blamed: Vec<(Sender, RuleError)>,
}

/// Work left.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingWork {
    /// Orphans one of whose parents has come; some may be gone meanwhile.
    orphans: VecDeque<Txid>,
    /// Saved transactions, parents first.
    pub(super) saved: VecDeque<Saved>,
}

impl Mempool {
    /// Whether [`Mempool::resume`] has work to do.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.orphans.is_empty() || !self.unfinished.saved.is_empty()
    }

    /// Continues with orphans whose parents arrived and with saved transactions, until it has checked
    /// [`MAX_SIGNATURES_A_CALL`] signatures.
    pub fn resume(&mut self, chain: &Chain, now: UnixTime) -> Progress {
        self.expire(now);
        self.links = 0;
        let mut progress = Progress::default();
        let mut signatures = 0;
        while signatures < MAX_SIGNATURES_A_CALL {
            if let Some(txid) = self.unfinished.orphans.pop_front() {
                let Some(orphan) = self.orphans.remove(&txid) else { continue };
                signatures += orphan.tx.inputs.len();
                self.try_orphan(orphan, chain, &mut progress);
            } else if let Some(Saved { time, tx }) = self.unfinished.saved.pop_front() {
                if time < self.clock.saturating_sub(self.limits.expiry) {
                    continue;
                }
                // One without inputs is not free either.
                signatures += tx.inputs.len().max(1);
                // If the clock was ahead at that time, the transaction must not stay longer than others.
                let time = time.min(self.clock);
                let tx = HashedTransaction::new(tx);
                let txid = tx.txid();
                if self.readmit(tx, time, chain) {
                    self.trim();
                    progress.admitted.push(txid);
                    self.queue_children_of([txid]);
                }
            } else {
                break;
            }
        }
        progress.admitted.retain(|txid| self.contains(txid));
        progress
    }

    /// Queues the orphans that wait for outputs of these transactions.
    pub(super) fn queue_children_of(&mut self, parents: impl IntoIterator<Item = Txid>) {
        let Self { orphans, unfinished, .. } = self;
        for parent in parents {
            for child in orphans.children(parent) {
                // There are few orphans, so this is a short walk.
                if !unfinished.orphans.contains(&child) {
                    unfinished.orphans.push_back(child);
                }
            }
        }
    }

    fn try_orphan(&mut self, orphan: Orphan, chain: &Chain, progress: &mut Progress) {
        let Orphan { tx, sender, .. } = orphan;
        let txid = tx.txid();
        match self.check(tx.clone(), chain, self.clock) {
            Ok(candidate) => {
                self.admit(candidate, self.clock, chain);
                self.trim();
                progress.admitted.push(txid);
                self.queue_children_of([txid]);
            }
            Err(MempoolError::MissingInputs { missing, .. }) => {
                self.orphans.add(tx, (missing, sender), self.clock, &self.limits);
            }
            Err(error) => {
                tracing::debug!(%txid, %error, "orphan dropped");
                if let (Some(rule), Some(sender)) = (error.fault(), sender) {
                    self.orphans.drop_from(sender);
                    progress.blamed.push((sender, rule.clone()));
                }
            }
        }
    }
}
