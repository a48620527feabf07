//! The address book: addresses that peers announced, and addresses that this node has reached.
//!
//! An address is *new* until a connection to it has completed the handshake, then *tried*. Peers' announcements only
//! add new addresses, a few for each group of addresses, so that no liar fills the book.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::bans::Subnet;
use crate::p2p::connection::Now;
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::peer_addr::{PeerAddr, Transports};
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::time::{MonoTime, UnixTime};

/// Most addresses kept.
pub const MAX_BOOK: usize = 4_096;
/// Most addresses kept of one part of the public net ([`Subnet::group`]).
pub const MAX_PER_GROUP: usize = 32;
/// Most addresses kept of one part of a private net, which a local network may have all its nodes in.
pub const MAX_PER_PRIVATE_GROUP: usize = 1_024;
/// Most addresses kept that were announced from one group.
pub const MAX_PER_SOURCE: usize = 1_024;
/// Most of its own addresses that a node remembers not to dial.
const MAX_OWN: usize = 16;
/// Time before an address that failed once is dialled again; doubled with each failure.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest such wait.
const MAX_BACKOFF: Duration = Duration::from_secs(600);
/// Consecutive failures after which an address that was never reached is removed.
const MAX_FAILURES: u32 = 10;

/// An announced address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    /// The address.
    pub address: PeerAddr,
    /// What it offers, as `SERVICE_` bits; 0 if that is not known.
    pub services: u64,
    /// When a node was last connected to it; the epoch if unknown.
    pub last_seen: UnixTime,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// The address.
    pub address: PeerAddr,
    /// The id found there by this node's last connection; `None` if there was none.
    pub id: Option<NodeId>,
    /// What it offers, as `SERVICE_` bits.
    pub services: u64,
    /// When a node was last connected to it, as far as is known.
    pub last_seen: UnixTime,
    /// When this node last was; the epoch for never, which makes the address a new one.
    pub last_success: UnixTime,
    /// Dials in a row that failed.
    pub failures: u32,
    /// The group that first announced it.
    pub source: Subnet,
}

impl Record {
    /// Whether a connection to it ever completed the handshake.
    pub fn is_tried(&self) -> bool {
        self.last_success > UnixTime::EPOCH
    }
}

/// The book. Iterated in the order of addresses only, so that runs repeat.
#[derive(Debug, Default)]
pub(crate) struct AddrBook {
    records: BTreeMap<PeerAddr, Record>,
    /// When each address may be dialled again, by [`Now::mono`]: a matter of this run.
    retry_at: BTreeMap<PeerAddr, MonoTime>,
    own: BTreeSet<PeerAddr>,
    /// What the driver can dial.
    transports: Transports,
    /// Addresses whose records changed since they were saved.
    changed: BTreeSet<PeerAddr>,
}

impl AddrBook {
    /// A book of records that were saved, of a node whose driver can dial `transports`.
    pub(crate) fn load(records: impl IntoIterator<Item = Record>, transports: Transports) -> Self {
        let mut book = Self { transports, ..Self::default() };
        // Collected, they would be sorted, whose code is 1 % of the browser's module.
        book.records.extend(records.into_iter().map(|record| (record.address, record)).take(MAX_BOOK));
        book
    }

    /// Adds an address announced by `source`. Of a known address it only updates the time last seen. `true` if the
    /// address is new to the book.
    pub(crate) fn add(&mut self, now: Now, announced: &PeerAddress, source: IpAddr) -> bool {
        let address = announced.address;
        if !address.is_believable(source) || self.own.contains(&address) {
            return false;
        }
        let last_seen = announced.last_seen.min(now.unix);
        if let Some(record) = self.records.get_mut(&address) {
            record.last_seen = record.last_seen.max(last_seen);
            return false;
        }
        let (group, source) = (address.group(), Subnet::group(source));
        let max = if address.is_public() { MAX_PER_GROUP } else { MAX_PER_PRIVATE_GROUP };
        let make_room = self.make_room(self.records.len(), MAX_BOOK, |_| true)
            && self.make_room(self.count(|r| group.contains(r.address.ip())), max, |r| group.contains(r.address.ip()))
            && self.make_room(self.count(|r| r.source == source), MAX_PER_SOURCE, |r| r.source == source);
        if !make_room {
            return false;
        }
        let services = announced.services;
        let record =
            Record { address, id: None, services, last_seen, last_success: UnixTime::EPOCH, failures: 0, source };
        self.records.insert(address, record);
        self.changed.insert(address);
        true
    }

    fn count(&self, of: impl Fn(&Record) -> bool) -> usize {
        self.records.values().filter(|record| of(record)).count()
    }

    /// Makes room for one more of the `count` records that `of` selects, by evicting the least promising if needed: one that
    /// this node cannot dial, which would never fail and so never leave, or else a new one that failed. `false` if there is
    /// none to evict.
    fn make_room(&mut self, count: usize, max: usize, of: impl Fn(&Record) -> bool) -> bool {
        if count < max {
            return true;
        }
        let worst = self
            .records
            .values()
            .map(|record| (!self.can_dial(&record.address), record))
            .filter(|(no_use, record)| of(record) && (*no_use || !record.is_tried() && record.failures > 0))
            .max_by_key(|(no_use, record)| (*no_use, record.failures, std::cmp::Reverse(record.last_seen)))
            .map(|(_, record)| record.address);
        if let Some(worst) = worst {
            self.remove(&worst);
        }
        worst.is_some()
    }

    fn remove(&mut self, address: &PeerAddr) {
        self.records.remove(address);
        self.retry_at.remove(address);
        self.changed.insert(*address);
    }

    /// A connection to it completed the handshake.
    pub(crate) fn succeeded(&mut self, now: Now, Contact { id, address }: Contact, services: u64) {
        if let Some(record) = self.records.get_mut(&address) {
            record.id = Some(id);
            record.services = services;
            record.last_seen = now.unix;
            record.last_success = now.unix.max(UnixTime::from_secs(1));
            record.failures = 0;
            self.changed.insert(address);
        }
        self.retry_at.insert(address, now.mono + BACKOFF);
        self.retry_at.retain(|address, _| self.records.contains_key(address));
    }

    /// It could not be reached, or is of no use.
    pub(crate) fn failed(&mut self, now: Now, address: PeerAddr) {
        let Some(record) = self.records.get_mut(&address) else { return };
        record.failures = record.failures.saturating_add(1);
        let wait = backoff(record.failures, BACKOFF, MAX_BACKOFF);
        self.changed.insert(address);
        if record.failures >= MAX_FAILURES && !record.is_tried() {
            self.remove(&address);
        } else {
            self.retry_at.insert(address, now.mono + wait);
        }
    }

    /// Removes an address that could not be reached and never was.
    pub(crate) fn remove_untried(&mut self, address: &PeerAddr) {
        if self.records.get(address).is_some_and(|record| !record.is_tried()) {
            self.remove(address);
        }
    }

    /// Whether it is one of this node's own.
    pub(crate) fn is_own(&self, address: &PeerAddr) -> bool {
        self.own.contains(address)
    }

    /// What the driver can dial.
    pub(crate) fn transports(&self) -> Transports {
        self.transports
    }

    /// Whether the driver can dial an address.
    pub(crate) fn can_dial(&self, address: &PeerAddr) -> bool {
        self.transports.can_dial(address)
    }

    /// Whether an address may be dialled now: by this driver, and again after its last failure.
    pub(crate) fn may_dial(&self, now: Now, address: &PeerAddr) -> bool {
        self.can_dial(address) && self.retry_at.get(address).is_none_or(|at| *at <= now.mono)
    }

    /// Marks an address as this node's own.
    pub(crate) fn mark_own(&mut self, address: PeerAddr) {
        self.remove(&address);
        if self.own.len() < MAX_OWN {
            self.own.insert(address);
        }
    }

    /// An address to dial: as likely a tried one as a new one, at random among those that may be.
    pub(crate) fn pick(&self, now: Now, rng: &mut ChaCha20Rng, allowed: impl Fn(&Record) -> bool) -> Option<PeerAddr> {
        let may = |record: &&Record| self.may_dial(now, &record.address) && allowed(record);
        let (tried, new): (Vec<&Record>, Vec<&Record>) =
            self.records.values().filter(may).partition(|record| record.is_tried());
        let from = match (tried.is_empty(), new.is_empty()) {
            (true, true) => return None,
            (false, true) => tried,
            (true, false) => new,
            (false, false) if rng.random() => tried,
            (false, false) => new,
        };
        Some(from[rng.random_range(0..from.len())].address)
    }

    /// An address that never was reached, at random among those that may be dialled.
    pub(crate) fn pick_untried(
        &self,
        now: Now,
        rng: &mut ChaCha20Rng,
        allowed: impl Fn(&PeerAddr) -> bool,
    ) -> Option<PeerAddr> {
        let may =
            |record: &&Record| !record.is_tried() && self.may_dial(now, &record.address) && allowed(&record.address);
        self.records.values().filter(may).map(|record| record.address).collect::<Vec<_>>().choose(rng).copied()
    }

    /// Nodes found at their dialled addresses and not missing since, most recently seen last.
    pub(crate) fn contacts(&self) -> Vec<Contact> {
        let is_good = |record: &&Record| record.is_tried() && record.failures == 0 && self.can_dial(&record.address);
        let mut good: Vec<&Record> = self.records.values().filter(is_good).collect();
        good.sort_by_key(|record| record.last_success);
        good.iter().filter_map(|record| Some(Contact { id: record.id?, address: record.address })).collect()
    }

    /// All records, in the order of addresses.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Addresses that changed since this was last asked, with their records, or without if they are gone.
    pub(crate) fn take_changed(&mut self) -> Vec<(PeerAddr, Option<Record>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|address| (address, self.records.get(&address).cloned())).collect()
    }
}

/// The wait after a number of failures: `base`, doubled with each, at most `max`.
pub(crate) fn backoff(failures: u32, base: Duration, max: Duration) -> Duration {
    base.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const START: Now = Now { mono: MonoTime::START, unix: UnixTime::from_secs(1_000) };

    fn announced(address: &str) -> PeerAddress {
        PeerAddress { address: address.parse().unwrap(), services: 1, last_seen: UnixTime::from_secs(900) }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_liar_fills_neither_a_group_nor_the_book() {
        let mut book = AddrBook::default();
        for i in 0..=255u8 {
            for j in 0..64u8 {
                let address = PeerAddr::from(([8, i, j, 1], 7331));
                book.add(START, &PeerAddress { address, services: 0, last_seen: UnixTime::EPOCH }, ip("9.9.9.9"));
            }
        }
        assert_eq!(book.records().count(), MAX_PER_SOURCE);
        assert_eq!(book.count(|record| Subnet::group(ip("8.3.0.0")).contains(record.address.ip())), MAX_PER_GROUP);
        assert!(!book.add(START, &announced("7.7.7.7:1"), ip("9.9.1.1")), "the same part of the net has said enough");
        assert!(book.add(START, &announced("7.7.7.7:1"), ip("10.0.0.1")), "others have not");
        // A failed one gives way to another of its group.
        let failed = book.records().find(|r| r.address.ip() == ip("8.0.0.1")).unwrap().address;
        book.failed(START, failed);
        assert!(book.add(START, &announced("8.0.99.99:1"), ip("10.0.0.1")));
        assert!(book.records().all(|record| record.address != failed));
    }

    #[test]
    fn invalid_and_private_addresses_are_not_learnt() {
        let mut book = AddrBook::default();
        for (address, source) in [
            ("1.2.3.4:0", "10.0.0.1"),
            ("0.0.0.0:1", "10.0.0.1"),
            ("224.0.0.1:1", "10.0.0.1"),
            ("[ff02::1]:1", "10.0.0.1"),
            ("10.0.0.1:1", "8.8.8.8"),
            ("192.168.1.1:1", "8.8.8.8"),
            ("127.0.0.1:1", "10.0.0.1"),
            ("[fe80::1]:1", "2600::1"),
        ] {
            assert!(!book.add(START, &announced(address), ip(source)), "{address} from {source}");
        }
        assert!(book.add(START, &announced("10.0.0.1:1"), ip("10.0.0.2")));
        assert!(book.add(START, &announced("127.0.0.1:1"), ip("127.0.0.1")));
        book.mark_own("10.0.0.1:1".parse().unwrap());
        assert!(!book.add(START, &announced("10.0.0.1:1"), ip("10.0.0.2")));
    }

    #[test]
    fn failures_wait_longer_each_time_and_the_hopeless_are_given_up() {
        let mut book = AddrBook::default();
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let address: PeerAddr = "8.8.8.8:1".parse().unwrap();
        book.add(START, &announced("8.8.8.8:1"), ip("10.0.0.1"));
        let mut now = START;
        let mut waits = Vec::new();
        for _ in 1..MAX_FAILURES {
            book.failed(now, address);
            let from = now.mono;
            while book.pick(now, &mut rng, |_| true).is_none() {
                now.mono += Duration::from_millis(500);
            }
            waits.push(now.mono.saturating_since(from).as_secs());
        }
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert_eq!(book.pick(now, &mut rng, |other| other.address != address), None);
        book.failed(now, address);
        assert_eq!(book.records().count(), 0);
        // One that was reached is not given up.
        book.add(START, &announced("8.8.8.8:1"), ip("10.0.0.1"));
        book.succeeded(START, Contact { id: NodeId([4; 32]), address }, 3);
        assert_eq!(book.contacts(), [Contact { id: NodeId([4; 32]), address }]);
        (0..2 * MAX_FAILURES).for_each(|_| book.failed(START, address));
        assert!(book.records().all(|record| record.is_tried() && record.services == 3));
        assert_eq!(book.contacts(), [], "it is missed now");
        book.remove_untried(&address);
        assert_eq!(book.records().count(), 1);
        assert_eq!(
            book.pick(Now { mono: MonoTime::START + MAX_BACKOFF, unix: UnixTime::EPOCH }, &mut rng, |_| true),
            Some(address)
        );
    }

    #[test]
    fn an_address_that_cannot_be_dialled_is_never_picked_and_is_dropped_first() {
        let webrtc = |host: u8| PeerAddr::WebRtc { socket: ([8, 8, 0, host], 1).into(), certhash: [host; 32] };
        let said = |address| PeerAddress { address, services: 0, last_seen: UnixTime::from_secs(900) };
        let (mut book, mut rng) = (AddrBook::default(), ChaCha20Rng::from_seed([4; 32]));
        for host in 1..=MAX_PER_GROUP as u8 {
            assert!(book.add(START, &said(webrtc(host)), ip("10.0.0.1")));
        }
        assert_eq!((book.pick(START, &mut rng, |_| true), book.pick_untried(START, &mut rng, |_| true)), (None, None));
        // A full group makes room, though none of them failed, and keeps what it can dial.
        assert!(book.add(START, &announced("8.8.1.1:1"), ip("10.0.0.1")));
        book.failed(START, "8.8.1.1:1".parse().unwrap());
        assert!(book.add(START, &said(webrtc(200)), ip("10.0.0.1")));
        assert_eq!(book.records().count(), MAX_PER_GROUP);
        assert_eq!(book.records().filter(|record| book.can_dial(&record.address)).count(), 1);
        // A driver that can dial them does.
        let all = Transports { tcp: true, webrtc: true };
        let mut able = AddrBook::load(book.records().cloned().collect::<Vec<_>>(), all);
        assert!(able.pick(START, &mut rng, |record| record.address == webrtc(200)).is_some());
        able.succeeded(START, Contact { id: NodeId([4; 32]), address: webrtc(200) }, 1);
        assert_eq!(able.contacts().len(), 1);
        let unable = AddrBook::load(able.records().cloned().collect::<Vec<_>>(), Transports::default());
        assert_eq!(unable.contacts(), []);
    }

    #[test]
    fn feelers_dial_untried_addresses_and_drop_dead_ones() {
        let mut book = AddrBook::default();
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let (tried, new) = ("8.8.8.8:1".parse().unwrap(), "9.9.9.9:1".parse().unwrap());
        book.add(START, &announced("8.8.8.8:1"), ip("10.0.0.1"));
        book.succeeded(START, Contact { id: NodeId([4; 32]), address: tried }, 1);
        assert_eq!(book.pick_untried(START, &mut rng, |_| true), None);
        book.add(START, &announced("9.9.9.9:1"), ip("10.0.0.1"));
        assert_eq!(book.pick_untried(START, &mut rng, |_| true), Some(new));
        assert_eq!(book.pick_untried(START, &mut rng, |address| *address != new), None);
        book.remove_untried(&new);
        book.remove_untried(&tried);
        assert_eq!(book.records().map(|record| record.address).collect::<Vec<_>>(), [tried]);
    }

    #[test]
    fn saved_and_loaded() {
        let mut book = AddrBook::default();
        book.add(START, &announced("8.8.8.8:1"), ip("10.0.0.1"));
        let changed = book.take_changed();
        let again = AddrBook::load(changed.into_iter().filter_map(|(_, record)| record), Transports::default());
        assert!(again.records().eq(book.records()));
        assert_eq!(book.take_changed(), []);
    }
}
