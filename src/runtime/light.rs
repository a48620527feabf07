//! Running a light client: its thread and its sockets.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::clock::Clock;
use super::config::SocketLimits;
use super::connection::Inbox;
use super::error::{Failure, StartError};
use super::header_file::HeaderFile;
use super::link::Link;
use super::net::{Net, TRANSPORTS};
use super::thread::{NodeThread, ThreadParts};
use crate::consensus::params::Params;
use crate::consensus::peer_name::PeerName;
use crate::light::{self, Headers, Light};
use crate::p2p::PeerAddr;
use crate::p2p::kad::NodeId;
use crate::p2p::noise::Identity;
use crate::primitives::height::Height;

/// Addresses of one name that are dialled.
const MAX_ADDRESSES: usize = 8;

/// A light client at work. [`RunningLight::stop`] ends it in order.
pub struct RunningLight {
    params: Arc<Params>,
    link: Link<Light>,
    net: Net,
    thread: NodeThread,
}

impl RunningLight {
    /// Starts a client that asks `peers`; without any it finds some through the network's seeds, and keeps its headers
    /// in `file`, if there is one. Its key is new each time, so that peers cannot recognise it.
    ///
    /// # Errors
    /// [`StartError`], whose text is meant for the person who started it.
    pub async fn start(
        params: Arc<Params>,
        peers: &[PeerName],
        file: Option<&Path>,
        config: light::Config,
    ) -> Result<Self, StartError> {
        let file = file.map(HeaderFile::open).transpose()?.map(Arc::new);
        let named = resolve(peers).await?;
        // A seed without an address is skipped: there are others.
        let seeds = if peers.is_empty() { resolve(&params.seeds).await.unwrap_or_default() } else { Vec::new() };
        let peers = [config.peers, named].concat();
        let config = light::Config { peers, seeds, transports: TRANSPORTS, seed: rand::random(), ..config };
        let clock = Clock::start();
        let (inbox, sockets) = Inbox::new();
        let net = Net::new(
            inbox,
            Arc::default(),
            (None, None),
            SocketLimits::default(),
            params.max_block_bytes,
            0,
            Identity::from_secret(rand::random()),
        );
        let (link, ends) = Link::new(params.genesis_hash);
        let (network, loaded, synced) = (params.clone(), file.clone(), file.clone());
        let parts = ThreadParts {
            name: None,
            store_failed: CancellationToken::new(),
            open: Box::new(move |now| {
                let chain = match loaded {
                    Some(file) => {
                        let chain = file.load(network.clone())?;
                        // What was proven by a sample is not what its owner wants now.
                        if config.proof_ahead == Some(u32::MAX) && chain.first() > Height::GENESIS.next() {
                            file.replace(Some(Vec::new()), Height::GENESIS, &[])?;
                            Headers::new(network)
                        } else {
                            chain
                        }
                    }
                    None => Headers::new(network),
                };
                Ok((Light::new(chain, config, now), Vec::new()))
            }),
            headers: file,
            keep: Box::new(|_| ()),
            close: Box::new(move || synced.map_or(Ok(()), |file| file.sync())),
            clock,
            net: net.clone(),
            ends,
            sockets,
            due: Arc::default(),
        };
        let (announce, ready) = oneshot::channel();
        let thread = NodeThread::start(parts, announce)?;
        let running = Self { params, link, net, thread };
        match ready.await {
            Ok(Ok(())) => Ok(running),
            Ok(Err(error)) => {
                // This error matters more than one from stopping.
                let _ = running.stop().await;
                Err(error)
            }
            Err(_) => {
                running.stop().await?;
                Err(StartError::Thread(std::io::Error::other("it ended before it was ready")))
            }
        }
    }

    /// The parameters of the client's network.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Reaches the client's thread.
    pub fn link(&self) -> &Link<Light> {
        &self.link
    }

    /// Stops the thread and all connections, and syncs the headers to the disk.
    ///
    /// # Errors
    /// [`Failure`] if the client's thread failed, or the headers could not be written.
    pub async fn stop(self) -> Result<(), Failure> {
        let result = self.thread.stop().await;
        self.net.stop().await;
        result
    }
}

async fn resolve(names: &[PeerName]) -> Result<Vec<(PeerAddr, Option<NodeId>)>, StartError> {
    let (mut addresses, mut missing) = (Vec::new(), None);
    for name in names {
        match tokio::net::lookup_host(&name.host).await {
            Ok(found) => {
                addresses.extend(found.take(MAX_ADDRESSES).map(|address| (address.into(), name.id.map(NodeId))));
            }
            Err(source) => {
                let error = StartError::NoAddress { name: name.host.clone(), source };
                warn!(%error, "going on with the others");
                missing.get_or_insert(error);
            }
        }
    }
    // One honest peer is enough, but there has to be one.
    missing.filter(|_| addresses.is_empty()).map_or(Ok(addresses), Err)
}
