//! Which IPs are reachable from where.

use std::net::IpAddr;

/// Whether an IP can be reached from everywhere.
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

/// Whether no single host can have an IP.
pub(crate) fn is_nowhere(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4])
}
