//! Counters of miners' work, for RPC and metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::level::Level;
use super::protocol::Fault;

/// Time over which hash rates are taken: a share every few seconds makes a few dozen.
const RATE_TIME: Duration = Duration::from_secs(300);

/// Counters of a server.
#[derive(Debug)]
pub struct Meters {
    start: Instant,
    accepted: AtomicU64,
    stale: AtomicU64,
    duplicate: AtomicU64,
    low: AtomicU64,
    invalid: AtomicU64,
    blocks: AtomicU64,
    miners: Mutex<BTreeMap<u64, Miner>>,
    rate: Mutex<Rate>,
}

/// A miner's connection.
#[derive(Debug, Clone)]
pub struct Miner {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its worker name, which begins with the payee's address; empty before authorization.
    pub worker: String,
    /// Its user agent.
    pub agent: String,
    /// How hard its shares are.
    pub level: Level,
    /// When it connected.
    pub since: Instant,
    /// Its shares that were accepted.
    pub accepted: u64,
    /// Its shares that were rejected.
    pub rejected: u64,
    /// When the last of its shares was accepted, or it came: the longest ago is the idlest.
    pub last_share: Instant,
    rate: Rate,
}

/// A connection that may be closed for another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected {
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    /// Since its last accepted share, or since it came.
    pub(super) idle: Duration,
    /// Whether it has had a share accepted lately.
    pub(super) is_working: bool,
}

impl Miner {
    pub(super) fn new(peer: SocketAddr) -> Self {
        let (since, level) = (Instant::now(), Level::START);
        let rate = Rate::default();
        Self {
            peer,
            worker: String::new(),
            agent: String::new(),
            level,
            since,
            accepted: 0,
            rejected: 0,
            last_share: since,
            rate,
        }
    }

    /// Hashes a second, estimated by shares of the last minutes.
    pub fn hash_rate(&self) -> f64 {
        self.rate.per_second(Instant::now(), self.since)
    }
}

/// Shares by what became of them, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shares {
    /// Shares that met their difficulty and were for a current job.
    pub accepted: u64,
    /// Of jobs that were done with.
    pub stale: u64,
    /// Shares that had been handed in before.
    pub duplicate: u64,
    /// Hashes above the target.
    pub low: u64,
    /// Malformed, out of the time range, or without an authorized worker.
    pub invalid: u64,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            accepted: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            duplicate: AtomicU64::new(0),
            low: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            miners: Mutex::default(),
            rate: Mutex::default(),
        }
    }
}

impl Meters {
    /// Shares since the start.
    pub fn shares(&self) -> Shares {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Shares {
            accepted: read(&self.accepted),
            stale: read(&self.stale),
            duplicate: read(&self.duplicate),
            low: read(&self.low),
            invalid: read(&self.invalid),
        }
    }

    /// Blocks found by miners here that became the tip.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Number of miners connected now.
    pub fn connections(&self) -> usize {
        lock(&self.miners).len()
    }

    /// The miners connected, in the order in which they came.
    pub fn miners(&self) -> Vec<Miner> {
        lock(&self.miners).values().cloned().collect()
    }

    /// The connections, from which one to close is chosen: see [`super::server`].
    pub(super) fn seats(&self, working: Duration) -> Vec<Connected> {
        let now = Instant::now();
        let seat = |(number, miner): (&u64, &Miner)| {
            let idle = now.saturating_duration_since(miner.last_share);
            Connected { number: *number, peer: miner.peer, idle, is_working: miner.accepted > 0 && idle < working }
        };
        lock(&self.miners).iter().map(seat).collect()
    }

    /// Hashes a second of all miners together, estimated by shares of the last minutes.
    pub fn hash_rate(&self) -> f64 {
        lock(&self.rate).per_second(Instant::now(), self.start)
    }

    pub(super) fn connect(&self, number: u64, miner: Miner) {
        lock(&self.miners).insert(number, miner);
    }

    pub(super) fn disconnect(&self, number: u64) {
        lock(&self.miners).remove(&number);
    }

    pub(super) fn change(&self, number: u64, change: impl FnOnce(&mut Miner)) {
        if let Some(miner) = lock(&self.miners).get_mut(&number) {
            change(miner);
        }
    }

    pub(super) fn accept(&self, number: u64, level: Level) {
        let now = Instant::now();
        self.accepted.fetch_add(1, Ordering::Relaxed);
        lock(&self.rate).add(now, level.hashes());
        self.change(number, |miner| {
            miner.accepted += 1;
            miner.last_share = now;
            miner.rate.add(now, level.hashes());
        });
    }

    pub(super) fn reject(&self, number: u64, fault: Fault) {
        let counter = match fault {
            Fault::JobNotFound => &self.stale,
            Fault::Duplicate => &self.duplicate,
            Fault::LowDifficulty => &self.low,
            Fault::Other | Fault::Unauthorized | Fault::NotSubscribed | Fault::NoMethod => &self.invalid,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.change(number, |miner| miner.rejected += 1);
    }

    pub(super) fn found_block(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }
}

/// No code under these locks can panic halfway, so a poisoned lock still guards consistent data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An exponentially decaying rate.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    faded: f64,
    at: Option<Instant>,
}

impl Rate {
    fn add(&mut self, now: Instant, amount: f64) {
        self.faded = self.faded_at(now) + amount;
        self.at = Some(now);
    }

    fn faded_at(&self, now: Instant) -> f64 {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.faded * (-elapsed.as_secs_f64() / RATE_TIME.as_secs_f64()).exp()
    }

    /// The rate, as of a count that began at `start`: of a short time, no more is expected than can have come.
    fn per_second(&self, now: Instant, start: Instant) -> f64 {
        let time = RATE_TIME.as_secs_f64();
        let elapsed = now.saturating_duration_since(start).as_secs_f64().max(1.0);
        self.faded_at(now) / (time * (1.0 - (-elapsed / time).exp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_found_early_and_late() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(rate.per_second(at(10), start), 0.0);
        for second in 1..=3000 {
            rate.add(at(second), 500.0);
            let found = rate.per_second(at(second), start);
            assert!(second < 20 || (found / 500.0 - 1.0).abs() < 0.05, "{found} after {second} s");
        }
        assert!(rate.per_second(at(6000), start) < 1.0, "it is over");
    }
}
