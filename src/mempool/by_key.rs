//! An index of the pool by key, so that looking up an address does not scan the pool.

use std::collections::BTreeMap;

use super::entry::Entry;
use crate::primitives::amount::Amount;
use crate::primitives::hash::Txid;
use crate::primitives::keyed::HashMap;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::OutPoint;

/// What the pool's transactions together do to a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeySums {
    /// Outputs to it.
    pub received: Amount,
    /// Its coins that are spent, those that the pool makes included.
    pub spent: Amount,
    /// Outputs to it that nothing in the pool spends.
    pub unspent: Amount,
    entries: usize,
}

impl KeySums {
    /// Its confirmed coins that are spent.
    pub fn spent_confirmed(&self) -> Amount {
        self.spent.saturating_sub(self.received.saturating_sub(self.unspent))
    }
}

/// What one transaction does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    /// The transaction.
    pub txid: Txid,
    /// When it came.
    pub time: UnixTime,
    /// Outputs to the key.
    pub received: Amount,
    /// Coins of the key that it spends.
    pub spent: Amount,
}

/// No entry came later.
const LAST: UnixTime = UnixTime::from_secs(u64::MAX);

/// What unconfirmed transactions do with each key.
#[derive(Debug, Clone, Default)]
pub(super) struct ByKey {
    sums: HashMap<PublicKey, KeySums>,
    /// By key, time and number: in the order in which they came.
    entries: BTreeMap<(PublicKey, UnixTime, u64), KeyEntry>,
    /// Outputs that nothing in the pool spends, in the order in which they came.
    unspent: BTreeMap<(PublicKey, UnixTime, u64, u32), (Txid, Amount)>,
}

impl ByKey {
    pub(super) fn sums(&self, key: &PublicKey) -> KeySums {
        self.sums.get(key).copied().unwrap_or_default()
    }

    /// The transactions that pay or spend from `key`, the oldest first.
    pub(super) fn entries(&self, key: &PublicKey) -> impl DoubleEndedIterator<Item = &KeyEntry> {
        self.entries.range((*key, UnixTime::EPOCH, 0)..=(*key, LAST, u64::MAX)).map(|(_, entry)| entry)
    }

    /// The outputs to `key` that no transaction here spends, the oldest first.
    pub(super) fn unspent(&self, key: &PublicKey) -> impl Iterator<Item = (OutPoint, Amount)> {
        let range = self.unspent.range((*key, UnixTime::EPOCH, 0, 0)..=(*key, LAST, u64::MAX, u32::MAX));
        range.map(|((.., index), (txid, value))| (OutPoint { txid: *txid, index: *index }, *value))
    }

    /// Adds an entry whose outputs are unspent. `parent` finds other entries.
    pub(super) fn insert<'a>(&mut self, entry: &Entry, parent: impl Fn(&Txid) -> Option<&'a Entry>) {
        for (key, (received, spent)) in flows(entry) {
            let sums = self.sums.entry(key).or_default();
            sums.received = sums.received.saturating_add(received);
            sums.spent = sums.spent.saturating_add(spent);
            sums.entries += 1;
            let (txid, time) = (entry.txid, entry.time);
            self.entries.insert((key, time, entry.number), KeyEntry { txid, time, received, spent });
        }
        for index in 0..entry.tx.outputs.len() {
            self.free(entry, index);
        }
        for outpoint in entry.tx.inputs.iter().map(|input| input.outpoint) {
            if let Some(maker) = parent(&outpoint.txid) {
                self.take(maker, outpoint.index as usize);
            }
        }
    }

    /// Removes an entry. The outputs of other entries that it spent are unspent again.
    pub(super) fn remove<'a>(&mut self, entry: &Entry, parent: impl Fn(&Txid) -> Option<&'a Entry>) {
        for outpoint in entry.tx.inputs.iter().map(|input| input.outpoint) {
            if let Some(maker) = parent(&outpoint.txid) {
                self.free(maker, outpoint.index as usize);
            }
        }
        for index in 0..entry.tx.outputs.len() {
            self.take(entry, index);
        }
        for (key, (received, spent)) in flows(entry) {
            self.entries.remove(&(key, entry.time, entry.number));
            if let Some(sums) = self.sums.get_mut(&key) {
                sums.received = sums.received.saturating_sub(received);
                sums.spent = sums.spent.saturating_sub(spent);
                sums.entries -= 1;
                if sums.entries == 0 {
                    self.sums.remove(&key);
                }
            }
        }
    }

    /// Marks an output of `maker` as unspent.
    fn free(&mut self, maker: &Entry, index: usize) {
        let Some((key, value)) = output(maker, index) else { return };
        if self.unspent.insert((key, maker.time, maker.number, index as u32), (maker.txid, value)).is_none()
            && let Some(sums) = self.sums.get_mut(&key)
        {
            sums.unspent = sums.unspent.saturating_add(value);
        }
    }

    /// Marks an output of `maker` as spent or removed.
    fn take(&mut self, maker: &Entry, index: usize) {
        let Some((key, value)) = output(maker, index) else { return };
        if self.unspent.remove(&(key, maker.time, maker.number, index as u32)).is_some()
            && let Some(sums) = self.sums.get_mut(&key)
        {
            sums.unspent = sums.unspent.saturating_sub(value);
        }
    }
}

fn output(entry: &Entry, index: usize) -> Option<(PublicKey, Amount)> {
    let output = entry.tx.outputs.get(index)?;
    output.key().map(|key| (*key, output.value))
}

/// What an entry pays to and takes from each key.
fn flows(entry: &Entry) -> BTreeMap<PublicKey, (Amount, Amount)> {
    let mut flows: BTreeMap<PublicKey, (Amount, Amount)> = BTreeMap::new();
    for (key, value) in (0..entry.tx.outputs.len()).filter_map(|index| output(entry, index)) {
        let (received, _) = flows.entry(key).or_default();
        *received = received.saturating_add(value);
    }
    for (key, value) in &entry.spends {
        let (_, spent) = flows.entry(*key).or_default();
        *spent = spent.saturating_add(*value);
    }
    flows
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Compares the index with one computed from the entries. `by_age` lists them, oldest first.
    pub(in crate::mempool) fn check<'a>(
        by_key: &ByKey,
        by_age: &[&Entry],
        parent: impl Fn(&Txid) -> Option<&'a Entry>,
        is_spent: impl Fn(&OutPoint) -> bool,
    ) {
        let mut keys: Vec<PublicKey> = by_age.iter().flat_map(|entry| flows(entry).into_keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(by_key.sums.len(), keys.len());
        let (mut entries, mut unspent) = (0, 0);
        for key in keys {
            let mut sums = KeySums::default();
            let mut listed = Vec::new();
            let mut free = Vec::new();
            let mut spent_confirmed = Amount::ZERO;
            for entry in by_age {
                let Some((received, spent)) = flows(entry).get(&key).copied() else { continue };
                sums.received = sums.received.saturating_add(received);
                sums.spent = sums.spent.saturating_add(spent);
                sums.entries += 1;
                listed.push(KeyEntry { txid: entry.txid, time: entry.time, received, spent });
                for (outpoint, output) in entry.tx.outpoints(entry.txid) {
                    if output.key() == Some(&key) && !is_spent(&outpoint) {
                        sums.unspent = sums.unspent.saturating_add(output.value);
                        free.push((outpoint, output.value));
                    }
                }
                for (input, (owner, value)) in entry.tx.inputs.iter().zip(&entry.spends) {
                    if *owner == key && parent(&input.outpoint.txid).is_none() {
                        spent_confirmed = spent_confirmed.saturating_add(*value);
                    }
                }
            }
            assert_eq!((by_key.sums(&key), by_key.sums(&key).spent_confirmed()), (sums, spent_confirmed));
            assert_eq!(by_key.entries(&key).copied().collect::<Vec<_>>(), listed);
            assert_eq!(by_key.unspent(&key).collect::<Vec<_>>(), free);
            entries += listed.len();
            unspent += free.len();
        }
        assert_eq!((by_key.entries.len(), by_key.unspent.len()), (entries, unspent));
    }
}
