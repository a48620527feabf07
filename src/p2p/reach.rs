//! Which addresses are reachable, and which of them a peer may announce.

use std::net::{IpAddr, SocketAddr};

/// Whether an address can be reached from everywhere.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared || is_nowhere(ip.into()))
        }
        IpAddr::V6(ip) => {
            let local = ip.is_unique_local() || ip.is_unicast_link_local();
            !(ip.is_loopback() || local || is_nowhere(ip.into()))
        }
    }
}

fn is_nowhere(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4])
}

/// Whether an address can be dialled at all.
pub(crate) fn is_dialable(address: &SocketAddr) -> bool {
    address.port() != 0 && !is_nowhere(address.ip())
}

/// Whether a peer at `source` may announce an address. Private addresses from a public peer would lie in another
/// network, or in our own.
pub(crate) fn is_believable(address: &SocketAddr, source: IpAddr) -> bool {
    let ip = address.ip();
    let beyond = (is_public(source) && !is_public(ip)) || (ip.is_loopback() && !source.is_loopback());
    is_dialable(address) && !beyond
}
