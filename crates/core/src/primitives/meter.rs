//! What a thread has done that takes time: looked up, read, hashed, verified.
//!
//! Counted where it is done, so that no caller can forget to; each thread counts for itself, so that what one request cost
//! is the difference between two readings around it, the same in every run. Work shared with other threads is done [`apart`].

use std::cell::Cell;
use std::ops::Sub;

/// What was done. Everything is counted from the thread's start, and wraps with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Keys looked up in the store, found or not, and entries visited by scans.
    pub lookups: u64,
    /// Bytes of the values that were found.
    pub bytes_read: u64,
    /// Hashes computed.
    pub hashes: u64,
    /// Bytes hashed.
    pub bytes_hashed: u64,
    /// Signatures verified, good or bad.
    pub signatures: u64,
    /// Entries of tables in memory gone through one after another.
    pub steps: u64,
}

impl Sub for Effort {
    type Output = Self;

    /// What was done between two readings.
    fn sub(self, before: Self) -> Self {
        Self {
            lookups: self.lookups.wrapping_sub(before.lookups),
            bytes_read: self.bytes_read.wrapping_sub(before.bytes_read),
            hashes: self.hashes.wrapping_sub(before.hashes),
            bytes_hashed: self.bytes_hashed.wrapping_sub(before.bytes_hashed),
            signatures: self.signatures.wrapping_sub(before.signatures),
            steps: self.steps.wrapping_sub(before.steps),
        }
    }
}

thread_local! {
    static EFFORT: Cell<Effort> =
        const { Cell::new(Effort { lookups: 0, bytes_read: 0, hashes: 0, bytes_hashed: 0, signatures: 0, steps: 0 }) };
}

fn note(add: impl FnOnce(&mut Effort)) {
    // Gone only while the thread ends, when no caller reads it any more.
    let _ = EFFORT.try_with(|cell| {
        let mut effort = cell.get();
        add(&mut effort);
        cell.set(effort);
    });
}

/// What this thread has done so far.
pub fn effort() -> Effort {
    EFFORT.try_with(Cell::get).unwrap_or_default()
}

/// Does `work` that other threads share, uncounted: which part this one does, and what else it does while it waits for
/// them, is chance. What of it is to count is noted apart.
pub fn apart<T>(work: impl FnOnce() -> T) -> T {
    let before = effort();
    let result = work();
    let _ = EFFORT.try_with(|cell| cell.set(before));
    result
}

/// A key was looked up, or an entry visited, and so many bytes read.
pub fn looked_up(bytes: usize) {
    note(|effort| {
        effort.lookups = effort.lookups.wrapping_add(1);
        effort.bytes_read = effort.bytes_read.wrapping_add(bytes as u64);
    });
}

/// So many messages of so many bytes each were hashed.
pub fn hashed(count: usize, bytes: usize) {
    note(|effort| {
        effort.hashes = effort.hashes.wrapping_add(count as u64);
        effort.bytes_hashed = effort.bytes_hashed.wrapping_add((count * bytes) as u64);
    });
}

/// So many signatures were verified.
pub fn verified(count: usize) {
    note(|effort| effort.signatures = effort.signatures.wrapping_add(count as u64));
}

/// So many entries of a table in memory were gone through.
pub fn stepped(count: usize) {
    note(|effort| effort.steps = effort.steps.wrapping_add(count as u64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_between_two_readings() {
        looked_up(1_000);
        let before = effort();
        looked_up(7);
        hashed(2, 32);
        verified(3);
        stepped(4);
        let expected = Effort { lookups: 1, bytes_read: 7, hashes: 2, bytes_hashed: 64, signatures: 3, steps: 4 };
        assert_eq!(effort() - before, expected);
    }
}
