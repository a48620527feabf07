//! Transactions whose inputs are not known yet, kept for a while in the hope that their parents come.
//!
//! An attacker can create orphans for free, so they are few, small and short-lived: the oldest is evicted for the
//! newest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::limits::Limits;
use super::usage::memory_of;
use crate::primitives::hash::Txid;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::{HashedTransaction, OutPoint};

/// A peer that sent a transaction. It may have disconnected when the transaction proves invalid, so its host is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its connection, by a number of the caller's.
    pub connection: u64,
    /// The host to ban for it; `None` for a manual peer.
    pub host: Option<IpAddr>,
}

#[derive(Debug, Clone)]
pub(super) struct Orphan {
    pub(super) tx: HashedTransaction,
    /// The peer that is to blame if it breaks a rule; `None` if it was made here.
    pub(super) sender: Option<Sender>,
    /// Coins that were unknown when it came.
    missing: Vec<OutPoint>,
    /// When it came, then its number.
    arrival: (UnixTime, u64),
    usage: usize,
}

/// Transactions whose parents are not known.
#[derive(Debug, Clone, Default)]
pub(super) struct Orphans {
    by_id: BTreeMap<Txid, Orphan>,
    waiting_for: BTreeSet<(OutPoint, Txid)>,
    by_age: BTreeMap<(UnixTime, u64), Txid>,
    usage: usize,
    next_number: u64,
}

impl Orphans {
    pub(super) fn contains(&self, txid: &Txid) -> bool {
        self.by_id.contains_key(txid)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &HashedTransaction> {
        self.by_id.values().map(|orphan| &orphan.tx)
    }

    /// Bytes of memory that they take, about.
    pub(super) fn usage(&self) -> usize {
        self.usage
    }

    /// Keeps a transaction; `false` if it is too large.
    pub(super) fn add(
        &mut self,
        tx: HashedTransaction,
        (missing, sender): (Vec<OutPoint>, Option<Sender>),
        now: UnixTime,
        limits: &Limits,
    ) -> bool {
        if tx.size() > limits.max_orphan_size || limits.max_orphans == 0 {
            return false;
        }
        let txid = tx.txid();
        if self.contains(&txid) {
            return true;
        }
        let usage = memory_of(&tx) + size_of::<Orphan>() + 4 * missing.len() * size_of::<(OutPoint, Txid)>();
        while self.by_id.len() >= limits.max_orphans || self.usage + usage > limits.max_orphan_bytes {
            let Some(oldest) = self.by_age.first_key_value().map(|(_, txid)| *txid) else { return false };
            self.remove(&oldest);
        }
        let arrival = (now, self.next_number);
        self.next_number += 1;
        self.waiting_for.extend(missing.iter().map(|outpoint| (*outpoint, txid)));
        self.by_age.insert(arrival, txid);
        self.usage += usage;
        self.by_id.insert(txid, Orphan { tx, sender, missing, arrival, usage });
        true
    }

    pub(super) fn remove(&mut self, txid: &Txid) -> Option<Orphan> {
        let orphan = self.by_id.remove(txid)?;
        for outpoint in &orphan.missing {
            self.waiting_for.remove(&(*outpoint, *txid));
        }
        self.by_age.remove(&orphan.arrival);
        self.usage -= orphan.usage;
        Some(orphan)
    }

    /// Those that wait for an output of `parent`, in order of the output they wait for.
    pub(super) fn children(&self, parent: Txid) -> impl Iterator<Item = Txid> {
        let first = (OutPoint { txid: parent, index: 0 }, Txid::from_bytes([0; 32]));
        let waiting = self.waiting_for.range(first..).take_while(move |(outpoint, _)| outpoint.txid == parent);
        waiting.map(|(_, txid)| *txid)
    }

    /// Drops those that a peer sent.
    pub(super) fn drop_from(&mut self, sender: Sender) {
        let sent = self.by_id.iter().filter(|(_, orphan)| orphan.sender == Some(sender));
        let sent: Vec<Txid> = sent.map(|(txid, _)| *txid).collect();
        for txid in sent {
            self.remove(&txid);
        }
    }

    /// Drops those that wait for a coin that is spent.
    pub(super) fn drop_spenders(&mut self, outpoint: &OutPoint) {
        while let Some((waited_for, txid)) =
            self.waiting_for.range((*outpoint, Txid::from_bytes([0; 32]))..).next().copied()
            && waited_for == *outpoint
        {
            self.remove(&txid);
        }
    }

    /// Drops those that came before `time`.
    pub(super) fn expire(&mut self, time: UnixTime) {
        while let Some(((arrival, _), txid)) = self.by_age.first_key_value().map(|(arrival, txid)| (*arrival, *txid))
            && arrival < time
        {
            self.remove(&txid);
        }
    }
}
