//! How long those that owe blocks are waited for.

use std::time::Duration;

use crate::primitives::time::MonoTime;

/// Bytes a second that a fetch, and each peer of it, has to bring in the long run: so many bytes of blocks buy a second. One block
/// of a usual size, 256 KiB, buys all the time that there can be.
pub const PACE: u64 = 1_000;

/// Time that is left to those that owe blocks. It runs out, and what they send adds to it by its bytes. So a fetch that is fed
/// tiny blocks, each just in time, ends too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    left: Duration,
    /// Up to when time was counted.
    counted: MonoTime,
}

impl Patience {
    pub(super) fn full(now: MonoTime, most: Duration) -> Self {
        Self { left: most, counted: now }
    }

    /// The time until now does not count: nothing was owed.
    pub(super) fn resume(&mut self, now: MonoTime) {
        self.counted = now;
    }

    /// Adds the time that the bytes of a block buy; `true` if there is as much as there can be, `most`.
    pub(super) fn earn(&mut self, now: MonoTime, bytes: usize, most: Duration) -> bool {
        let left = self.left.saturating_sub(now.saturating_since(self.counted));
        let earned = Duration::from_millis((bytes as u64).saturating_mul(1_000) / PACE);
        *self = Self { left: left.saturating_add(earned).min(most), counted: now };
        self.left == most
    }

    pub(super) fn is_over(&self, now: MonoTime) -> bool {
        self.counted + self.left <= now
    }
}
