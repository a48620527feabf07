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
}

impl StateLoad {
    /// Nothing is there of the state, which is to come in `parts` ranges of about equal length, a power of two up to 256.
    pub fn new(base: StateBase, parts: usize) -> Self {
        let step = 256 / parts.clamp(1, 256);
        let part = |first: usize| {
            let (mut low, mut high) = ([0; Key::LEN], [0xff; Key::LEN]);
            (low[0], high[0]) = (first as u8, (first + step - 1).min(255) as u8);
            KeyRange::new(Key::from_bytes(low), Key::from_bytes(high))
        };
        Self { base, is_cleared: false, missing: (0..256).step_by(step).filter_map(part).collect() }
    }

    /// Notes that the coins from the first key of a missing range up to `end` are there. `false` if no missing range begins
    /// with `first` and goes on to `end`.
    pub fn arrive(&mut self, first: &Key, end: &Key) -> bool {
        let Some(at) = self.missing.iter().position(|range| range.first() == first && range.contains(end)) else {
            return false;
        };
        let rest = end.next().and_then(|next| KeyRange::new(next, *self.missing[at].last()));
        match rest {
            Some(rest) => self.missing[at] = rest,
            None => drop(self.missing.remove(at)),
        }
        true
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
        let missing = self.missing.iter().map(|range| (*range.first().as_bytes(), *range.last().as_bytes()));
        codec::encode(&(self.base, self.is_cleared, missing.collect::<Vec<_>>()))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        type Bounds = ([u8; Key::LEN], [u8; Key::LEN]);
        let (base, is_cleared, missing): (StateBase, bool, Vec<Bounds>) = codec::decode(bytes).ok()?;
        let range = |(first, last)| KeyRange::new(Key::from_bytes(first), Key::from_bytes(last));
        Some(Self { base, is_cleared, missing: missing.into_iter().map(range).collect::<Option<_>>()? })
    }
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

    /// The filter header of a block of which nothing else is there.
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
            assert!(load.missing.windows(2).skip(parts / 2).all(is_next), "nothing lies between");
            while let Some(range) = load.missing.first().copied() {
                assert!(load.arrive(range.first(), range.last()));
            }
        }
    }
}
