//! Counts the expensive operations of each thread: look-ups, reads, hashes, signature checks.
//!
//! Each operation counts itself, so callers cannot forget. Counters are per thread, so the cost of a request is the
//! difference between two readings around it, and is the same in every run. Work shared with other threads runs in
//! [`apart`].

use std::cell::Cell;
use std::ops::Sub;

/// Counts of operations since the thread's start. They wrap on overflow.
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
    /// Entries of in-memory tables visited in scans.
    pub steps: u64,
}

impl Sub for Effort {
    type Output = Self;

    /// The operations between two readings.
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
    // Access fails only while the thread ends, when no caller reads the counts any more.
    let _ = EFFORT.try_with(|cell| {
        let mut effort = cell.get();
        add(&mut effort);
        cell.set(effort);
    });
}

/// The counts of this thread so far.
pub fn effort() -> Effort {
    EFFORT.try_with(Cell::get).unwrap_or_default()
}

/// Runs `work` that is shared with other threads without counting it: chance decides which part this thread does, and
/// what other work it picks up while it waits. The caller counts the total itself.
pub fn apart<T>(work: impl FnOnce() -> T) -> T {
    let before = effort();
    let result = work();
    let _ = EFFORT.try_with(|cell| cell.set(before));
    result
}

/// Counts one key looked up or one entry visited, and the `bytes` read.
pub fn looked_up(bytes: usize) {
    note(|effort| {
        effort.lookups = effort.lookups.wrapping_add(1);
        effort.bytes_read = effort.bytes_read.wrapping_add(bytes as u64);
    });
}

/// Counts `count` hashed messages of `bytes` bytes each.
pub fn hashed(count: usize, bytes: usize) {
    note(|effort| {
        effort.hashes = effort.hashes.wrapping_add(count as u64);
        effort.bytes_hashed = effort.bytes_hashed.wrapping_add((count * bytes) as u64);
    });
}

/// Counts `count` verified signatures.
pub fn verified(count: usize) {
    note(|effort| effort.signatures = effort.signatures.wrapping_add(count as u64));
}

/// Counts `count` visited entries of an in-memory table.
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
