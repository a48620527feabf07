//! Who reads a block for a peer next: a few at a time, and those first who gave most for what they took.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::p2p::kad::NodeId;
use crate::p2p::ledger::Ledger;

/// Blocks that are read at a time for peers.
const MAX_READS: usize = 4;

/// The turns of all peers. Clones share them.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// A few of each peer at most.
    waiting: Vec<(NodeId, oneshot::Sender<()>)>,
    ledger: Ledger,
    /// Bytes a second.
    upload: Option<u64>,
    /// When what was sent is paid for.
    paid_at: Instant,
}

/// A turn, until it is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    pub(super) fn new(upload: Option<u64>) -> Self {
        let (waiting, ledger, paid_at) = (Vec::new(), Ledger::default(), Instant::now());
        Self(Arc::new(Mutex::new(State { free: MAX_READS, waiting, ledger, upload, paid_at })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub(super) async fn take(&self, node: NodeId) -> Turn {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Turn(self.clone());
            }
            let (turn, waiting) = oneshot::channel();
            state.waiting.push((node, turn));
            waiting
        };
        // The sender is not dropped before it sends.
        let _ = waiting.await;
        Turn(self.clone())
    }

    /// A node gave this one a block.
    pub(super) fn gave(&self, node: NodeId, bytes: u64) {
        self.state().ledger.gave(node, bytes);
    }

    fn pass_on(&self) {
        let mut state = self.state();
        loop {
            let State { waiting, ledger, .. } = &mut *state;
            // The first of those that are equal.
            let best = (0..waiting.len()).rev().max_by(|a, b| ledger.compare(&waiting[*a].0, &waiting[*b].0));
            let Some(best) = best else {
                state.free += 1;
                return;
            };
            // Who does not wait any more has no use for it.
            if waiting.remove(best).1.send(()).is_ok() {
                return;
            }
        }
    }
}

impl Turn {
    /// The node was sent so many bytes; holds the turn until the limit allows as many more.
    pub(super) async fn spend(self, node: NodeId, bytes: u64) {
        let until = {
            let mut state = self.0.state();
            state.ledger.took(node, bytes);
            let Some(upload) = state.upload else { return };
            let took = Duration::from_secs_f64(bytes as f64 / upload.max(1) as f64);
            state.paid_at = state.paid_at.max(Instant::now()) + took;
            state.paid_at
        };
        tokio::time::sleep_until(until).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[tokio::test]
    async fn those_who_gave_go_first() {
        let turns = Turns::new(None);
        turns.gave(node(3), 1 << 30);
        let mut held = Vec::new();
        for _ in 0..MAX_READS {
            held.push(turns.take(node(0)).await);
        }
        let (order, mut came) = tokio::sync::mpsc::unbounded_channel();
        for n in 1..=4 {
            let (mine, order) = (turns.clone(), order.clone());
            tokio::spawn(async move {
                let turn = mine.take(node(n)).await;
                let _ = order.send(n);
                turn.spend(node(n), 1).await;
            });
            while turns.state().waiting.len() < usize::from(n) {
                tokio::task::yield_now().await;
            }
        }
        held.pop();
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(came.recv().await.unwrap());
        }
        assert_eq!(all, [3, 1, 2, 4]);
        drop(held);
        while turns.state().free < MAX_READS {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_kept_over_time() {
        let turns = Turns::new(Some(1_000_000));
        let start = Instant::now();
        for _ in 0..8 {
            turns.take(node(1)).await.spend(node(1), 500_000).await;
        }
        assert_eq!(start.elapsed().as_secs(), 4);
    }
}
