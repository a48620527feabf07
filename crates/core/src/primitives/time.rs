//! The time of day. Timers run by another clock, whose readings have another type.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::{Decode, Encode};

/// A time on the wall's clock, in whole seconds since 1970: for rules and records.
///
/// A bare number is no time, since it does not say of what clock or unit it is:
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
    /// The start of 1970: before everything, and "never" in records.
    pub const EPOCH: Self = Self(0);

    /// The time `secs` seconds after the start of 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since the start of 1970.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The time `span` later, or the last there is. Parts of a second do not count.
    #[must_use]
    pub const fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// The time `span` earlier, or the start of 1970. Parts of a second do not count.
    #[must_use]
    pub const fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    /// How long it is since `earlier`; nothing if that is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Shows the seconds since 1970.
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
}
