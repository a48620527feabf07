//! The coins in the order of the state, as they were after some block, and how they were after earlier ones.
//!
//! One table has the coins after the block of [`StateHead`], with the records that proofs need. Before an entry is
//! changed, the log of the last edge gets what it was, unless the log has it already. So the state after an edge is that
//! edge's log over the logs of the edges after it, over the table.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::schema::{EDGE, STATE_COIN, STATE_HEAD, STATE_LOG, STATE_RECORD, key};
use super::{Batch, Database, StoreError};
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::{BlockHash, StateRoot};
use crate::primitives::height::Height;
use crate::state::{Change, Changes, Inner, Key, KeyRange, Leaf, Node, Prefix, Source, StateId, Update};

/// Fewest coins, and records, that are read at once.
const LEAST_COINS: usize = 32;
const LEAST_RECORDS: usize = 2;
/// Entries of logs that one batch removes.
const CLEANED: usize = 4_096;

/// Where the table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct StateHead {
    /// Height of the block after which its coins are.
    pub height: Height,
    /// The node over all of them; `None` if there are none.
    pub top: Option<Node>,
    /// The lowest edge of which the state can be read.
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

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

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
        self.with_layers(top, &[vec![]], work)
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
        let logs = logs.map(|log| log_key(Height::from_u32(log), &[])).rev();
        let layers: Vec<Vec<u8>> = [vec![]].into_iter().chain(logs).collect();
        Ok(Some(self.with_layers(state.top, &layers, work)))
    }

    fn with_layers<T>(
        &self,
        top: Option<Node>,
        layers: &[Vec<u8>],
        work: impl FnOnce(&Source<'_, StoreError>) -> T,
    ) -> T {
        let record = |place: &Prefix| {
            let found =
                self.merged(layers, STATE_RECORD, &prefix_bytes(place), &[0xff; Key::LEN + 2], (1, LEAST_RECORDS))?;
            let read = |(at, value): &Entry| self.decoded_record(at, value);
            found.first().map(read).transpose()
        };
        let leaves = |range: &KeyRange, count: usize| {
            let found = self.merged(
                layers,
                STATE_COIN,
                range.first().as_bytes(),
                range.last().as_bytes(),
                (count, LEAST_COINS),
            )?;
            found.iter().map(|(at, value)| self.decoded_leaf(at, value)).collect()
        };
        work(&Source { top, record: &record, leaves: &leaves })
    }

    /// The first entries of a kind from one key to another, both included, without the byte for the kind: all, or at
    /// least `count`, with `least` read at once. Each layer is a prefix of keys, and hides the same entries of those before it; an empty value says
    /// that there is no entry.
    fn merged(
        &self,
        layers: &[Vec<u8>],
        kind: u8,
        first: &[u8],
        last: &[u8],
        (count, least): (usize, usize),
    ) -> Result<Vec<Entry>, StoreError> {
        let limit = count.max(least);
        let (mut found, mut from) = (Vec::new(), first.to_vec());
        loop {
            let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            // Up to where every layer was read.
            let mut reached: Option<Vec<u8>> = None;
            for layer in layers {
                let layer = [&layer[..], &[kind]].concat();
                let entries = self.entries(&layer, &from, last, limit)?;
                if let Some((end, _)) = entries.last().filter(|_| entries.len() == limit) {
                    reached = Some(reached.map_or_else(|| end.clone(), |reached| reached.min(end.clone())));
                }
                merged.extend(entries);
            }
            let is_read = |key: &Vec<u8>| reached.as_ref().is_none_or(|reached| key <= reached);
            found.extend(merged.into_iter().filter(|(key, value)| is_read(key) && !value.is_empty()));
            match reached {
                Some(reached) if found.len() < count => from = [&reached[..], &[0]].concat(),
                _ => return Ok(found),
            }
        }
    }

    /// The first `limit` entries whose keys begin with `layer`, by the rest of their keys, which is between two others.
    fn entries(&self, layer: &[u8], from: &[u8], last: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        self.for_each(layer, &[layer, from].concat(), |key, value| {
            let rest = &key[layer.len()..];
            if rest > last {
                return Some(ControlFlow::Break(()));
            }
            entries.push((rest.to_vec(), value.to_vec()));
            Some(if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(entries)
    }

    fn decoded_leaf(&self, at: &[u8], value: &[u8]) -> Result<Leaf, StoreError> {
        let key = at.try_into().map_err(|_| self.corrupt("a coin of the state has no such key"))?;
        let (lock, value, height, coinbase) = codec::decode(value).map_err(|e| self.corrupt(e.to_string()))?;
        Ok(Leaf { key: Key::from_bytes(key), lock, value, height, coinbase })
    }

    fn decoded_record(&self, at: &[u8], value: &[u8]) -> Result<Inner, StoreError> {
        let prefix = prefix_at(at).ok_or_else(|| self.corrupt("a record of the state has no such prefix"))?;
        let (left, right) = codec::decode(value).map_err(|e| self.corrupt(e.to_string()))?;
        Ok(Inner { prefix, left, right })
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
            let at = key(STATE_COIN, &[at.as_bytes()]);
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
        Ok(self.entries(&log_key(edge, &[]), &[], &[0xff; Key::LEN + 3], 1)?.is_empty())
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

/// The bits of a prefix, filled with zeros, then their number: in the order of prefixes.
pub(super) fn prefix_bytes(prefix: &Prefix) -> [u8; Key::LEN + 2] {
    let mut bytes = [0; Key::LEN + 2];
    bytes[..Key::LEN].copy_from_slice(prefix.first().as_bytes());
    bytes[Key::LEN..].copy_from_slice(&prefix.len().to_be_bytes());
    bytes
}

fn prefix_at(bytes: &[u8]) -> Option<Prefix> {
    let (bits, len) = bytes.split_first_chunk::<{ Key::LEN }>()?;
    Some(Prefix::of(&Key::from_bytes(*bits), u16::from_be_bytes(len.try_into().ok()?)))
}

pub(super) fn leaf_bytes(Leaf { key: _, lock, value, height, coinbase }: &Leaf) -> Vec<u8> {
    codec::encode(&(*lock, *value, *height, *coinbase))
}

pub(super) fn record_bytes(Inner { prefix: _, left, right }: &Inner) -> Vec<u8> {
    codec::encode(&(*left, *right))
}
