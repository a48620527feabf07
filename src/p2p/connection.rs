//! Identifiers of connections, and time.

use std::fmt;

use crate::primitives::time::{MonoTime, UnixTime};

/// The time, given with every call: the node has no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The reading of a clock that never goes back; timers are set by it.
    pub mono: MonoTime,
    /// Wall-clock time, for rules and records.
    pub unix: UnixTime,
}

/// A connection, numbered by the driver, which never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The other side.
    Inbound,
    /// This node.
    Outbound,
}
