//! Counting what goes over the wire, for one connection and for all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::p2p::PeerId;
use crate::p2p::message::Kind;

/// Kinds of messages that are counted.
const KINDS: usize = Kind::ALL.len();

/// What went over a connection, or over all of them, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Read from sockets.
    pub received: Flow,
    /// Written to sockets.
    pub sent: Flow,
}

/// What went in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// All bytes, whether or not a whole message came of them.
    pub bytes: u64,
    /// Whole messages, by kind in the order of [`Kind::ALL`].
    kinds: [Messages; KINDS],
}

/// Whole messages of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// Number of messages.
    pub count: u64,
    /// Their bytes, framing included.
    pub bytes: u64,
}

// Arrays of more than 32 elements have no default of their own.
impl Default for Flow {
    fn default() -> Self {
        Self { bytes: 0, kinds: [Messages::default(); KINDS] }
    }
}

impl Flow {
    /// Whole messages of any kind.
    pub fn messages(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.count).sum()
    }

    /// Each kind of message with what went of it.
    pub fn by_kind(&self) -> impl Iterator<Item = (Kind, Messages)> {
        Kind::ALL.into_iter().zip(self.kinds)
    }
}

/// Counters that socket tasks increment and any thread may read.
#[derive(Debug, Default)]
struct Counters {
    received: FlowCounters,
    sent: FlowCounters,
}

#[derive(Debug)]
struct FlowCounters {
    bytes: AtomicU64,
    messages: [AtomicU64; KINDS],
    message_bytes: [AtomicU64; KINDS],
}

impl Default for FlowCounters {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { bytes: AtomicU64::new(0), messages: zeros(), message_bytes: zeros() }
    }
}

impl FlowCounters {
    fn read(&self) -> Flow {
        let of = |counters: &[AtomicU64; KINDS], place: usize| counters[place].load(Ordering::Relaxed);
        Flow {
            bytes: self.bytes.load(Ordering::Relaxed),
            kinds: std::array::from_fn(|place| Messages {
                count: of(&self.messages, place),
                bytes: of(&self.message_bytes, place),
            }),
        }
    }

    fn bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn message(&self, kind: Kind, bytes: usize) {
        self.messages[kind.place()].fetch_add(1, Ordering::Relaxed);
        self.message_bytes[kind.place()].fetch_add(bytes as u64, Ordering::Relaxed);
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
        self.each(|counters| counters.received.bytes(count));
    }

    pub(super) fn bytes_sent(&self, count: usize) {
        self.each(|counters| counters.sent.bytes(count));
    }

    pub(super) fn message_received(&self, kind: Kind, bytes: usize) {
        self.each(|counters| counters.received.message(kind, bytes));
    }

    pub(super) fn message_sent(&self, kind: Kind, bytes: usize) {
        self.each(|counters| counters.sent.message(kind, bytes));
    }

    fn each(&self, add: impl Fn(&Counters)) {
        add(&self.own);
        add(&self.all);
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
        totals(&self.all)
    }

    pub(super) fn of(&self, peer: PeerId) -> Option<Totals> {
        self.lock().get(&peer).map(|counters| totals(counters))
    }

    /// Nothing that holds this lock can leave the map half changed, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, Arc<Counters>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn totals(counters: &Counters) -> Totals {
    Totals { received: counters.received.read(), sent: counters.sent.read() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_for_itself_and_for_all() {
        let traffic = Traffic::default();
        let (one, other) = (traffic.open(PeerId(1)), traffic.open(PeerId(2)));
        one.bytes_received(20);
        one.message_received(Kind::Ping, 13);
        other.message_received(Kind::Ping, 13);
        other.message_sent(Kind::Block, 500);
        let ping = |totals: Totals| totals.received.by_kind().find(|(kind, _)| *kind == Kind::Ping).unwrap().1;
        assert_eq!(ping(traffic.of(PeerId(1)).unwrap()), Messages { count: 1, bytes: 13 });
        assert_eq!(ping(traffic.totals()), Messages { count: 2, bytes: 26 });
        assert_eq!((traffic.totals().received.bytes, traffic.totals().sent.messages()), (20, 1));
        traffic.close(PeerId(1));
        assert_eq!((traffic.of(PeerId(1)), ping(traffic.totals()).count), (None, 2));
    }
}
