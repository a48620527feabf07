//! The contacts at one power of two of distance.
//!
//! The longest known contacts are kept, because they are likely to stay (section 2.4 of the paper), and because a flood
//! of new ids then evicts none of them: a place becomes free only when its holder does not answer.

use std::time::Duration;

use crate::p2p::bans::Subnet;
use crate::p2p::kad::Contact;
use crate::primitives::time::MonoTime;

/// Time after which the contact not heard of for longest is worth a ping when another wants its place.
pub const CHECK_AGE: Duration = Duration::from_secs(60);

/// The result of adding a contact that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// It has a place.
    Kept,
    /// All places are taken; it is next in line.
    Full {
        /// The contact to ping: if it does not answer, [`super::Table::failed`] gives its place to the waiting one.
        /// `None` if all have answered or were pinged recently.
        ping: Option<Contact>,
    },
    /// It is not kept.
    Refused(Refusal),
}

/// Why a contact is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has this node's own id.
    #[error("it is this node")]
    Own,
    /// Its address cannot be dialled.
    #[error("its address cannot be dialled")]
    Address,
    /// There are enough contacts of its subnet in the bucket or in the table.
    #[error("the table has enough contacts in its network group")]
    Subnet,
}

/// A contact kept.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) contact: Contact,
    /// The part of the public net that it is in; `None` in a private one.
    pub(super) subnet: Option<Subnet>,
    /// When it last answered.
    pub(super) seen: MonoTime,
    /// When it was last asked to be pinged, or answered.
    pub(super) checked: MonoTime,
    /// Questions in a row that it did not answer.
    pub(super) failures: u32,
}

/// A k-bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct KBucket {
    /// Contacts with a place, least recently answered first.
    pub(super) places: Vec<Entry>,
    /// Contacts waiting for a place, least recently answered first.
    pub(super) waiting: Vec<Entry>,
}

impl KBucket {
    /// All contacts, waiting ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.places.iter().chain(&self.waiting)
    }

    /// A contact answered. Of `k` places, and as many to wait for them.
    pub(super) fn note(&mut self, entry: Entry, k: usize) -> Insertion {
        let (now, id) = (entry.seen, entry.contact.id);
        self.waiting.retain(|other| other.contact.id != id);
        let old = self.places.iter().position(|other| other.contact.id == id);
        // A contact that failed to answer is replaced by one that just answered.
        let failed = || self.places.iter().position(|other| other.failures > 0).filter(|_| self.places.len() >= k);
        if let Some(at) = old.or_else(failed) {
            self.places.remove(at);
        }
        if self.places.len() < k {
            insert(&mut self.places, entry);
            return Insertion::Kept;
        }
        insert(&mut self.waiting, entry);
        if self.waiting.len() > k {
            self.waiting.remove(0);
        }
        let oldest = self.places.first_mut().filter(|oldest| oldest.checked + CHECK_AGE <= now);
        let ping = oldest.map(|oldest| {
            oldest.checked = now;
            oldest.contact
        });
        Insertion::Full { ping }
    }

    /// A contact did not answer. It keeps its place until another contact waits for one.
    pub(super) fn failed(&mut self, contact: &Contact) {
        self.waiting.retain(|other| other.contact != *contact);
        let Some(at) = self.places.iter().position(|other| other.contact == *contact) else { return };
        if self.waiting.is_empty() {
            self.places[at].failures = self.places[at].failures.saturating_add(1);
        } else {
            self.remove(at);
        }
    }

    /// Frees a place, for the waiting contact that answered last.
    pub(super) fn remove(&mut self, at: usize) {
        self.places.remove(at);
        if let Some(next) = self.waiting.pop() {
            insert(&mut self.places, next);
        }
    }
}

fn insert(entries: &mut Vec<Entry>, entry: Entry) {
    let at = entries.partition_point(|other| other.seen <= entry.seen);
    entries.insert(at, entry);
}
