//! What is stored under which key. One tree holds everything, so that one batch can change anything.
//!
//! A key is one prefix byte, then fixed-width fields; numbers in keys are big-endian, so that keys sort by them. Values
//! are in the encoding of [`codec`].
//!
//! | prefix | then | value |
//! |---|---|---|
//! | `v` | | schema version `u32`, genesis hash |
//! | `T` | | hash of the tip |
//! | `H` | place in order of arrival `u32` | [`HeaderRecord`] |
//! | `B` | block hash | the block |
//! | `U` | block hash | coins the block spent, in order |
//! | `N` | height `u32` | hash of the best chain's block there |
//! | `R` | number `u64` | node of the header range ([`mmr`](crate::primitives::mmr)) |
//! | `C` | outpoint | [`Coin`] |
//! | `X` | txid | [`TxLocation`] |
//! | `A` | key, outpoint | nothing: the key's coins |
//! | `Y` | key, height `u32`, position `u32` | txid, received, spent: the key's history |
//! | `P` | any | address book records |

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Batch, Store, StoreError};
use crate::consensus::coins::{Coin, CoinView};
use crate::primitives::block::Block;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::{BlockHash, Hash256, Txid};
use crate::primitives::header::Header;
use crate::primitives::keys::PublicKey;
use crate::primitives::mmr;
use crate::primitives::target::Work;
use crate::primitives::tx::{OutPoint, Transaction};

/// Format of the keys and values; raised whenever either changes.
pub const SCHEMA_VERSION: u32 = 1;

const META: &[u8] = b"v";
const TIP: &[u8] = b"T";
const HEADER: u8 = b'H';
const BLOCK: u8 = b'B';
const UNDO: u8 = b'U';
const BEST: u8 = b'N';
const RANGE: u8 = b'R';
const COIN: u8 = b'C';
const TX: u8 = b'X';
const ADDRESS_COIN: u8 = b'A';
const ADDRESS_HISTORY: u8 = b'Y';
const PEER: u8 = b'P';

/// What is kept of every header, so that nothing is hashed or checked again when a node starts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HeaderRecord {
    /// The header.
    pub header: Header,
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
    /// Work of its chain up to and with it.
    pub work: Work,
    /// Flags of the header tree.
    pub status: u8,
    /// Transactions in its body; 0 until that is known.
    pub tx_count: u32,
}

/// Where the best chain has a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TxLocation {
    /// Height of its block.
    pub height: u32,
    /// Its place in the block, from 0.
    pub position: u32,
}

/// What one transaction did to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Height of its block.
    pub height: u32,
    /// Its place in the block, from 0.
    pub position: u32,
    /// The transaction.
    pub txid: Txid,
    /// Grains it paid to the key.
    pub received: u64,
    /// Grains of the key it spent.
    pub spent: u64,
}

/// Totals over all unspent coins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CoinStats {
    /// How many there are.
    pub count: u64,
    /// Their sum in grains.
    pub value: u64,
    /// Exclusive-or of the double SHA-256 of each coin's key and value: equal sets have equal digests.
    pub digest: Hash256,
}

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![prefix];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn outpoint_bytes(outpoint: &OutPoint) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..32].copy_from_slice(&outpoint.txid.0);
    bytes[32..].copy_from_slice(&outpoint.index.to_be_bytes());
    bytes
}

/// Writers: each puts one kind of entry into a batch.
impl Batch {
    pub(crate) fn put_meta(&mut self, genesis: &BlockHash) {
        self.put(META.to_vec(), codec::encode(&(SCHEMA_VERSION, *genesis)));
    }

    pub(crate) fn put_tip(&mut self, hash: &BlockHash) {
        self.put(TIP.to_vec(), hash.0.to_vec());
    }

    pub(crate) fn put_header(&mut self, place: u32, record: &HeaderRecord) {
        self.put(key(HEADER, &[&place.to_be_bytes()]), codec::encode(record));
    }

    pub(crate) fn put_block(&mut self, hash: &BlockHash, block: &Block) {
        self.put(key(BLOCK, &[&hash.0]), codec::encode(block));
    }

    pub(crate) fn put_undo<'a>(&mut self, hash: &BlockHash, spent: impl Iterator<Item = &'a Coin>) {
        self.put(key(UNDO, &[&hash.0]), codec::encode(&spent.collect::<Vec<&Coin>>()));
    }

    pub(crate) fn delete_undo(&mut self, hash: &BlockHash) {
        self.delete(key(UNDO, &[&hash.0]));
    }

    pub(crate) fn put_best(&mut self, height: u32, hash: &BlockHash) {
        self.put(key(BEST, &[&height.to_be_bytes()]), hash.0.to_vec());
    }

    pub(crate) fn delete_best(&mut self, height: u32) {
        self.delete(key(BEST, &[&height.to_be_bytes()]));
    }

    pub(crate) fn put_range_node(&mut self, number: u64, node: &mmr::Node) {
        self.put(key(RANGE, &[&number.to_be_bytes()]), codec::encode(node));
    }

    pub(crate) fn delete_range_node(&mut self, number: u64) {
        self.delete(key(RANGE, &[&number.to_be_bytes()]));
    }

    /// A coin, and its place among its key's coins.
    pub(crate) fn put_coin(&mut self, outpoint: &OutPoint, coin: &Coin) {
        let outpoint = outpoint_bytes(outpoint);
        if let Some(owner) = coin.output.key() {
            self.put(key(ADDRESS_COIN, &[&owner.0, &outpoint]), Vec::new());
        }
        self.put(key(COIN, &[&outpoint]), codec::encode(coin));
    }

    /// Removes what [`Batch::put_coin`] put.
    pub(crate) fn delete_coin(&mut self, outpoint: &OutPoint, coin: &Coin) {
        let outpoint = outpoint_bytes(outpoint);
        if let Some(owner) = coin.output.key() {
            self.delete(key(ADDRESS_COIN, &[&owner.0, &outpoint]));
        }
        self.delete(key(COIN, &[&outpoint]));
    }

    pub(crate) fn put_tx(&mut self, txid: &Txid, location: TxLocation) {
        self.put(key(TX, &[&txid.0]), codec::encode(&location));
    }

    pub(crate) fn delete_tx(&mut self, txid: &Txid) {
        self.delete(key(TX, &[&txid.0]));
    }

    pub(crate) fn put_history(&mut self, owner: &PublicKey, entry: &HistoryEntry) {
        let key = key(ADDRESS_HISTORY, &[&owner.0, &entry.height.to_be_bytes(), &entry.position.to_be_bytes()]);
        self.put(key, codec::encode(&(entry.txid, entry.received, entry.spent)));
    }

    pub(crate) fn delete_history(&mut self, owner: &PublicKey, height: u32, position: u32) {
        self.delete(key(ADDRESS_HISTORY, &[&owner.0, &height.to_be_bytes(), &position.to_be_bytes()]));
    }

    /// A record of the address book, under a name of the caller's.
    pub fn put_peer(&mut self, name: &[u8], record: Vec<u8>) {
        self.put(key(PEER, &[name]), record);
    }

    /// Removes a record of the address book.
    pub fn delete_peer(&mut self, name: &[u8]) {
        self.delete(key(PEER, &[name]));
    }
}

/// Typed reading of a [`Store`]; cheap to clone and usable from any thread. Each method is one read, or one scan; what
/// several of them return may belong to different tips.
#[derive(Clone)]
pub struct Database(Arc<dyn Store>);

impl Database {
    /// Reads `store` by the schema. Whether it is of this version and network is for [`Database::check_meta`].
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The store underneath.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }

    /// An error that says the data do not fit together.
    pub fn corrupt(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt { dir: self.0.dir(), reason: reason.into() }
    }

    fn value<T: Decode<()>>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.0.get(key)?.map(|bytes| self.decoded(&bytes)).transpose()
    }

    fn decoded<T: Decode<()>>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        codec::decode(bytes).map_err(|e| self.corrupt(e.to_string()))
    }

    /// Whether the store holds a chain; if so, of this version and of the network named by `genesis`.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::GenesisMismatch`], or the store's own.
    pub fn check_meta(&self, genesis: &BlockHash) -> Result<bool, StoreError> {
        let Some(bytes) = self.0.get(META)? else { return Ok(false) };
        let (found, rest) = codec::decode_prefix::<u32>(&bytes).map_err(|e| self.corrupt(e.to_string()))?;
        if found > SCHEMA_VERSION {
            return Err(StoreError::NewerSchema { dir: self.0.dir(), found, supported: SCHEMA_VERSION });
        }
        let stored: BlockHash = self.decoded(&bytes[rest..])?;
        if stored != *genesis {
            return Err(StoreError::GenesisMismatch { dir: self.0.dir(), stored, configured: *genesis });
        }
        Ok(true)
    }

    /// Hash of the best chain's last block; `None` in an empty store.
    ///
    /// # Errors
    /// The store's. So for every method below.
    pub fn tip(&self) -> Result<Option<BlockHash>, StoreError> {
        self.value(TIP)
    }

    /// Every header known, parents before children, in the order of arrival.
    ///
    /// # Errors
    /// The store's.
    pub fn headers(&self) -> Result<Vec<HeaderRecord>, StoreError> {
        self.collect(&[HEADER], &[], usize::MAX, |_, value| codec::decode(value).ok())
    }

    /// A block, whether or not it is on the best chain.
    ///
    /// # Errors
    /// The store's.
    pub fn block(&self, hash: &BlockHash) -> Result<Option<Block>, StoreError> {
        self.value(&key(BLOCK, &[&hash.0]))
    }

    /// A block's encoding, as it is stored and sent.
    ///
    /// # Errors
    /// The store's.
    pub fn raw_block(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(&key(BLOCK, &[&hash.0]))
    }

    /// The coins that a block of the best chain spent, in the order of its inputs; none is stored where none was spent.
    ///
    /// # Errors
    /// The store's.
    pub fn undo(&self, hash: &BlockHash) -> Result<Vec<Coin>, StoreError> {
        Ok(self.value(&key(UNDO, &[&hash.0]))?.unwrap_or_default())
    }

    /// Hash of the best chain's block at `height`.
    ///
    /// # Errors
    /// The store's.
    pub fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, StoreError> {
        self.value(&key(BEST, &[&height.to_be_bytes()]))
    }

    /// A node of the best chain's header range.
    ///
    /// # Errors
    /// The store's.
    pub fn range_node(&self, number: u64) -> Result<Option<mmr::Node>, StoreError> {
        self.value(&key(RANGE, &[&number.to_be_bytes()]))
    }

    /// Where the best chain has a transaction.
    ///
    /// # Errors
    /// The store's.
    pub fn tx_location(&self, txid: &Txid) -> Result<Option<TxLocation>, StoreError> {
        self.value(&key(TX, &[&txid.0]))
    }

    /// A transaction of the best chain, with its block's hash and height.
    ///
    /// # Errors
    /// The store's. A reorganisation between the reads shows as `None`.
    pub fn transaction(&self, txid: &Txid) -> Result<Option<(Transaction, BlockHash, u32)>, StoreError> {
        let Some(location) = self.tx_location(txid)? else { return Ok(None) };
        let Some(hash) = self.hash_at(location.height)? else { return Ok(None) };
        let Some(mut block) = self.block(&hash)? else { return Ok(None) };
        let position = location.position as usize;
        if block.transactions.get(position).is_none_or(|tx| tx.txid() != *txid) {
            return Ok(None);
        }
        Ok(Some((block.transactions.swap_remove(position), hash, location.height)))
    }

    /// Up to `limit` unspent coins of a key, in the order of their outpoints.
    ///
    /// # Errors
    /// The store's.
    pub fn address_coins(&self, owner: &PublicKey, limit: usize) -> Result<Vec<(OutPoint, Coin)>, StoreError> {
        let outpoints = self.collect(&key(ADDRESS_COIN, &[&owner.0]), &[], limit, |key, _| outpoint_at(key, 33))?;
        let mut coins = Vec::with_capacity(outpoints.len());
        for outpoint in outpoints {
            // A coin spent between the scan and this read is left out.
            coins.extend(self.coin(&outpoint)?.map(|coin| (outpoint, coin)));
        }
        Ok(coins)
    }

    /// Up to `limit` entries of a key's history, oldest first, from `from_height` on.
    ///
    /// # Errors
    /// The store's.
    pub fn address_history(
        &self,
        owner: &PublicKey,
        from_height: u32,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let from = key(ADDRESS_HISTORY, &[&owner.0, &from_height.to_be_bytes()]);
        self.collect(&key(ADDRESS_HISTORY, &[&owner.0]), &from, limit, |key, value| {
            let number = |at: usize| key.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
            let (txid, received, spent) = codec::decode(value).ok()?;
            Some(HistoryEntry { height: number(33)?, position: number(37)?, txid, received, spent })
        })
    }

    /// Totals over all coins: reads every one of them.
    ///
    /// # Errors
    /// The store's.
    pub fn coin_stats(&self) -> Result<CoinStats, StoreError> {
        let mut stats = CoinStats::default();
        self.for_each_coin(&mut |outpoint, coin| {
            stats.count += 1;
            stats.value += coin.output.value;
            let hash = Hash256::of(&codec::encode(&(*outpoint, coin)));
            stats.digest.0.iter_mut().zip(hash.0).for_each(|(byte, other)| *byte ^= other);
        })?;
        Ok(stats)
    }

    /// Visits every coin.
    ///
    /// # Errors
    /// The store's.
    pub fn for_each_coin(&self, visit: &mut dyn FnMut(&OutPoint, Coin)) -> Result<(), StoreError> {
        self.for_each(&[COIN], &[], |key, value| {
            visit(&outpoint_at(key, 1)?, codec::decode(value).ok()?);
            Some(ControlFlow::Continue(()))
        })
    }

    /// The values of all records of the address book.
    ///
    /// # Errors
    /// The store's.
    pub fn peers(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.collect(&[PEER], &[], usize::MAX, |_, value| Some(value.to_vec()))
    }

    /// The first `limit` entries under `prefix`, not before `from`, each as `read` reads it.
    fn collect<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.for_each(prefix, from, |key, value| {
            found.push(read(key, value)?);
            Some(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    /// Scans; a `None` from `visit` means that an entry cannot be read.
    fn for_each(
        &self,
        prefix: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Option<ControlFlow<()>>,
    ) -> Result<(), StoreError> {
        let mut unreadable = None;
        self.0.scan(prefix, from, &mut |key, value| match visit(key, value) {
            Some(flow) => flow,
            None => {
                unreadable = Some(hex::encode(key));
                ControlFlow::Break(())
            }
        })?;
        match unreadable {
            Some(key) => Err(self.corrupt(format!("the entry under key {key} cannot be read"))),
            None => Ok(()),
        }
    }
}

fn outpoint_at(key: &[u8], at: usize) -> Option<OutPoint> {
    let txid = Hash256(key.get(at..at + 32)?.try_into().ok()?);
    let index = u32::from_be_bytes(key.get(at + 32..at + 36)?.try_into().ok()?);
    (key.len() == at + 36).then_some(OutPoint { txid, index })
}

impl CoinView for Database {
    type Error = StoreError;

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        self.value(&key(COIN, &[&outpoint_bytes(outpoint)]))
    }
}
