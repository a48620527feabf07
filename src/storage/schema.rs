//! What is stored under which key. One tree holds everything, so that one batch can change anything.
//!
//! A key is one prefix byte, then fixed-width fields; numbers in keys are big-endian, so that keys sort by them. Values
//! are in the encoding of [`codec`].
//!
//! | prefix | then | value |
//! |---|---|---|
//! | `v` | | schema version `u32`, genesis hash |
//! | `T` | | hash of the tip |
//! | `H` | place in order of arrival `u32` | [`HeaderRecord`] of the root of the tree in memory, or of a header above it |
//! | `o` | | [`TreeRoot`](super::buried::TreeRoot): the root of the tree in memory |
//! | `O` | height `u32` | [`BuriedHeader`](super::buried::BuriedHeader) of the best chain's block there, below the root |
//! | `I` | first 6 bytes of a hash | heights `u32` of the blocks under `O` whose hashes begin so |
//! | `K` | | lowest height whose blocks are kept; absent if none was pruned |
//! | `B` | [`BlockKey`] | the block |
//! | `U` | [`BlockKey`] | coins the block of the best chain spent, in order |
//! | `F` | [`BlockKey`] | bytes of the best chain's [`Filter`](crate::primitives::gcs::Filter) there |
//! | `G` | [`BlockKey`] | that filter's hash, and the filter header |
//! | `N` | height `u32` | hash of the best chain's block there, from the root on |
//! | `R` | number `u64` | node of the header range ([`mmr`](crate::primitives::mmr)) |
//! | `C` | outpoint | [`Coin`] |
//! | `X` | txid | [`TxLocation`] |
//! | `A` | key, outpoint | nothing: the key's coins |
//! | `Y` | key, height `u32`, position `u32` | txid, received, spent: the key's history |
//! | `s` | | [`StateHead`](super::state::StateHead): where the table of the state stands |
//! | `S` | key of the state | lock, value, height, whether a coinbase's: a coin of the table |
//! | `D` | prefix, filled with zeros to the length of a key; its bits `u16` | both children of the node there |
//! | `E` | height `u32` | [`Edge`](super::state::Edge) of the best chain |
//! | `L` | height `u32` of an edge, a key of `S` or `D` | the value there after the edge, empty if there was none |
//! | `l` | | [`StateLoad`](super::load::StateLoad): what is loaded of a state that the node is to start from, while it is |
//! | `b` | | height of the block from whose state the node started; absent if it started from genesis |
//! | `r` | | nothing: the chain is being removed, to be started again from genesis |
//! | `P` | any | address book records |

use super::Batch;
use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::gcs::Filter;
use crate::primitives::hash::{BlockHash, FilterHeader, MerkleRoot, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::mmr;
use crate::primitives::target::Bits;
use crate::primitives::tx::OutPoint;

/// Format of keys, values and files; raised whenever any of these changes. Versions 1 and 2 stored every entry as a
/// sled entry; version 3 stored derived values with each header; version 4 stored peers as sockets; version 5 stored no
/// times in the header range, bodies under hashes alone, and large values in one file; version 6 had no state;
/// version 7 stored no root with an edge; version 8 buried no headers; versions 9 and 10 had the
/// pages in sled.
pub const SCHEMA_VERSION: u32 = 11;

/// Digests of a small database: of its keys and values, of its files, and of the records under [`PEER`]. Tests compare
/// them, so that a change of the format with the old version fails.
#[cfg(test)]
pub(super) const SCHEMA_DIGEST: &str = "c58625f81a7e572be111b1df1306c6aa80f14a5a77ec97e459348cb57701abab";
#[cfg(test)]
pub(super) const FILES_DIGEST: &str = "44c93fbe9c2c5949a35886e3a7bf54ce346f17a8b7f8d96c769976c07c637b28";
#[cfg(test)]
pub(crate) const PEER_RECORDS_DIGEST: &str = "1472ddb5a80cdb270c55ef2c51d445ded6d6b7956ebcd76e025cc664aa036bb1";

pub(super) const META: &[u8] = b"v";
pub(super) const TIP: &[u8] = b"T";
pub(super) const HEADER: u8 = b'H';
pub(super) const TREE_ROOT: &[u8] = b"o";
pub(super) const BURIED: u8 = b'O';
pub(super) const BURIED_HASH: u8 = b'I';
pub(super) const KEPT_FROM: &[u8] = b"K";
pub(super) const BLOCK: u8 = b'B';
pub(super) const UNDO: u8 = b'U';
pub(super) const FILTER: u8 = b'F';
pub(super) const FILTER_HEADER: u8 = b'G';
pub(super) const BEST: u8 = b'N';
pub(super) const RANGE: u8 = b'R';
pub(super) const COIN: u8 = b'C';
pub(super) const TX: u8 = b'X';
pub(super) const ADDRESS_COIN: u8 = b'A';
pub(super) const ADDRESS_HISTORY: u8 = b'Y';
pub(super) const STATE_HEAD: &[u8] = b"s";
pub(super) const STATE_COIN: u8 = b'S';
pub(super) const STATE_RECORD: u8 = b'D';
pub(super) const EDGE: u8 = b'E';
pub(super) const STATE_LOG: u8 = b'L';
pub(super) const STATE_LOAD: &[u8] = b"l";
pub(super) const STATE_BASE: &[u8] = b"b";
pub(super) const RESTART: &[u8] = b"r";
pub(super) const PEER: u8 = b'P';

/// A block by height and hash, under which its data lie beside those of its neighbours, so that old ones can be removed
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
}

impl BlockKey {
    pub(super) fn under(&self, prefix: u8) -> Vec<u8> {
        key(prefix, &[&self.height.as_u32().to_be_bytes(), self.hash.as_bytes()])
    }

    /// Reads what [`BlockKey::under`] wrote.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let (height, hash) = key.get(1..)?.split_first_chunk()?;
        let hash = BlockHash::from_bytes(hash.try_into().ok()?);
        Some(Self { height: Height::from_u32(u32::from_be_bytes(*height)), hash })
    }
}

/// What is stored of every header that is not buried. The parent's hash, its own hash, height and work are computed when a node starts,
/// which is faster than reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct HeaderRecord {
    /// Place of its parent; says nothing for the root of the tree in memory, which is the first.
    pub parent: u32,
    /// The header itself.
    pub header: BareHeader,
    /// What is known of the block.
    pub status: Status,
    /// Its number in the order in which blocks became complete: of branches with equal work, the first to be complete
    /// is best. 0 until all bodies up to it are stored.
    pub sequence: u32,
    /// Transactions in its body; 0 until that is known.
    pub tx_count: u32,
}

/// A header without its parent's hash, which is known where the parent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BareHeader {
    /// As in [`Header`], and so all others.
    pub version: i32,
    /// Root over the block's txids.
    pub merkle_root: MerkleRoot,
    /// Seconds since 1970.
    pub time: u32,
    /// Its target.
    pub bits: Bits,
    /// The nonce.
    pub nonce: u32,
}

impl BareHeader {
    /// A header of zeros.
    pub const EMPTY: Self = Self { version: 0, merkle_root: MerkleRoot::ZERO, time: 0, bits: Bits(0), nonce: 0 };

    /// The header whose parent's hash is `previous`.
    pub fn under(self, previous: BlockHash) -> Header {
        let Self { version, merkle_root, time, bits, nonce } = self;
        Header { version, previous, merkle_root, time, bits, nonce }
    }
}

impl From<Header> for BareHeader {
    fn from(header: Header) -> Self {
        let Header { version, previous: _, merkle_root, time, bits, nonce } = header;
        Self { version, merkle_root, time, bits, nonce }
    }
}

/// What is known of a block, as a set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Status(u8);

impl Status {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Its body is stored.
    pub const BODY: Self = Self(1);
    /// It breaks a rule.
    pub const BROKEN: Self = Self(2);
    /// The operator refuses it, rules or no rules.
    pub const REFUSED: Self = Self(4);
    /// It was connected once, so it keeps every rule.
    pub const VALID: Self = Self(8);

    /// Whether any flag of `flags` is set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// With the flags of `flags` set too.
    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// With the flags of `flags` cleared.
    #[must_use]
    pub fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// Where the best chain has a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
pub struct TxLocation {
    /// Height of its block.
    pub height: Height,
    /// Its place in the block, from 0.
    pub position: u32,
}

/// What one transaction did to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Height of its block.
    pub height: Height,
    /// Its place in the block, from 0.
    pub position: u32,
    /// The transaction.
    pub txid: Txid,
    /// What it paid to the key.
    pub received: Amount,
    /// What it spent of the key.
    pub spent: Amount,
}

pub(super) fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(prefix);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(super) fn outpoint_bytes(outpoint: &OutPoint) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..32].copy_from_slice(outpoint.txid.as_bytes());
    bytes[32..].copy_from_slice(&outpoint.index.to_be_bytes());
    bytes
}

pub(super) fn outpoint_at(key: &[u8], at: usize) -> Option<OutPoint> {
    let txid = Txid::from_bytes(key.get(at..at + 32)?.try_into().ok()?);
    let index = u32::from_be_bytes(key.get(at + 32..at + 36)?.try_into().ok()?);
    (key.len() == at + 36).then_some(OutPoint { txid, index })
}

/// Writers: each puts one kind of entry into a batch.
impl Batch {
    pub(crate) fn put_meta(&mut self, genesis: &BlockHash) {
        self.put(META, codec::encode(&(SCHEMA_VERSION, *genesis)));
    }

    pub(crate) fn put_tip(&mut self, hash: &BlockHash) {
        self.put(TIP, hash.to_bytes());
    }

    pub(crate) fn put_header(&mut self, place: u32, record: &HeaderRecord) {
        self.put(key(HEADER, &[&place.to_be_bytes()]), codec::encode(record));
    }

    pub(crate) fn delete_header(&mut self, place: u32) {
        self.delete(key(HEADER, &[&place.to_be_bytes()]));
    }

    pub(crate) fn put_block(&mut self, at: &BlockKey, block: &Block) {
        self.put_at(at.height, at.under(BLOCK), codec::encode(block));
    }

    pub(crate) fn put_undo<'a>(&mut self, at: &BlockKey, spent: impl Iterator<Item = &'a Coin>) {
        self.put_at(at.height, at.under(UNDO), codec::encode(&spent.collect::<Vec<&Coin>>()));
    }

    pub(crate) fn delete_undo(&mut self, at: &BlockKey) {
        self.delete(at.under(UNDO));
    }

    /// A block's filter and filter header. Hashes are stored apart, because clients request thousands of them.
    pub(crate) fn put_filter(&mut self, at: &BlockKey, filter: &Filter, header: &FilterHeader) {
        self.put_at(at.height, at.under(FILTER), filter.as_bytes());
        self.put(at.under(FILTER_HEADER), codec::encode(&(filter.hash(), *header)));
    }

    pub(crate) fn delete_filter(&mut self, at: &BlockKey) {
        self.delete(at.under(FILTER));
        self.delete(at.under(FILTER_HEADER));
    }

    /// Removes body, undo record and filter of each block. Filter headers stay.
    pub(crate) fn delete_bodies(&mut self, blocks: &[BlockKey]) {
        for at in blocks {
            [BLOCK, UNDO, FILTER].into_iter().for_each(|prefix| self.delete(at.under(prefix)));
        }
    }

    pub(crate) fn put_kept_from(&mut self, height: Height) {
        self.put(KEPT_FROM, codec::encode(&height));
    }

    pub(crate) fn put_best(&mut self, height: Height, hash: &BlockHash) {
        self.put(key(BEST, &[&height.as_u32().to_be_bytes()]), hash.to_bytes());
    }

    pub(crate) fn delete_best(&mut self, height: Height) {
        self.delete(key(BEST, &[&height.as_u32().to_be_bytes()]));
    }

    pub(crate) fn put_range_node(&mut self, number: u64, node: &mmr::Node) {
        self.put(key(RANGE, &[&number.to_be_bytes()]), codec::encode(node));
    }

    pub(crate) fn delete_range_node(&mut self, number: u64) {
        self.delete(key(RANGE, &[&number.to_be_bytes()]));
    }

    /// A new coin, and its entry among its key's coins.
    pub(crate) fn put_coin(&mut self, outpoint: &OutPoint, coin: &Coin) {
        let outpoint = outpoint_bytes(outpoint);
        if let Some(owner) = coin.output.key() {
            self.put_new(key(ADDRESS_COIN, &[&owner.0, &outpoint]), []);
        }
        self.put_new(key(COIN, &[&outpoint]), codec::encode(coin));
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
        self.put_new(key(TX, &[txid.as_bytes()]), codec::encode(&location));
    }

    pub(crate) fn delete_tx(&mut self, txid: &Txid) {
        self.delete(key(TX, &[txid.as_bytes()]));
    }

    pub(crate) fn put_history(&mut self, owner: &PublicKey, entry: &HistoryEntry) {
        let key =
            key(ADDRESS_HISTORY, &[&owner.0, &entry.height.as_u32().to_be_bytes(), &entry.position.to_be_bytes()]);
        self.put_new(key, codec::encode(&(entry.txid, entry.received, entry.spent)));
    }

    pub(crate) fn delete_history(&mut self, owner: &PublicKey, height: Height, position: u32) {
        self.delete(key(ADDRESS_HISTORY, &[&owner.0, &height.as_u32().to_be_bytes(), &position.to_be_bytes()]));
    }

    /// A record of the address book, under a name that the caller chooses.
    pub fn put_peer(&mut self, name: &[u8], record: Vec<u8>) {
        self.put(key(PEER, &[name]), record);
    }

    /// Removes a record of the address book.
    pub fn delete_peer(&mut self, name: &[u8]) {
        self.delete(key(PEER, &[name]));
    }
}
