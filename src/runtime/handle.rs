//! A handle to a running node.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fmt, io};

use super::chaos::{Chaos, LinkKey};
use super::clock::Clock;
use super::exchange::Exchange;
use super::link::{NodeLink, Stopped};
use super::mempool_file::MempoolFile;
use super::mining::MiningControl;
use super::pause::Pause;
use super::traffic::{Totals, Traffic};
use super::work::Templates;
use crate::chain::TreeReader;
use crate::consensus::params::Params;
use crate::consensus::peer_name::PeerName;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, PeerAddr, PeerId};
use crate::primitives::time::UnixTime;
use crate::sim::LinkSettings;
use crate::storage::Database;

/// Reaches a node from any task; clones reach the same one. It dereferences to [`NodeLink`].
///
/// A handle keeps the store open: another node can open the directory once all handles are dropped.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) link: NodeLink,
    pub(super) database: Database,
    /// Set once the chain is read.
    pub(super) tree: Arc<OnceLock<TreeReader>>,
    pub(super) params: Arc<Params>,
    pub(super) mining: MiningControl,
    pub(super) templates: Templates,
    pub(super) traffic: Arc<Traffic>,
    pub(super) clock: Clock,
    pub(super) chaos: Option<Arc<Chaos>>,
    pub(super) exchange: Option<Exchange>,
    pub(super) id: NodeId,
    pub(super) listens_at: Option<PeerAddr>,
    pub(super) webrtc_at: Option<PeerAddr>,
    pub(super) mempool_file: MempoolFile,
    pub(super) pause: Pause,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("listens_at", &self.0.listens_at).finish_non_exhaustive()
    }
}

impl Deref for Handle {
    type Target = NodeLink;

    fn deref(&self) -> &NodeLink {
        &self.0.link
    }
}

impl Handle {
    /// Blocks, coins and indexes, read without the node's thread. Reads of several keys must compare the tip before and
    /// after, since the store has no snapshots.
    pub fn db(&self) -> &Database {
        &self.0.database
    }

    /// The tree of blocks, read without the node's thread; `None` while the chain is being loaded. It is never behind
    /// the handle's tip, but may be ahead of it, and for an instant behind the store.
    pub fn tree(&self) -> Option<&TreeReader> {
        self.0.tree.get()
    }

    /// The parameters of the node's network.
    pub fn params(&self) -> &Arc<Params> {
        &self.0.params
    }

    /// Starts, stops and watches mining.
    pub fn miner(&self) -> &MiningControl {
        &self.0.mining
    }

    /// The next block, for miners outside this process.
    pub fn templates(&self) -> &Templates {
        &self.0.templates
    }

    /// Writes the mempool to its file, as at a stop; returns the path.
    ///
    /// # Errors
    /// [`Stopped`], or inside it the file system's.
    pub async fn save_mempool(&self) -> Result<io::Result<PathBuf>, Stopped> {
        let saved = self.read(|node, _| node.mempool().save()).await?;
        let file = self.0.mempool_file.clone();
        let write = move || file.write(&saved).and_then(|()| std::path::absolute(file.path()));
        // The disk may be slow: the node's thread does not wait for it.
        Ok(tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error))))
    }

    /// The node's time.
    pub fn unix_now(&self) -> UnixTime {
        self.0.clock.now().unix
    }

    /// Traffic of all connections since the start.
    pub fn network_totals(&self) -> Totals {
        self.0.traffic.totals()
    }

    /// Traffic of one connection; `None` once it is closed.
    pub fn peer_totals(&self, peer: PeerId) -> Option<Totals> {
        self.0.traffic.of(peer)
    }

    /// Stops the node's clock at a time, or with 0 lets it go again. Rules, records and block
    /// templates follow it from the next message or call on; timers, which run on another clock, do not. For tests.
    pub fn set_mock_time(&self, unix: UnixTime) {
        self.0.clock.set_unix(unix);
    }

    /// The time that the node's clock stands at, if it was stopped.
    pub fn mock_time(&self) -> Option<UnixTime> {
        self.0.clock.set()
    }

    /// The node's id, which it proves to peers.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Where peers reach this node: the address bound, if it waits for them.
    pub fn listens_at(&self) -> Option<PeerAddr> {
        self.0.listens_at
    }

    /// Where browsers reach this node: the address bound, if it waits for them.
    pub fn webrtc_at(&self) -> Option<PeerAddr> {
        self.0.webrtc_at
    }

    /// The name by which peers connect to exactly this node, if it listens.
    pub fn peer_name(&self) -> Option<PeerName> {
        Some(PeerName { id: Some(self.id().0), host: self.listens_at()?.to_string() })
    }

    /// Whether another handle reaches the same node.
    pub fn is_same_node(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The exchange of content with peers; `None` if the node was started without.
    pub fn exchange(&self) -> Option<&Exchange> {
        self.0.exchange.as_ref()
    }

    /// The faults of this node's links; `None` if it was started without.
    pub fn chaos(&self) -> Option<&Chaos> {
        self.0.chaos.as_deref()
    }

    /// Changes the faults of a link, and answers how it is now. Nothing happens, and the answer is `None`, on a node
    /// that was started without. If a healed link has no connection, the peer is dialled immediately: otherwise that
    /// might take half a minute. A paused node's link changes at once too, and the node dials when it goes on.
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before it could dial; the link is changed even so.
    pub async fn change_link(
        &self,
        key: LinkKey,
        change: impl FnOnce(&mut LinkSettings),
    ) -> Result<Option<LinkSettings>, Stopped> {
        let Some(chaos) = self.chaos() else { return Ok(None) };
        let (before, after) = chaos.change(key, change);
        if let LinkKey::Listening(address) = key
            && before.cut
            && !after.cut
        {
            let link = self.0.link.clone();
            // Apart, so that a pause does not take the dial back.
            let dial = tokio::spawn(async move {
                link.decide(move |node, now, reply| {
                    if node.peers(now).iter().any(|peer| peer.listens_at == Some(address)) {
                        reply.send(());
                        return None;
                    }
                    Some(Command::ConnectOnce(address, None, reply))
                })
                .await
            });
            if let Some(dialled) = self.unless_paused(dial).await {
                dialled.unwrap_or(Err(Stopped))?;
            }
        }
        Ok(Some(after))
    }

    /// How long the node has run.
    pub fn uptime(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// Makes the node stand still, as a process that got SIGSTOP: its thread does nothing, its connections stay open and say
    /// nothing, until [`Handle::resume`] or the node is stopped. `false` if it is paused already.
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before.
    pub async fn pause(&self) -> Result<bool, Stopped> {
        self.0.pause.begin(&self.0.link, &self.0.mining).await
    }

    /// Lets a paused node go on; `false` if it is not paused.
    pub fn resume(&self) -> bool {
        self.0.pause.end(&self.0.mining)
    }

    /// Whether the node is paused.
    pub fn is_paused(&self) -> bool {
        *self.0.pause.state().borrow()
    }

    /// Waits for what needs the node's thread; `None` if the node is paused, or becomes so meanwhile.
    pub async fn unless_paused<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        let mut is_paused = self.0.pause.state();
        tokio::select! {
            biased;
            _ = is_paused.wait_for(|is_paused| *is_paused) => None,
            result = work => Some(result),
        }
    }
}
