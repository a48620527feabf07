//! The server's connections: their bound, and which one is closed for a new one.
//!
//! A connection counts as a stranger's until a request on it carries the owner's credentials, and only an accepted
//! connection can carry a request. So the server accepts every connection. At the limit it closes the idlest
//! stranger's, so that the owner's call, or a probe of `/health`, always finds a place.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All connections of a server.
pub(super) struct Connections {
    most: usize,
    /// Times are counted from here.
    begun: Instant,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    records: BTreeMap<u64, Arc<Record>>,
}

/// What is known of a connection. Each request changes it, without a lock that connections share.
struct Record {
    /// When it was accepted, or a request on it last began or was answered, in nanoseconds; the earliest is the idlest. Single
    /// bytes do not count, or a header sent a byte at a time would look busy.
    since: AtomicU64,
    /// Requests and event streams being answered. Such a connection is not closed for another; strangers' concurrent
    /// requests have their own bounds.
    busy: AtomicUsize,
    /// Whether a request has carried credentials.
    owner: AtomicBool,
    /// Answers that a stranger has not read yet, oldest first.
    unread: Mutex<Vec<Unread>>,
    /// Cancelled when the connection has to give way.
    close: CancellationToken,
}

impl Record {
    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn unread(&self) -> MutexGuard<'_, Vec<Unread>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which memory an answer is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// That of calls.
    Calls,
    /// That of the gateway.
    Content,
}

/// An answer, or a part of one, that has not been read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unread {
    since: Instant,
    pool: Pool,
    bytes: usize,
}

impl Connections {
    /// None yet, and at most `most` at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, begun: Instant::now(), table: Mutex::default() })
    }

    /// A place for a new connection. If there is none, the idlest connection is closed, a stranger's before the
    /// owner's; `None` if all are busy.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        if table.records.len() >= self.most {
            let idle = table.records.iter().filter(|(_, record)| record.busy.load(Acquire) == 0);
            let idlest = idle.min_by_key(|(_, record)| (record.owner.load(Relaxed), record.since.load(Relaxed)));
            let number = idlest.map(|(number, _)| *number)?;
            table.close(number);
        }
        let number = table.next;
        table.next += 1;
        let record = Arc::new(Record {
            since: self.now().into(),
            busy: AtomicUsize::default(),
            owner: AtomicBool::default(),
            unread: Mutex::default(),
            close: CancellationToken::new(),
        });
        table.records.insert(number, Arc::clone(&record));
        Some(Place(Arc::new(PlaceGuard { connections: Arc::clone(self), number, record })))
    }

    /// Nanoseconds since the first connections could come; five centuries fit.
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// Closes the connection that has left an answer from this pool unread for the longest time, and at least for
    /// `grace`. Returns the bytes that this frees; closes none if all such connections together hold fewer than `wanted`.
    pub(super) fn close_slowest_reader(&self, pool: Pool, wanted: usize, grace: Duration) -> Option<usize> {
        let mut table = self.table();
        let now = Instant::now();
        let (mut all, mut slowest) = (0, None);
        for (number, record) in &table.records {
            let unread = record.unread();
            let mut unread = unread.iter().filter(|unread| unread.pool == pool).peekable();
            let Some(since) =
                unread.peek().map(|first| first.since).filter(|since| now.duration_since(*since) >= grace)
            else {
                continue;
            };
            let bytes: usize = unread.map(|unread| unread.bytes).sum();
            all += bytes;
            slowest = slowest.into_iter().chain([(since, *number, bytes)]).min();
        }
        let (_, number, bytes) = slowest.filter(|_| all >= wanted)?;
        table.close(number);
        Some(bytes)
    }

    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn close(&mut self, number: u64) {
        if let Some(record) = self.records.remove(&number) {
            record.close.cancel();
        }
    }
}

/// A connection's place, for as long as a clone of this is there.
#[derive(Clone)]
pub(super) struct Place(Arc<PlaceGuard>);

struct PlaceGuard {
    connections: Arc<Connections>,
    number: u64,
    record: Arc<Record>,
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        self.connections.table().records.remove(&self.number);
    }
}

impl Place {
    /// Notes that a request has begun, or its answer is ready.
    pub(super) fn touch(&self) {
        self.0.record.since.store(self.0.connections.now(), Relaxed);
    }

    /// Notes that a request carried the owner's credentials.
    pub(super) fn mark_owner(&self) {
        self.0.record.owner.store(true, Relaxed);
    }

    /// Keeps the connection from being closed for another until the returned value is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.0.record.busy.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    /// Counts bytes of an answer as unread until the returned value is dropped.
    pub(super) fn hold(&self, pool: Pool, bytes: usize) -> Hold {
        let answer = Unread { since: Instant::now(), pool, bytes };
        self.0.record.unread().push(answer);
        Hold { place: self.clone(), answer }
    }

    /// Completes when the connection must close for another.
    pub(super) async fn closed(&self) {
        self.0.record.close.cancelled().await;
    }
}

/// A request that is being answered.
pub(super) struct Busy(Place);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        // What sees the connection idle sees since when.
        self.0.0.record.busy.fetch_sub(1, Release);
    }
}

/// An answer that has not been taken.
pub(super) struct Hold {
    place: Place,
    answer: Unread,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut unread = self.place.0.record.unread();
        if let Some(index) = unread.iter().position(|answer| *answer == self.answer) {
            unread.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(place: &Place) -> bool {
        !place.0.record.close.is_cancelled()
    }

    #[test]
    fn the_idlest_stranger_is_closed_but_not_the_owner_or_a_busy_one() {
        let connections = Connections::new(4);
        let mut places: Vec<Place> = (0..4).filter_map(|_| connections.admit()).collect();
        places[0].mark_owner();
        let busy = places[1].busy();
        places[2].touch();
        let fifth = connections.admit().unwrap();
        assert_eq!(places.iter().map(is_open).collect::<Vec<_>>(), [true, true, true, false]);
        // The next are the stranger whose request began, and the newcomer.
        let sixth = connections.admit().unwrap();
        assert!(!is_open(&places[2]) && is_open(&fifth));
        let (fifth_busy, sixth_busy) = (fifth.busy(), sixth.busy());
        // Only the owner is idle.
        let seventh = connections.admit().unwrap();
        assert!(!is_open(&places[0]));
        let _seventh_busy = seventh.busy();
        assert!(connections.admit().is_none(), "all are being answered");
        drop((busy, fifth_busy, sixth_busy));
        places.remove(1);
        let eighth = connections.admit().unwrap();
        assert!(is_open(&eighth) && is_open(&fifth), "a place was free");
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_that_has_waited_longest_is_given_up() {
        const GRACE: Duration = Duration::from_secs(1);
        let connections = Connections::new(4);
        let places: Vec<Place> = (0..3).filter_map(|_| connections.admit()).collect();
        let open = || places.iter().map(is_open).collect::<Vec<_>>();
        assert_eq!(connections.close_slowest_reader(Pool::Calls, 1, Duration::ZERO), None, "nothing is held");
        let oldest = places[2].hold(Pool::Calls, 10);
        tokio::time::advance(GRACE / 2).await;
        let other = places[1].hold(Pool::Calls, 7);
        let more = places[2].hold(Pool::Calls, 5);
        tokio::time::advance(GRACE / 2).await;
        // A request that follows does not make an unread answer younger.
        places[2].touch();
        assert_eq!(connections.close_slowest_reader(Pool::Calls, 16, GRACE), None, "the other one may still be read");
        tokio::time::advance(GRACE / 2).await;
        assert_eq!(connections.close_slowest_reader(Pool::Calls, 23, GRACE), None, "all of them would not do");
        assert_eq!(connections.close_slowest_reader(Pool::Content, 1, GRACE), None, "that is other memory");
        assert_eq!(open(), [true, true, true]);
        assert_eq!(connections.close_slowest_reader(Pool::Calls, 22, GRACE), Some(15));
        assert_eq!(open(), [true, true, false]);
        drop((oldest, more, other));
        assert_eq!(connections.close_slowest_reader(Pool::Calls, 1, GRACE), None, "what was read is not held");
    }
}
