//! A memory of what was met lately.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// The last `capacity` distinct values given to it. Only asked, never iterated, so the order of hashing does not matter.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    capacity: usize,
    order: VecDeque<T>,
    set: HashSet<T>,
}

impl<T: Copy + Eq + Hash> Seen<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, order: VecDeque::new(), set: HashSet::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_ones() {
        let mut seen = Seen::new(3);
        assert!([1, 2, 3].into_iter().all(|n| seen.insert(n)));
        assert!(!seen.insert(1));
        assert!(seen.insert(4));
        assert!(!seen.contains(&1) && [2, 3, 4].iter().all(|n| seen.contains(n)));
        seen.clear();
        assert!(seen.insert(4));
    }
}
