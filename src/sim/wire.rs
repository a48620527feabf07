//! Connections and the order of events.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::p2p::frame::Frame;
use crate::p2p::kad::NodeId;
use crate::p2p::{Direction, PeerAddr, PeerId};
use crate::primitives::time::MonoTime;

/// One end of a connection: that of the node that dialled, or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Dialler,
    Listener,
}

impl End {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }

    pub(super) fn direction(self) -> Direction {
        match self {
            Self::Dialler => Direction::Outbound,
            Self::Listener => Direction::Inbound,
        }
    }
}

/// A connection, from the dial on.
#[derive(Debug)]
pub(super) struct Link {
    /// Nodes at the ends: dialler, listener.
    pub(super) nodes: [usize; 2],
    /// How long a message takes.
    pub(super) latency: Duration,
    /// When the last message to each end arrives: a stream keeps its order.
    pub(super) busy_until: [MonoTime; 2],
    /// Cut by a partition: nothing arrives, and the ends notice only the silence.
    pub(super) is_cut: bool,
}

impl Link {
    pub(super) fn node(&self, end: End) -> usize {
        self.nodes[end as usize]
    }
}

/// The number by which the node at one end knows a connection; both ends of a self-connection are on one node.
pub(super) fn peer_id(link: u64, end: End) -> PeerId {
    PeerId(2 * link + end as u64)
}

/// The connection and end that a node means.
pub(super) fn link_of(peer: PeerId) -> (u64, End) {
    (peer.0 / 2, if peer.0 & 1 == 0 { End::Dialler } else { End::Listener })
}

/// A scheduled event.
#[derive(Debug)]
pub(super) enum SimEvent {
    /// A dial reaches its address, or fails.
    Dial { from: usize, incarnation: u32, address: PeerAddr, id: Option<NodeId> },
    /// A dial failed.
    DialFailed { node: usize, incarnation: u32, address: PeerAddr },
    /// The dialler learns that its dial was accepted.
    Established { link: u64 },
    /// A message reaches an end.
    Arrival { link: u64, to: End, frame: Frame },
    /// Everything that an end sent before has left.
    Flushed { link: u64, end: End },
    /// The connection's end reaches an end.
    Closed { link: u64, to: End },
    /// A node wanted to be woken.
    Wake { node: usize, incarnation: u32 },
    /// A node finds a block.
    BlockFound { round: u32 },
}

/// Events in the order of their times; events of one time in the order in which they were scheduled.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    queue: BTreeMap<(MonoTime, u64), SimEvent>,
    next: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: MonoTime, happening: SimEvent) {
        self.queue.insert((at, self.next), happening);
        self.next += 1;
    }

    /// The next event not later than `until`, and its time.
    pub(super) fn next(&mut self, until: MonoTime) -> Option<(MonoTime, SimEvent)> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), happening) = entry.remove_entry();
        Some((at, happening))
    }
}
