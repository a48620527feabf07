//! The listening socket and its bounds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::connection::Connection;
use super::meters::Meters;
use crate::runtime::{Handle, Stage};

/// Bounds on what miners can make the server do.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; more are closed at once, so that a miner can try elsewhere.
    pub connections: usize,
    /// Time to subscribe and authorize.
    pub setup: Duration,
    /// Time after which a miner that says nothing is taken for gone.
    pub idle: Duration,
    /// Bad shares, less good ones, that end a connection.
    pub offences: u32,
    /// Least time a line, in the long run.
    pub line_time: Duration,
    /// Time by which lines may be ahead of that.
    pub burst: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            setup: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            offences: 50,
            line_time: Duration::from_millis(10),
            burst: Duration::from_secs(5),
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to bind; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Bounds.
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

/// A server at work; dropping it ends it, and all its connections.
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

    /// What its miners have done.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Closes all connections and waits until they are gone.
    pub async fn stop(mut self) {
        self.task.abort();
        // The only error left is that it was aborted, which is the point.
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
    // Two nodes whose miners are paid to one address should not have them search the same.
    let first: u32 = rand::random();
    let mut number: u32 = 0;
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
        if connections.len() >= limits.connections {
            tracing::debug!(%peer, most = limits.connections, "a miner is turned away: too many connections");
            continue;
        }
        number = number.wrapping_add(1);
        let extranonce1 = first.wrapping_add(number).to_be_bytes();
        let (handle, meters, limits) = (handle.clone(), Arc::clone(&meters), limits.clone());
        let connection = Connection::new((stream, peer), u64::from(number), extranonce1, handle, meters, limits);
        connections.spawn(async move {
            tracing::debug!(%peer, "a miner came");
            let end = connection.run().await;
            tracing::debug!(%peer, reason = %end, "a miner went");
        });
    }
}
