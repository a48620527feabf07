//! The clocks that the node's thread hands to the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::p2p::Now;
use crate::primitives::time::{MonoTime, UnixTime};

/// Counts from when it was made, which is where the monotonic reading starts. Clones are one clock.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    start: Instant,
    /// The mock time; 0 for the real wall clock.
    set: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), set: Arc::default() }
    }

    pub(super) fn now(&self) -> Now {
        let unix = match self.set.load(Ordering::Relaxed) {
            0 => unix_now(),
            set => UnixTime::from_secs(set),
        };
        Now { mono: MonoTime::START + self.elapsed(), unix }
    }

    /// Sets the wall clock to a fixed time; the epoch releases it. The monotonic clock continues.
    pub(super) fn set_unix(&self, unix: UnixTime) {
        self.set.store(unix.as_secs(), Ordering::Relaxed);
    }

    /// The time that it is fixed at; `None` for the real wall clock.
    pub(super) fn set(&self) -> Option<UnixTime> {
        let set = UnixTime::from_secs(self.set.load(Ordering::Relaxed));
        (set != UnixTime::EPOCH).then_some(set)
    }

    /// Since the clock was started.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The monotonic reading at a time that has passed.
    pub(super) fn mono_of(&self, at: Instant) -> MonoTime {
        MonoTime::START + at.saturating_duration_since(self.start)
    }

    /// When the monotonic reading will be `at`. Far-off times are cut to a day.
    pub(super) fn instant_of(&self, at: MonoTime) -> Instant {
        let latest = Instant::now() + Duration::from_secs(86_400);
        self.start.checked_add(at.saturating_since(MonoTime::START)).map_or(latest, |at| at.min(latest))
    }
}

/// The time on the machine's clock; the epoch if it stands before that.
pub fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime::from_secs(since.map_or(0, |since| since.as_secs()))
}
