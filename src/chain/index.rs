//! The tree of all headers, in memory: an arena in the order of arrival, which is also the order on disk.

use std::collections::HashMap;

use crate::consensus::context::{HeaderContext, MEDIAN_SPAN, Parent, median};
use crate::consensus::params::Params;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::target::Work;
use crate::storage::{Database, HeaderRecord, Status, StoreError};

/// Place of an entry in the arena. A parent's is less than its child's.
pub(super) type Id = u32;

/// Genesis is the first entry, and its own parent.
pub(super) const GENESIS: Id = 0;

/// Flags for which a block is kept out of the best chain. Its descendants inherit them.
pub(super) const FAULTS: [Status; 2] = [Status::BROKEN, Status::REFUSED];

/// A header and its place in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its hash.
    pub hash: BlockHash,
    /// The header.
    pub header: Header,
    /// Distance from genesis.
    pub height: u32,
    /// Work of its chain, up to and with it.
    pub work: Work,
    /// Transactions in its body; 0 until that is known.
    pub tx_count: u32,
    pub(super) id: Id,
    pub(super) parent: Id,
    /// A farther ancestor, so that any can be reached in a logarithmic number of steps.
    skip: Id,
    /// Time of the block at height 1 on this branch.
    first_time: u32,
    /// Its turn among the blocks that could be connected; 0 until its body and those of all its ancestors are stored.
    pub(super) sequence: u32,
    /// What is known of the block itself: what the store keeps.
    pub(super) status: Status,
    /// Faults of blocks before it.
    pub(super) inherited: Status,
}

impl Entry {
    /// Whether the body is stored.
    pub fn has_body(&self) -> bool {
        self.status.has(Status::BODY)
    }

    /// Whether it, or a block before it, is known to be invalid or refused by the operator.
    pub fn is_invalid(&self) -> bool {
        FAULTS.iter().any(|fault| self.has_fault(*fault))
    }

    /// Whether it was connected at least once, so that all rules are known to hold.
    pub fn is_validated(&self) -> bool {
        self.status.has(Status::VALID)
    }

    /// Whether its body and those of all its ancestors are stored.
    pub(super) fn is_complete(&self) -> bool {
        self.sequence != 0
    }

    /// Whether `fault` is its own or an ancestor's.
    pub(super) fn has_fault(&self, fault: Status) -> bool {
        self.status.with(self.inherited).has(fault)
    }

    /// What children inherit.
    fn legacy(&self) -> Status {
        FAULTS.into_iter().filter(|fault| self.has_fault(*fault)).fold(Status::default(), Status::with)
    }

    pub(super) fn record(&self) -> HeaderRecord {
        let Self { header, hash, height, work, status, sequence, tx_count, .. } = *self;
        HeaderRecord { header, hash, height, work, status, sequence, tx_count }
    }
}

/// The tree. Changing the disk first is up to its owner.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    by_hash: HashMap<BlockHash, Id>,
    /// The entry with most work that is not invalid: the first to arrive, on a tie.
    best: Id,
}

impl Index {
    /// Rebuilds the tree from the store. Nothing is hashed or checked again, but that each header follows on another.
    pub fn load(db: &Database) -> Result<Self, StoreError> {
        let mut index = Self::default();
        db.for_each_header(&mut |place, record| {
            let HeaderRecord { hash, header, height, work, status, sequence, tx_count } = record;
            let parent = index.by_hash.get(&header.previous).copied();
            let expected = parent.map_or(0, |parent| index.get(parent).height + 1);
            let is_next = place as usize == index.len() && (parent.is_some() || index.len() == 0);
            if !is_next || height != expected || index.by_hash.contains_key(&hash) {
                return Err(db.corrupt(format!("header {place}, of block {hash}, does not follow on those before it")));
            }
            let id = index.insert(hash, header, parent.unwrap_or(GENESIS), work);
            let entry = index.get_mut(id);
            (entry.status, entry.sequence, entry.tx_count) = (status, sequence, tx_count);
            Ok(())
        })?;
        if index.len() == 0 {
            return Err(db.corrupt("there are no headers"));
        }
        index.hand_down_faults();
        Ok(index)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, id: Id) -> &Entry {
        &self.entries[id as usize]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Entry {
        &mut self.entries[id as usize]
    }

    pub fn find(&self, hash: &BlockHash) -> Option<&Entry> {
        self.by_hash.get(hash).map(|id| self.get(*id))
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Appends a header whose rules are checked, under `parent`; `work` is that of its chain. The first is genesis.
    pub fn insert(&mut self, hash: BlockHash, header: Header, parent: Id, work: Work) -> Id {
        let id = self.entries.len() as Id;
        let (mut height, mut skip, mut first_time, mut inherited) = (0, GENESIS, 0, Status::default());
        if let Some(above) = self.entries.get(parent as usize) {
            height = above.height + 1;
            skip = self.ancestor(above, skip_height(height)).id;
            first_time = if height == 1 { header.time } else { above.first_time };
            inherited = above.legacy();
        }
        let (tx_count, sequence, status) = (0, 0, Status::default());
        let entry =
            Entry { hash, header, height, work, tx_count, id, parent, skip, first_time, sequence, status, inherited };
        if self.entries.len() == self.entries.capacity() {
            // Doubling would leave up to half of a long chain's memory unused.
            self.entries.reserve_exact(self.entries.len() / 8 + 64);
        }
        self.entries.push(entry);
        self.by_hash.insert(hash, id);
        if work > self.get(self.best).work && !entry.is_invalid() {
            self.best = id;
        }
        id
    }

    /// Forgets the entries from `len` on: their batch was not committed.
    pub fn truncate(&mut self, len: usize) {
        if len == self.entries.len() {
            return;
        }
        for entry in self.entries.drain(len..) {
            self.by_hash.remove(&entry.hash);
        }
        self.find_best();
    }

    /// Has every entry inherit its ancestors' faults, after some have changed, which is rare.
    pub fn hand_down_faults(&mut self) {
        for id in 1..self.entries.len() {
            self.entries[id].inherited = self.get(self.entries[id].parent).legacy();
        }
        self.find_best();
    }

    fn find_best(&mut self) {
        self.best = GENESIS;
        for entry in &self.entries {
            if entry.work > self.entries[self.best as usize].work && !entry.is_invalid() {
                self.best = entry.id;
            }
        }
    }

    pub fn best_header(&self) -> &Entry {
        self.get(self.best)
    }

    /// The ancestor of `entry` at `height`, itself if the height is its own or above.
    pub fn ancestor<'a>(&'a self, entry: &'a Entry, height: u32) -> &'a Entry {
        let mut at = entry;
        while at.height > height {
            let (skip, next_skip) = (skip_height(at.height), skip_height(at.height - 1));
            // One step back may lead to a longer jump that does not go too far.
            let step_first = next_skip + 2 < skip && next_skip >= height;
            at = self.get(if skip == height || (skip > height && !step_first) { at.skip } else { at.parent });
        }
        at
    }

    /// Whether `entry` is `ancestor` or comes after it.
    pub fn is_on_branch(&self, entry: &Entry, ancestor: &Entry) -> bool {
        self.ancestor(entry, ancestor.height).id == ancestor.id
    }

    /// The last entry that both branches have.
    pub fn fork<'a>(&'a self, a: &'a Entry, b: &'a Entry) -> &'a Entry {
        let height = a.height.min(b.height);
        let (mut a, mut b) = (self.ancestor(a, height), self.ancestor(b, height));
        while a.id != b.id {
            // Skips of equal heights lead to equal heights: jump while that keeps the branches apart.
            (a, b) = if a.skip != b.skip {
                (self.get(a.skip), self.get(b.skip))
            } else {
                (self.get(a.parent), self.get(b.parent))
            };
        }
        a
    }

    /// What the rules ask of a child of `parent`.
    pub fn child_context(&self, parent: &Entry, params: &Params) -> HeaderContext {
        let place = Parent { height: parent.height, time: parent.header.time, first_time: parent.first_time };
        let (mut times, count) = self.times(parent);
        HeaderContext::after(place, &mut times[..count], params)
    }

    /// Median time of `entry` and the ten blocks before it.
    pub fn median_time(&self, entry: &Entry) -> u32 {
        let (mut times, count) = self.times(entry);
        median(&mut times[..count])
    }

    fn times(&self, entry: &Entry) -> ([u32; MEDIAN_SPAN], usize) {
        let mut times = [0; MEDIAN_SPAN];
        let filled = times.iter_mut().zip(self.branch(entry)).map(|(time, entry)| *time = entry.header.time).count();
        (times, filled)
    }

    /// `entry`, its parent, and so on down to genesis.
    pub fn branch<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Entry> {
        std::iter::successors(Some(entry), |entry| (entry.height > 0).then(|| self.get(entry.parent)))
    }

    /// Hashes from `entry` down to genesis, ten one by one, then at doubling distances: enough for a peer to find
    /// where the branches part.
    pub fn locator(&self, entry: &Entry) -> Vec<BlockHash> {
        let mut hashes = vec![entry.hash];
        let mut at = entry;
        let mut step = 1;
        while at.height > 0 {
            if hashes.len() >= 10 {
                step *= 2;
            }
            at = self.ancestor(at, at.height.saturating_sub(step));
            hashes.push(at.hash);
        }
        hashes
    }
}

/// Where the skip of a block at `height` leads: the lowest bit or two of the height are cleared, as in Bitcoin Core, so
/// that skips of neighbours land far apart.
fn skip_height(height: u32) -> u32 {
    let clear_lowest = |n: u32| n & n.wrapping_sub(1);
    match height {
        0..=1 => 0,
        odd if odd & 1 == 1 => clear_lowest(clear_lowest(odd - 1)) + 1,
        even => clear_lowest(even),
    }
}
