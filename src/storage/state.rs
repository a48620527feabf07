//! The coins in the order of the state, as they were after some block, and how they were after earlier ones.
//!
//! One table has the coins after the block of [`StateHead`], with the records that proofs need. Before an entry is
//! changed, the log of the last edge gets what it was, unless the log has it already. So the state after an edge is that
//! edge's log over the logs of the edges after it, over the table.

use std::cell::RefCell;
use std::ops::ControlFlow;

use super::compact::{self, number, ordered, put_number, put_ordered};
use super::layers::Layers;
use super::schema::{EDGE, STATE_COIN, STATE_HEAD, STATE_LOG, STATE_RECORD, coin_bytes, key};
use super::{Batch, Database, StoreError};
use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::{BlockHash, Hash256, StateRoot};
use crate::primitives::height::Height;
use crate::primitives::tx::{Lock, Output};
use crate::state::{Change, Changes, Inner, Key, KeyRange, Leaf, Node, Prefix, Source, StateId, Update};

/// Fewest coins, and records, that are read at once. What moves the table asks for most records one after another, in
/// their order; a proof asks for some from the top down.
const LEAST_COINS: usize = 32;
const LEAST_RECORDS: usize = 16;
const LEAST_RECORDS_IN_ORDER: usize = 64;
/// Entries of logs that one batch removes: mostly all of an edge's, since each batch looks again at what the last removed.
const CLEANED: usize = 1 << 16;

/// Where the table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct StateHead {
    /// Height of the block after which its coins are.
    pub height: Height,
    /// The node over all of them; `None` if there are none.
    pub top: Option<Node>,
    /// The lowest edge whose state can be read.
    pub oldest: Height,
}

/// The state after a block at an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Edge {
    /// The block.
    pub block: BlockHash,
    /// What the block's chain commits to.
    pub root: StateRoot,
    /// The node over all coins; `None` if there are none, or if the node started from a later state and so never had them.
    pub top: Option<Node>,
}

impl Edge {
    /// The state after the block `block` at `height`.
    pub fn new(height: Height, block: BlockHash, top: Option<Node>) -> Self {
        Self { block, root: StateId::new(height, block, top.as_ref()).root, top }
    }

    /// As a proof is checked against it. `height` is the block's.
    pub fn id(&self, height: Height) -> StateId {
        StateId { height, block: self.block, root: self.root }
    }
}

/// A change of the table that is written in one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableChange<'a> {
    /// The coins.
    pub changes: &'a Changes,
    /// The records over them.
    pub update: &'a Update,
    /// The edge whose log gets what is overwritten, and whether that log has nothing yet; `None` for a table that is new.
    pub log: Option<(Height, bool)>,
}

impl Database {
    /// Where the table of the state stands.
    ///
    /// # Errors
    /// The store's, and so for every method below.
    pub fn state_head(&self) -> Result<StateHead, StoreError> {
        self.value(STATE_HEAD)?.ok_or_else(|| self.corrupt("it does not say where the table of the state stands"))
    }

    /// The state after the best chain's block at an edge, if it is computed. Those of all edges stay.
    ///
    /// # Errors
    /// The store's.
    pub fn edge(&self, height: Height) -> Result<Option<Edge>, StoreError> {
        self.value(&edge_key(height))
    }

    /// Calls `work` with the coins of the table. What it answers is of one state only as long as the table stays.
    pub fn with_state_table<T>(&self, top: Option<Node>, work: impl FnOnce(&Source<'_, StoreError>) -> T) -> T {
        self.with_layers(top, &[], LEAST_RECORDS_IN_ORDER, work)
    }

    /// Calls `work` with the coins after the block at `edge`, if they can be read; `epoch` is the number of blocks between
    /// edges. If the table moves meanwhile, what it answers may be of no state at all, which a check against the root
    /// shows.
    ///
    /// # Errors
    /// The store's.
    pub fn with_state<T>(
        &self,
        edge: Height,
        epoch: u32,
        work: impl FnOnce(&Source<'_, StoreError>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let head = self.state_head()?;
        let Some(state) = self.edge(edge)?.filter(|_| (head.oldest..=head.height).contains(&edge)) else {
            return Ok(None);
        };
        let logs = (edge.as_u32()..head.height.as_u32()).step_by(epoch as usize);
        let logs: Vec<Vec<u8>> = logs.map(|log| log_key(Height::from_u32(log), &[])).rev().collect();
        Ok(Some(self.with_layers(state.top, &logs, LEAST_RECORDS, work)))
    }

    fn with_layers<T>(
        &self,
        top: Option<Node>,
        logs: &[Vec<u8>],
        least_records: usize,
        work: impl FnOnce(&Source<'_, StoreError>) -> T,
    ) -> T {
        let layers = |kind, least| RefCell::new(Layers::new(self, logs, kind, least));
        let (records, coins) = (layers(STATE_RECORD, least_records), layers(STATE_COIN, LEAST_COINS));
        let record = |place: &Prefix| {
            let (first, last) = (prefix_bytes(place), prefix_bytes(&Prefix::whole(place.last())));
            let found = records.borrow_mut().read((&first, &last), 1, |at, value| self.decoded_record(at, value))?;
            Ok(found.into_iter().next())
        };
        let leaves = |range: &KeyRange, count: usize| {
            let [first, last] = [range.first(), range.last()].map(state_key);
            coins.borrow_mut().read((&first[1..], &last[1..]), count, |at, value| self.decoded_leaf(at, value))
        };
        work(&Source { top, record: &record, leaves: &leaves })
    }

    fn decoded_leaf(&self, at: &[u8], value: &[u8]) -> Result<Leaf, StoreError> {
        leaf_at(at, value)
            .ok_or_else(|| self.corrupt(format!("the coin of the state under {} cannot be read", hex::encode(at))))
    }

    fn decoded_record(&self, at: &[u8], value: &[u8]) -> Result<Inner, StoreError> {
        let read = |mut value: &[u8]| {
            let (prefix, left, right) = (prefix_at(at)?, node(&mut value)?, node(&mut value)?);
            value.is_empty().then_some(Inner { prefix, left, right })
        };
        read(value)
            .ok_or_else(|| self.corrupt(format!("the record of the state under {} cannot be read", hex::encode(at))))
    }

    /// Stages what makes the table the next state.
    pub(crate) fn stage_table_change(&self, batch: &mut Batch, change: &TableChange<'_>) -> Result<(), StoreError> {
        let TableChange { changes, update, log } = *change;
        let note = |batch: &mut Batch, at: &[u8], before: &[u8]| -> Result<(), StoreError> {
            let Some((edge, is_empty)) = log else { return Ok(()) };
            let at = log_key(edge, at);
            if is_empty || self.get(&at)?.is_none() {
                batch.put(at, before);
            }
            Ok(())
        };
        for (at, change) in changes.iter() {
            let at = state_key(at);
            match change {
                Change::Made(leaf) => {
                    note(batch, &at, &[])?;
                    batch.put(at, leaf_bytes(leaf));
                }
                Change::Spent(leaf) => {
                    note(batch, &at, &leaf_bytes(leaf))?;
                    batch.delete(at);
                }
            }
        }
        for (prefix, record) in &update.records {
            let at = key(STATE_RECORD, &[&prefix_bytes(prefix)]);
            note(batch, &at, &record.before.as_ref().map(record_bytes).unwrap_or_default())?;
            match &record.after {
                Some(after) => batch.put(at, record_bytes(after)),
                None => batch.delete(at),
            }
        }
        Ok(())
    }

    /// Stages the removal of some entries of logs that no state needs: of edges below [`StateHead::oldest`], and of those
    /// that the table has gone back to or behind. `true` if there may be more.
    pub(crate) fn stage_log_cleaning(&self, batch: &mut Batch, head: &StateHead) -> Result<bool, StoreError> {
        let mut left = CLEANED;
        for (first, end) in [(Height::GENESIS, head.oldest), (head.height, Height::MAX)] {
            let from = log_key(first, &[]);
            self.for_each(&[STATE_LOG], &from, |key, _| {
                let edge = Height::from_u32(u32::from_be_bytes(key.get(1..5)?.try_into().ok()?));
                if edge >= end || left == 0 {
                    return Some(ControlFlow::Break(()));
                }
                left -= 1;
                batch.delete(key);
                Some(ControlFlow::Continue(()))
            })?;
        }
        Ok(left == 0)
    }

    /// Whether the log of an edge has nothing.
    pub(crate) fn is_log_empty(&self, edge: Height) -> Result<bool, StoreError> {
        let mut is_empty = true;
        self.for_each(&log_key(edge, &[]), &[], |_, _| {
            is_empty = false;
            Some(ControlFlow::Break(()))
        })?;
        Ok(is_empty)
    }

    /// Visits all coins of the table in order.
    ///
    /// # Errors
    /// The store's.
    pub fn for_each_state_coin(&self, visit: &mut dyn FnMut(Leaf)) -> Result<(), StoreError> {
        self.for_each_of_table(STATE_COIN, |at, value| self.decoded_leaf(at, value).map(&mut *visit))
    }

    /// Visits all records of the table in the order of their prefixes.
    ///
    /// # Errors
    /// The store's.
    pub fn for_each_state_record(&self, visit: &mut dyn FnMut(Inner)) -> Result<(), StoreError> {
        self.for_each_of_table(STATE_RECORD, |at, value| self.decoded_record(at, value).map(&mut *visit))
    }

    /// Visits all entries of a kind, without the byte for it, until one is refused.
    fn for_each_of_table(
        &self,
        kind: u8,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut refused = Ok(());
        self.for_each(&[kind], &[], |key, value| {
            refused = visit(&key[1..], value);
            Some(if refused.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        refused
    }
}

impl Batch {
    pub(crate) fn put_state_head(&mut self, head: &StateHead) {
        self.put(STATE_HEAD, codec::encode(head));
    }

    pub(crate) fn put_edge(&mut self, height: Height, edge: &Edge) {
        self.put(edge_key(height), codec::encode(edge));
    }

    pub(crate) fn delete_edge(&mut self, height: Height) {
        self.delete(edge_key(height));
    }
}

fn edge_key(height: Height) -> Vec<u8> {
    key(EDGE, &[&height.as_u32().to_be_bytes()])
}

/// The key under which the log of `edge` has what was under `at`.
fn log_key(edge: Height, at: &[u8]) -> Vec<u8> {
    key(STATE_LOG, &[&edge.as_u32().to_be_bytes(), at])
}

/// Where the table has the coin with a key: the key, the index at its end short.
pub(super) fn state_key(at: &Key) -> Vec<u8> {
    let (hashes, index) = at.as_bytes().split_at(Key::LEN - 4);
    let mut bytes = key(STATE_COIN, &[hashes]);
    put_ordered(&mut bytes, index.iter().fold(0, |index, byte| index << 8 | u64::from(*byte)));
    bytes
}

fn leaf_at(mut at: &[u8], value: &[u8]) -> Option<Leaf> {
    let mut bytes = [0; Key::LEN];
    let (hashes, index) = bytes.split_at_mut(Key::LEN - 4);
    hashes.copy_from_slice(at.split_off(..hashes.len())?);
    index.copy_from_slice(&u32::try_from(ordered(&mut at)?).ok()?.to_be_bytes());
    let Coin { output: Output { value, lock: Lock::Key(lock) }, height, coinbase } = compact::one_coin(value)? else {
        return None;
    };
    at.is_empty().then_some(Leaf { key: Key::from_bytes(bytes), lock, value, height, coinbase })
}

/// The bits of a prefix without the zero bytes at their end, then their number, in the order of prefixes: a zero byte between is
/// followed by 255, and two end the bits.
pub(super) fn prefix_bytes(prefix: &Prefix) -> Vec<u8> {
    let first = prefix.first();
    let end = first.as_bytes().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut bytes = Vec::with_capacity(end + 4);
    for byte in &first.as_bytes()[..end] {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend([0, 0]);
    put_ordered(&mut bytes, prefix.len().into());
    bytes
}

fn prefix_at(mut bytes: &[u8]) -> Option<Prefix> {
    let mut bits = [0; Key::LEN];
    let mut places = bits.iter_mut();
    loop {
        let byte = *bytes.split_off_first()?;
        if byte == 0 && *bytes.split_off_first()? == 0 {
            break;
        }
        *places.next()? = byte;
    }
    let len = ordered(&mut bytes)?.try_into().ok()?;
    bytes.is_empty().then(|| Prefix::of(&Key::from_bytes(bits), len))
}

pub(super) fn leaf_bytes(leaf: &Leaf) -> Vec<u8> {
    coin_bytes(&leaf.coin().1)
}

pub(super) fn record_bytes(Inner { prefix: _, left, right }: &Inner) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80);
    for Node { digest, sum, count } in [left, right] {
        bytes.extend_from_slice(digest.as_bytes());
        put_number(&mut bytes, sum.as_grains());
        put_number(&mut bytes, *count);
    }
    bytes
}

/// A child in what [`record_bytes`] wrote.
fn node(bytes: &mut &[u8]) -> Option<Node> {
    let digest = Hash256::from_bytes(*bytes.split_off(..32)?.first_chunk()?);
    Some(Node { digest, sum: Amount::from_grains(number(bytes)?), count: number(bytes)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys with many zeros, and many that begin alike.
    fn keys() -> impl Strategy<Value = Key> {
        proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => Just(0xff), 1 => any::<u8>()], Key::LEN)
            .prop_map(|bytes| Key::from_bytes(bytes.try_into().unwrap()))
    }

    proptest! {
        #[test]
        fn prefixes_and_keys_come_back_and_keep_their_order(
            (a, b) in (keys(), keys()),
            common in 0..Key::LEN,
            lengths in (0..=Key::BITS, 0..=Key::BITS),
        ) {
            let mut bytes = *b.as_bytes();
            bytes[..common].copy_from_slice(&a.as_bytes()[..common]);
            let b = Key::from_bytes(bytes);
            let (one, other) = (Prefix::of(&a, lengths.0), Prefix::of(&b, lengths.1));
            prop_assert_eq!(prefix_at(&prefix_bytes(&one)), Some(one));
            prop_assert_eq!(prefix_bytes(&one).cmp(&prefix_bytes(&other)), one.cmp(&other));
            prop_assert!(prefix_bytes(&one)[..] < [0xff; Key::LEN + 2][..]);
            prop_assert_eq!(state_key(&a).cmp(&state_key(&b)), a.cmp(&b));
            let leaf = Leaf {
                key: a,
                lock: crate::primitives::keys::PublicKey([3; 32]),
                value: Amount::from_grains(lengths.0.into()),
                height: Height::from_u32(lengths.1.into()),
                coinbase: common % 2 == 0,
            };
            prop_assert_eq!(leaf_at(&state_key(&a)[1..], &leaf_bytes(&leaf)), Some(leaf));
        }
    }
}
