//! Headers of the best chain far below its tip: by height, and found by hash.
//!
//! Headers near the tip are stored in the order of arrival, with their branches, and read whole when a node starts. Once a
//! block is buried deep enough its header is moved here, where it is read when it is asked for. The lowest header that is not
//! moved is the root of the tree in memory. The leaf of a buried block in the header range is not stored, since its header
//! says what it is, and so with the nodes over it of [`LOW_LEVELS`], as soon as all blocks under them are buried.
//!
//! The index by hash has the heights of all blocks whose hashes begin with the same bytes, hardly ever more than one: which of
//! them is the block in question, their headers say.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use super::compact::{padded, significant};
use super::schema::{BEST, BLOCK_HEADER, BURIED, BURIED_HASH, HEADER_GAP, TREE_ROOT, key};
use super::{Batch, BlockKey, Database, StoreError};
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::mmr;
use crate::primitives::target::Work;

/// Bytes of a hash in the index. Making a block whose hash shares them with another's takes 2^48 attempts beyond its
/// proof of work, so that hardly any two do.
const HASH_BYTES: usize = 6;

/// Levels of the header range above its leaves. A node of the next would take the hashes of eight headers, and there are not
/// many.
const LOW_LEVELS: u32 = 2;

/// The root of the tree in memory: a block of the best chain, with which the headers in the order of arrival begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TreeRoot {
    /// Its height: lower blocks are buried.
    pub height: Height,
    /// Its place in the order of arrival.
    pub place: u32,
    /// Time of the block at height 1.
    pub first_time: u32,
}

/// Headers of the best chain that are still to come, on a node that started from a state: those of the heights from `from` up
/// to and without `end`. All others below the root of the tree are buried, genesis among them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HeaderGap {
    /// The lowest height whose header is missing.
    pub from: Height,
    /// The height from which on all headers are there again.
    pub end: Height,
    /// Hash of the block below `end`.
    pub previous: BlockHash,
    /// Peaks of the range over all headers below `end`, tallest first.
    pub peaks: Vec<mmr::Node>,
}

impl HeaderGap {
    /// The range over all headers below [`HeaderGap::end`]; `None` if there are not so many peaks.
    pub fn range(&self) -> Option<mmr::Range> {
        mmr::Range::from_peaks(self.end.as_u32().into(), self.peaks.clone())
    }

    /// Work of all headers below [`HeaderGap::end`].
    pub fn work(&self) -> Work {
        self.peaks.iter().map(|peak| peak.work).sum()
    }

    /// Whether the header at a height is missing.
    pub fn has(&self, height: Height) -> bool {
        (self.from..self.end).contains(&height)
    }
}

/// What is stored of a buried header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuriedHeader {
    /// The header.
    pub header: Header,
    /// Transactions in its body; 0 if that is not known.
    pub tx_count: u32,
    /// Transactions up to and with its block.
    pub transactions: u64,
    /// Work of its chain, up to and with it.
    pub work: Work,
}

impl BuriedHeader {
    /// The header, then the numbers without their leading zeros: each but the last behind its length.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.header.to_bytes().to_vec();
        for number in [u64::from(self.tx_count), self.transactions] {
            let number = number.to_le_bytes();
            let number = significant(&number);
            bytes.push(number.len() as u8);
            bytes.extend_from_slice(number);
        }
        bytes.extend_from_slice(significant(&codec::encode(&self.work)));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(Header::LEN)?;
        let mut number = || {
            let length = usize::from(*rest.split_off_first()?);
            padded(rest.split_off(..length)?).map(u64::from_le_bytes)
        };
        let (tx_count, transactions) = (u32::try_from(number()?).ok()?, number()?);
        let work = codec::decode(&padded::<32>(rest)?).ok()?;
        Some(Self { header: codec::decode(header).ok()?, tx_count, transactions, work })
    }
}

/// Where the index by hash has a block.
fn hash_key(hash: &BlockHash) -> Vec<u8> {
    key(BURIED_HASH, &[&hash.as_bytes()[..HASH_BYTES]])
}

/// Changes to the index by hash. One batch may change an entry more than once, so they are collected first.
#[derive(Debug, Default)]
pub(crate) struct HashChanges(BTreeMap<Vec<u8>, Vec<u8>>);

impl HashChanges {
    fn entry(&mut self, db: &Database, hash: &BlockHash) -> Result<&mut Vec<u8>, StoreError> {
        Ok(match self.0.entry(hash_key(hash)) {
            Entry::Occupied(changed) => changed.into_mut(),
            Entry::Vacant(vacant) => {
                let stored = db.get(vacant.key())?.unwrap_or_default();
                vacant.insert(stored)
            }
        })
    }

    /// Adds a block.
    pub(crate) fn add(&mut self, db: &Database, at: &BlockKey) -> Result<(), StoreError> {
        self.entry(db, &at.hash)?.extend(at.height.as_u32().to_le_bytes());
        Ok(())
    }

    /// Removes a block.
    pub(crate) fn remove(&mut self, db: &Database, at: &BlockKey) -> Result<(), StoreError> {
        let entry = self.entry(db, &at.hash)?;
        let height = at.height.as_u32().to_le_bytes();
        *entry = entry.chunks(4).filter(|other| **other != height).flatten().copied().collect();
        Ok(())
    }

    /// Adds the changes to a batch.
    pub(crate) fn stage(self, batch: &mut Batch) {
        for (key, heights) in self.0 {
            if heights.is_empty() { batch.delete(key) } else { batch.put(key, heights) }
        }
    }
}

impl Database {
    /// The root of the tree in memory. `None` in an empty store.
    ///
    /// # Errors
    /// The store's, and so for every method below.
    pub fn tree_root(&self) -> Result<Option<TreeRoot>, StoreError> {
        self.value(TREE_ROOT)
    }

    /// The headers below the root of the tree that are still to come. `None` if all are there.
    ///
    /// # Errors
    /// The store's.
    pub fn header_gap(&self) -> Result<Option<HeaderGap>, StoreError> {
        let gap: Option<HeaderGap> = self.value(HEADER_GAP)?;
        match gap {
            Some(gap) if gap.from >= gap.end || gap.range().is_none() => {
                Err(self.corrupt("which headers are still to come cannot be read"))
            }
            gap => Ok(gap),
        }
    }

    /// The buried header at a height.
    ///
    /// # Errors
    /// The store's.
    pub fn buried(&self, height: Height) -> Result<Option<BuriedHeader>, StoreError> {
        let read = |bytes: Vec<u8>| {
            BuriedHeader::from_bytes(&bytes)
                .ok_or_else(|| self.corrupt(format!("the header at height {height} cannot be read")))
        };
        self.get(&key(BURIED, &[&height.as_u32().to_be_bytes()]))?.map(read).transpose()
    }

    /// [`Database::buried`], where there must be one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if there is none; the store's.
    pub fn buried_at(&self, height: Height) -> Result<BuriedHeader, StoreError> {
        self.buried(height)?.ok_or_else(|| self.corrupt(format!("the header at height {height} is missing")))
    }

    /// The buried header with a hash, and its height.
    ///
    /// # Errors
    /// The store's.
    pub fn find_buried(&self, hash: &BlockHash) -> Result<Option<(Height, BuriedHeader)>, StoreError> {
        let heights = self.get(&hash_key(hash))?.unwrap_or_default();
        for height in heights.as_chunks().0 {
            let height = Height::from_u32(u32::from_le_bytes(*height));
            if let Some(found) = self.buried(height)?.filter(|found| found.header.hash() == *hash) {
                return Ok(Some((height, found)));
            }
        }
        Ok(None)
    }

    /// Up to `limit` buried headers from a height on, in order.
    ///
    /// # Errors
    /// The store's.
    pub fn buried_from(&self, height: Height, limit: usize) -> Result<Vec<BuriedHeader>, StoreError> {
        let from = key(BURIED, &[&height.as_u32().to_be_bytes()]);
        self.collect(&[BURIED], &from, limit, |_, value| BuriedHeader::from_bytes(value))
    }

    /// How many buried headers there are, and how many blocks the index by hash has. Reads all.
    ///
    /// # Errors
    /// The store's.
    pub fn count_buried(&self) -> Result<(u64, u64), StoreError> {
        let (mut headers, mut indexed) = (0, 0);
        self.for_each(&[BURIED], &[], |_, _| {
            headers += 1;
            Some(ControlFlow::Continue(()))
        })?;
        self.for_each(&[BURIED_HASH], &[], |_, heights| {
            indexed += heights.len() as u64 / 4;
            Some(ControlFlow::Continue(()))
        })?;
        Ok((headers, indexed))
    }

    /// A node of the best chain's header range.
    ///
    /// # Errors
    /// The store's.
    pub fn range_node(&self, number: u64) -> Result<Option<mmr::Node>, StoreError> {
        if let Some(node) = self.stored_range_node(number)? {
            return Ok(Some(node));
        }
        match low_node(number) {
            Some(node) => match self.node_over_buried(&node)? {
                // Blocks under it may have been put back between the reads.
                None => self.stored_range_node(number),
                found => Ok(found),
            },
            None => Ok(None),
        }
    }

    /// A low node as the headers under it say; `None` unless all are buried.
    fn node_over_buried(&self, LowNode { first, last, .. }: &LowNode) -> Result<Option<mmr::Node>, StoreError> {
        let (from, count) = (key(BURIED, &[&first.as_u32().to_be_bytes()]), last.next().blocks_since(*first));
        let headers = self.collect(&[BURIED], &from, count as usize, |key, value| {
            Some((BlockKey::height_in(key)?, BuriedHeader::from_bytes(value)?.header))
        })?;
        let (mut range, mut heights) = (mmr::Range::default(), first.through(*last));
        for (height, header) in headers {
            let leaf = leaf_of(&header, header.hash()).filter(|_| heights.next() == Some(height));
            let Some(leaf) = leaf else { return Ok(None) };
            range.push(leaf);
        }
        Ok(range.peaks().first().copied().filter(|_| range.leaves() == u64::from(count)))
    }

    /// How many nodes of the header range are not stored, since all blocks under them are buried.
    pub(super) fn count_low_nodes(&self) -> Result<u64, StoreError> {
        let root = self.tree_root()?.map_or(Height::GENESIS, |root| root.height);
        let (below, above) = self.header_gap()?.map_or((root, root), |gap| (gap.from, gap.end));
        let counts = [(Height::GENESIS, below), (above, root)].into_iter().flat_map(|(from, end)| {
            let [from, end] = [from, end].map(|height| u64::from(height.as_u32()));
            (0..=LOW_LEVELS).map(move |level| (end >> level).saturating_sub(from.div_ceil(1 << level)))
        });
        Ok(counts.sum())
    }

    /// Hash of the best chain's block at `height`.
    ///
    /// # Errors
    /// The store's.
    pub fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, StoreError> {
        let buried = || Ok::<_, StoreError>(self.buried(height)?.map(|buried| buried.header.hash()));
        if let Some(hash) = buried()? {
            return Ok(Some(hash));
        }
        match self.value(&key(BEST, &[&height.as_u32().to_be_bytes()]))? {
            Some(hash) => Ok(Some(hash)),
            // It may have been buried between the reads.
            None => buried(),
        }
    }
}

/// Writers.
impl Batch {
    pub(crate) fn put_tree_root(&mut self, root: &TreeRoot) {
        self.put(TREE_ROOT, codec::encode(root));
    }

    /// Which headers are still to come: none, if `from` is not below `end`.
    pub(crate) fn put_header_gap(&mut self, gap: &HeaderGap) {
        if gap.from < gap.end {
            self.put(HEADER_GAP, codec::encode(gap));
        } else {
            self.delete(HEADER_GAP);
        }
    }

    /// Adds a header far below the tip. All blocks from `lowest` up to it are buried.
    pub(crate) fn put_buried(&mut self, height: Height, buried: &BuriedHeader, lowest: Height) {
        self.delete_low_nodes(height, lowest);
        self.put(key(BURIED, &[&height.as_u32().to_be_bytes()]), buried.to_bytes());
    }

    /// Removes the low nodes over a block and none after it, if they are over none below `lowest`.
    fn delete_low_nodes(&mut self, height: Height, lowest: Height) {
        for node in low_nodes(height).filter(|node| node.first >= lowest) {
            self.delete_range_node(node.number);
        }
    }

    /// Removes the low nodes over blocks on both sides of `end`, where headers were missing below, and all blocks up to `root`
    /// are buried now.
    pub(crate) fn close_header_gap(&mut self, end: Height, root: Height) {
        let beyond = end.saturating_add((1 << LOW_LEVELS) - 1).min(root);
        end.until(beyond).for_each(|height| self.delete_low_nodes(height, Height::GENESIS));
    }

    /// Moves the header of the best chain's block `at`, whose place in the order of arrival is `place`. All blocks from `lowest`
    /// up to it are buried. The index by hash changes with it.
    pub(crate) fn bury(&mut self, at: &BlockKey, place: u32, buried: &BuriedHeader, lowest: Height) {
        self.delete_header(place);
        self.delete(at.under(BLOCK_HEADER));
        self.delete_best(at.height);
        self.put_buried(at.height, buried, lowest);
    }
}

impl Database {
    /// Stages what takes back what [`Batch::bury`] did to the block `at` with a header, but for the record of the header, which
    /// is put elsewhere. All blocks after it are put back, too.
    pub(crate) fn stage_unbury(&self, batch: &mut Batch, at: &BlockKey, header: &Header) -> Result<(), StoreError> {
        batch.delete(key(BURIED, &[&at.height.as_u32().to_be_bytes()]));
        batch.put_best(at.height, &at.hash);
        batch.put(at.under(BLOCK_HEADER), header.to_bytes());
        for LowNode { number, .. } in low_nodes(at.height) {
            let missing = || self.corrupt(format!("header range node {number} is missing"));
            batch.put_range_node(number, &self.range_node(number)?.ok_or_else(missing)?);
        }
        Ok(())
    }
}

/// A leaf of the header range or a node of [`LOW_LEVELS`], and the first and the last block under it.
struct LowNode {
    number: u64,
    first: Height,
    last: Height,
}

/// Those over a block and none after it.
fn low_nodes(last: Height) -> impl Iterator<Item = LowNode> {
    let leaves = u64::from(last.as_u32()) + 1;
    let levels = (0..=LOW_LEVELS).take_while(move |level| leaves.is_multiple_of(1 << level));
    levels.map(move |level| {
        let number = leaf_number(last) + u64::from(level);
        LowNode { number, first: last.saturating_sub((1 << level) - 1), last }
    })
}

/// The low node of a number; `None` if the node is no such.
fn low_node(number: u64) -> Option<LowNode> {
    let last = (0..=u64::from(LOW_LEVELS)).find_map(|level| height_of_leaf(number.checked_sub(level)?))?;
    low_nodes(last).find(|node| node.number == number)
}

/// The number in the header range of the leaf of a block.
fn leaf_number(height: Height) -> u64 {
    mmr::node_count(height.as_u32().into())
}

/// The block whose leaf a node of the header range is; `None` if it is no leaf.
fn height_of_leaf(number: u64) -> Option<Height> {
    // Twice the height without one for each bit of it.
    let first = u32::try_from(number / 2).ok()?;
    let mut heights = (first..=first.saturating_add(u32::BITS / 2)).map(Height::from_u32);
    heights.find(|height| leaf_number(*height) == number)
}

/// The leaf of a block; `None` if its header has no target, which no block has that is stored.
fn leaf_of(header: &Header, hash: BlockHash) -> Option<mmr::Node> {
    Some(mmr::Node::leaf(hash, header.bits.target().ok()?.work(), header.time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::hash::MerkleRoot;
    use crate::primitives::target::Bits;

    #[test]
    fn leaves_and_low_nodes_of_the_range_have_heights_and_other_nodes_have_none() {
        let mut range = mmr::Range::default();
        for height in (0..600).map(Height::from_u32) {
            let leaf = mmr::Node::leaf(BlockHash::of(b""), Work::ZERO, 0);
            for (level, (number, node)) in (0..).zip(range.push_numbered(leaf)) {
                assert_eq!(height_of_leaf(number), (node == leaf).then_some(height));
                let blocks = low_node(number).map(|node| (node.number, node.first, node.last));
                let first = height.saturating_sub((1 << level) - 1);
                assert_eq!(blocks, (level <= LOW_LEVELS).then_some((number, first, height)));
            }
        }
        assert_eq!(height_of_leaf(leaf_number(Height::MAX)), Some(Height::MAX));
        assert_eq!(height_of_leaf(u64::MAX), None);
    }

    #[test]
    fn numbers_of_any_length_come_back() {
        let header = Header {
            version: 2,
            previous: BlockHash::of(b"before"),
            merkle_root: MerkleRoot::of(b"body"),
            time: 3,
            bits: Bits(0x1d00_ffff),
            nonce: 4,
        };
        for shift in 0..64 {
            let number = u64::MAX >> shift;
            let work = "f".repeat(1 + shift).parse().unwrap();
            let buried = BuriedHeader { header, tx_count: number as u32, transactions: number, work };
            assert_eq!(BuriedHeader::from_bytes(&buried.to_bytes()), Some(buried));
        }
        let nothing = BuriedHeader { header, tx_count: 0, transactions: 0, work: Work::ZERO };
        assert_eq!(nothing.to_bytes().len(), Header::LEN + 2);
        assert_eq!(BuriedHeader::from_bytes(&nothing.to_bytes()), Some(nothing));
        assert_eq!(BuriedHeader::from_bytes(&nothing.to_bytes()[..Header::LEN + 1]), None, "cut");
        let long = [&header.to_bytes()[..], &[9; 40]].concat();
        assert_eq!(BuriedHeader::from_bytes(&long), None, "a number of nine bytes");
    }
}
