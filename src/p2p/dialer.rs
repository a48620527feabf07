//! Outbound dialling: manual peers always; others, from the table of contacts at all distances or from the address
//! book, until there are enough.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::addrbook::{AddrBook, Record, backoff};
use crate::p2p::bans::Bans;
use crate::p2p::connection::Now;
use crate::p2p::interface::Output;
use crate::p2p::kad::{Contact, NodeId, Table};
use crate::p2p::outbox::Outbox;
use crate::p2p::peer_addr::{PeerAddr, Transports};
use crate::p2p::peers::Peers;
use crate::primitives::time::MonoTime;

/// Most addresses to stay connected to.
pub const MAX_MANUAL: usize = 256;
/// Most addresses of the book with a required id.
pub const MAX_EXPECTED: usize = 256;
/// Time between two dials of addresses from the book.
const DIAL_INTERVAL: Duration = Duration::from_millis(250);
/// Time to wait if there is no address to dial now.
const NO_ADDRESS_WAIT: Duration = Duration::from_secs(1);
/// Time before a manual peer is dialled again; doubled with each failure.
const MANUAL_BACKOFF: Duration = Duration::from_millis(500);
/// The longest such wait.
const MAX_MANUAL_BACKOFF: Duration = Duration::from_secs(30);
/// Time after which the driver is taken to have forgotten a dial.
const DIAL_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Manual {
    /// The required id.
    id: Option<NodeId>,
    failures: u32,
    next: MonoTime,
}

impl Manual {
    /// Whether there is a connection with the required node, at any address, or with any node that listens at the
    /// address.
    fn is_satisfied(&self, address: &PeerAddr, peers: &Peers) -> bool {
        match self.id {
            Some(id) => peers.connection_with(id).is_some(),
            None => peers.is_connected_to(address),
        }
    }
}

/// A dial under way.
#[derive(Debug, Clone, Copy)]
struct Dialing {
    since: MonoTime,
    id: Option<NodeId>,
    /// For a brief connection.
    brief: bool,
}

/// Inputs to the choice of an address.
pub(crate) struct DialContext<'a> {
    /// Number of automatic outbound peers.
    pub(crate) target: usize,
    pub(crate) peers: &'a Peers,
    pub(crate) book: &'a AddrBook,
    /// The table of contacts, if there is one.
    pub(crate) table: Option<&'a Table>,
    pub(crate) bans: &'a Bans,
}

/// Dials under way and dials to come.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    manual: BTreeMap<PeerAddr, Manual>,
    /// Required ids of addresses of the book.
    expected: BTreeMap<PeerAddr, NodeId>,
    transports: Transports,
    dialing: BTreeMap<PeerAddr, Dialing>,
    next: MonoTime,
    /// Whether a dial from the book is needed and possible.
    needed: bool,
    /// Whether something has happened since [`Dialer::tick`] for which it may dial.
    changed: bool,
    /// Nothing is dialled.
    paused: bool,
}

impl Dialer {
    /// Of a node whose driver can dial `transports`.
    pub(crate) fn new(transports: Transports) -> Self {
        Self { transports, ..Self::default() }
    }

    /// Adds a manual peer, with a required `id` if given. `false` if it was there already, the driver cannot dial it, or
    /// there are too many.
    pub(crate) fn add(&mut self, address: PeerAddr, id: Option<NodeId>) -> bool {
        self.changed = true;
        if let Some(manual) = self.manual.get_mut(&address) {
            return std::mem::replace(&mut manual.id, id) != id;
        }
        if self.manual.len() >= MAX_MANUAL || !self.transports.can_dial(&address) {
            return false;
        }
        self.manual.insert(address, Manual { id, ..Manual::default() });
        true
    }

    /// Sets the required id of an address of the book; `None` for any.
    pub(crate) fn expect(&mut self, address: PeerAddr, id: Option<NodeId>) {
        match id {
            Some(id) if self.expected.len() < MAX_EXPECTED || self.expected.contains_key(&address) => {
                self.expected.insert(address, id);
            }
            Some(_) => {}
            None => drop(self.expected.remove(&address)),
        }
    }

    /// Removes a manual peer. `false` if there was none.
    pub(crate) fn remove(&mut self, address: &PeerAddr) -> bool {
        self.manual.remove(address).is_some()
    }

    /// Addresses of manual peers, in order.
    pub(crate) fn manual(&self) -> impl Iterator<Item = PeerAddr> {
        self.manual.keys().copied()
    }

    pub(crate) fn is_manual(&self, address: &PeerAddr) -> bool {
        self.manual.contains_key(address)
    }

    /// Stops all dialling, or begins it again: manual peers are dialled at once then.
    pub(crate) fn set_paused(&mut self, now: Now, paused: bool) {
        self.paused = paused;
        self.changed = true;
        self.manual.values_mut().for_each(|manual| manual.next = now.mono);
        if paused {
            self.dialing.clear();
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Dials an address now, unless that is under way or the driver cannot.
    pub(crate) fn dial(&mut self, now: Now, address: PeerAddr, id: Option<NodeId>, out: &mut Outbox) {
        if !self.paused
            && self.transports.can_dial(&address)
            && self.dialing.insert(address, Dialing { since: now.mono, id, brief: false }).is_none()
        {
            out.push(Output::Connect { address, id });
        }
    }

    /// The same for a brief connection.
    pub(crate) fn dial_briefly(&mut self, now: Now, address: PeerAddr, id: Option<NodeId>, out: &mut Outbox) {
        if !self.paused
            && let Entry::Vacant(place) = self.dialing.entry(address)
        {
            place.insert(Dialing { since: now.mono, id, brief: true });
            out.push(Output::Connect { address, id });
        }
    }

    /// Whether no dial is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.dialing.is_empty()
    }

    pub(crate) fn is_dialing(&self, address: &PeerAddr) -> bool {
        self.dialing.contains_key(address)
    }

    /// A dial succeeded. `true` if it was for a brief connection.
    pub(crate) fn connected(&mut self, address: &PeerAddr) -> bool {
        self.dialing.remove(address).is_some_and(|dialing| dialing.brief)
    }

    /// A dial failed, or the connection it made was of no use.
    pub(crate) fn failed(&mut self, now: Now, address: &PeerAddr) {
        self.dialing.remove(address);
        self.changed = true;
        if let Some(manual) = self.manual.get_mut(address) {
            manual.failures = manual.failures.saturating_add(1);
            manual.next = now.mono + backoff(manual.failures, MANUAL_BACKOFF, MAX_MANUAL_BACKOFF);
        }
    }

    /// A connection that was of use ended.
    pub(crate) fn ended(&mut self, now: Now, address: &PeerAddr) {
        if let Some(manual) = self.manual.get_mut(address) {
            manual.failures = 0;
            manual.next = now.mono + MANUAL_BACKOFF;
        }
    }

    /// There may be more need, or more to choose from, than when [`Dialer::tick`] was last called.
    pub(crate) fn reconsider(&mut self) {
        self.changed = true;
    }

    /// Whether there may be something to dial.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    pub(crate) fn tick(&mut self, now: Now, situation: &DialContext<'_>, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        self.changed = false;
        if self.paused {
            self.needed = false;
            return;
        }
        let DialContext { target, peers, book, table, .. } = *situation;
        self.dialing.retain(|_, dialing| dialing.since + DIAL_TIMEOUT > now.mono);
        let due = self.manual.iter().filter(|(address, manual)| {
            manual.next <= now.mono && !self.dialing.contains_key(address) && !manual.is_satisfied(address, peers)
        });
        for (address, id) in due.map(|(address, manual)| (*address, manual.id)).collect::<Vec<_>>() {
            self.dial(now, address, id, out);
        }
        let under_way =
            self.dialing.iter().filter(|(address, dialing)| !dialing.brief && !self.is_manual(address)).count();
        let has_addresses = book.records().next().is_some() || table.is_some_and(|table| !table.is_empty());
        self.needed = peers.automatic() + under_way < target && has_addresses;
        if !self.needed || self.next > now.mono {
            return;
        }
        match self.choose(now, situation, rng) {
            Some((address, id)) => {
                self.next = now.mono + DIAL_INTERVAL;
                self.dial(now, address, id, out);
            }
            None => self.next = now.mono + NO_ADDRESS_WAIT,
        }
    }

    /// A contact at a distance with the fewest outbound peers, so that peers spread over all ids; without contacts, an
    /// address of the book.
    fn choose(
        &self,
        now: Now,
        situation: &DialContext<'_>,
        rng: &mut ChaCha20Rng,
    ) -> Option<(PeerAddr, Option<NodeId>)> {
        let DialContext { peers, book, bans, table, .. } = *situation;
        let groups = peers.outbound_groups();
        let allowed = |address: &PeerAddr| {
            let ip = address.ip();
            // Outbound peers are the defence against a liar with many addresses: no two in one part of the net.
            let is_crowded = address.is_public() && groups.contains(&address.group());
            let is_met = self.dialing.contains_key(address) || peers.is_connected_to(address);
            !is_crowded && !is_met && !self.is_manual(address) && !bans.contains(ip, now.unix)
        };
        if let Some(table) = table {
            let dialing = self.dialing.values().filter(|dialing| !dialing.brief).filter_map(|dialing| dialing.id);
            let mut taken: BTreeMap<u8, usize> = BTreeMap::new();
            for id in peers.outbound().map(|peer| peer.id).chain(dialing) {
                if let Some(bucket) = table.own().distance(&id).bucket() {
                    *taken.entry(bucket).or_default() += 1;
                }
            }
            let fit = table.live_contacts().filter(|(_, contact)| {
                allowed(&contact.address)
                    && book.may_dial(now, &contact.address)
                    && peers.connection_with(contact.id).is_none()
            });
            let fit: Vec<(usize, &Contact)> =
                fit.map(|(bucket, contact)| (taken.get(&bucket).copied().unwrap_or(0), contact)).collect();
            let least = fit.iter().map(|(taken, _)| *taken).min();
            let best: Vec<&Contact> =
                fit.into_iter().filter(|(taken, _)| Some(*taken) == least).map(|(_, contact)| contact).collect();
            if let Some(contact) = best.choose(rng) {
                return Some((contact.address, Some(contact.id)));
            }
        }
        // A node that is connected may have this address, too.
        let is_new = |record: &Record| record.id.is_none_or(|id| peers.connection_with(id).is_none());
        let pick = book.pick(now, rng, |record| allowed(&record.address) && is_new(record));
        pick.map(|address| (address, self.expected.get(&address).copied()))
    }

    pub(crate) fn deadline(&self, peers: &Peers) -> Option<MonoTime> {
        if self.paused {
            return None;
        }
        let idle = |address: &PeerAddr, manual: &Manual| {
            !self.dialing.contains_key(address) && !manual.is_satisfied(address, peers)
        };
        let idle = self.manual.iter().filter(|(address, manual)| idle(address, manual));
        let manual = idle.map(|(_, manual)| manual.next).min();
        let automatic = self.needed.then_some(self.next);
        manual.into_iter().chain(automatic).min()
    }
}
