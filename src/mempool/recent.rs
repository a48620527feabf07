//! Bounded memories of what left the pool.

use std::collections::{HashSet, VecDeque};

use super::usage::memory_of;
use crate::primitives::hash::Txid;
use crate::primitives::tx::HashedTransaction;

/// Remembers the last so many ids, and forgets the older half of twice as many at a time.
#[derive(Debug)]
pub(super) struct Recent {
    capacity: usize,
    newer: HashSet<Txid>,
    older: HashSet<Txid>,
}

impl Recent {
    /// Remembers at least the last `capacity`, at most twice as many.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, newer: HashSet::new(), older: HashSet::new() }
    }

    pub(super) fn insert(&mut self, txid: Txid) {
        if self.newer.len() >= self.capacity {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(txid);
    }

    pub(super) fn contains(&self, txid: &Txid) -> bool {
        self.newer.contains(txid) || self.older.contains(txid)
    }
}

/// Most transactions kept that left the pool unconfirmed, as in Bitcoin Core.
const MAX_GONE: usize = 100;
/// Most bytes of memory for them.
const MAX_GONE_BYTES: usize = 1 << 20;

/// The last transactions that left the pool unconfirmed. Another's pool may have kept them, and its block have them.
#[derive(Debug, Default)]
pub(super) struct Gone {
    order: VecDeque<HashedTransaction>,
    bytes: usize,
}

impl Gone {
    pub(super) fn push(&mut self, tx: HashedTransaction) {
        self.bytes += memory_of(&tx);
        self.order.push_back(tx);
        while self.order.len() > MAX_GONE || self.bytes > MAX_GONE_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= memory_of(&oldest);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HashedTransaction> {
        self.order.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::hash::Txid;
    use crate::primitives::tx::{Output, Transaction};

    #[test]
    fn what_is_gone_is_bounded_in_number_and_bytes() {
        let mut gone = Gone::default();
        let mut push = |bytes: usize| {
            let outputs = vec![Output::data(vec![0; bytes])];
            let tx = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: 0 };
            gone.push(HashedTransaction::new(tx));
            assert_eq!(gone.bytes, gone.iter().map(|tx| memory_of(tx)).sum::<usize>());
            (gone.order.len(), gone.bytes)
        };
        assert_eq!((0..300).map(|_| push(10)).last().map(|(count, _)| count), Some(MAX_GONE));
        assert!((0..30).all(|_| push(MAX_GONE_BYTES / 10).1 <= MAX_GONE_BYTES));
        assert_eq!(push(MAX_GONE_BYTES).0, 0, "too large even alone");
    }

    #[test]
    fn the_last_ones_are_remembered_and_the_first_forgotten() {
        let ids: Vec<_> = (0..100).map(|i| Txid::from_bytes([i; 32])).collect();
        let mut recent = Recent::new(10);
        for (i, id) in ids.iter().enumerate() {
            recent.insert(*id);
            assert!(ids[i.saturating_sub(9)..=i].iter().all(|id| recent.contains(id)));
            assert!(recent.newer.len() + recent.older.len() <= 20);
        }
        assert!(!recent.contains(&ids[0]));
    }
}
