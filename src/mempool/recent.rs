//! A bounded memory of ids.

use std::collections::HashSet;

use crate::primitives::hash::Txid;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::hash::Hash256;

    #[test]
    fn the_last_ones_are_remembered_and_the_first_forgotten() {
        let ids: Vec<_> = (0..100).map(|i| Hash256([i; 32])).collect();
        let mut recent = Recent::new(10);
        for (i, id) in ids.iter().enumerate() {
            recent.insert(*id);
            assert!(ids[i.saturating_sub(9)..=i].iter().all(|id| recent.contains(id)));
            assert!(recent.newer.len() + recent.older.len() <= 20);
        }
        assert!(!recent.contains(&ids[0]));
    }
}
