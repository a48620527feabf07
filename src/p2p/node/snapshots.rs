//! States of a node to come back to, for test networks.

use std::collections::BTreeMap;

use super::Node;
use crate::chain::Bookmark;
use crate::mempool::Mempool;
use crate::p2p::command::{MAX_SNAPSHOTS, SnapshotError};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::{Event, Reason};
use crate::primitives::height::Height;

/// The snapshots, by name.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    by_name: BTreeMap<String, Snapshot>,
    taken: u64,
}

#[derive(Debug)]
struct Snapshot {
    /// Its turn among all that were taken.
    number: u64,
    height: Height,
    bookmark: Bookmark,
    mempool: Mempool,
}

impl Node {
    /// Remembers chain and mempool under a name, in memory. A snapshot of that name is replaced.
    ///
    /// # Errors
    /// [`SnapshotError::TooMany`].
    pub fn take_snapshot(&mut self, name: String) -> Result<(), SnapshotError> {
        let Snapshots { by_name, taken } = &mut self.snapshots;
        if by_name.len() >= MAX_SNAPSHOTS && !by_name.contains_key(&name) {
            return Err(SnapshotError::TooMany);
        }
        *taken += 1;
        let (height, bookmark, mempool) = (self.chain.tip().height, self.chain.bookmark(), self.mempool.clone());
        by_name.insert(name, Snapshot { number: *taken, height, bookmark, mempool });
        self.hold_snapshots();
        Ok(())
    }

    /// Has the chain keep the branches of all snapshots.
    fn hold_snapshots(&mut self) {
        self.chain.hold(self.snapshots.by_name.values().map(|snapshot| snapshot.bookmark.tip()).collect());
    }

    /// Makes chain and mempool what they were. Connections are closed, since peers would send again what was forgotten:
    /// unless every node of the network reverts before they are back ([`Node::set_active`]), this one just catches up.
    /// Later snapshots are dropped; this one stays.
    ///
    /// # Errors
    /// [`SnapshotError::Unknown`]; [`SnapshotError::Chain`] if the store fails, which leaves a chain between the two.
    pub fn revert(&mut self, now: Now, name: &str) -> Result<(), SnapshotError> {
        let snapshot = self.snapshots.by_name.get(name);
        let Snapshot { number, bookmark, mempool, .. } =
            snapshot.ok_or_else(|| SnapshotError::Unknown { name: name.to_owned() })?;
        let (number, bookmark, mempool) = (*number, bookmark.clone(), mempool.clone());
        self.disconnect_all(now);
        // A block that waited to be connected came later, like all that was refused.
        self.pending = None;
        self.announce_at = None;
        self.unfinished = false;
        self.awaits_state = false;
        self.refused.clear();
        let (before, result) = (self.chain.tip(), self.chain.rewind(&bookmark));
        self.mempool.become_again(mempool);
        self.snapshots.by_name.retain(|_, other| other.number <= number);
        self.hold_snapshots();
        if self.chain.is_state_due() {
            self.out.event(Event::StateDue);
        }
        let tip = self.chain.tip();
        if tip.hash != before.hash {
            self.out.event(Event::TipChanged { hash: tip.hash, height: tip.height });
        }
        self.reconsider_downloads(now);
        Ok(result?)
    }

    /// Forgets a snapshot; `false` if there is none of that name.
    pub fn drop_snapshot(&mut self, name: &str) -> bool {
        let is_dropped = self.snapshots.by_name.remove(name).is_some();
        self.hold_snapshots();
        is_dropped
    }

    /// The snapshots in the order in which they were taken: name and height of the tip.
    pub fn snapshots(&self) -> Vec<(String, Height)> {
        let mut all: Vec<(&String, &Snapshot)> = self.snapshots.by_name.iter().collect();
        all.sort_by_key(|(_, snapshot)| snapshot.number);
        all.into_iter().map(|(name, snapshot)| (name.clone(), snapshot.height)).collect()
    }

    /// Lets the node have connections, or closes all and refuses new ones, as Bitcoin Core's `setnetworkactive`.
    pub fn set_active(&mut self, now: Now, is_active: bool) {
        self.peering.dialer.set_paused(now, !is_active);
        if !is_active {
            self.disconnect_all(now);
        }
        self.finish(now);
    }

    /// Whether the node may have connections.
    pub fn is_active(&self) -> bool {
        !self.peering.dialer.is_paused()
    }

    /// Ends every connection.
    pub(super) fn disconnect_all(&mut self, now: Now) {
        let peers: Vec<PeerId> = self.peering.peers.iter().map(|(peer, _)| peer).collect();
        peers.into_iter().for_each(|peer| self.disconnected(now, peer, Reason::Requested));
    }
}
