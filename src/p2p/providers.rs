//! Records of who has which content, kept for others by the nodes nearest to its key.
//!
//! A record names a node by the id that it proved on the connection over which it announced itself, and its address by that
//! connection, so no node can announce another. What is kept is bounded for a key, for a part of the network, and in all.
//! Records are in memory only: nodes announce themselves again before their records expire.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::bans::Subnet;
use crate::p2p::kad::{Contact, K, MAX_PER_SUBNET_IN_BUCKET, NodeId, subnet};
use crate::primitives::time::MonoTime;

/// How long a record is kept, as in IPFS.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(48 * 3600);
/// Time between two announcements of the same content: one may fail.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(22 * 3600);
/// Most providers of a key.
pub const MAX_PROVIDERS: usize = 64;
/// Most records of one part of the public net (24 bits of IPv4, 48 of IPv6), or of one private host.
pub const MAX_RECORDS_OF_GROUP: usize = 8_192;
/// Most records of all: some 16 MB.
pub const MAX_RECORDS: usize = 65_536;
/// A key is kept if fewer live contacts than this are known to be nearer to it: twice as many as an announcer looks for, since
/// others may know fewer.
pub const MAX_NEARER: usize = 2 * K;
/// A record as young as this is not renewed, so that repetition costs nothing.
const RENEWAL_AGE: Duration = Duration::from_secs(600);

/// The part of the net whose records are counted together.
fn group(ip: IpAddr) -> Subnet {
    subnet(ip).unwrap_or_else(|| Subnet::host(ip))
}

#[derive(Debug, Clone, Copy)]
struct Record {
    contact: Contact,
    expires: MonoTime,
}

/// Names a record in the order of expiry.
type Place = (MonoTime, NodeId, NodeId);

/// The records that a node keeps.
#[derive(Debug, Default)]
pub struct Records {
    /// By key.
    providers: BTreeMap<NodeId, Vec<Record>>,
    /// By part of the net: expiry, key and provider, the next to expire first.
    groups: BTreeMap<Subnet, BTreeSet<Place>>,
    /// The parts by the number of their records.
    sizes: BTreeSet<(usize, Subnet)>,
    len: usize,
}

impl Records {
    /// A node says that it has the content of a key. Whether there is a record of it now.
    ///
    /// If all room is taken, the part of the net with most records gives way to those that have fewer.
    pub fn add(&mut self, now: MonoTime, key: NodeId, contact: Contact) -> bool {
        let group = group(contact.address.ip());
        if let Some(known) = self.find(&key, &contact.id) {
            if known.contact == contact && known.expires >= now + (RECORD_LIFETIME - RENEWAL_AGE) {
                return true;
            }
            self.remove(&key, &contact.id);
        }
        let of_key = self.providers.get(&key).map_or(&[][..], Vec::as_slice);
        let live = of_key.iter().filter(|record| record.expires > now);
        // Nodes of a private net may all be in one subnet.
        let is_crowded = subnet(contact.address.ip()).is_some_and(|part| {
            live.clone().filter(|record| part.contains(record.contact.address.ip())).count() >= MAX_PER_SUBNET_IN_BUCKET
        });
        let of_group = self.groups.get(&group).map_or(0, BTreeSet::len);
        if is_crowded || live.count() >= MAX_PROVIDERS || of_group >= MAX_RECORDS_OF_GROUP {
            return false;
        }
        if self.len >= MAX_RECORDS {
            let Some((most, largest)) = self.sizes.last().copied() else { return false };
            let next = self.groups.get(&largest).and_then(|places| places.first().copied());
            let Some((_, key, provider)) = next.filter(|_| of_group + 1 < most) else { return false };
            self.remove(&key, &provider);
        }
        let record = Record { contact, expires: now + RECORD_LIFETIME };
        self.providers.entry(key).or_default().push(record);
        self.change(group, |places| places.insert((record.expires, key, contact.id)));
        self.len += 1;
        true
    }

    fn find(&self, key: &NodeId, provider: &NodeId) -> Option<&Record> {
        self.providers.get(key)?.iter().find(|record| record.contact.id == *provider)
    }

    fn remove(&mut self, key: &NodeId, provider: &NodeId) {
        let Some(records) = self.providers.get_mut(key) else { return };
        let Some(at) = records.iter().position(|record| record.contact.id == *provider) else { return };
        let Record { contact, expires } = records.swap_remove(at);
        if records.is_empty() {
            self.providers.remove(key);
        }
        self.change(group(contact.address.ip()), |places| places.remove(&(expires, *key, *provider)));
        self.len -= 1;
    }

    fn change(&mut self, group: Subnet, change: impl FnOnce(&mut BTreeSet<Place>) -> bool) {
        let places = self.groups.entry(group).or_default();
        self.sizes.remove(&(places.len(), group));
        change(places);
        if places.is_empty() {
            self.groups.remove(&group);
        } else {
            self.sizes.insert((places.len(), group));
        }
    }

    /// Up to [`K`] providers of a key that `fit` selects. If there are more, chance decides, so that none is hidden by the
    /// others for long.
    pub fn get(
        &self,
        now: MonoTime,
        key: &NodeId,
        fit: impl Fn(&Contact) -> bool,
        rng: &mut ChaCha20Rng,
    ) -> Vec<Contact> {
        let records = self.providers.get(key).map_or(&[][..], Vec::as_slice);
        let live = records.iter().filter(|record| record.expires > now).map(|record| record.contact);
        let mut found: Vec<Contact> = live.filter(|contact| fit(contact)).collect();
        if found.len() > K {
            let (chosen, _) = found.partial_shuffle(rng, K);
            return chosen.to_vec();
        }
        // Also for whom a caller tries first.
        if found.len() > 1 {
            let at = rng.random_range(0..found.len());
            found.rotate_left(at);
        }
        found
    }

    /// Removes what has expired.
    pub fn expire(&mut self, now: MonoTime) {
        let expired: Vec<Place> =
            self.groups.values().flat_map(|places| places.iter().take_while(|(at, ..)| *at <= now)).copied().collect();
        expired.iter().for_each(|(_, key, provider)| self.remove(key, provider));
    }

    /// How many records there are, expired ones included until [`Records::expire`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Panics if the indexes do not agree, or a bound is broken.
    pub(crate) fn assert_conserved(&self) {
        let groups: usize = self.groups.values().map(BTreeSet::len).sum();
        assert!(self.len == groups && self.len <= MAX_RECORDS, "a place for each record");
        assert_eq!(self.sizes.len(), self.groups.len(), "a size for each part of the net");
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn key(n: u32) -> NodeId {
        NodeId::of_content(&n.to_le_bytes())
    }

    fn contact(n: u32, ip: [u8; 4]) -> Contact {
        Contact { id: NodeId::of_content(&[&n.to_le_bytes()[..], b"node"].concat()), address: (ip, 7331).into() }
    }

    fn after(hours: u64) -> MonoTime {
        MonoTime::START + Duration::from_secs(hours * 3600)
    }

    fn get(records: &Records, now: MonoTime, n: u32) -> Vec<Contact> {
        records.get(now, &key(n), |_| true, &mut ChaCha20Rng::seed_from_u64(1))
    }

    #[test]
    fn a_record_lasts_two_days_and_is_renewed() {
        let mut records = Records::default();
        let [renewed, left] = [1, 2].map(|n| contact(n, [11, 1, n as u8, 1]));
        for contact in [renewed, left] {
            assert!(records.add(after(0), key(1), contact));
        }
        assert!(records.add(after(22), key(1), renewed));
        assert_eq!(get(&records, after(47), 1).len(), 2);
        assert_eq!(get(&records, after(48), 1), [renewed], "also before it is removed");
        assert_eq!(records.len(), 2);
        records.expire(after(48));
        records.assert_conserved();
        assert_eq!(records.len(), 1);
        records.expire(after(70));
        assert!(records.is_empty());
        records.assert_conserved();
    }

    #[test]
    fn a_provider_that_moved_has_one_record() {
        let mut records = Records::default();
        let (before, moved) = (contact(1, [11, 1, 1, 1]), contact(1, [12, 1, 1, 1]));
        assert!(records.add(after(0), key(1), before) && records.add(after(0), key(1), moved));
        assert_eq!(get(&records, after(1), 1), [moved]);
        records.assert_conserved();
    }

    /// Which records a bound refuses.
    #[test]
    fn every_bound_holds() {
        // Name; providers that are offered; how many are kept.
        type Row = (&'static str, fn(u32) -> (NodeId, Contact), u32, usize);
        let rows: [Row; 5] = [
            ("of a key", |n| (key(1), contact(n, [11, 1, n as u8, 1])), 100, MAX_PROVIDERS),
            ("of a key, from a subnet", |n| (key(1), contact(n, [11, 1, 1, n as u8])), 100, MAX_PER_SUBNET_IN_BUCKET),
            ("of a key, in a private net", |n| (key(1), contact(n, [10, 1, 1, n as u8])), 50, 50),
            ("of a subnet", |n| (key(n), contact(n % 100, [11, 1, 1, (n % 100) as u8])), 9_000, MAX_RECORDS_OF_GROUP),
            ("of a private host", |n| (key(n), contact(n % 100, [10, 1, 1, 1])), 9_000, MAX_RECORDS_OF_GROUP),
        ];
        for (name, offer, offered, kept) in rows {
            let mut records = Records::default();
            let added = (0..offered).filter(|n| {
                let (key, contact) = offer(*n);
                records.add(after(0), key, contact)
            });
            assert_eq!(added.count(), kept, "{name}");
            assert_eq!(records.len(), kept, "{name}");
            records.assert_conserved();
        }
    }

    #[test]
    fn those_with_most_give_way_when_all_room_is_taken() {
        let mut records = Records::default();
        for n in 0..MAX_RECORDS as u32 {
            // Eight parts of the net take all.
            assert!(records.add(after(0), key(n), contact(n % 8, [11, 1, (n % 8) as u8, 1])));
        }
        assert!(!records.add(after(1), key(0), contact(100, [11, 1, 0, 2])), "a part that has its share");
        let newcomer = contact(9, [12, 1, 1, 1]);
        for n in 0..1_000 {
            assert!(records.add(after(1), key(n), newcomer));
        }
        assert_eq!(records.len(), MAX_RECORDS);
        records.assert_conserved();
        assert!((0..1_000).all(|n| get(&records, after(1), n).contains(&newcomer)));
    }

    #[test]
    fn no_provider_is_hidden_by_others() {
        let mut records = Records::default();
        let all: Vec<Contact> = (0..40).map(|n| contact(n, [11, 1, n as u8, 1])).collect();
        assert!(all.iter().all(|contact| records.add(after(0), key(1), *contact)));
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let found = records.get(after(1), &key(1), |_| true, &mut rng);
            assert_eq!(found.len(), K);
            seen.extend(found.iter().map(|contact| contact.id));
        }
        assert_eq!(seen.len(), all.len());
        assert_eq!(records.get(after(1), &key(1), |contact| *contact == all[7], &mut rng), [all[7]]);
    }
}
