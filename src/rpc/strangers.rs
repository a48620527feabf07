//! Bounds for callers without credentials ("strangers"): memory, and time of the node's thread.
//!
//! Each request reserves memory before it is parsed ([`Memory`]), holds the answer's part until the client has read it,
//! and takes turns on the node's thread ([`Turns`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connections::{Connections, Hold, Place, Pool};

/// Most entries of a list in one answer.
pub(super) const MAX_LISTED: usize = 1_000;
/// Memory is allotted in units of this many bytes.
const UNIT: usize = 1024;
/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may stay unread before its connection may be closed for another request: some round trips.
const GRACE: Duration = Duration::from_secs(1);
/// How often a waiting request looks for connections to close.
const STEP: Duration = Duration::from_millis(5);
/// How long a closed connection has to release its memory before the next one is closed.
const SETTLE: Duration = Duration::from_millis(50);
/// Strangers' calls together get this fraction (one in so many) of the node's thread.
const TURN: u32 = 4;
/// Shortest pause that a timer can measure; shorter ones accumulate.
const SHORTEST_REST: Duration = Duration::from_millis(1);

/// The memory that all strangers' requests of one kind share.
pub(super) struct Memory {
    pool: Pool,
    units: Arc<Semaphore>,
    /// Units that there are, taken or not.
    all: usize,
    /// What one request takes while it is answered.
    each: u32,
    /// Held by the one that waits for memory.
    queue: Mutex<()>,
    connections: Arc<Connections>,
}

/// Memory that one request has. Given back when this is dropped.
pub(super) struct Share(OwnedSemaphorePermit);

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Memory {
    /// `all` bytes. Each request takes `each` of them while it is answered; one request always has room.
    pub(super) fn new(pool: Pool, all: usize, each: usize, connections: Arc<Connections>) -> Self {
        let each = units(each);
        let all = (units(all).max(each) as usize).min(Semaphore::MAX_PERMITS);
        Self { pool, units: Arc::new(Semaphore::new(all)), all, each, queue: Mutex::default(), connections }
    }

    /// Memory for one request, first come, first served. When there is none left, the connections whose answers have
    /// been unread the longest are closed, one by one, if each has had [`GRACE`] and together they hold the missing
    /// bytes. `None` if that does not help within [`PATIENCE`].
    pub(super) async fn reserve(&self) -> Option<Share> {
        let deadline = Instant::now() + PATIENCE;
        // Only the first waiting request closes connections, and no more than it needs.
        let _first = timeout_at(deadline, self.queue.lock()).await.ok()?;
        // A closed connection releases its memory when its task notices: the expected total then, and until when to
        // wait for it.
        let (mut expected, mut settled) = (0, Instant::now());
        while Instant::now() < deadline {
            let step = Instant::now() + STEP;
            if let Ok(permit) = timeout_at(step, Arc::clone(&self.units).acquire_many_owned(self.each)).await {
                return permit.ok().map(Share);
            }
            // No other request is acquiring units now, so this is all that is free.
            let available = self.units.available_permits();
            let missing = (self.each as usize).saturating_sub(available);
            if missing > 0
                && (available >= expected || Instant::now() >= settled)
                && let Some(bytes) = self.connections.close_slowest_reader(self.pool, missing * UNIT, GRACE)
            {
                (expected, settled) = (available + bytes / UNIT, Instant::now() + SETTLE);
            }
        }
        None
    }

    /// Bytes that requests have now.
    pub(super) fn taken(&self) -> usize {
        (self.all - self.units.available_permits()) * UNIT
    }
}

impl Share {
    /// The body of an answer, which holds its memory until it is written to the socket and releases the rest of the
    /// share. The caller ensures that it fits into the share.
    pub(super) fn body(mut self, mut text: String, place: &Place) -> Body {
        text.shrink_to_fit();
        let kept = self.0.split(units(text.len()) as usize);
        let hold = place.hold(Pool::Calls, kept.as_ref().map_or(0, |kept| kept.num_permits() * UNIT));
        Body::from(Bytes::from_owner(Held { text, _kept: kept, _hold: hold }))
    }
}

/// An answer on its way. The HTTP library drops it once all of it is written, or the connection ends.
struct Held {
    text: String,
    _kept: Option<OwnedSemaphorePermit>,
    _hold: Hold,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Strangers' turns on the node's thread: one call at a time, and after each a pause of three times its duration. So
/// strangers use at most a quarter of the thread, however many they are; the rest is for peers, miners and the owner.
#[derive(Default)]
pub(super) struct Turns {
    rested: Mutex<Option<Instant>>,
    taken: AtomicU64,
    nanos: AtomicU64,
}

impl Turns {
    /// Runs `work`, which returns its result and the time that it took on the node's thread.
    pub(super) async fn take<R, E>(&self, work: impl Future<Output = Result<(R, Duration), E>>) -> Result<R, E> {
        let mut rested = self.rested.lock().await;
        if let Some(until) = *rested
            && until.saturating_duration_since(Instant::now()) >= SHORTEST_REST
        {
            sleep_until(until).await;
        }
        let (result, took) = work.await?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        let now = Instant::now();
        *rested = Some(rested.map_or(now, |until| until.max(now)) + took * (TURN - 1));
        Ok(result)
    }

    /// How many turns there were, and their time together.
    pub(super) fn taken(&self) -> (u64, Duration) {
        (self.taken.load(Ordering::Relaxed), Duration::from_nanos(self.nanos.load(Ordering::Relaxed)))
    }
}

/// What callers without credentials cost a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes set aside now for answers that are being made or have not been taken.
    pub memory: usize,
    /// Their calls to the node's thread since the start.
    pub node_calls: u64,
    /// How long the node's thread was at those.
    pub node_time: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn strangers_have_a_quarter_of_the_nodes_thread() {
        let turns = Turns::default();
        for took in [Duration::from_millis(10), Duration::from_micros(100)] {
            let start = Instant::now();
            let mut busy = Duration::ZERO;
            for _ in 0..400 {
                let work = async {
                    tokio::time::advance(took).await;
                    Ok::<_, ()>(((), took))
                };
                turns.take(work).await.unwrap();
                busy += took;
            }
            let all = start.elapsed();
            assert!(busy * TURN <= all + took * TURN + SHORTEST_REST, "{busy:?} of {all:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_answers_that_are_not_read_give_way() {
        let connections = Connections::new(8);
        let memory = Memory::new(Pool::Calls, 4 * UNIT, 2 * UNIT, Arc::clone(&connections));
        let place = connections.admit().unwrap();
        let body = |share: Share| share.body("x".repeat(UNIT + 1), &place);
        // Two units each are kept, so that all of it is held.
        let first = body(memory.reserve().await.unwrap());
        let second = body(memory.reserve().await.unwrap());
        assert_eq!(memory.units.available_permits(), 0);
        let start = Instant::now();
        let third = tokio::join!(memory.reserve(), async {
            place.closed().await;
            drop((first, second));
        });
        assert!(third.0.is_some(), "the reader was closed and gave its memory back");
        assert!(start.elapsed() >= GRACE, "it had time to read");
        let fourth = memory.reserve().await;
        assert!(fourth.is_some() && memory.reserve().await.is_none(), "who is being answered does not give way");
        // A short answer leaves the rest to others.
        let short = third.0.unwrap().body("x".to_owned(), &connections.admit().unwrap());
        assert_eq!(memory.units.available_permits(), 1);
        drop((short, fourth));
        assert_eq!(memory.units.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_not_closed_where_that_cannot_help() {
        let connections = Connections::new(8);
        let memory = Memory::new(Pool::Calls, 4 * UNIT, 3 * UNIT, Arc::clone(&connections));
        let place = connections.admit().unwrap();
        let _short = memory.reserve().await.unwrap().body("x".to_owned(), &place);
        // One unit is unread, and three are a request's that is being answered.
        let _busy = memory.reserve().await.unwrap();
        assert_eq!(memory.units.available_permits(), 0);
        tokio::select! {
            share = memory.reserve() => assert!(share.is_none()),
            () = place.closed() => panic!("a reader was closed, and no request had room by it"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_readers_are_closed_than_needed() {
        let connections = Connections::new(8);
        let memory = Memory::new(Pool::Calls, 4 * UNIT, 2 * UNIT, Arc::clone(&connections));
        let places = [connections.admit().unwrap(), connections.admit().unwrap()];
        let long = || "x".repeat(UNIT + 1);
        let first = memory.reserve().await.unwrap().body(long(), &places[0]);
        tokio::time::advance(STEP).await;
        let _second = memory.reserve().await.unwrap().body(long(), &places[1]);
        tokio::time::advance(GRACE).await;
        let third = async {
            let closing = async {
                places[0].closed().await;
                // Its task does not come at once.
                tokio::time::sleep(SETTLE / 2).await;
                drop(first);
            };
            tokio::join!(memory.reserve(), closing).0
        };
        tokio::select! {
            share = third => assert!(share.is_some()),
            () = places[1].closed() => panic!("the other reader was closed before the first had given back"),
        }
    }
}
