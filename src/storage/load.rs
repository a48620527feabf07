//! A state that arrives from others, in ranges of keys, in place of the coins of genesis.
//!
//! What has arrived is written with the coins themselves, so that a node that is killed goes on from there. Until all is
//! there, the store has no coins that may be used: [`Database::state_load`] says so.

use std::ops::ControlFlow;

use super::compact::outpoint_bytes;
use super::schema::{
    ADDRESS_COIN, ADDRESS_HISTORY, COIN, FILTER_HEADER, META, PEER, RESTART, STATE_BASE, STATE_COIN, STATE_LOAD,
    STATE_RECORD, TX, coin_bytes, key, owner_key,
};
use super::state::{leaf_bytes, prefix_bytes, record_bytes, state_key};
use super::{Batch, BlockKey, Database, StoreError};
use crate::primitives::amount::Amount;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::{BlockHash, FilterHeader, StateRoot};
use crate::primitives::height::Height;
use crate::primitives::tx::OutPoint;
use crate::state::{Inner, Key, KeyRange, Leaf, StateId};

/// Ranges of keys beyond which none is split.
const MOST_RANGES: usize = 64;
/// Entries that one batch removes.
const CLEARED: usize = 16_384;

/// What a node must know of a block to start from the coins after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct StateBase {
    /// The block's height, which is an edge.
    pub height: Height,
    /// The block.
    pub block: BlockHash,
    /// The root over the coins after it.
    pub root: StateRoot,
    /// The block at the edge before, and the root over the coins after it, to which the next blocks commit.
    pub before: (BlockHash, StateRoot),
    /// The block's filter header.
    pub filters: FilterHeader,
    /// What all blocks up to the block may have issued: no valid state has more.
    pub issued: Amount,
}

impl StateBase {
    /// The block, by both height and hash.
    pub fn key(&self) -> BlockKey {
        BlockKey { height: self.height, hash: self.block }
    }

    /// The state after it.
    pub fn id(&self) -> StateId {
        StateId { height: self.height, block: self.block, root: self.root }
    }
}

/// How far a state is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateLoad {
    /// The state.
    pub base: StateBase,
    /// Whether the coins that were there before are removed.
    pub is_cleared: bool,
    /// The keys whose coins are still to come, in order.
    pub missing: Vec<KeyRange>,
    /// The keys whose coins are there as they are in an earlier state, in order. Most may be the same in this one.
    pub outdated: Vec<KeyRange>,
}

impl StateLoad {
    /// Nothing is there of the state, which is to come in `parts` ranges of about equal length, a power of two up to 256.
    pub fn new(base: StateBase, parts: usize) -> Self {
        Self { base, is_cleared: false, missing: split_evenly(parts).collect(), outdated: Vec::new() }
    }

    /// The coins that are there are to become those of another state.
    pub fn turn_to(&self, base: StateBase, parts: usize) -> Self {
        let mut outdated = Vec::new();
        for part in split_evenly(parts) {
            let mut rest = Some(part);
            for missing in self.missing.iter().filter(|missing| missing.meets(&part)) {
                let Some(left) = rest else { break };
                outdated.extend(missing.first().previous().and_then(|end| KeyRange::new(*left.first(), end)));
                rest = missing.last().next().and_then(|next| KeyRange::new(next, *left.last()));
            }
            outdated.extend(rest);
        }
        Self { base, is_cleared: self.is_cleared, missing: self.missing.clone(), outdated }
    }

    /// Whether all coins of the state are there.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.outdated.is_empty()
    }

    /// How many more ranges may be missing: parts of what is outdated that are compared at a time, since each may differ.
    pub fn room(&self) -> usize {
        MOST_RANGES.saturating_sub(self.missing.len())
    }

    /// Notes that the coins in `part`, the front of an outdated range, were compared with those of the state: they are the same,
    /// or are missing now. `false` if `part` is not the front of an outdated range.
    pub fn compared(&mut self, part: &KeyRange, is_same: bool) -> bool {
        let is_there = take_front(&mut self.outdated, part.first(), part.last());
        if is_there && !is_same {
            let at = self.missing.partition_point(|range| range.first() < part.first());
            self.missing.insert(at, *part);
        }
        is_there
    }

    /// Notes that the coins from the first key of a missing range up to `end` are there. `false` if no missing range begins
    /// with `first` and goes on to `end`.
    pub fn arrive(&mut self, first: &Key, end: &Key) -> bool {
        take_front(&mut self.missing, first, end)
    }

    /// Makes two of the missing range that `at` is in, so that both parts can be asked for at a time. Nothing happens if there
    /// are many already, since they are written with every page.
    pub fn split(&mut self, at: &Key) {
        if self.missing.len() >= MOST_RANGES {
            return;
        }
        let place = self.missing.iter().position(|range| range.contains(at) && range.first() < at);
        let Some((place, before)) = place.zip(at.previous()) else { return };
        let range = self.missing[place];
        if let (Some(left), Some(right)) = (KeyRange::new(*range.first(), before), KeyRange::new(*at, *range.last())) {
            self.missing.splice(place..=place, [left, right]);
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let bounds = |ranges: &[KeyRange]| -> Vec<Bounds> {
            ranges.iter().map(|range| (*range.first().as_bytes(), *range.last().as_bytes())).collect()
        };
        codec::encode(&(self.base, self.is_cleared, bounds(&self.missing), bounds(&self.outdated)))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        type Load = (StateBase, bool, Vec<Bounds>, Vec<Bounds>);
        let (base, is_cleared, missing, outdated): Load = codec::decode(bytes).ok()?;
        let ranges = |bounds: Vec<Bounds>| -> Option<Vec<KeyRange>> {
            let range = |(first, last)| KeyRange::new(Key::from_bytes(first), Key::from_bytes(last));
            bounds.into_iter().map(range).collect()
        };
        Some(Self { base, is_cleared, missing: ranges(missing)?, outdated: ranges(outdated)? })
    }
}

/// A range as it is stored: its first and its last key.
type Bounds = ([u8; Key::LEN], [u8; Key::LEN]);

/// All keys, in `parts` ranges of about equal length, a power of two up to 256.
fn split_evenly(parts: usize) -> impl Iterator<Item = KeyRange> {
    let step = 256 / parts.clamp(1, 256);
    (0..256).step_by(step).filter_map(move |first| {
        let (mut low, mut high) = ([0; Key::LEN], [0xff; Key::LEN]);
        (low[0], high[0]) = (first as u8, (first + step - 1).min(255) as u8);
        KeyRange::new(Key::from_bytes(low), Key::from_bytes(high))
    })
}

/// Takes the keys from the first of a range up to `end` from `ranges`. `false` if no range begins with `first` and goes on to
/// `end`.
fn take_front(ranges: &mut Vec<KeyRange>, first: &Key, end: &Key) -> bool {
    let Some(at) = ranges.iter().position(|range| range.first() == first && range.contains(end)) else { return false };
    match end.next().and_then(|next| KeyRange::new(next, *ranges[at].last())) {
        Some(rest) => ranges[at] = rest,
        None => drop(ranges.remove(at)),
    }
    true
}

/// A table of coins beside that of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoinIndex {
    /// By the key that owns the coin.
    Owner,
    /// By outpoint.
    OutPoint,
}

impl CoinIndex {
    /// Brings coins into the order of the table.
    pub(crate) fn sort(self, coins: &mut [Leaf]) {
        match self {
            // By the digest of the owner.
            Self::Owner => coins.sort_unstable_by_key(|leaf| leaf.key),
            Self::OutPoint => coins.sort_unstable_by_key(|leaf| {
                let OutPoint { txid, index } = leaf.key.outpoint();
                (txid.to_bytes(), index)
            }),
        }
    }
}

impl Database {
    /// How far a state is loaded, if one is being loaded.
    ///
    /// # Errors
    /// The store's, and so for every method below.
    pub fn state_load(&self) -> Result<Option<StateLoad>, StoreError> {
        let read = |bytes: Vec<u8>| {
            StateLoad::from_bytes(&bytes).ok_or_else(|| self.corrupt("how far a state is loaded cannot be read"))
        };
        self.get(STATE_LOAD)?.map(read).transpose()
    }

    /// The block from whose state the node started; `None` if it started from genesis. What only earlier blocks can show is
    /// missing: their transactions, the history of keys, their filter headers.
    ///
    /// # Errors
    /// The store's.
    pub fn state_base(&self) -> Result<Option<Height>, StoreError> {
        self.value(STATE_BASE)
    }

    /// Whether the chain is being removed, to be started again from genesis.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn is_restarting(&self) -> Result<bool, StoreError> {
        Ok(self.get(RESTART)?.is_some())
    }

    /// Removes all coins, and the indexes of transactions, in batches of bounded size.
    pub(crate) fn clear_coins(&self) -> Result<(), StoreError> {
        self.clear(|kind| [COIN, ADDRESS_COIN, ADDRESS_HISTORY, STATE_COIN, STATE_RECORD, TX].contains(&kind))
    }

    /// Removes everything except the address book, the store's version and that it is restarting.
    pub(crate) fn clear_chain(&self) -> Result<(), StoreError> {
        let kept = [PEER, META[0], RESTART[0]];
        self.clear(|kind| !kept.contains(&kind))
    }

    fn clear(&self, is_cleared: impl Fn(u8) -> bool) -> Result<(), StoreError> {
        for kind in (0..=u8::MAX).filter(|kind| is_cleared(*kind)) {
            loop {
                let mut batch = Batch::default();
                self.for_each(&[kind], &[], |key, _| {
                    batch.delete(key);
                    let is_full = batch.len() >= CLEARED;
                    Some(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                })?;
                if batch.is_empty() {
                    break;
                }
                self.store().commit(batch)?;
            }
        }
        Ok(())
    }
}

/// Writers of a state that arrives.
impl Batch {
    pub(crate) fn put_state_load(&mut self, load: &StateLoad) {
        self.put(STATE_LOAD, load.to_bytes());
    }

    pub(crate) fn delete_state_load(&mut self) {
        self.delete(STATE_LOAD);
    }

    pub(crate) fn put_restart(&mut self) {
        self.put(RESTART, []);
    }

    pub(crate) fn delete_restart(&mut self) {
        self.delete(RESTART);
    }

    pub(crate) fn put_state_base(&mut self, height: Height) {
        self.put(STATE_BASE, codec::encode(&height));
    }

    /// Removes a coin from the table of the state.
    pub(crate) fn delete_loaded_coin(&mut self, leaf: &Leaf) {
        self.delete(state_key(&leaf.key));
    }

    /// A coin in the table of the state. Nothing is under its key.
    pub(crate) fn put_loaded_coin(&mut self, leaf: &Leaf) {
        self.put_new(state_key(&leaf.key), leaf_bytes(leaf));
    }

    /// A coin in one of the other tables. It may be there already, from before the node was killed.
    pub(crate) fn put_loaded_index(&mut self, index: CoinIndex, leaf: &Leaf) {
        let (outpoint, coin) = leaf.coin();
        let outpoint = outpoint_bytes(&outpoint);
        match index {
            CoinIndex::Owner => self.put(owner_key(&leaf.lock, &outpoint), []),
            CoinIndex::OutPoint => self.put(key(COIN, &[&outpoint]), coin_bytes(&coin)),
        }
    }

    pub(crate) fn put_state_record(&mut self, record: &Inner) {
        self.put(key(STATE_RECORD, &[&prefix_bytes(&record.prefix)]), record_bytes(record));
    }

    /// The filter header of a block that has nothing else stored.
    pub(crate) fn put_filter_header(&mut self, at: &BlockKey, header: &FilterHeader) {
        self.put(at.under(FILTER_HEADER), [*header.as_bytes(), [0; 32]].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> StateBase {
        let (block, root) = (BlockHash::of(b"edge"), StateRoot::of(b"coins"));
        let (height, filters) = (Height::from_u32(6), FilterHeader::of(b"filters"));
        StateBase {
            height,
            block,
            root,
            before: (BlockHash::of(b"before"), StateRoot::ZERO),
            filters,
            issued: Amount::MAX,
        }
    }

    /// What is there when another state takes the place of the first is outdated, and nothing else, in every order.
    #[test]
    fn what_is_there_of_a_state_is_outdated_in_another() {
        let key = |byte: u8| Key::from_bytes([byte; Key::LEN]);
        let arrived = [(0x00, 0x1f), (0x40, 0x44), (0x80, 0xff), (0xc0, 0xff)];
        for chosen in 0..1 << arrived.len() {
            let mut load = StateLoad::new(base(), 4);
            let mut count = 0;
            for (_, (first, end)) in arrived.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1) {
                let first = load.missing.iter().find(|range| range.contains(&key(*first))).map(|range| *range.first());
                count += usize::from(first.is_some_and(|first| load.arrive(&first, &key(*end))));
            }
            let is_there = |load: &StateLoad, key: &Key| !load.missing.iter().any(|range| range.contains(key));
            let mut next = load.turn_to(base(), 4);
            assert_eq!((&next.missing, next.is_cleared), (&load.missing, load.is_cleared));
            assert_eq!(next.outdated.is_empty(), count == 0);
            assert!(next.outdated.iter().all(|range| !next.missing.iter().any(|missing| missing.meets(range))));
            for byte in 0..=u8::MAX {
                let is_outdated = next.outdated.iter().any(|range| range.contains(&key(byte)));
                assert_eq!(is_outdated, is_there(&load, &key(byte)), "{byte:02x} with {chosen:04b}");
            }
            assert_eq!(StateLoad::from_bytes(&next.to_bytes()).as_ref(), Some(&next));
            // Half of what is outdated is the same; the rest is missing, and is outdated no more in the next state but one.
            let outdated = next.outdated.clone();
            for (at, range) in outdated.iter().enumerate() {
                assert!(next.compared(range, at % 2 == 0) && !next.compared(range, true));
                assert_eq!(next.missing.contains(range), at % 2 == 1);
            }
            assert!(next.outdated.is_empty() && next.missing.is_sorted_by_key(|range| *range.first()));
            assert_eq!((next.is_complete(), next.room()), (next.missing.is_empty(), MOST_RANGES - next.missing.len()));
            let again = next.turn_to(base(), 16);
            for byte in 0..=u8::MAX {
                let is_outdated = again.outdated.iter().any(|range| range.contains(&key(byte)));
                assert_eq!(is_outdated, is_there(&next, &key(byte)), "{byte:02x} with {chosen:04b}, again");
            }
        }
    }

    #[test]
    fn a_state_is_there_when_all_its_ranges_are() {
        for parts in [1, 4, 256] {
            let mut load = StateLoad::new(base(), parts);
            assert_eq!(load.missing.len(), parts);
            assert_eq!((*load.missing[0].first(), *load.missing[parts - 1].last()), (Key::MIN, Key::MAX));
            let is_next = |pair: &[KeyRange]| pair[0].last().next() == Some(*pair[1].first());
            assert!(load.missing.windows(2).all(is_next), "nothing lies between");
            let whole = load.missing[parts / 2];
            let middle = whole.first().next().unwrap();
            assert!(!load.arrive(&middle, whole.last()), "not from the range's beginning");
            assert!(load.arrive(whole.first(), &middle) && !load.arrive(whole.first(), &middle));
            assert_eq!(StateLoad::from_bytes(&load.to_bytes()).as_ref(), Some(&load));
            let (before, at) = (load.missing.len(), load.missing[parts / 2].last().previous().unwrap());
            load.split(&at);
            load.split(&at);
            assert_eq!(load.missing.len(), if before < MOST_RANGES { before + 1 } else { before }, "{parts}");
            assert_eq!(load.room(), MOST_RANGES.saturating_sub(load.missing.len()));
            assert!(load.missing.windows(2).skip(parts / 2).all(is_next), "nothing lies between");
            while let Some(range) = load.missing.first().copied() {
                assert!(load.arrive(range.first(), range.last()));
            }
        }
    }
}
