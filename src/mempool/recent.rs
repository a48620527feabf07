//! Bounded memories: of values met lately, and of what left the pool.

use std::collections::VecDeque;
use std::hash::Hash;

use super::usage::memory_of;
use crate::primitives::keyed::HashSet;
use crate::primitives::tx::HashedTransaction;

/// The last `capacity` distinct values given to it; giving one again does not renew it. Only asked, never iterated, so the
/// order of hashing does not matter.
#[derive(Debug, Clone)]
pub(crate) struct Recent<T> {
    capacity: usize,
    order: VecDeque<T>,
    set: HashSet<T>,
}

impl<T: Copy + Eq + Hash> Recent<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, order: VecDeque::new(), set: HashSet::default() }
    }

    /// `true` if it was not there.
    pub(crate) fn insert(&mut self, value: T) -> bool {
        if !self.set.insert(value) {
            return false;
        }
        self.order.push_back(value);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }

    pub(crate) fn contains(&self, value: &T) -> bool {
        self.set.contains(value)
    }

    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.set.clear();
    }
}

/// Most transactions kept that left the pool unconfirmed, as in Bitcoin Core.
const MAX_REMOVED: usize = 100;
/// Most bytes of memory for them.
const MAX_REMOVED_BYTES: usize = 1 << 20;

/// The last transactions that left the pool unconfirmed. Another node's pool may have kept them, so the next block may
/// include them.
#[derive(Debug, Clone, Default)]
pub(super) struct Removed {
    order: VecDeque<HashedTransaction>,
    bytes: usize,
}

impl Removed {
    pub(super) fn push(&mut self, tx: HashedTransaction) {
        self.bytes += memory_of(&tx);
        self.order.push_back(tx);
        while self.order.len() > MAX_REMOVED || self.bytes > MAX_REMOVED_BYTES {
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
    use crate::primitives::height::Height;
    use crate::primitives::tx::{Output, Transaction};

    #[test]
    fn removed_transactions_are_bounded_in_number_and_bytes() {
        let mut removed = Removed::default();
        let mut push = |bytes: usize| {
            let outputs = vec![Output::data(vec![0; bytes])];
            let tx = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: Height::GENESIS };
            removed.push(HashedTransaction::new(tx));
            assert_eq!(removed.bytes, removed.iter().map(|tx| memory_of(tx)).sum::<usize>());
            (removed.order.len(), removed.bytes)
        };
        assert_eq!((0..300).map(|_| push(10)).last().map(|(count, _)| count), Some(MAX_REMOVED));
        assert!((0..30).all(|_| push(MAX_REMOVED_BYTES / 10).1 <= MAX_REMOVED_BYTES));
        assert_eq!(push(MAX_REMOVED_BYTES).0, 0, "too large even alone");
    }

    #[test]
    fn the_last_ones_are_remembered_and_the_first_forgotten() {
        let mut recent = Recent::new(3);
        assert!([1, 2, 3].into_iter().all(|n| recent.insert(n)));
        assert!(!recent.insert(1));
        assert!(recent.insert(4));
        assert!(!recent.contains(&1) && [2, 3, 4].iter().all(|n| recent.contains(n)));
        recent.clear();
        assert!(recent.insert(4));
    }
}
