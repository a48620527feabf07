//! What one step of the tip writes: coins, undo, the indexes, the header range and the tip itself, in one batch.

use std::collections::BTreeMap;

use super::Entry;
use crate::consensus::coins::{Coin, Delta};
use crate::consensus::params::Params;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::mmr;
use crate::primitives::target::Work;
use crate::primitives::tx::OutPoint;
use crate::storage::{Batch, Database, HeaderRecord, HistoryEntry, StoreError, TxLocation};

use super::index::{BODY, VALID};

/// Starts an empty store with genesis.
pub(super) fn start(params: &Params, db: &Database) -> Result<(), StoreError> {
    let block = &params.genesis;
    let txids = block.txids();
    let created = Delta::created_by(block, &txids, 0);
    let delta = Delta { spent: Vec::new(), created, fees: 0 };
    let work = params.genesis_target.work();
    let record = HeaderRecord {
        header: block.header,
        hash: params.genesis_hash,
        height: 0,
        work,
        status: BODY | VALID,
        tx_count: txids.len() as u32,
    };
    let mut batch = Batch::default();
    batch.put_meta(&params.genesis_hash);
    batch.put_header(0, &record);
    batch.put_block(&record.hash, block);
    put_state(&mut batch, &record.hash, 0, work, block, &txids, &delta, &mut mmr::Range::default());
    db.store().commit(batch)
}

/// The batch that makes `entry` the tip; `range` becomes that over its chain.
pub(super) fn connect(
    batch: &mut Batch,
    entry: &Entry,
    block: &Block,
    txids: &[Txid],
    delta: &Delta,
    range: &mut mmr::Range,
) {
    let own_work = entry.work - range.work();
    put_state(batch, &entry.hash, entry.height, own_work, block, txids, delta, range);
}

#[allow(clippy::too_many_arguments)] // The parts of one step, which have no meaning together elsewhere.
fn put_state(
    batch: &mut Batch,
    hash: &BlockHash,
    height: u32,
    own_work: Work,
    block: &Block,
    txids: &[Txid],
    delta: &Delta,
    range: &mut mmr::Range,
) {
    delta.created.iter().for_each(|(outpoint, coin)| batch.put_coin(outpoint, coin));
    delta.spent.iter().for_each(|(outpoint, coin)| batch.delete_coin(outpoint, coin));
    if !delta.spent.is_empty() {
        batch.put_undo(hash, delta.spent.iter().map(|(_, coin)| coin));
    }
    for (position, txid) in (0..).zip(txids) {
        batch.put_tx(txid, TxLocation { height, position });
    }
    for (owner, entry) in history(block, txids, &delta.spent, height) {
        batch.put_history(&owner, &entry);
    }
    let first = mmr::node_count(range.leaves());
    for (number, node) in (first..).zip(range.push(mmr::Node::leaf(*hash, own_work))) {
        batch.put_range_node(number, &node);
    }
    batch.put_best(height, hash);
    batch.put_tip(hash);
}

/// The batch that makes `tip`'s parent the tip; `range` is that over the parent's chain.
pub(super) fn disconnect(
    batch: &mut Batch,
    tip: &Entry,
    block: &Block,
    txids: &[Txid],
    delta: &Delta,
    range: &mmr::Range,
) {
    delta.spent.iter().for_each(|(outpoint, coin)| batch.put_coin(outpoint, coin));
    delta.created.iter().for_each(|(outpoint, coin)| batch.delete_coin(outpoint, coin));
    batch.delete_undo(&tip.hash);
    txids.iter().for_each(|txid| batch.delete_tx(txid));
    for (owner, entry) in history(block, txids, &delta.spent, tip.height) {
        batch.delete_history(&owner, entry.height, entry.position);
    }
    for number in mmr::node_count(range.leaves())..mmr::node_count(range.leaves() + 1) {
        batch.delete_range_node(number);
    }
    batch.delete_best(tip.height);
    batch.put_tip(&tip.header.previous);
}

/// The range over the best chain's headers up to `height`, from the peaks that the store keeps.
pub(super) fn load_range(db: &Database, height: u32) -> Result<mmr::Range, StoreError> {
    let leaves = u64::from(height) + 1;
    let peak =
        |number| db.range_node(number)?.ok_or_else(|| db.corrupt(format!("header range node {number} is missing")));
    let peaks = mmr::peak_numbers(leaves).map(peak).collect::<Result<_, _>>()?;
    mmr::Range::from_peaks(leaves, peaks).ok_or_else(|| db.corrupt("the header range has no such peaks"))
}

/// What each transaction of a block did to each key it touched, in order.
fn history<'a>(
    block: &'a Block,
    txids: &'a [Txid],
    spent: &'a [(OutPoint, Coin)],
    height: u32,
) -> impl Iterator<Item = (PublicKey, HistoryEntry)> + 'a {
    let mut spent = spent.iter();
    (0..).zip(block.transactions.iter().zip(txids)).flat_map(move |(position, (tx, txid))| {
        let mut touched: BTreeMap<PublicKey, HistoryEntry> = BTreeMap::new();
        let blank = HistoryEntry { height, position, txid: *txid, received: 0, spent: 0 };
        for output in &tx.outputs {
            if let Some(key) = output.key() {
                touched.entry(*key).or_insert(blank).received += output.value;
            }
        }
        for (_, coin) in spent.by_ref().take(tx.inputs.len()) {
            if let Some(key) = coin.output.key() {
                touched.entry(*key).or_insert(blank).spent += coin.output.value;
            }
        }
        touched
    })
}
