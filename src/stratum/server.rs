//! The listening socket and its bounds.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::connection::Connection;
use super::limits::Limits;
use super::meters::{Connected, Meters};
use crate::runtime::{Handle, Stage};

/// Where and within which bounds to listen.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to bind; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Bounds on connections, lines and waits.
    pub limits: Limits,
}

impl Config {
    /// Listens on `bind`, with the usual bounds.
    pub fn new(bind: SocketAddr) -> Self {
        Self { bind, limits: Limits::default() }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for miners on {address}: {source} (another address can be given with --stratum)")]
pub struct StratumError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// A running server; dropping it closes it and all its connections.
#[derive(Debug)]
pub struct StratumServer {
    address: SocketAddr,
    meters: Arc<Meters>,
    task: JoinHandle<()>,
}

impl StratumServer {
    /// The address bound, with the port that was free if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counters of its miners' work.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Closes all connections and waits until they are gone.
    pub async fn stop(mut self) {
        self.task.abort();
        // The only possible error is that it was aborted, as intended.
        let _ = (&mut self.task).await;
    }
}

impl Drop for StratumServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to give miners work on the node behind `handle`, once its chain is read.
///
/// # Errors
/// [`StratumError`] if the address cannot be bound.
pub async fn serve(config: Config, handle: Handle) -> Result<StratumServer, StratumError> {
    let failed = |source| StratumError { address: config.bind, source };
    let listener = TcpListener::bind(config.bind).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let meters = Arc::new(Meters::default());
    let task = tokio::spawn(accept(listener, handle, Arc::clone(&meters), config.limits));
    tracing::info!(%address, "waiting for miners over Stratum");
    Ok(StratumServer { address, meters, task })
}

async fn accept(listener: TcpListener, handle: Handle, meters: Arc<Meters>, limits: Limits) {
    // An error means that the node has stopped, as the calls below will say too.
    let _ = handle.stage().wait_for(|stage| *stage >= Stage::Running).await;
    let mut connections = JoinSet::new();
    let mut handles: BTreeMap<u64, AbortHandle> = BTreeMap::new();
    // Random, so that two nodes with the same payee do not search the same headers.
    let first: u32 = rand::random();
    let mut number: u64 = 0;
    loop {
        let incoming = loop {
            tokio::select! {
                incoming = listener.accept() => break incoming,
                Some(_) = connections.join_next() => {}
                () = handle.stopped() => return,
            }
        };
        let (stream, peer) = match incoming {
            Ok(incoming) => incoming,
            Err(error) => {
                // Out of file descriptors, most likely: some will be closed.
                tracing::warn!(%error, "cannot accept a miner's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        handles.retain(|_, handle| !handle.is_finished());
        let mut seats = meters.seats(limits.working);
        seats.retain(|seat| handles.contains_key(&seat.number));
        match find_place(peer, &seats, &limits) {
            Place::Free => {}
            Place::After(idlest) => {
                if let Some(handle) = handles.remove(&idlest) {
                    handle.abort();
                }
            }
            Place::None => {
                tracing::debug!(%peer, "a miner is turned away: all that are there work");
                continue;
            }
        }
        number += 1;
        // The low half is unique for longer than any connection lasts.
        let extranonce1 = first.wrapping_add(number as u32).to_be_bytes();
        let (handle, meters, limits) = (handle.clone(), Arc::clone(&meters), limits.clone());
        let connection = Connection::new((stream, peer), number, extranonce1, handle, meters, limits);
        let handle = connections.spawn(async move {
            tracing::debug!(%peer, "a miner came");
            let end = connection.run().await;
            tracing::debug!(%peer, reason = %end, "a miner went");
        });
        handles.insert(number, handle);
    }
}

/// Whether there is a place for one more connection.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Free,
    /// After closing this connection.
    After(u64),
    None,
}

/// Finds a place for a connection from `peer`.
///
/// If its address has reached its limit, one of that address's connections is closed; if the server is full, one of the
/// address with most connections. It closes the idlest, never one that works: silent connections keep no miner out, and
/// a flood of connections disconnects no miner.
fn find_place(peer: SocketAddr, seats: &[Connected], limits: &Limits) -> Place {
    let count = |network: IpAddr| seats.iter().filter(|seat| network_of(seat.peer) == network).count();
    let own = network_of(peer);
    let is_crowded = count(own) >= limits.per_address;
    if !is_crowded && seats.len() < limits.connections {
        return Place::Free;
    }
    let idle = seats.iter().filter(|seat| !seat.is_working && (!is_crowded || network_of(seat.peer) == own));
    let idlest = idle.max_by_key(|seat| (count(network_of(seat.peer)), seat.idle));
    idlest.map_or(Place::None, |seat| Place::After(seat.number))
}

/// The IPv4 address, or the /64 of the IPv6 address.
fn network_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_of_the_most_crowded_address_gives_way() {
        let limits = Limits { connections: 5, per_address: 3, ..Limits::default() };
        let seat = |number, peer: &str, idle| Connected {
            number,
            peer: SocketAddr::new(peer.parse().unwrap(), 1),
            idle: Duration::from_secs(idle),
            is_working: false,
        };
        let place = |peer: &str, seats: &[Connected]| find_place(seat(0, peer, 0).peer, seats, &limits);
        let mut seats = vec![seat(1, "10.0.0.1", 20), seat(2, "10.0.0.2", 40), seat(3, "10.0.0.1", 30)];
        assert_eq!(place("10.0.0.1", &seats), Place::Free);
        seats.push(seat(4, "::ffff:10.0.0.1", 0));
        assert_eq!(place("10.0.0.1", &seats), Place::After(3), "its own, though another is idler");
        assert_eq!(place("10.0.0.3", &seats), Place::Free);
        seats.push(seat(5, "2001:db8::1", 50));
        assert_eq!(place("10.0.0.3", &seats), Place::After(3), "of the address that has most");
        // Who works stays.
        seats[2].is_working = true;
        assert_eq!(place("10.0.0.3", &seats), Place::After(1));
        seats.iter_mut().for_each(|seat| seat.is_working = true);
        assert_eq!((place("10.0.0.1", &seats), place("10.0.0.3", &seats)), (Place::None, Place::None));
        // A /64 is one customer's.
        let seats: Vec<Connected> = (1..=3).map(|n| seat(n, &format!("2001:db8::{n}"), 10 - n)).collect();
        assert_eq!(place("2001:db8::ffff:1", &seats), Place::After(1));
        assert_eq!(place("2001:db8:0:1::1", &seats), Place::Free);
    }
}
