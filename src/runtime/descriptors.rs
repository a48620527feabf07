//! File descriptors: a socket each, and some kept back for everything else.
//!
//! The store opens its files once and keeps them, so that a node which runs out still writes. Listeners wait a moment then,
//! and go on.

use tracing::warn;

use super::config::Config;
use super::lobby::MAX_HANDSHAKES;
use super::net::{MAX_DIALS, SPARE_INBOUND};

/// Kept back from connections: the store's files, listeners, standard streams, what the runtime waits on, and files read in
/// passing, such as those with the system's name servers.
const RESERVE: usize = 64;

/// Most connections with other nodes that a node may have at a time, those that are being made included.
pub fn connections_of(config: &Config) -> usize {
    [SPARE_INBOUND, MAX_HANDSHAKES, config.outbound_target, MAX_DIALS]
        .into_iter()
        .fold(config.max_inbound, usize::saturating_add)
}

/// Raises this process's soft limit as far as `connections` need it and the system allows. Answers how many of them have a
/// descriptor for sure; warns if not all.
pub fn reserve_for(connections: usize) -> usize {
    let room = raise_limit(connections.saturating_add(RESERVE) as u64).map_or(connections, |limit| {
        usize::try_from(limit).map_or(connections, |limit| limit.saturating_sub(RESERVE).min(connections))
    });
    if room < connections {
        warn!(room, connections, "few file descriptors: raise the limit (ulimit -n), or connections may be refused");
    }
    room
}

/// The soft limit, raised to `wanted` if the hard limit allows; `None` if there is none.
fn raise_limit(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = current?;
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if raised <= limit {
        return Some(limit);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => Some(raised),
        Err(error) => {
            warn!(%error, "cannot raise the limit of file descriptors");
            Some(limit)
        }
    }
}
