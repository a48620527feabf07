//! Headers of the best chain far below its tip: by height, and found by hash.
//!
//! Headers near the tip are stored in the order of arrival, with their branches, and read whole when a node starts. Once a
//! block is buried deep enough its header is moved here, where it is read when it is asked for. The lowest header that is not
//! moved is the root of the tree in memory. The leaf of a buried block in the header range is not stored, since its header
//! says what it is, and so with the nodes over it of [`LOW_LEVELS`], as soon as all blocks under them are buried.
//!
//! Headers under such a node are one entry, [`Few`]. Only the first has the hash of its parent and the sums over its chain there:
//! those of the others follow from the one before.
//!
//! The index by hash has the heights of all blocks whose hashes begin with the same bytes, hardly ever more than one: which of
//! them is the block in question, their headers say.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use super::few::{FEW, Few, LOW_LEVELS};
use super::schema::{BEST, BLOCK_HEADER, BURIED, BURIED_HASH, HEADER_GAP, TREE_ROOT, key};
use super::{Batch, BlockKey, BuriedHeader, Database, StoreError};
use crate::primitives::codec::{self, Decode, Encode};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::mmr;
use crate::primitives::target::Work;

/// Bytes of a hash in the index. Making a block whose hash shares them with another's takes 2^48 attempts beyond its
/// proof of work, so that hardly any two do.
const HASH_BYTES: usize = 6;

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

fn few_key(first: Height) -> Vec<u8> {
    key(BURIED, &[&first.as_u32().to_be_bytes()])
}

/// Where the index by hash has a block.
fn hash_key(hash: &BlockHash) -> Vec<u8> {
    key(BURIED_HASH, &[&hash.as_bytes()[..HASH_BYTES]])
}

/// Headers that are buried, or put back, with the index by hash. One batch may change an entry more than once, so the changes are
/// collected first.
#[derive(Debug, Default)]
pub(crate) struct Burials {
    headers: BTreeMap<Height, Few>,
    hashes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Burials {
    fn header(&mut self, db: &Database, height: Height) -> Result<&mut Option<BuriedHeader>, StoreError> {
        let (first, place) = Few::place(height);
        let few = match self.headers.entry(first) {
            Entry::Occupied(changed) => changed.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(db.few(first, FEW - 1)?.unwrap_or_default()),
        };
        Ok(&mut few.0[place])
    }

    fn heights(&mut self, db: &Database, hash: &BlockHash) -> Result<&mut Vec<u8>, StoreError> {
        Ok(match self.hashes.entry(hash_key(hash)) {
            Entry::Occupied(changed) => changed.into_mut(),
            Entry::Vacant(vacant) => {
                let stored = db.get(vacant.key())?.unwrap_or_default();
                vacant.insert(stored)
            }
        })
    }

    /// Adds a block.
    pub(crate) fn add(&mut self, db: &Database, at: &BlockKey, buried: &BuriedHeader) -> Result<(), StoreError> {
        *self.header(db, at.height)? = Some(*buried);
        self.heights(db, &at.hash)?.extend(at.height.as_u32().to_le_bytes());
        Ok(())
    }

    /// Removes a block.
    fn remove(&mut self, db: &Database, at: &BlockKey) -> Result<(), StoreError> {
        *self.header(db, at.height)? = None;
        let heights = self.heights(db, &at.hash)?;
        let height = at.height.as_u32().to_le_bytes();
        *heights = heights.chunks(4).filter(|other| **other != height).flatten().copied().collect();
        Ok(())
    }

    /// Adds the changes to a batch.
    pub(crate) fn stage(self, batch: &mut Batch) {
        for (first, few) in self.headers {
            let key = few_key(first);
            if few == Few::default() { batch.delete(key) } else { batch.put(key, few.to_bytes()) }
        }
        for (key, heights) in self.hashes {
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

    /// The buried headers of an entry, up to the one at a place.
    fn few(&self, first: Height, last: usize) -> Result<Option<Few>, StoreError> {
        let read = |bytes: Vec<u8>| {
            Few::read(&bytes, last)
                .ok_or_else(|| self.corrupt(format!("the headers from height {first} on cannot be read")))
        };
        self.get(&few_key(first))?.map(read).transpose()
    }

    /// The buried header at a height.
    ///
    /// # Errors
    /// The store's.
    pub fn buried(&self, height: Height) -> Result<Option<BuriedHeader>, StoreError> {
        let (first, place) = Few::place(height);
        Ok(self.few(first, place)?.and_then(|few| few.0[place]))
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
        let mut found = Vec::new();
        self.for_each(&[BURIED], &few_key(Few::place(height).0), |key, value| {
            let few = Few::read(value, FEW - 1)?.from(BlockKey::height_in(key)?);
            let after = few.filter(|(at, _)| *at >= height).map(|(_, buried)| buried);
            found.extend(after.take(limit - found.len()));
            Some(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    /// How many buried headers there are, and how many blocks the index by hash has. Reads all.
    ///
    /// # Errors
    /// The store's.
    pub fn count_buried(&self) -> Result<(u64, u64), StoreError> {
        let mut indexed = 0;
        self.for_each(&[BURIED_HASH], &[], |_, heights| {
            indexed += heights.len() as u64 / 4;
            Some(ControlFlow::Continue(()))
        })?;
        Ok((self.count_buried_headers()?, indexed))
    }

    /// How many buried headers there are. Reads all.
    pub(super) fn count_buried_headers(&self) -> Result<u64, StoreError> {
        let mut headers = 0;
        self.for_each(&[BURIED], &[], |_, value| {
            headers += Few::read(value, FEW - 1)?.0.iter().flatten().count() as u64;
            Some(ControlFlow::Continue(()))
        })?;
        Ok(headers)
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
        // They are all of one entry.
        let ((start, place), (_, end)) = (Few::place(*first), Few::place(*last));
        let Some(few) = self.few(start, end)? else { return Ok(None) };
        let mut range = mmr::Range::default();
        for buried in few.0.get(place..=end).unwrap_or_default() {
            let leaf = buried.as_ref().and_then(|buried| leaf_of(&buried.header, buried.header.hash()));
            let Some(leaf) = leaf else { return Ok(None) };
            range.push(leaf);
        }
        Ok(range.peaks().first().copied())
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

    /// Removes the low nodes over a buried block and none after it, if they are over none below `lowest`: all blocks from that on are
    /// buried.
    pub(crate) fn delete_low_nodes(&mut self, height: Height, lowest: Height) {
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

    /// Removes what [`Burials::add`] takes the place of: the header of the best chain's block `at`, whose place in the order of
    /// arrival is `place`. All blocks from `lowest` up to it are buried.
    pub(crate) fn bury(&mut self, at: &BlockKey, place: u32, lowest: Height) {
        self.delete_header(place);
        self.delete(at.under(BLOCK_HEADER));
        self.delete_best(at.height);
        self.delete_low_nodes(at.height, lowest);
    }
}

impl Database {
    /// Stages what takes back what [`Batch::bury`] did to the block `at` with a header, but for the record of the header, which
    /// is put elsewhere. All blocks after it are put back, too.
    pub(crate) fn stage_unbury(
        &self,
        batch: &mut Batch,
        burials: &mut Burials,
        at: &BlockKey,
        header: &Header,
    ) -> Result<(), StoreError> {
        burials.remove(self, at)?;
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
}
