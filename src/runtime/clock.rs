//! The clocks that the node's thread hands to the protocol.

use std::time::{Duration, Instant, SystemTime};

use crate::p2p::Now;

/// Counts from when it was made, so that the monotonic reading fits 64 bits of milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        Now { millis: self.elapsed().as_millis() as u64, unix: unix_now() }
    }

    /// Since the clock was started.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// When the monotonic reading will be `millis`. Far-off times are cut to a day.
    pub(super) fn instant_of(&self, millis: u64) -> Instant {
        let latest = Instant::now() + Duration::from_secs(86_400);
        self.start.checked_add(Duration::from_millis(millis)).map_or(latest, |at| at.min(latest))
    }
}

/// Seconds since 1970; 0 if the machine's clock stands before that.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
