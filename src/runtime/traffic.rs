//! Counting what goes over the wire, for one connection and for all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::p2p::PeerId;

/// What went over a connection, or over all of them, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes read from sockets, framing included.
    pub bytes_received: u64,
    /// Bytes written to sockets, framing included.
    pub bytes_sent: u64,
    /// Whole messages read.
    pub messages_received: u64,
    /// Whole messages written.
    pub messages_sent: u64,
}

/// Counters that socket tasks add to and anybody may read.
#[derive(Debug, Default)]
pub(super) struct Counters {
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    messages_sent: AtomicU64,
}

impl Counters {
    fn totals(&self) -> Totals {
        Totals {
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            messages_received: self.messages_received.load(Ordering::Relaxed),
            messages_sent: self.messages_sent.load(Ordering::Relaxed),
        }
    }
}

/// The counters of one connection, which add to those of the whole node too.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    own: Arc<Counters>,
    all: Arc<Counters>,
}

impl Meter {
    pub(super) fn bytes_received(&self, count: usize) {
        self.add(|counters| &counters.bytes_received, count);
    }

    pub(super) fn bytes_sent(&self, count: usize) {
        self.add(|counters| &counters.bytes_sent, count);
    }

    pub(super) fn message_received(&self) {
        self.add(|counters| &counters.messages_received, 1);
    }

    pub(super) fn message_sent(&self) {
        self.add(|counters| &counters.messages_sent, 1);
    }

    fn add(&self, counter: impl Fn(&Counters) -> &AtomicU64, count: usize) {
        for counters in [&self.own, &self.all] {
            counter(counters).fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

/// The counters of every open connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    all: Arc<Counters>,
    open: Mutex<BTreeMap<PeerId, Arc<Counters>>>,
}

impl Traffic {
    /// Begins counting for a connection, until [`Traffic::close`].
    pub(super) fn open(&self, peer: PeerId) -> Meter {
        let own = Arc::<Counters>::default();
        self.lock().insert(peer, own.clone());
        Meter { own, all: self.all.clone() }
    }

    pub(super) fn close(&self, peer: PeerId) {
        self.lock().remove(&peer);
    }

    pub(super) fn totals(&self) -> Totals {
        self.all.totals()
    }

    pub(super) fn of(&self, peer: PeerId) -> Option<Totals> {
        self.lock().get(&peer).map(|counters| counters.totals())
    }

    /// Nothing that holds this lock can leave the map half changed, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, Arc<Counters>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
