//! Host names of nodes: looked up again and again, because a name may have many addresses and change them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::link::{NodeLink, Stopped};
use crate::consensus::peer_name::PeerName;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, PeerAddr};

/// Addresses of one name that are dialled: a service with hundreds of replicas is joined through a few of them.
const MAX_ADDRESSES: usize = 8;
/// Until the first answer, a name is asked for more often: at the start of a whole network it may not exist yet.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The use of a name's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To stay connected to.
    Connect,
    /// To join through: known like other addresses.
    Seed,
}

/// Resolves `name` repeatedly while it is polled, and informs the node of new addresses and of those that no longer
/// resolve.
pub(super) async fn follow(name: PeerName, role: Role, link: NodeLink, interval: Duration) {
    let PeerName { id, host: name } = name;
    let id = id.map(NodeId);
    let literal = name.parse::<SocketAddr>().is_ok();
    let mut known = BTreeSet::new();
    let mut retry = FIRST_RETRY.min(interval);
    loop {
        match tokio::net::lookup_host(&name).await {
            Ok(addresses) => {
                let chosen = choose(&known, addresses.collect());
                if chosen != known {
                    info!(name, ?chosen, "resolved");
                }
                if replace(&link, (role, id), &known, &chosen).await.is_err() || literal {
                    return;
                }
                known = chosen;
            }
            Err(error) if known.is_empty() => warn!(name, %error, "cannot resolve, trying again"),
            Err(error) => debug!(name, %error, "cannot resolve, keeping what is known"),
        }
        tokio::time::sleep(retry).await;
        retry = if known.is_empty() { (retry * 2).min(interval) } else { interval };
    }
}

/// A few of the addresses found: those in use first, then others in the order given, which name services shuffle.
fn choose(known: &BTreeSet<SocketAddr>, found: Vec<SocketAddr>) -> BTreeSet<SocketAddr> {
    let (kept, new): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| known.contains(address));
    let mut chosen = BTreeSet::new();
    for address in kept.into_iter().chain(new) {
        if chosen.len() < MAX_ADDRESSES {
            chosen.insert(address);
        }
    }
    chosen
}

async fn replace(
    link: &NodeLink,
    (role, id): (Role, Option<NodeId>),
    old: &BTreeSet<SocketAddr>,
    new: &BTreeSet<SocketAddr>,
) -> Result<(), Stopped> {
    let gone: Vec<PeerAddr> = old.difference(new).map(|socket| PeerAddr::from(*socket)).collect();
    let added: Vec<PeerAddr> = new.difference(old).map(|socket| PeerAddr::from(*socket)).collect();
    if gone.is_empty() && added.is_empty() {
        return Ok(());
    }
    match role {
        Role::Connect => {
            for address in gone {
                link.command(move |reply| Command::RemoveNode(address, reply)).await?;
            }
            for address in added {
                link.command(move |reply| Command::AddNode(address, id, reply)).await?;
            }
        }
        // One that is no longer given may still be a node; the address book forgets those that are not.
        Role::Seed => {
            for address in added {
                link.command(move |reply| Command::AddSeed(address, id, reply)).await?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_use_are_kept_and_their_number_is_bounded() {
        let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let first = choose(&BTreeSet::new(), (1..=20).map(address).collect());
        assert_eq!(first, (1..=8).map(address).collect());
        // Shuffled, and number 3 is gone.
        let second = choose(&first, (1..=20).rev().filter(|port| *port != 3).map(address).collect());
        assert_eq!(second, [1, 2, 4, 5, 6, 7, 8, 20].map(address).into());
    }
}
