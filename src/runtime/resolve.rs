//! Host names of nodes: looked up again and again, because a name may have many addresses and change them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::link::NodeLink;

/// Addresses of one name that are dialled: a service with hundreds of replicas is joined through a few of them.
const MAX_ADDRESSES: usize = 8;
/// Until the first answer, a name is asked for more often: at the start of a whole network it may not exist yet.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Whether text is `HOST:PORT`.
pub(super) fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// Keeps the node connected to what `name` stands for, for as long as it is polled: adds the addresses that the name service gives,
/// and drops those that it no longer gives.
pub(super) async fn keep_connected(name: String, link: NodeLink, interval: Duration) {
    let literal = name.parse::<SocketAddr>().is_ok();
    let mut known = BTreeSet::new();
    let mut retry = FIRST_RETRY;
    loop {
        match tokio::net::lookup_host(&name).await {
            Ok(addresses) => {
                let found: BTreeSet<SocketAddr> = addresses.take(MAX_ADDRESSES).collect();
                if replace(&link, &known, &found).await.is_err() || literal {
                    return;
                }
                if found != known {
                    info!(name, ?found, "resolved");
                }
                known = found;
                retry = interval;
            }
            Err(error) if known.is_empty() => warn!(name, %error, "cannot resolve, trying again"),
            Err(error) => debug!(name, %error, "cannot resolve, keeping what is known"),
        }
        tokio::time::sleep(retry.min(interval)).await;
        if known.is_empty() {
            retry = (retry * 2).min(interval);
        }
    }
}

async fn replace(
    link: &NodeLink,
    old: &BTreeSet<SocketAddr>,
    new: &BTreeSet<SocketAddr>,
) -> Result<(), super::link::Stopped> {
    let gone: Vec<SocketAddr> = old.difference(new).copied().collect();
    let added: Vec<SocketAddr> = new.difference(old).copied().collect();
    if gone.is_empty() && added.is_empty() {
        return Ok(());
    }
    link.call(move |node, now| {
        for address in gone {
            node.remove_node(now, &address);
        }
        for address in added {
            node.add_node(now, address);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::is_host_and_port;

    #[test]
    fn host_and_port() {
        for good in ["127.0.0.1:7331", "node.example.org:1", "[::1]:7331", "localhost:65535"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["", ":7331", "localhost", "localhost:", "localhost:0", "localhost:65536", "::1:7331", "host:x"] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
