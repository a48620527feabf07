//! Two clocks: the time of day, for rules and records, and the monotonic one, for timers.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::{Decode, Encode};

/// A time of day, in whole seconds since 1970: for rules and records.
///
/// A plain number is not a time, since it does not state its clock or unit:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::time::UnixTime;
/// let now: UnixTime = 1_767_225_600;
/// ```
///
/// Nor is a span:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::time::UnixTime;
/// let later: UnixTime = UnixTime::from_secs(5).saturating_since(UnixTime::from_secs(2));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The start of 1970: earlier than any event; means "never" in records.
    pub const EPOCH: Self = Self(0);

    /// The time `secs` seconds after the start of 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since the start of 1970.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The time `span` later, saturating. Fractions of a second are dropped.
    #[must_use]
    pub const fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// The time `span` earlier, or the start of 1970. Fractions of a second are dropped.
    #[must_use]
    pub const fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// A reading of a monotonic clock, in whole milliseconds since that clock's start: for timers and measured spans.
///
/// Every node and every simulation has its own clock, so readings of two cannot be compared. Sums saturate.
///
/// A time of day is not such a reading:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::time::{MonoTime, UnixTime};
/// let deadline: MonoTime = UnixTime::from_secs(1_767_225_600);
/// ```
///
/// Nor is a span:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::time::MonoTime;
/// let deadline: MonoTime = std::time::Duration::from_secs(20);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct MonoTime(u64);

impl MonoTime {
    /// When the clock was started.
    pub const START: Self = Self(0);

    /// The reading `millis` milliseconds after the start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The reading `span` later, saturating. Fractions of a millisecond are dropped.
impl Add<Duration> for MonoTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl AddAssign<Duration> for MonoTime {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

/// Prints the seconds since 1970.
impl std::fmt::Display for UnixTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::codec;

    #[test]
    fn times_end_where_their_encoding_does() {
        let (second, time) = (Duration::from_secs(1), UnixTime::from_secs(7));
        assert_eq!(UnixTime::from_secs(u64::MAX).saturating_add(second), UnixTime::from_secs(u64::MAX));
        assert_eq!(UnixTime::EPOCH.saturating_sub(second), UnixTime::EPOCH);
        assert_eq!(UnixTime::EPOCH.saturating_since(time), Duration::ZERO);
        assert_eq!(time.saturating_since(UnixTime::EPOCH), 7 * second);
        assert_eq!(codec::encode(&time), codec::encode(&7u64));
    }
    #[test]
    fn readings_end_where_their_encoding_does() {
        let (second, reading, last) =
            (Duration::from_secs(1), MonoTime::from_millis(7), MonoTime::from_millis(u64::MAX));
        assert_eq!((last + second, reading + Duration::MAX), (last, last));
        assert_eq!((reading + second).saturating_since(reading), second);
        assert_eq!(reading + Duration::from_micros(999), reading);
        assert_eq!(MonoTime::START.saturating_since(reading), Duration::ZERO);
        assert_eq!(codec::encode(&reading), codec::encode(&7u64));
    }
}
