//! What one step of the tip writes: coins, undo, the indexes, the header range and the tip itself.

use std::collections::BTreeMap;

use super::index::Entry;
use crate::consensus::check::{CheckedBlock, check_block};
use crate::consensus::coins::{Coin, Delta};
use crate::consensus::filter::block_filter;
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{BlockHash, FilterHeader};
use crate::primitives::height::Height;
use crate::primitives::keyed::HashSet;
use crate::primitives::keys::PublicKey;
use crate::primitives::mmr;
use crate::primitives::target::Work;
use crate::primitives::tx::OutPoint;
use crate::storage::{Batch, BlockKey, Database, HistoryEntry, StoreError, TxLocation};

/// Adds to `batch` all writes that make `block` the tip at `height`, appends it to `range`, and makes `filters`, its parent's
/// filter header, its own. `own_work` is the work of its header.
pub(super) fn stage_connect(
    batch: &mut Batch,
    block: &CheckedBlock,
    height: Height,
    own_work: Work,
    delta: &Delta,
    filters: &mut FilterHeader,
    range: &mut mmr::Range,
) {
    let (at, spent_in_block) = (BlockKey { height, hash: block.hash() }, spent_in_block(delta));
    for (outpoint, coin) in delta.created.iter().filter(|(outpoint, _)| !spent_in_block.contains(outpoint)) {
        batch.put_coin(outpoint, coin);
    }
    for (outpoint, coin) in delta.spent.iter().filter(|(outpoint, _)| !spent_in_block.contains(outpoint)) {
        batch.delete_coin(outpoint, coin);
    }
    if !delta.spent.is_empty() {
        batch.put_undo(&at, delta.spent.iter().map(|(_, coin)| coin));
    }
    let filter = block_filter(block.block(), delta.spent.iter().map(|(_, coin)| coin));
    *filters = filter.header(filters);
    batch.put_filter(&at, &filter, filters);
    for (position, txid) in (0..).zip(block.txids()) {
        batch.put_tx(txid, TxLocation { height, position });
    }
    for (owner, entry) in history(block, &delta.spent, height) {
        batch.put_history(&owner, &entry);
    }
    for (number, node) in range.push_numbered(mmr::Node::leaf(block.hash(), own_work, block.block().header.time)) {
        batch.put_range_node(number, &node);
    }
    batch.put_best(height, &block.hash());
    batch.put_tip(&block.hash());
}

/// Adds to `batch` all writes that disconnect `block`, the tip, whose index entry is `entry`. `range` covers its
/// parent's chain.
pub(super) fn stage_disconnect(
    batch: &mut Batch,
    block: &CheckedBlock,
    entry: &Entry,
    delta: &Delta,
    range: &mmr::Range,
) {
    let spent_in_block = spent_in_block(delta);
    for (outpoint, coin) in delta.spent.iter().filter(|(outpoint, _)| !spent_in_block.contains(outpoint)) {
        batch.put_coin(outpoint, coin);
    }
    for (outpoint, coin) in delta.created.iter().filter(|(outpoint, _)| !spent_in_block.contains(outpoint)) {
        batch.delete_coin(outpoint, coin);
    }
    batch.delete_undo(&entry.key());
    batch.delete_filter(&entry.key());
    block.txids().iter().for_each(|txid| batch.delete_tx(txid));
    for (owner, entry) in history(block, &delta.spent, entry.height) {
        batch.delete_history(&owner, entry.height, entry.position);
    }
    for number in mmr::node_count(range.leaves())..mmr::node_count(range.leaves() + 1) {
        batch.delete_range_node(number);
    }
    batch.delete_best(entry.height);
    batch.put_tip(&entry.header.previous);
}

/// The range over the best chain's headers up to `height`, from the peaks that the store keeps.
pub(super) fn load_range(db: &Database, height: Height) -> Result<mmr::Range, StoreError> {
    let leaves = u64::from(height.as_u32()) + 1;
    let peak =
        |number| db.range_node(number)?.ok_or_else(|| db.corrupt(format!("header range node {number} is missing")));
    let peaks = mmr::peak_numbers(leaves).map(peak).collect::<Result<_, _>>()?;
    mmr::Range::from_peaks(leaves, peaks).ok_or_else(|| db.corrupt("the header range has no such peaks"))
}

/// The filter header of the parent of a block of the best chain at `height`; zero for genesis's.
pub(super) fn filter_header_before(
    db: &Database,
    height: Height,
    parent: &BlockHash,
) -> Result<FilterHeader, StoreError> {
    let parent = height.prev().map(|height| BlockKey { height, hash: *parent });
    parent.map_or(Ok(FilterHeader::ZERO), |parent| Ok(db.filter_header_of(&parent)?.1))
}

/// A stored body. It was checked when it came: if it no longer passes, the store is at fault.
pub(super) fn load(db: &Database, params: &Params, at: &BlockKey) -> Result<CheckedBlock, StoreError> {
    let hash = at.hash;
    let block = db.block(at)?.ok_or_else(|| db.corrupt(format!("body of block {hash} is missing")))?;
    let checked = check_block(block, params)
        .map_err(|e| db.corrupt(format!("stored block {hash} breaks a rule it kept before: {e}")))?;
    if checked.hash() != hash {
        return Err(db.corrupt(format!("block {} is stored as block {hash}", checked.hash())));
    }
    Ok(checked)
}

/// What a block of the best chain did to the coins, by the undo record.
pub(super) fn delta_of(db: &Database, block: &CheckedBlock, height: Height) -> Result<Delta, StoreError> {
    let hash = block.hash();
    let undo = db.undo(&BlockKey { height, hash })?;
    let inputs = block.block().transactions.iter().flat_map(|tx| &tx.inputs);
    let inputs: Vec<OutPoint> = inputs.map(|input| input.outpoint).collect();
    if inputs.len() != undo.len() {
        let reason = format!("undo of block {hash} has {} coins for {} inputs", undo.len(), inputs.len());
        return Err(db.corrupt(reason));
    }
    let spent = inputs.into_iter().zip(undo).collect();
    Ok(Delta { spent, created: Delta::created_by(block.block(), block.txids(), height), fees: Amount::ZERO })
}

/// What each transaction of a block did to each key it touched, in order. `spent` are the coins of its inputs.
pub(super) fn history(
    block: &CheckedBlock,
    spent: &[(OutPoint, Coin)],
    height: Height,
) -> impl Iterator<Item = (PublicKey, HistoryEntry)> {
    let mut spent = spent.iter();
    let transactions = block.block().transactions.iter().zip(block.txids());
    (0..).zip(transactions).flat_map(move |(position, (tx, txid))| {
        let mut touched: BTreeMap<PublicKey, HistoryEntry> = BTreeMap::new();
        let blank = HistoryEntry { height, position, txid: *txid, received: Amount::ZERO, spent: Amount::ZERO };
        for output in &tx.outputs {
            if let Some(key) = output.key() {
                let entry = touched.entry(*key).or_insert(blank);
                entry.received = entry.received.saturating_add(output.value);
            }
        }
        for (_, coin) in spent.by_ref().take(tx.inputs.len()) {
            if let Some(key) = coin.output.key() {
                let entry = touched.entry(*key).or_insert(blank);
                entry.spent = entry.spent.saturating_add(coin.output.value);
            }
        }
        touched
    })
}

/// Coins made and spent by the same block: the store never sees them.
fn spent_in_block(delta: &Delta) -> HashSet<OutPoint> {
    if delta.spent.is_empty() {
        return HashSet::default();
    }
    let created: HashSet<&OutPoint> = delta.created.iter().map(|(outpoint, _)| outpoint).collect();
    delta.spent.iter().map(|(outpoint, _)| *outpoint).filter(|outpoint| created.contains(outpoint)).collect()
}
