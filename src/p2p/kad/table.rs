//! A node's contacts by distance.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::p2p::bans::Subnet;
use crate::p2p::kad::bucket::{Entry, KBucket};
use crate::p2p::kad::{Contact, Distance, Insertion, NodeId, Refusal};
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::reach::is_public;
use crate::primitives::time::MonoTime;

/// Most contacts of one part of the public net (24 bits of IPv4, 48 of IPv6) in one bucket.
pub const MAX_PER_SUBNET_IN_BUCKET: usize = 2;
/// Most contacts of one part of the public net in the whole table.
pub const MAX_PER_SUBNET: usize = 10;
/// Time without a lookup after which a bucket is refreshed.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);

/// The subnet of a public address within which an attacker gets addresses for free: 24 bits of IPv4, 48 of IPv6. `None`
/// for a private address, since a private network may have all its nodes in one subnet.
pub(crate) fn subnet(ip: IpAddr) -> Option<Subnet> {
    let bits = if ip.to_canonical().is_ipv4() { 24 } else { 48 };
    is_public(ip).then(|| Subnet::new(ip, bits))
}

/// The contacts of one node: at most `k` at each power of two of distance, and as many that wait for a place.
///
/// Only a node that answered at its address enters, so that naming nodes does not add them.
#[derive(Debug, Clone)]
pub struct Table {
    own: NodeId,
    k: usize,
    buckets: BTreeMap<u8, KBucket>,
    /// When each bucket last had a lookup.
    last_lookup: BTreeMap<u8, MonoTime>,
}

impl Table {
    /// An empty table of the node `own`, with `k` places in each bucket.
    pub fn new(own: NodeId, k: usize) -> Self {
        Self { own, k, buckets: BTreeMap::new(), last_lookup: BTreeMap::new() }
    }

    /// Whose it is.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// A contact answered: it is at this address, and it has this id as far as that can be proven.
    pub fn answered(&mut self, now: MonoTime, contact: Contact) -> Insertion {
        let Some(number) = self.own.distance(&contact.id).bucket() else { return Insertion::Refused(Refusal::Own) };
        if !contact.address.is_valid() {
            return Insertion::Refused(Refusal::Address);
        }
        let subnet = subnet(contact.address.ip());
        let (mut in_bucket, mut in_table, mut gone) = (0, 0, None);
        for (at, bucket) in &self.buckets {
            // Contacts with the same address have the same subnet, which is compared first because it is cheaper and
            // rarely equal.
            for other in bucket.iter().filter(|other| other.subnet == subnet && other.contact.id != contact.id) {
                if other.contact.address == contact.address {
                    gone = Some(other.contact);
                } else if subnet.is_some() {
                    in_table += 1;
                    in_bucket += usize::from(*at == number);
                }
            }
        }
        if in_bucket >= MAX_PER_SUBNET_IN_BUCKET || in_table >= MAX_PER_SUBNET {
            return Insertion::Refused(Refusal::Subnet);
        }
        // Another node was at this address before.
        if let Some(gone) = gone {
            self.forget(&gone);
        }
        let entry = Entry { contact, subnet, seen: now, checked: now, failures: 0 };
        self.buckets.entry(number).or_default().note(entry, self.k)
    }

    /// A contact did not answer. A waiting contact takes its place; without one it stays, since it may come back.
    pub fn failed(&mut self, contact: &Contact) {
        if let Some(bucket) = self.bucket_of(&contact.id) {
            bucket.failed(contact);
        }
    }

    fn forget(&mut self, contact: &Contact) {
        let Some(bucket) = self.bucket_of(&contact.id) else { return };
        bucket.waiting.retain(|other| other.contact != *contact);
        if let Some(at) = bucket.places.iter().position(|other| other.contact == *contact) {
            bucket.remove(at);
        }
    }

    fn bucket_of(&mut self, id: &NodeId) -> Option<&mut KBucket> {
        self.own.distance(id).bucket().and_then(|number| self.buckets.get_mut(&number))
    }

    /// Up to `count` contacts, those nearest to `target` first: what to answer to who asks for it, and where to start a
    /// lookup. Those that failed to answer are left out, unless there are no others, as after a time without network.
    pub fn closest(&self, target: &NodeId, count: usize) -> Vec<Contact> {
        self.closest_of(target, count, |_| true)
    }

    /// The same, of the contacts that `fit` selects.
    pub fn closest_of(&self, target: &NodeId, count: usize, fit: impl Fn(&Contact) -> bool) -> Vec<Contact> {
        let good = self.walk(target, count, |entry| entry.failures == 0 && fit(&entry.contact));
        if good.is_empty() { self.walk(target, count, |entry| fit(&entry.contact)) } else { good }
    }

    fn walk(&self, target: &NodeId, count: usize, fit: impl Fn(&Entry) -> bool) -> Vec<Contact> {
        let mut found = Vec::with_capacity(count.min(self.k * 2));
        for number in bucket_order(self.own.distance(target)) {
            let Some(bucket) = self.buckets.get(&number) else { continue };
            let from = found.len();
            found.extend(bucket.places.iter().filter(|entry| fit(entry)).map(|entry| entry.contact));
            found[from..].sort_unstable_by_key(|contact| contact.id.distance(target));
            if found.len() >= count {
                found.truncate(count);
                break;
            }
        }
        found
    }

    /// Contacts that have a place, from the nearest bucket to the farthest.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.places().map(|(_, contact)| contact)
    }

    /// The same, each with the number of its bucket.
    pub fn places(&self) -> impl Iterator<Item = (u8, &Contact)> {
        self.buckets.iter().flat_map(|(number, bucket)| bucket.places.iter().map(|entry| (*number, &entry.contact)))
    }

    /// Contacts that have a place and answered when they were last asked, each with the number of its bucket.
    pub fn live_contacts(&self) -> impl Iterator<Item = (u8, &Contact)> {
        self.buckets.iter().flat_map(|(number, bucket)| {
            bucket.places.iter().filter(|entry| entry.failures == 0).map(|entry| (*number, &entry.contact))
        })
    }

    /// Whether a contact that answered its last query is known at an address.
    pub fn knows(&self, address: &PeerAddr) -> bool {
        let mut entries = self.buckets.values().flat_map(KBucket::iter);
        entries.any(|entry| entry.contact.address == *address && entry.failures == 0)
    }

    /// Whether a place is free for an id, or held by a contact that did not answer.
    pub fn has_room(&self, id: &NodeId) -> bool {
        let Some(number) = self.own.distance(id).bucket() else { return false };
        let good = |bucket: &KBucket| bucket.places.iter().filter(|entry| entry.failures == 0).count();
        self.buckets.get(&number).map_or(0, good) < self.k
    }

    /// How many contacts have a place.
    pub fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.places.len()).sum()
    }

    /// Whether there are no contacts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many contacts have a place at each power of two of distance, where there are any.
    pub fn sizes(&self) -> impl Iterator<Item = (u8, usize)> {
        self.buckets.iter().map(|(number, bucket)| (*number, bucket.places.len())).filter(|(_, size)| *size > 0)
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> impl Iterator<Item = (u8, &KBucket)> {
        self.buckets.iter().map(|(number, bucket)| (*number, bucket))
    }

    /// Whether fewer than `count` live contacts are known to be nearer to a key than this node.
    pub fn is_near(&self, key: &NodeId, count: usize) -> bool {
        let distance = self.own.distance(key);
        // All of a bucket are nearer than the node if the node's distance has the bucket's bit, else none.
        let nearer = self.buckets.iter().rev().filter(|(number, _)| distance.bit(**number));
        let live = nearer.flat_map(|(_, bucket)| bucket.places.iter().filter(|entry| entry.failures == 0));
        live.take(count).count() < count
    }

    /// Records a lookup of an id, which refreshes its bucket.
    pub fn record_lookup(&mut self, now: MonoTime, target: &NodeId) {
        if let Some(number) = self.own.distance(target).bucket() {
            self.last_lookup.insert(number, now);
        }
    }

    /// The buckets to refresh ([`NodeId::random_in`] draws the target), farthest last: those without a lookup for
    /// [`REFRESH_INTERVAL`], except those nearer than the nearest contact, which are empty. A joining node looks up its
    /// own id and then refreshes all of these, which makes it known to the nodes that should know it.
    pub fn stale(&self, now: MonoTime) -> Vec<u8> {
        let Some((nearest, _)) = self.sizes().next() else { return Vec::new() };
        let is_stale = |number: &u8| self.last_lookup.get(number).is_none_or(|at| *at + REFRESH_INTERVAL <= now);
        (nearest..=255).filter(is_stale).collect()
    }
}

/// The numbers of a node's buckets, from that with the ids nearest to a target to that with the farthest, where `distance`
/// is the node's own distance to the target. All ids in one bucket are nearer than all in the next.
///
/// An id in bucket *b* differs from the node's first in bit *b*. If the target differs there too, the id is nearer to it
/// than the node is, and the more so the higher *b*; else it is farther, and the more so the higher *b*.
pub(crate) fn bucket_order(distance: Distance) -> impl Iterator<Item = u8> {
    let nearer = (0..=255).rev().filter(move |bit| distance.bit(*bit));
    nearer.chain((0..=255).filter(move |bit| !distance.bit(*bit)))
}
