//! Bounds on miners.

use std::time::Duration;

/// Bounds on miners.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. At the limit the idlest is closed for a new one.
    pub connections: usize,
    /// Connections of one IPv4 address, or one /64 of IPv6 addresses, which is what one customer has.
    pub per_address: usize,
    /// Time after an accepted share during which a miner's connection is not closed for another: about twenty shares.
    pub working: Duration,
    /// Time to subscribe and authorize.
    pub setup: Duration,
    /// Time after which a silent miner is disconnected.
    pub idle: Duration,
    /// Bad shares, less good ones, that end a connection.
    pub offences: u32,
    /// Least time a line, in the long run.
    pub line_time: Duration,
    /// How far lines may be ahead of that rate.
    pub burst: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_address: 64,
            working: Duration::from_secs(120),
            setup: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            offences: 50,
            line_time: Duration::from_millis(10),
            burst: Duration::from_secs(5),
        }
    }
}
