//! Queries to a node about a wallet's addresses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::call;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::OutPoint;
use crate::rpc::client::{Client, ClientError};
use crate::wallet::coins::Spendable;

/// Most coins or history entries that a node is asked for, an address.
const MAX_LISTED: usize = 100_000;

/// What a wallet has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Confirmed, spendable or not.
    pub balance: Amount,
    /// What a payment may spend now, in grains.
    pub spendable: Amount,
    /// Mined too recently to be spent.
    pub immature: Amount,
    /// Grains that the mempool would add or take.
    pub pending: i64,
}

/// The sum over all addresses.
pub fn balance(node: &Client, addresses: &[String]) -> Result<Balance, ClientError> {
    let mut sum = Balance::default();
    for address in addresses {
        let one: Balance = call(node, "getaddressbalance", &[json!(address)])?;
        sum.balance = sum.balance.saturating_add(one.balance);
        sum.spendable = sum.spendable.saturating_add(one.spendable);
        sum.immature = sum.immature.saturating_add(one.immature);
        sum.pending = sum.pending.saturating_add(one.pending);
    }
    Ok(sum)
}

/// Coins that can be spent now.
#[derive(Debug, Default)]
pub struct Coins {
    /// Coins of blocks of the best chain.
    pub confirmed: Vec<Spendable>,
    /// Made by transactions that are not in a block yet.
    pub unconfirmed: Vec<Spendable>,
}

impl Coins {
    /// Confirmed and unconfirmed coins.
    pub fn all(&self) -> Vec<Spendable> {
        [&self.confirmed[..], &self.unconfirmed[..]].concat()
    }
}

/// A coin of one of the wallet's addresses.
#[derive(Debug, Serialize, Deserialize)]
pub struct Utxo {
    /// The transaction that made it.
    pub txid: Txid,
    /// The number of the output, from 0.
    pub vout: u32,
    /// What it is worth.
    pub value: Amount,
    /// Its block's height; none while unconfirmed.
    pub height: Option<Height>,
    /// Blocks on top of it, and its own.
    pub confirmations: u32,
    /// Whether a coinbase made it.
    pub coinbase: bool,
    /// Whether a payment may spend it now.
    pub spendable: bool,
    /// The transaction in the mempool that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spentby: Option<Txid>,
}

impl Utxo {
    /// The outpoint that names it.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint { txid: self.txid, index: self.vout }
    }
}

/// The coins of an address.
pub fn utxos(node: &Client, address: &str) -> Result<Vec<Utxo>, ClientError> {
    call(node, "getaddressutxos", &[json!(address), json!(MAX_LISTED)])
}

/// The coins of all addresses that can be spent now; `keys` are those of `addresses`, in the same order.
pub fn coins(node: &Client, keys: &[PublicKey], addresses: &[String]) -> Result<Coins, ClientError> {
    let mut coins = Coins::default();
    for (key, address) in keys.iter().zip(addresses) {
        for utxo in utxos(node, address)?.into_iter().filter(|utxo| utxo.spendable) {
            let kind = if utxo.height.is_some() { &mut coins.confirmed } else { &mut coins.unconfirmed };
            kind.push(Spendable { outpoint: utxo.outpoint(), value: utxo.value, key: *key });
        }
    }
    Ok(coins)
}

/// The fee rate below which the node would not take a payment now; 1 grain a byte at least.
pub fn least_fee_rate(node: &Client) -> Result<FeeRate, ClientError> {
    #[derive(Deserialize)]
    struct Info {
        mempoolminfee: u64,
        minrelaytxfee: u64,
    }
    let info: Info = call(node, "getmempoolinfo", &[])?;
    Ok(FeeRate::from_grains_per_byte(info.mempoolminfee.max(info.minrelaytxfee).max(1)))
}

/// A transaction's effect on a wallet.
#[derive(Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The id of the transaction that came or went.
    pub txid: Txid,
    /// Its block's height; none while unconfirmed.
    pub height: Option<Height>,
    /// Its place in the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// Blocks on top of it, and its own.
    pub confirmations: u32,
    /// Of its block, or of its arrival; seconds since 1970.
    pub time: u64,
    /// What came.
    pub received: Amount,
    /// What went.
    pub spent: Amount,
}

/// The newest `limit` entries, oldest first, those without a block last.
pub fn history(node: &Client, addresses: &[String], limit: usize) -> Result<Vec<HistoryEntry>, ClientError> {
    let mut merged: BTreeMap<Txid, HistoryEntry> = BTreeMap::new();
    for address in addresses {
        for (txid, entry) in history_of(node, address)? {
            match merged.get_mut(&txid) {
                // A transaction may concern several of the wallet's addresses.
                Some(known) => {
                    known.received = known.received.saturating_add(entry.received);
                    known.spent = known.spent.saturating_add(entry.spent);
                }
                None => drop(merged.insert(txid, entry)),
            }
        }
    }
    let mut entries: Vec<HistoryEntry> = merged.into_values().collect();
    entries.sort_by_key(|entry| (entry.height.unwrap_or(Height::MAX), entry.position, entry.time));
    let older = entries.len().saturating_sub(limit);
    Ok(entries.split_off(older))
}

/// The whole history of one address, asked for in pieces.
fn history_of(node: &Client, address: &str) -> Result<BTreeMap<Txid, HistoryEntry>, ClientError> {
    let (mut entries, mut from) = (BTreeMap::new(), Height::GENESIS);
    loop {
        let piece: Vec<HistoryEntry> =
            call(node, "getaddresshistory", &[json!(address), json!(from), json!(MAX_LISTED)])?;
        let full = piece.len() >= MAX_LISTED;
        let last = piece.iter().filter_map(|entry| entry.height).max();
        entries.extend(piece.into_iter().map(|entry| (entry.txid, entry)));
        // The last block's entries may be cut off, so the next piece begins with that block again.
        match last {
            Some(height) if full && height > from => from = height,
            _ => return Ok(entries),
        }
    }
}
