//! Transactions that the owner wants peers to have, and those of other pages.
//!
//! Each peer is told of each transaction, as full nodes do among themselves, and is sent it when it asks. Then it is asked for
//! the same: a peer that took it has it, and one that refused it does not.
//!
//! A page that has no node left hands its payments to other pages. They cannot check signatures, so what they pass on may be bad,
//! and a node counts that against them, a tenth of what it counts against others. How much is passed on is bounded so that this
//! never adds up to a ban.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::message::{Item, MAX_INVENTORY, Message};
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId};
use crate::primitives::hash::Txid;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::Transaction;

/// Transactions of other pages that are passed on at once.
pub const RELAY_BURST: u64 = 8;
/// Time after which one more is: longer than a node takes to forgive a bad one.
pub const RELAY_INTERVAL: Duration = Duration::from_secs(120);
/// Most that are kept of these; the oldest goes first.
const MAX_RELAYED: usize = 16;
/// Most bytes of one.
const MAX_RELAYED_BYTES: usize = 100_000;
/// Most that a page is asked for at a time.
const MAX_WANTED: usize = 4;

/// A token is a millisecond.
const TOKENS: u64 = RELAY_INTERVAL.as_millis() as u64;
const RATE: Rate = Rate { gain: 1, most: RELAY_BURST * TOKENS };

#[derive(Debug)]
struct Offered {
    transaction: Arc<Transaction>,
    /// The page that it came from; `None` if it is the owner's.
    from: Option<PeerId>,
}

/// The transactions; at most [`MAX_INVENTORY`].
#[derive(Debug)]
pub(super) struct Handover {
    offered: BTreeMap<Txid, Offered>,
    /// Those of other pages, in the order in which they came.
    relayed: VecDeque<Txid>,
    /// What pages were asked for.
    wanted: Vec<(PeerId, Txid)>,
    allowance: Bucket,
    /// Peers that were sent a transaction, and have not said whether they have it.
    sent: Vec<(PeerId, Txid)>,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            offered: BTreeMap::new(),
            relayed: VecDeque::new(),
            wanted: Vec::new(),
            allowance: Bucket::full(MonoTime::START, RATE),
            sent: Vec::new(),
        }
    }
}

impl Handover {
    /// Tells `peers` of the owner's transaction, and every peer that comes later.
    pub(super) fn offer(&mut self, tx: Transaction, peers: &[PeerId], out: &mut Outbox) {
        // It may have come from a page before, and then more of them would displace it.
        let txid = tx.txid();
        self.relayed.retain(|relayed| *relayed != txid);
        self.add(Arc::new(tx), None, peers, out);
    }

    fn add(&mut self, transaction: Arc<Transaction>, from: Option<PeerId>, peers: &[PeerId], out: &mut Outbox) {
        let txid = transaction.txid();
        if self.offered.len() == MAX_INVENTORY {
            self.offered.pop_first();
        }
        self.offered.insert(txid, Offered { transaction, from });
        for peer in peers.iter().filter(|peer| from != Some(**peer)) {
            out.send(*peer, Message::Inventory(vec![Item::Transaction(txid)]));
        }
    }

    /// A peer has said hello.
    pub(super) fn ready(&self, peer: PeerId, out: &mut Outbox) {
        if !self.offered.is_empty() {
            out.send(peer, Message::Inventory(self.offered.keys().copied().map(Item::Transaction).collect()));
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.sent.retain(|(to, _)| *to != peer);
        self.wanted.retain(|(from, _)| *from != peer);
    }

    /// A page has a transaction: asks for it, unless it is here.
    pub(super) fn announced(&mut self, page: PeerId, txid: Txid, out: &mut Outbox) {
        let of_page = self.wanted.iter().filter(|(from, _)| *from == page);
        if !self.offered.contains_key(&txid) && of_page.count() < MAX_WANTED && !self.wanted.contains(&(page, txid)) {
            self.wanted.push((page, txid));
            out.send(page, Message::GetData(vec![Item::Transaction(txid)]));
        }
    }

    /// A transaction came from a page: passes it on to the other `peers`, if it was asked for and is not one too many.
    pub(super) fn relay(
        &mut self,
        now: Now,
        page: PeerId,
        transaction: Arc<Transaction>,
        peers: &[PeerId],
        out: &mut Outbox,
    ) {
        let txid = transaction.txid();
        let was_wanted = self.take_wanted(page, txid);
        if !was_wanted
            || self.offered.contains_key(&txid)
            || transaction.size() > MAX_RELAYED_BYTES
            || !self.allowance.take(now.mono, RATE, TOKENS)
        {
            return;
        }
        if self.relayed.len() == MAX_RELAYED
            && let Some(oldest) = self.relayed.pop_front()
        {
            self.offered.remove(&oldest);
        }
        self.relayed.push_back(txid);
        self.add(transaction, Some(page), peers, out);
    }

    fn take_wanted(&mut self, page: PeerId, txid: Txid) -> bool {
        let place = self.wanted.iter().position(|wanted| *wanted == (page, txid));
        place.map(|place| self.wanted.swap_remove(place)).is_some()
    }

    /// Bytes of what an item stands for, if it is here.
    pub(super) fn bytes_of(&self, item: &Item) -> usize {
        match item {
            Item::Transaction(txid) => self.offered.get(txid).map_or(0, |offered| offered.transaction.size()),
            _ => 0,
        }
    }

    /// Sends what a peer asks for and is here, and asks for it in turn.
    pub(super) fn requested(&mut self, peer: PeerId, items: Vec<Item>, out: &mut Outbox) {
        let (mut sent, mut missing) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Transaction(txid) if let Some(offered) = self.offered.get(&txid) => {
                    out.send(peer, Message::Transaction(offered.transaction.clone()));
                    // The page that it came from only asks whether it was taken.
                    if offered.from != Some(peer) {
                        if !self.sent.contains(&(peer, txid)) {
                            self.sent.push((peer, txid));
                        }
                        sent.push(item);
                    }
                }
                other => missing.push(other),
            }
        }
        for (items, message) in [(missing, Message::NotFound as fn(Vec<Item>) -> Message), (sent, Message::GetData)] {
            if !items.is_empty() {
                out.send(peer, message(items));
            }
        }
    }

    /// A peer has a transaction, or has it not: whether it was sent this one and is heard of now.
    pub(super) fn heard_of(&mut self, peer: PeerId, txid: Txid, taken: bool) -> bool {
        let place = self.sent.iter().position(|sent| *sent == (peer, txid));
        if !taken {
            self.take_wanted(peer, txid);
            // A page's transaction that was refused is not passed on further.
            if place.is_some() && self.offered.get(&txid).is_some_and(|offered| offered.from.is_some()) {
                self.offered.remove(&txid);
                self.relayed.retain(|relayed| *relayed != txid);
            }
        }
        place.map(|place| self.sent.swap_remove(place)).is_some()
    }
}
