//! The tree of all headers, in memory: an arena in the order of arrival, which is also the order on disk.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::consensus::context::{HeaderContext, MEDIAN_SPAN, Parent, median};
use crate::consensus::params::Params;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::target::Work;
use crate::storage::HeaderRecord;

/// Place of an entry in the arena. A parent's is less than its child's.
pub(super) type Id = u32;

/// The body is stored.
pub(super) const BODY: u8 = 1;
/// The block itself broke a rule, or was declared invalid.
pub(super) const INVALID: u8 = 2;
/// A block before it is [`INVALID`].
pub(super) const BAD_ANCESTOR: u8 = 4;
/// Connected at least once, so all rules hold.
pub(super) const VALID: u8 = 8;
const BAD: u8 = INVALID | BAD_ANCESTOR;

/// A header and its place in the tree.
#[derive(Debug, Clone)]
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
    /// Genesis is its own parent.
    pub(super) parent: Id,
    /// A farther ancestor, so that any can be reached in a logarithmic number of steps.
    skip: Id,
    /// Time of the block at height 1 on this branch.
    first_time: u32,
    pub(super) status: u8,
    /// Its body and those of all its ancestors are stored.
    linked: bool,
}

impl Entry {
    /// Whether the body is stored.
    pub fn has_body(&self) -> bool {
        self.status & BODY != 0
    }

    /// Whether it, or a block before it, is known to be invalid.
    pub fn is_invalid(&self) -> bool {
        self.status & BAD != 0
    }

    /// Whether it was connected at least once, so that all rules are known to hold.
    pub fn is_validated(&self) -> bool {
        self.status & VALID != 0
    }

    pub(super) fn record(&self) -> HeaderRecord {
        HeaderRecord {
            header: self.header,
            hash: self.hash,
            height: self.height,
            work: self.work,
            status: self.status,
            tx_count: self.tx_count,
        }
    }
}

/// The tree. Changing the disk first is up to its owner.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    by_hash: HashMap<BlockHash, Id>,
    /// Entries with a body whose parent is not linked yet, by parent.
    unlinked: HashMap<Id, Vec<Id>>,
    /// Linked entries that are not bad, best last: most work, then first seen.
    candidates: BTreeSet<(Work, Reverse<Id>)>,
    best_header: Id,
}

impl Index {
    /// Rebuilds the tree from its records. `None` if a record does not fit those before it.
    pub fn load(records: Vec<HeaderRecord>) -> Option<Self> {
        let mut index = Self::default();
        index.entries.reserve_exact(records.len());
        index.by_hash.reserve(records.len());
        for record in records {
            let fits = match index.find(&record.header.previous) {
                Some(parent) => record.height == parent.height + 1,
                None => index.entries.is_empty() && record.height == 0,
            };
            if !fits || index.by_hash.contains_key(&record.hash) {
                return None;
            }
            let id = index.insert(record.header, record.hash);
            let entry = &mut index.entries[id as usize];
            entry.status = record.status;
            entry.tx_count = record.tx_count;
            if record.status & BODY != 0 {
                index.link(id);
            }
        }
        index.rebuild_best();
        Some(index)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, id: Id) -> &Entry {
        &self.entries[id as usize]
    }

    pub fn find(&self, hash: &BlockHash) -> Option<&Entry> {
        self.by_hash.get(hash).map(|id| self.get(*id))
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Appends a header whose parent is in the tree (or genesis, first), and whose rules are checked.
    pub fn insert(&mut self, header: Header, hash: BlockHash) -> Id {
        let id = self.entries.len() as Id;
        let own_work = header.bits.target().map_or(Work::ZERO, |target| target.work());
        let entry = match self.find(&header.previous) {
            None => Entry {
                hash,
                header,
                height: 0,
                work: own_work,
                tx_count: 0,
                id,
                parent: id,
                skip: id,
                first_time: 0,
                status: 0,
                linked: false,
            },
            Some(parent) => {
                let height = parent.height + 1;
                Entry {
                    hash,
                    header,
                    height,
                    work: parent.work + own_work,
                    tx_count: 0,
                    id,
                    parent: parent.id,
                    skip: self.ancestor(parent, skip_height(height)).id,
                    first_time: if height == 1 { header.time } else { parent.first_time },
                    status: if parent.is_invalid() { BAD_ANCESTOR } else { 0 },
                    linked: false,
                }
            }
        };
        if !entry.is_invalid()
            && entry.work > self.entries.get(self.best_header as usize).map_or(Work::ZERO, |e| e.work)
        {
            self.best_header = id;
        }
        self.by_hash.insert(hash, id);
        self.entries.push(entry);
        id
    }

    /// Forgets the entries from `len` on, which have no bodies: their batch was not committed.
    pub fn truncate(&mut self, len: usize) {
        for entry in self.entries.drain(len..) {
            self.by_hash.remove(&entry.hash);
        }
        self.rebuild_best();
    }

    /// Notes that the body of `id` is stored, and links whatever that completes.
    pub fn add_body(&mut self, id: Id, tx_count: u32) {
        let entry = &mut self.entries[id as usize];
        entry.status |= BODY;
        entry.tx_count = tx_count;
        self.link(id);
    }

    fn link(&mut self, id: Id) {
        let parent = self.get(id).parent;
        if parent != id && !self.get(parent).linked {
            self.unlinked.entry(parent).or_default().push(id);
            return;
        }
        let mut ready = vec![id];
        while let Some(id) = ready.pop() {
            let entry = &mut self.entries[id as usize];
            entry.linked = true;
            if !entry.is_invalid() {
                self.candidates.insert((entry.work, Reverse(id)));
            }
            ready.extend(self.unlinked.remove(&id).unwrap_or_default());
        }
    }

    pub fn set_status(&mut self, id: Id, status: u8) {
        self.entries[id as usize].status = status;
    }

    /// Every entry on a branch through `id`, itself first.
    pub fn descendants(&self, id: Id) -> Vec<Id> {
        let mut under = vec![id];
        let mut is_under = vec![false; self.entries.len() - id as usize];
        is_under[0] = true;
        for entry in &self.entries[id as usize + 1..] {
            if entry.parent >= id && is_under[(entry.parent - id) as usize] {
                is_under[(entry.id - id) as usize] = true;
                under.push(entry.id);
            }
        }
        under
    }

    /// Recomputes what follows from the statuses: after a change of validity, which is rare.
    pub fn rebuild_best(&mut self) {
        let good = || self.entries.iter().filter(|entry| !entry.is_invalid());
        self.best_header = good().map(|e| (e.work, Reverse(e.id))).max().map_or(0, |(_, Reverse(id))| id);
        self.candidates = good().filter(|e| e.linked).map(|e| (e.work, Reverse(e.id))).collect();
    }

    /// The branch to be on: most work, first seen on a tie.
    pub fn best_candidate(&self) -> Option<&Entry> {
        self.candidates.last().map(|(_, Reverse(id))| self.get(*id))
    }

    /// Forgets candidates with less work than `tip` has: they are looked for again when validity changes.
    pub fn prune_candidates(&mut self, tip: Id) {
        let least = (self.get(tip).work, Reverse(Id::MAX));
        self.candidates = self.candidates.split_off(&least);
    }

    pub fn best_header(&self) -> &Entry {
        self.get(self.best_header)
    }

    /// The ancestor of `entry` at `height`, itself if the height is its own or above.
    pub fn ancestor<'a>(&'a self, entry: &'a Entry, height: u32) -> &'a Entry {
        let mut at = entry;
        while at.height > height {
            let skip = self.get(at.skip);
            at = if skip.height >= height && skip.height < at.height { skip } else { self.get(at.parent) };
        }
        at
    }

    /// The last entry that both branches have.
    pub fn fork<'a>(&'a self, a: &'a Entry, b: &'a Entry) -> &'a Entry {
        let height = a.height.min(b.height);
        let (mut a, mut b) = (self.ancestor(a, height), self.ancestor(b, height));
        while a.id != b.id {
            // Skips of equal heights lead to equal heights: jump while that keeps the branches apart.
            (a, b) = if a.skip != b.skip && a.skip != a.id {
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
        HeaderContext::after(place, &mut self.times(parent), params)
    }

    /// Median time of `entry` and the ten blocks before it.
    pub fn median_time(&self, entry: &Entry) -> u32 {
        median(&mut self.times(entry))
    }

    fn times(&self, entry: &Entry) -> Vec<u32> {
        self.branch(entry).take(MEDIAN_SPAN).map(|entry| entry.header.time).collect()
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
