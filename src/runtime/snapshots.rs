//! Snapshots of a whole network whose nodes run in this process, for isolation between tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::chaos::{Chaos, LinkKey};
use super::handle::Handle;
use super::link::Stopped;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Direction, PeerAddr, PeerInfo, SnapshotError};
use crate::primitives::time::UnixTime;
use crate::sim::LinkSettings;
use crate::storage::private_file;

/// Longest wait for the links to be back.
const LINK_TIMEOUT: Duration = Duration::from_secs(5);

/// The snapshots of a network.
#[derive(Debug, Default)]
pub struct Snapshots(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_name: BTreeMap<String, Snapshot>,
    /// What the next snapshot has copies of.
    files: Vec<PathBuf>,
}

/// What the nodes themselves do not remember of a snapshot.
#[derive(Debug)]
struct Snapshot {
    nodes: Vec<NodeState>,
    files: Vec<FileCopy>,
}

/// The snapshots in the hands of one caller. Others wait until it is dropped, so a caller that changes the network, or the
/// nodes in it, asks for the nodes after it has this.
#[derive(Debug)]
pub struct HeldSnapshots<'a>(MutexGuard<'a, Kept>);

/// A node's surroundings.
#[derive(Debug)]
struct NodeState {
    /// Its peers, each with the address that this node dialled, if it did.
    peers: Vec<(NodeId, Option<PeerAddr>)>,
    faults: Vec<(PeerAddr, LinkSettings)>,
    mock_time: Option<UnixTime>,
}

/// A file as it was. It may be a wallet's, so its content is not for debug output.
struct FileCopy {
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
}

impl FileCopy {
    fn read(path: &Path) -> Result<Self, NetworkSnapshotError> {
        let failed = |source| NetworkSnapshotError::Read { path: path.to_owned(), source };
        Ok(Self { path: path.to_owned(), content: Zeroizing::new(fs::read(path).map_err(failed)?) })
    }

    /// Makes the file what it was, with mode 0600.
    fn restore(&self) -> Result<(), NetworkSnapshotError> {
        let failed = |source| NetworkSnapshotError::Write { path: self.path.clone(), source };
        private_file::replace(&self.path, &self.content).map_err(failed)
    }
}

impl fmt::Debug for FileCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCopy").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How a network came back.
#[derive(Debug, Clone, Copy)]
pub struct Reverted {
    /// Links that are there again, each counted at both ends.
    pub ends: usize,
    /// Ends that are not, after some seconds.
    pub missing: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a network cannot be snapshot, or reverted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum NetworkSnapshotError {
    /// A node's reason.
    #[error(transparent)]
    Node(#[from] SnapshotError),
    /// A node stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A file cannot be copied.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be made what it was.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Snapshots {
    /// Waits until no other caller has the snapshots.
    pub async fn hold(&self) -> HeldSnapshots<'_> {
        HeldSnapshots(self.0.lock().await)
    }
}

impl HeldSnapshots<'_> {
    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.by_name.keys().map(String::as_str)
    }

    /// Has snapshots that are taken from now on keep copies of these files, the network's wallets.
    pub fn keep_files(&mut self, files: Vec<PathBuf>) {
        self.0.files = files;
    }

    /// Remembers chain, mempool, links and clock of every node under a name, and the network's files.
    ///
    /// # Errors
    /// [`NetworkSnapshotError`].
    pub async fn take(&mut self, nodes: &[Handle], name: &str) -> Result<(), NetworkSnapshotError> {
        let files = self.0.files.iter().map(|path| FileCopy::read(path)).collect::<Result<Vec<_>, _>>()?;
        let mut states = Vec::new();
        for node in nodes {
            let owned = name.to_owned();
            node.command(move |reply| Command::TakeSnapshot(owned, reply)).await??;
            states.push(NodeState {
                peers: ready_peers(node).await?.iter().map(dialled).collect(),
                faults: node.chaos().map(Chaos::kept).unwrap_or_default(),
                mock_time: node.mock_time(),
            });
        }
        self.0.by_name.insert(name.to_owned(), Snapshot { nodes: states, files });
        Ok(())
    }

    /// Makes the network what it was, its files too, and waits for its links. Miners pause meanwhile. All connections are
    /// closed first and made again last, so that no node tells another what both should forget.
    ///
    /// # Errors
    /// [`NetworkSnapshotError`]; nothing has changed if the name is unknown, and all but files if one cannot be written.
    pub async fn revert(&mut self, nodes: &[Handle], name: &str) -> Result<Reverted, NetworkSnapshotError> {
        let start = Instant::now();
        let Kept { by_name, .. } = &mut *self.0;
        let snapshot = by_name.get(name).ok_or_else(|| SnapshotError::Unknown { name: name.to_owned() })?;
        let miners: Vec<usize> = nodes.iter().map(|node| node.miner().status().threads).collect();
        let stops: Vec<_> = nodes.iter().map(|node| node.miner().set(None, 0)).collect();
        for stop in stops {
            stop.await;
        }
        let reverted = revert_all(nodes, &snapshot.nodes, name).await;
        // Before the miners go on.
        let restored = match &reverted {
            Ok(_) => snapshot.files.iter().try_for_each(FileCopy::restore),
            Err(_) => Ok(()),
        };
        for (node, threads) in nodes.iter().zip(miners) {
            drop(node.miner().set(None, threads));
        }
        let (ends, missing) = reverted?;
        // The nodes have dropped those that were taken later.
        if let Some(first) = nodes.first() {
            let names = first.read(|node, _| node.snapshots()).await?;
            by_name.retain(|name, _| names.iter().any(|(known, _)| known == name));
        }
        restored?;
        Ok(Reverted { ends, missing, took: start.elapsed() })
    }

    /// Forgets all snapshots, as when a node comes that has none of them, or one goes.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn forget_all(&mut self, nodes: &[Handle]) -> Result<(), Stopped> {
        for name in std::mem::take(&mut self.0.by_name).into_keys() {
            for node in nodes {
                let owned = name.clone();
                node.command(move |reply| Command::DropSnapshot(owned, reply)).await?;
            }
        }
        Ok(())
    }

    /// Forgets a snapshot; `false` if there is none of that name.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn forget(&mut self, nodes: &[Handle], name: &str) -> Result<bool, Stopped> {
        for node in nodes {
            let owned = name.to_owned();
            node.command(move |reply| Command::DropSnapshot(owned, reply)).await?;
        }
        Ok(self.0.by_name.remove(name).is_some())
    }
}

async fn revert_all(
    nodes: &[Handle],
    states: &[NodeState],
    name: &str,
) -> Result<(usize, usize), NetworkSnapshotError> {
    for node in nodes {
        node.command(|reply| Command::SetActive(false, reply)).await?;
    }
    let mut outcome = Ok(());
    for (node, state) in nodes.iter().zip(states) {
        let owned = name.to_owned();
        let reverted = node.command(move |reply| Command::Revert(owned, reply)).await?;
        outcome = outcome.and(reverted);
        node.set_mock_time(state.mock_time.unwrap_or(UnixTime::EPOCH));
        if let Some(chaos) = node.chaos() {
            let healed = chaos.kept().into_iter().map(|(address, _)| (address, LinkSettings::default()));
            for (address, settings) in healed.chain(state.faults.iter().copied()) {
                chaos.change(LinkKey::Listening(address), |present| *present = settings);
            }
        }
    }
    let mut events: Vec<_> = nodes.iter().map(|node| node.subscribe()).collect();
    for node in nodes {
        node.command(|reply| Command::SetActive(true, reply)).await?;
    }
    for (node, state) in nodes.iter().zip(states) {
        for (id, address) in &state.peers {
            if let Some(address) = *address {
                let id = *id;
                node.command(move |reply| Command::ConnectOnce(address, Some(id), reply)).await?;
            }
        }
    }
    outcome?;
    let deadline = tokio::time::Instant::now() + LINK_TIMEOUT;
    let (mut ends, mut missing) = (0, 0);
    for ((node, state), events) in nodes.iter().zip(states).zip(&mut events) {
        loop {
            let there = ready_peers(node).await?;
            let back = state.peers.iter().filter(|(id, _)| there.iter().any(|peer| peer.node == *id)).count();
            let is_over = back == state.peers.len()
                || matches!(timeout_at(deadline, events.recv()).await, Err(_) | Ok(Err(RecvError::Closed)));
            if is_over {
                ends += back;
                missing += state.peers.len() - back;
                break;
            }
        }
    }
    Ok((ends, missing))
}

async fn ready_peers(node: &Handle) -> Result<Vec<PeerInfo>, Stopped> {
    let peers = node.read(|node, now| node.peers(now)).await?;
    Ok(peers.into_iter().filter(|peer| peer.ready).collect())
}

fn dialled(peer: &PeerInfo) -> (NodeId, Option<PeerAddr>) {
    (peer.node, (peer.direction == Direction::Outbound).then_some(peer.address))
}
