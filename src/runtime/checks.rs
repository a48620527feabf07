//! Signatures of transactions that wait for the node's thread, checked apart from it: one batch at a time, in the order in which
//! they came.

use std::collections::VecDeque;

use tokio::task::{JoinHandle, spawn_blocking};

use super::connection::Space;
use crate::mempool::Ahead;
use crate::p2p::PeerId;
use crate::primitives::hash::Txid;
use crate::primitives::tx::HashedTransaction;

/// Signatures, or transactions, from which on a batch goes to another thread: to wake that, and this one again, costs about
/// as much as fewer.
pub(super) const WORTHWHILE: usize = 8;
/// Signatures with which a batch is full, the last transaction's aside: some milliseconds. Larger ones cost hardly less each.
pub(super) const MAX_SIGNATURES: usize = 1_024;
/// Batches at a time: one that is being checked, and one for when that is done.
const MAX_BATCHES: usize = 2;

/// Transactions that one peer sent, one after the other.
pub(super) struct Batch {
    pub(super) peer: PeerId,
    pub(super) transactions: Vec<HashedTransaction>,
    /// Their places in the inbox, given back when the node has handled them.
    pub(super) spaces: Vec<Space>,
}

/// The batches that are not back yet.
#[derive(Default)]
pub(super) struct Checks {
    /// The oldest is being checked; the signatures of the others are still here.
    batches: VecDeque<(Batch, Option<Ahead>)>,
    running: Option<JoinHandle<Vec<Txid>>>,
}

impl Checks {
    /// Whether another batch has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.batches.len() >= MAX_BATCHES
    }

    /// Whether a peer's transactions are among them: what it sent after these has to wait.
    pub(super) fn concern(&self, peer: PeerId) -> bool {
        self.batches.iter().any(|(batch, _)| batch.peer == peer)
    }

    /// All transactions, in order.
    pub(super) fn transactions(&self) -> Vec<&HashedTransaction> {
        self.batches.iter().flat_map(|(batch, _)| &batch.transactions).collect()
    }

    /// Adds a batch. To be called on a tokio runtime.
    pub(super) fn push(&mut self, batch: Batch, ahead: Ahead) {
        self.batches.push_back((batch, Some(ahead)));
        self.start();
    }

    fn start(&mut self) {
        if self.running.is_none()
            && let Some((_, ahead)) = self.batches.front_mut()
            && let Some(ahead) = ahead.take()
        {
            self.running = Some(spawn_blocking(move || ahead.verify()));
        }
    }

    /// Waits for the oldest batch, and returns it with those of its transactions whose signatures are valid. Nothing is lost
    /// if the future is dropped before.
    pub(super) async fn next(&mut self) -> (Batch, Vec<Txid>) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        // It is cancelled only with the runtime, and panics only if a kernel does: then the node checks by itself.
        let verified = running.await.unwrap_or_default();
        self.running = None;
        let oldest = self.batches.pop_front();
        self.start();
        match oldest {
            Some((batch, _)) => (batch, verified),
            // Only what is in a batch is checked.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_come_back_in_their_order_and_concern_their_peers_until_then() {
        let mut checks = Checks::default();
        let peers: Vec<PeerId> = (1..=MAX_BATCHES as u64).map(PeerId).collect();
        for peer in &peers {
            assert!(!checks.is_full());
            checks.push(Batch { peer: *peer, transactions: Vec::new(), spaces: Vec::new() }, Ahead::default());
        }
        assert!(checks.is_full());
        for (done, peer) in peers.iter().enumerate() {
            let concerned: Vec<PeerId> = peers.iter().copied().filter(|peer| checks.concern(*peer)).collect();
            assert_eq!(concerned, peers[done..]);
            let (batch, verified) = checks.next().await;
            assert_eq!((batch.peer, verified, checks.is_full()), (*peer, vec![], false));
        }
        assert!(!peers.iter().any(|peer| checks.concern(*peer)));
    }
}
