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

    /// The date and time in Greenwich, such as `2026-11-29 04:20:52`, by the Gregorian calendar.
    pub fn utc(self) -> String {
        const DAY: u64 = 24 * 60 * 60;
        /// Days of 400 years, after which the calendar repeats.
        const CYCLE: u64 = 146_097;
        let (days, secs) = (self.0 / DAY, self.0 % DAY);
        // Years begin in March here, so that the day of a leap year is the last one. 719,468 days lie between March of
        // year 0 and 1970.
        let days = days + 719_468;
        let (cycle, day) = (days / CYCLE, days % CYCLE);
        // Without the days of leap years: one in four, but for the centuries, but for the last.
        let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE - 1)) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // The lengths of the months from March on repeat every five: 153 days.
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = 400 * cycle + year + next;
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
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
    fn times_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_799, "2000-02-29 23:59:59"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_767_225_599, "2025-12-31 23:59:59"),
            (1_767_225_600, "2026-01-01 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (4_107_542_399, "2100-02-28 23:59:59"),
        ] {
            assert_eq!(UnixTime::from_secs(secs).utc(), text);
        }
        // Each day is the one after the day before: 400 years without a gap.
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            let text = UnixTime::from_secs(days * 86_400).utc();
            assert_eq!(text, format!("{year}-{month:02}-{day:02} 00:00:00"));
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = lengths[month - 1] + u32::from(month == 2 && is_leap);
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == length => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
        assert_eq!(UnixTime::from_secs(u64::MAX).utc().len(), "584554051223-11-09 07:00:15".len());
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
