//! What is stored under which key. One tree holds everything, so that one batch can change anything.
//!
//! A key is one prefix byte, then its fields; numbers in keys sort as numbers, big-endian or short
//! ([`put_ordered`]). A [`BlockKey`] is the height and [`BLOCK_HASH_BYTES`] of the hash; an outpoint ends with a short number. Values
//! are in the encoding of [`codec`], or where there are many in a shorter one ([`super::compact`]).
//!
//! | prefix | then | value |
//! |---|---|---|
//! | `v` | | schema version `u32`, genesis hash |
//! | `T` | | hash of the tip |
//! | `H` | place in order of arrival `u32` | [`HeaderRecord`] of the root of the tree in memory, or of a header above it |
//! | `o` | | [`TreeRoot`](super::buried::TreeRoot): the root of the tree in memory |
//! | `O` | a multiple of 4, `u32` | [`BuriedHeader`](super::few::BuriedHeader)s of the best chain's blocks below the root at that height and the next three |
//! | `g` | | [`HeaderGap`](super::buried::HeaderGap): the headers below the root that are still to come; absent if all are there |
//! | `I` | first 6 bytes of a hash | heights `u32` of the blocks under `O` whose hashes begin so |
//! | `K` | | lowest height whose blocks are kept; absent if none was pruned |
//! | `B` | [`BlockKey`] | the block without its header |
//! | `h` | [`BlockKey`] | header of a block that was stored; absent if the block is under `O` |
//! | `Q` | [`BlockKey`] | a block of the best chain that is pruned but for this, without its header |
//! | `U` | [`BlockKey`] | coins the block of the best chain spent, in order, short |
//! | `F` | [`BlockKey`] | bytes of the best chain's [`Filter`](crate::primitives::gcs::Filter) there, from 32 on |
//! | `G` | height `u32`, [`BEST_HASH_BYTES`] of the hash | the filter header, then the filter if it is shorter, else its hash |
//! | `N` | height `u32` | hash of the best chain's block there, from the root on |
//! | `R` | number, short | node of the header range ([`mmr`](crate::primitives::mmr)): hash, time `u32`, work without its zeros; none if all blocks under it are under `O`, and there are at most four |
//! | `C` | outpoint | [`Coin`], short |
//! | `X` | [`TXID_BYTES`] of a txid | [`TxLocation`], short |
//! | `A` | [`OWNER_BYTES`] of the digest of a key, outpoint | nothing: the key's coins, and any of other keys with such a digest |
//! | `Y` | key, height `u32`, position, short | txid, received, spent, short: the key's history |
//! | `s` | | [`StateHead`](super::state::StateHead): where the table of the state stands |
//! | `S` | key of the state, its index short | a coin of the table, short |
//! | `D` | prefix ([`prefix_bytes`](super::state::prefix_bytes)) | both children of the node there, short |
//! | `E` | height `u32` | [`Edge`](super::state::Edge) of the best chain |
//! | `L` | height `u32` of an edge, a key of `S` or `D` | the value there after the edge, empty if there was none |
//! | `l` | | [`StateLoad`](super::load::StateLoad): what is loaded of a state that the node is to start from, while it is |
//! | `b` | | height of the block from whose state the node started; absent if it started from genesis |
//! | `r` | | nothing: the chain is being removed, to be started again from genesis |
//! | `P` | any | address book records |

use super::Batch;
use super::compact::{self, outpoint_bytes, put_number, put_ordered};
use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::gcs::Filter;
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader, MerkleRoot, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::mmr;
use crate::primitives::target::Bits;
use crate::primitives::tx::OutPoint;
use crate::state::key::lock_digest;

/// Format of keys, values and files; raised whenever any of these changes. Versions 1 and 2 stored every entry as a
/// sled entry; version 3 stored derived values with each header; version 4 stored peers as sockets; version 5 stored no
/// times in the header range, bodies under hashes alone, and large values in one file; version 6 had no state;
/// version 7 stored no root with an edge; version 8 buried no headers; versions 9 and 10 had the
/// pages in sled, and whole hashes and numbers of fixed width everywhere; version 11 had all headers of its chain; version 12
/// archived no pruned blocks; version 13 wrote the keys of a page whole, and a block with its header; version 14 forgot a state
/// that was partly there when it turned to a newer one; version 15 wrote the values of a page whole, a coin's numbers before its
/// lock, and each buried header by itself.
pub const SCHEMA_VERSION: u32 = 16;

/// Digests of a small database: of its keys and values, of its files, and of the records under [`PEER`]. Tests compare
/// them, so that a change of the format with the old version fails.
#[cfg(test)]
pub(super) const SCHEMA_DIGEST: &str = "483dda399ebfaba5cb77b4c375ec453a963ea8f9ee19261844e4dc8cb18e42d2";
#[cfg(test)]
pub(super) const FILES_DIGEST: &str = "214292af23cadc5e69077d8c79b409508294e164efde1ac7485f0403dd98b502";
#[cfg(test)]
pub(crate) const PEER_RECORDS_DIGEST: &str = "1472ddb5a80cdb270c55ef2c51d445ded6d6b7956ebcd76e025cc664aa036bb1";

pub(super) const META: &[u8] = b"v";
pub(super) const TIP: &[u8] = b"T";
pub(super) const HEADER: u8 = b'H';
pub(super) const TREE_ROOT: &[u8] = b"o";
pub(super) const HEADER_GAP: &[u8] = b"g";
pub(super) const BURIED: u8 = b'O';
pub(super) const BURIED_HASH: u8 = b'I';
pub(super) const KEPT_FROM: &[u8] = b"K";
pub(super) const BLOCK: u8 = b'B';
pub(super) const BLOCK_HEADER: u8 = b'h';
pub(super) const ARCHIVED: u8 = b'Q';
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

/// Bytes of a block's hash beside its height: two blocks of one height that share them take the work of 2^48.
const BLOCK_HASH_BYTES: usize = 12;
/// The same where only the best chain's block of a height has an entry: they tell it from another that is asked for, unless that
/// was made to share them, with 2^32 attempts at the network's difficulty.
const BEST_HASH_BYTES: usize = 4;
/// Bytes of a txid under which its place stands. Of two transactions that share them, which takes 2^80 attempts, one would not
/// be found.
const TXID_BYTES: usize = 20;
/// Bytes of a key's digest under which its coins stand. To list another's coin there takes 2^64 attempts and a coin; it is told
/// by its lock.
const OWNER_BYTES: usize = 8;

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
        let hash_bytes = if prefix == FILTER_HEADER { BEST_HASH_BYTES } else { BLOCK_HASH_BYTES };
        key(prefix, &[&self.height.as_u32().to_be_bytes(), &self.hash.as_bytes()[..hash_bytes]])
    }

    /// What is not greater than any key of blocks from a height on, and greater than all of lower ones.
    pub(super) fn first_of(prefix: u8, height: Height) -> Vec<u8> {
        key(prefix, &[&height.as_u32().to_be_bytes()])
    }

    /// The height in what [`BlockKey::under`] wrote.
    pub(super) fn height_in(key: &[u8]) -> Option<Height> {
        Some(Height::from_u32(u32::from_be_bytes(*key.get(1..)?.first_chunk()?)))
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
    /// Bytes of its encoding.
    pub(super) const LEN: usize = Header::LEN - 32;

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

/// Where the coins of a key are listed.
pub(super) fn owner_key(owner: &PublicKey, outpoint: &[u8]) -> Vec<u8> {
    key(ADDRESS_COIN, &[&lock_digest(owner).as_bytes()[..OWNER_BYTES], outpoint])
}

/// The outpoint in what [`owner_key`] made.
pub(super) fn owned_outpoint(key: &[u8]) -> Option<OutPoint> {
    compact::outpoint_at(key.get(1 + OWNER_BYTES..)?)
}

pub(super) fn tx_key(txid: &Txid) -> Vec<u8> {
    key(TX, &[&txid.as_bytes()[..TXID_BYTES]])
}

pub(super) fn range_key(number: u64) -> Vec<u8> {
    let mut key = vec![RANGE];
    put_ordered(&mut key, number);
    key
}

/// What all entries of a key's history begin with.
pub(super) fn history_prefix(owner: &PublicKey) -> Vec<u8> {
    key(ADDRESS_HISTORY, &[&owner.0])
}

/// Where the history of a key has the transaction at a place.
pub(super) fn history_key(owner: &PublicKey, place: TxLocation) -> Vec<u8> {
    let mut key = history_prefix(owner);
    key.extend(place.height.as_u32().to_be_bytes());
    put_ordered(&mut key, place.position.into());
    key
}

/// The place in what [`history_key`] made.
pub(super) fn history_place(key: &[u8]) -> Option<TxLocation> {
    let (height, mut position) = key.get(33..)?.split_first_chunk()?;
    let height = Height::from_u32(u32::from_be_bytes(*height));
    Some(TxLocation { height, position: compact::ordered(&mut position)?.try_into().ok()? })
}

pub(super) fn coin_bytes(coin: &Coin) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(43);
    compact::put_coin(&mut bytes, coin);
    bytes
}

/// What stands with a filter header.
pub(super) enum Filtered {
    /// The filter, which is short.
    Filter(Vec<u8>),
    /// The hash of one that stands by itself, or that is pruned.
    Hash(FilterHash),
}

/// Reads a filter header and what stands with it.
pub(super) fn filtered(bytes: &[u8]) -> Option<(FilterHeader, Filtered)> {
    let (header, rest) = bytes.split_first_chunk()?;
    let rest = match rest.try_into() {
        Ok(hash) => Filtered::Hash(FilterHash::from_bytes(hash)),
        Err(_) => Filtered::Filter(rest.to_vec()),
    };
    Some((FilterHeader::from_bytes(*header), rest))
}

/// Whether a filter stands with its header.
fn is_short(filter: &Filter) -> bool {
    filter.as_bytes().len() < 32
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

    /// A block that is not buried.
    pub(crate) fn put_block(&mut self, at: &BlockKey, block: &Block) {
        self.put(at.under(BLOCK_HEADER), block.header.to_bytes());
        self.put_at(at.height, at.under(BLOCK), codec::encode(&block.transactions));
    }

    /// A block's body ([`Database::raw_body`](crate::storage::Database::raw_body)), to be kept when the block is pruned.
    pub(crate) fn put_archived(&mut self, at: &BlockKey, body: Vec<u8>) {
        self.put(at.under(ARCHIVED), body);
    }

    pub(crate) fn delete_archived(&mut self, at: &BlockKey) {
        self.delete(at.under(ARCHIVED));
    }

    pub(crate) fn put_undo<'a>(&mut self, at: &BlockKey, spent: impl Iterator<Item = &'a Coin>) {
        let mut coins = Vec::new();
        spent.for_each(|coin| compact::put_coin(&mut coins, coin));
        self.put_at(at.height, at.under(UNDO), coins);
    }

    pub(crate) fn delete_undo(&mut self, at: &BlockKey) {
        self.delete(at.under(UNDO));
    }

    /// A block's filter and filter header. Filters are stored apart, because clients request thousands of hashes, unless they
    /// are shorter than these.
    pub(crate) fn put_filter(&mut self, at: &BlockKey, filter: &Filter, header: &FilterHeader) {
        let rest = if is_short(filter) {
            filter.as_bytes().to_vec()
        } else {
            self.put_at(at.height, at.under(FILTER), filter.as_bytes());
            filter.hash().to_bytes().to_vec()
        };
        self.put(at.under(FILTER_HEADER), [&header.as_bytes()[..], &rest].concat());
    }

    pub(crate) fn delete_filter(&mut self, at: &BlockKey) {
        self.delete(at.under(FILTER));
        self.delete(at.under(FILTER_HEADER));
    }

    /// Removes a block that is on no branch any more, or whose body is as if it had never come.
    pub(crate) fn forget_block(&mut self, at: &BlockKey) {
        self.delete(at.under(BLOCK_HEADER));
        self.delete_bodies(&[*at]);
    }

    /// Removes body, undo record and filter of each block. Headers and filter headers stay.
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
        let mmr::Node { hash, work, last_time } = node;
        let work = codec::encode(work);
        let value = [hash.as_bytes(), &last_time.to_le_bytes()[..], compact::significant(&work)].concat();
        self.put(range_key(number), value);
    }

    pub(crate) fn delete_range_node(&mut self, number: u64) {
        self.delete(range_key(number));
    }

    /// A new coin, and its entry among its key's coins.
    pub(crate) fn put_coin(&mut self, outpoint: &OutPoint, coin: &Coin) {
        let outpoint = outpoint_bytes(outpoint);
        if let Some(owner) = coin.output.key() {
            self.put_new(owner_key(owner, &outpoint), []);
        }
        self.put_new(key(COIN, &[&outpoint]), coin_bytes(coin));
    }

    /// Removes what [`Batch::put_coin`] put.
    pub(crate) fn delete_coin(&mut self, outpoint: &OutPoint, coin: &Coin) {
        let outpoint = outpoint_bytes(outpoint);
        if let Some(owner) = coin.output.key() {
            self.delete(owner_key(owner, &outpoint));
        }
        self.delete(key(COIN, &[&outpoint]));
    }

    pub(crate) fn put_tx(&mut self, txid: &Txid, location: TxLocation) {
        let mut place = Vec::with_capacity(5);
        put_number(&mut place, location.height.as_u32().into());
        put_number(&mut place, location.position.into());
        self.put_new(tx_key(txid), place);
    }

    pub(crate) fn delete_tx(&mut self, txid: &Txid) {
        self.delete(tx_key(txid));
    }

    pub(crate) fn put_history(&mut self, owner: &PublicKey, entry: &HistoryEntry) {
        let HistoryEntry { height, position, txid, received, spent } = *entry;
        let mut value = txid.to_bytes().to_vec();
        [received, spent].iter().for_each(|amount| put_number(&mut value, amount.as_grains()));
        self.put_new(history_key(owner, TxLocation { height, position }), value);
    }

    pub(crate) fn delete_history(&mut self, owner: &PublicKey, height: Height, position: u32) {
        self.delete(history_key(owner, TxLocation { height, position }));
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
