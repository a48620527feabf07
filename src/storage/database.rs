//! Typed reading of what [`super::schema`] lays out.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::compact::{self, number, outpoint_at, outpoint_bytes, padded};
use super::schema::{
    ADDRESS_COIN, ADDRESS_HISTORY, ARCHIVED, BEST, BLOCK, BLOCK_HEADER, BlockKey, COIN, EDGE, FILTER, FILTER_HEADER,
    Filtered, HEADER, HeaderRecord, HistoryEntry, KEPT_FROM, META, PEER, RANGE, SCHEMA_VERSION, TIP, TX, TxLocation,
    UNDO, filtered, history_key, history_place, history_prefix, key, owned_outpoint, owner_key, range_key, tx_key,
};
use super::{Store, StoreError, Visitor};
use crate::consensus::coins::{Coin, CoinView};
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec::{self, Decode};
use crate::primitives::gcs::Filter;
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader, Hash256, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::meter;
use crate::primitives::mmr;
use crate::primitives::tx::{OutPoint, Transaction};

/// Totals over all unspent coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoinStats {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub value: Amount,
    /// Exclusive-or of the double SHA-256 of each coin's key and value: equal sets have equal digests.
    pub digest: Hash256,
}

/// How many entries there are of each kind that belongs to the best chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks, by height.
    pub heights: u64,
    /// Nodes of the header range.
    pub range_nodes: u64,
    /// Transactions of the best chain's blocks.
    pub transactions: u64,
    /// Unspent coins.
    pub coins: u64,
    /// Block filters, by block.
    pub filters: u64,
    /// Filter headers, by block.
    pub filter_headers: u64,
    /// Unspent coins by key.
    pub address_coins: u64,
    /// What transactions did to keys.
    pub history: u64,
    /// States whose root is known.
    pub edges: u64,
}

/// Typed reading of a [`Store`]; cheap to clone and usable from any thread. Each method is one read, or one scan; what
/// several of them return may belong to different tips.
#[derive(Clone)]
pub struct Database(Arc<dyn Store>);

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.0.dir().display())
    }
}

impl Database {
    /// Reads `store` by the schema. [`Database::check_meta`] checks its version and network.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The store underneath.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0
    }

    /// An error for inconsistent data.
    pub fn corrupt(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt { dir: self.0.dir(), reason: reason.into() }
    }

    /// Reads a single value and counts the cost; the only way to one.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.0.get(key)?;
        meter::looked_up(value.as_ref().map_or(0, Vec::len));
        Ok(value)
    }

    pub(super) fn value<T: Decode<()>>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|bytes| self.decoded(&bytes)).transpose()
    }

    /// The value under a key, read by `read`, which returns `None` for what it cannot read.
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, StoreError> {
        let unreadable = || self.corrupt(format!("the entry under key {} cannot be read", hex::encode(key)));
        self.get(key)?.map(|bytes| read(&bytes).ok_or_else(unreadable)).transpose()
    }

    fn decoded<T: Decode<()>>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        codec::decode(bytes).map_err(|e| self.corrupt(e.to_string()))
    }

    /// Whether the store holds a chain, which is of this format and of the network named by `genesis`; `false` if it is
    /// empty.
    ///
    /// # Errors
    /// [`StoreError::OtherSchema`], [`StoreError::GenesisMismatch`], or the store's own.
    pub fn check_meta(&self, genesis: &BlockHash) -> Result<bool, StoreError> {
        let Some(bytes) = self.0.get(META)? else {
            let mut is_empty = true;
            self.0.scan(&[], &[], &mut |_, _| {
                is_empty = false;
                ControlFlow::Break(())
            })?;
            return if is_empty { Ok(false) } else { Err(self.corrupt("it has entries, but no format version")) };
        };
        let (found, rest) = codec::decode_prefix::<u32>(&bytes).map_err(|e| self.corrupt(e.to_string()))?;
        if found != SCHEMA_VERSION {
            return Err(StoreError::OtherSchema { dir: self.0.dir(), found, supported: SCHEMA_VERSION });
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

    /// Visits every header known that is not buried, parents before children, in the order of arrival, with its place in
    /// that order.
    ///
    /// # Errors
    /// The store's, or what `visit` returns.
    pub fn for_each_header(
        &self,
        visit: &mut dyn FnMut(u32, HeaderRecord) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut refused = Ok(());
        self.for_each(&[HEADER], &[], |key, value| {
            let place = u32::from_be_bytes(key.get(1..)?.try_into().ok()?);
            refused = visit(place, codec::decode(value).ok()?);
            Some(if refused.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        refused
    }

    /// The lowest height whose blocks are kept: bodies, undo records and filters of lower ones were pruned.
    ///
    /// # Errors
    /// The store's.
    pub fn kept_from(&self) -> Result<Height, StoreError> {
        Ok(self.value(KEPT_FROM)?.unwrap_or_default())
    }

    /// The lowest height of a block, on any branch, that has a body, an undo record or a filter by itself stored.
    ///
    /// # Errors
    /// The store's.
    pub fn lowest_kept(&self) -> Result<Option<Height>, StoreError> {
        let mut lowest = None;
        for prefix in [BLOCK, UNDO, FILTER] {
            lowest =
                self.collect(&[prefix], &[], 1, |key, _| BlockKey::height_in(key))?.into_iter().chain(lowest).min();
        }
        Ok(lowest)
    }

    /// A block, whether or not it is on the best chain.
    ///
    /// # Errors
    /// The store's.
    pub fn block(&self, at: &BlockKey) -> Result<Option<Block>, StoreError> {
        self.raw_block(at)?.map(|bytes| self.decoded(&bytes)).transpose()
    }

    /// A block's encoding, as it is sent.
    ///
    /// # Errors
    /// The store's.
    pub fn raw_block(&self, at: &BlockKey) -> Result<Option<Vec<u8>>, StoreError> {
        // Before the body: of a branch that is forgotten meanwhile, both go at once.
        let Some(header) = self.header(at)? else { return Ok(None) };
        Ok(self.raw_body(at)?.map(|body| [&header.to_bytes()[..], &body].concat()))
    }

    /// A block's encoding from behind its header, as it is stored.
    pub(crate) fn raw_body(&self, at: &BlockKey) -> Result<Option<Vec<u8>>, StoreError> {
        match self.get(&at.under(BLOCK))? {
            None => self.get(&at.under(ARCHIVED)),
            found => Ok(found),
        }
    }

    /// The lowest height of an archived block, from a height on.
    ///
    /// # Errors
    /// The store's.
    pub fn archived_from(&self, height: Height) -> Result<Option<Height>, StoreError> {
        let first = BlockKey::first_of(ARCHIVED, height);
        Ok(self.collect(&[ARCHIVED], &first, 1, |key, _| BlockKey::height_in(key))?.pop())
    }

    /// The block of the best chain at `height`, by both.
    ///
    /// # Errors
    /// The store's.
    pub fn key_at(&self, height: Height) -> Result<Option<BlockKey>, StoreError> {
        Ok(self.hash_at(height)?.map(|hash| BlockKey { height, hash }))
    }

    /// The header of a block that is buried, or whose body was stored.
    ///
    /// # Errors
    /// The store's.
    pub fn header(&self, at: &BlockKey) -> Result<Option<Header>, StoreError> {
        let buried = || {
            let found = self.buried(at.height)?.map(|found| found.header);
            Ok::<_, StoreError>(found.filter(|header| header.hash() == at.hash))
        };
        if let Some(header) = buried()? {
            return Ok(Some(header));
        }
        match self.value(&at.under(BLOCK_HEADER))? {
            Some(header) => Ok(Some(header)),
            // It may have been buried between the reads.
            None => buried(),
        }
    }

    /// The coins that a block of the best chain spent, in the order of its inputs; none is stored where none was spent.
    ///
    /// # Errors
    /// The store's.
    pub fn undo(&self, at: &BlockKey) -> Result<Vec<Coin>, StoreError> {
        let read = |mut bytes: &[u8]| {
            let mut coins = Vec::new();
            while !bytes.is_empty() {
                coins.push(compact::coin(&mut bytes)?);
            }
            Some(coins)
        };
        Ok(self.read(&at.under(UNDO), read)?.unwrap_or_default())
    }

    /// The filter of a block of the best chain ([`block_filter`](crate::consensus::filter::block_filter)), and its filter
    /// header.
    ///
    /// # Errors
    /// The store's.
    pub fn filter(&self, at: &BlockKey) -> Result<Option<(Filter, FilterHeader)>, StoreError> {
        let Some((header, filter)) = self.read(&at.under(FILTER_HEADER), filtered)? else { return Ok(None) };
        let bytes = match filter {
            // It is still there when its block is pruned, where others are not.
            Filtered::Filter(bytes) => (at.height >= self.kept_from()?).then_some(bytes),
            Filtered::Hash(_) => self.get(&at.under(FILTER))?,
        };
        bytes.map(|bytes| Ok((self.filter_of(bytes, at)?, header))).transpose()
    }

    fn filter_of(&self, bytes: Vec<u8>, at: &BlockKey) -> Result<Filter, StoreError> {
        Filter::from_bytes(bytes).map_err(|e| self.corrupt(format!("block {}: {e}", at.hash)))
    }

    /// The hash of the filter of a block of the best chain, and its filter header.
    ///
    /// # Errors
    /// The store's.
    pub fn filter_header(&self, at: &BlockKey) -> Result<Option<(FilterHash, FilterHeader)>, StoreError> {
        Ok(match self.read(&at.under(FILTER_HEADER), filtered)? {
            Some((header, Filtered::Hash(hash))) => Some((hash, header)),
            Some((header, Filtered::Filter(bytes))) => Some((self.filter_of(bytes, at)?.hash(), header)),
            None => None,
        })
    }

    /// [`Database::filter_header`], where there must be one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if there is none; the store's.
    pub fn filter_header_of(&self, at: &BlockKey) -> Result<(FilterHash, FilterHeader), StoreError> {
        self.filter_header(at)?.ok_or_else(|| self.corrupt(format!("block {} has no filter header", at.hash)))
    }

    /// A node of the best chain's header range, if it is stored itself.
    pub(super) fn stored_range_node(&self, number: u64) -> Result<Option<mmr::Node>, StoreError> {
        self.read(&range_key(number), |bytes| {
            let (hash, rest) = bytes.split_first_chunk()?;
            let (time, work) = rest.split_first_chunk()?;
            let work = codec::decode(&padded::<32>(work)?).ok()?;
            Some(mmr::Node { hash: Hash256::from_bytes(*hash), work, last_time: u32::from_le_bytes(*time) })
        })
    }

    /// Where the best chain has a transaction.
    ///
    /// # Errors
    /// The store's.
    pub fn tx_location(&self, txid: &Txid) -> Result<Option<TxLocation>, StoreError> {
        self.read(&tx_key(txid), |mut bytes| {
            let height = Height::from_u32(number(&mut bytes)?.try_into().ok()?);
            Some(TxLocation { height, position: number(&mut bytes)?.try_into().ok()? })
        })
    }

    /// A transaction of the best chain, with its block's hash and height.
    ///
    /// # Errors
    /// The store's. A reorganisation between the reads shows as `None`.
    pub fn transaction(&self, txid: &Txid) -> Result<Option<(Transaction, BlockHash, Height)>, StoreError> {
        let Some(location) = self.tx_location(txid)? else { return Ok(None) };
        let Some(at) = self.key_at(location.height)? else { return Ok(None) };
        let Some(mut block) = self.block(&at)? else { return Ok(None) };
        let position = location.position as usize;
        if block.transactions.get(position).is_none_or(|tx| tx.txid() != *txid) {
            return Ok(None);
        }
        Ok(Some((block.transactions.swap_remove(position), at.hash, at.height)))
    }

    /// Up to `limit` unspent coins of a key, in the order of their outpoints: those after one, if it is given.
    ///
    /// # Errors
    /// The store's.
    pub fn address_coins(
        &self,
        owner: &PublicKey,
        after: Option<&OutPoint>,
        limit: usize,
    ) -> Result<Vec<(OutPoint, Coin)>, StoreError> {
        let prefix = owner_key(owner, &[]);
        // The least key after that of the outpoint.
        let from = after.map_or_else(Vec::new, |after| [&prefix[..], &outpoint_bytes(after), &[0]].concat());
        let outpoints = self.collect(&prefix, &from, limit, |key, _| owned_outpoint(key))?;
        let mut coins = Vec::with_capacity(outpoints.len());
        for outpoint in outpoints {
            // A coin spent between the scan and this read is left out.
            let coin = self.coin(&outpoint)?.filter(|coin| coin.output.key() == Some(owner));
            coins.extend(coin.map(|coin| (outpoint, coin)));
        }
        Ok(coins)
    }

    /// Up to `limit` entries of a key's history, oldest first, from a place in the chain on.
    ///
    /// # Errors
    /// The store's.
    pub fn address_history(
        &self,
        owner: &PublicKey,
        from: TxLocation,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.collect(&history_prefix(owner), &history_key(owner, from), limit, history_at)
    }

    /// Up to `limit` entries of a key's history that come before a place in the chain, newest first.
    ///
    /// # Errors
    /// The store's.
    pub fn address_history_back(
        &self,
        owner: &PublicKey,
        before: TxLocation,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let (prefix, before) = (history_prefix(owner), history_key(owner, before));
        self.first(limit, |visit| self.0.scan_back(&prefix, &before, visit), history_at)
    }

    /// What the transaction at a place of the best chain did to a key.
    ///
    /// # Errors
    /// The store's.
    pub fn history_entry(
        &self,
        owner: &PublicKey,
        height: Height,
        position: u32,
    ) -> Result<Option<HistoryEntry>, StoreError> {
        let at = history_key(owner, TxLocation { height, position });
        self.read(&at, |value| history_at(&at, value))
    }

    /// Whether a coin is listed among a key's.
    ///
    /// # Errors
    /// The store's.
    pub fn owns_coin(&self, owner: &PublicKey, outpoint: &OutPoint) -> Result<bool, StoreError> {
        Ok(self.get(&owner_key(owner, &outpoint_bytes(outpoint)))?.is_some())
    }

    /// Counts the entries of each kind that belongs to the best chain: reads every one of them.
    ///
    /// # Errors
    /// The store's.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let count = |prefix| self.count(prefix);
        let (mut short_filters, kept_from) = (0, self.kept_from()?);
        self.for_each(&[FILTER_HEADER], &BlockKey::first_of(FILTER_HEADER, kept_from), |_, value| {
            short_filters += u64::from(matches!(filtered(value)?.1, Filtered::Filter(_)));
            Some(ControlFlow::Continue(()))
        })?;
        let buried = self.count_buried_headers()?;
        Ok(Counts {
            heights: count(BEST)? + buried,
            range_nodes: count(RANGE)? + self.count_low_nodes()?,
            transactions: count(TX)?,
            filters: count(FILTER)? + short_filters,
            filter_headers: count(FILTER_HEADER)?,
            coins: count(COIN)?,
            address_coins: count(ADDRESS_COIN)?,
            history: count(ADDRESS_HISTORY)?,
            edges: count(EDGE)?,
        })
    }

    /// The lowest height at which the header of a stored block, on any branch, is not that of its key or not one that
    /// `is_known`. Reads all that are not buried.
    ///
    /// # Errors
    /// The store's.
    pub fn wrong_block_header(
        &self,
        is_known: impl Fn(Height, &BlockHash) -> bool,
    ) -> Result<Option<Height>, StoreError> {
        let mut wrong = None;
        self.for_each(&[BLOCK_HEADER], &[], |key, value| {
            let height = BlockKey::height_in(key)?;
            let hash = codec::decode::<Header>(value).ok().map(|header| header.hash());
            let is_right = |hash| BlockKey { height, hash }.under(BLOCK_HEADER) == key && is_known(height, &hash);
            if hash.is_some_and(is_right) {
                return Some(ControlFlow::Continue(()));
            }
            wrong = Some(height);
            Some(ControlFlow::Break(()))
        })?;
        Ok(wrong)
    }

    fn count(&self, prefix: u8) -> Result<u64, StoreError> {
        let mut count = 0;
        self.0.scan(&[prefix], &[], &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Totals over all coins: reads every one of them.
    ///
    /// # Errors
    /// The store's.
    pub fn coin_stats(&self) -> Result<CoinStats, StoreError> {
        let (mut count, mut value, mut digest) = (0, Amount::ZERO, [0; 32]);
        self.for_each_coin(&mut |outpoint, coin| {
            count += 1;
            value = value.saturating_add(coin.output.value);
            let hash = Hash256::of(&codec::encode(&(*outpoint, coin)));
            digest.iter_mut().zip(hash.as_bytes()).for_each(|(byte, other)| *byte ^= other);
        })?;
        Ok(CoinStats { count, value, digest: Hash256::from_bytes(digest) })
    }

    /// Visits every coin.
    ///
    /// # Errors
    /// The store's.
    pub fn for_each_coin(&self, visit: &mut dyn FnMut(&OutPoint, Coin)) -> Result<(), StoreError> {
        self.for_each(&[COIN], &[], |key, value| {
            visit(&outpoint_at(key.get(1..)?)?, compact::one_coin(value)?);
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
    pub(super) fn collect<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.first(limit, |visit| self.0.scan(prefix, from, visit), read)
    }

    /// The first `limit` entries that a scan visits, each as `read` reads it.
    fn first<T>(
        &self,
        limit: usize,
        scan: impl FnOnce(Visitor<'_>) -> Result<(), StoreError>,
        read: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.visit(scan, |key, value| {
            found.push(read(key, value)?);
            Some(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    /// Scans; a `None` from `visit` means that an entry cannot be read.
    pub(super) fn for_each(
        &self,
        prefix: &[u8],
        from: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Option<ControlFlow<()>>,
    ) -> Result<(), StoreError> {
        self.visit(|visit| self.0.scan(prefix, from, visit), visit)
    }

    fn visit(
        &self,
        scan: impl FnOnce(Visitor<'_>) -> Result<(), StoreError>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Option<ControlFlow<()>>,
    ) -> Result<(), StoreError> {
        let mut unreadable = None;
        scan(&mut |key, value| {
            meter::looked_up(value.len());
            match visit(key, value) {
                Some(flow) => flow,
                None => {
                    unreadable = Some(hex::encode(key));
                    ControlFlow::Break(())
                }
            }
        })?;
        match unreadable {
            Some(key) => Err(self.corrupt(format!("the entry under key {key} cannot be read"))),
            None => Ok(()),
        }
    }
}

fn history_at(key: &[u8], mut value: &[u8]) -> Option<HistoryEntry> {
    let TxLocation { height, position } = history_place(key)?;
    let txid = Txid::from_bytes(*value.split_off(..32)?.first_chunk()?);
    let mut amount = || number(&mut value).map(Amount::from_grains);
    let (received, spent) = (amount()?, amount()?);
    Some(HistoryEntry { height, position, txid, received, spent })
}

impl CoinView for Database {
    type Error = StoreError;

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        self.read(&key(COIN, &[&outpoint_bytes(outpoint)]), compact::one_coin)
    }
}
