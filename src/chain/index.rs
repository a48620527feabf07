//! The tree of all headers, in memory: an arena in the order of arrival, which is also the order on disk.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::consensus::headers::HeaderTail;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keyed::Keyed;
use crate::primitives::target::Work;
use crate::storage::{BareHeader, BlockKey, Database, HeaderRecord, Status, StoreError};

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
    pub height: Height,
    /// Work of its chain, up to and with it.
    pub work: Work,
    /// Transactions in its body; 0 until that is known.
    pub tx_count: u32,
    pub(super) id: Id,
    pub(super) parent: Id,
    /// Its turn among the blocks that could be connected; 0 until its body and those of all its ancestors are stored.
    pub(super) sequence: u32,
    /// What is known of the block itself: what the store keeps.
    pub(super) status: Status,
    /// Faults of blocks before it.
    pub(super) inherited: Status,
}

impl Entry {
    /// The tip of a chain of headers, new to the tree, where its place will be `id`. Nothing is wrong with its parent.
    pub(super) fn new(id: Id, parent: Id, tail: &HeaderTail) -> Self {
        let (hash, header, height, work) = (tail.tip_hash(), *tail.tip(), tail.height(), tail.work());
        let (tx_count, sequence, status, inherited) = (0, 0, Status::default(), Status::default());
        Self { hash, header, height, work, tx_count, id, parent, sequence, status, inherited }
    }

    /// Its height and hash, under which the store has its data.
    pub fn key(&self) -> BlockKey {
        BlockKey { height: self.height, hash: self.hash }
    }

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

    pub(super) fn record(&self) -> HeaderRecord {
        let Self { parent, header, status, sequence, tx_count, .. } = *self;
        HeaderRecord { parent, header: header.into(), status, sequence, tx_count }
    }
}

/// What the tree keeps of an entry. There is one in memory for each block, so values that follow from the parent are
/// left out.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: BlockHash,
    header: BareHeader,
    work: Work,
    height: Height,
    tx_count: u32,
    parent: Id,
    /// A farther ancestor, so that any can be reached in a logarithmic number of steps.
    skip: Id,
    /// Time of the block at height 1 on this branch.
    first_time: u32,
    sequence: u32,
    status: Status,
    inherited: Status,
}

impl Slot {
    /// What children inherit.
    fn inheritable_flags(&self) -> Status {
        let own = self.status.with(self.inherited);
        FAULTS.into_iter().filter(|fault| own.has(*fault)).fold(Status::default(), Status::with)
    }
}

/// The tree. Its owner writes to the disk first.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<Slot>,
    /// Places by hash. The hashes themselves are in the slots.
    by_hash: HashTable<Id>,
    hasher: Keyed,
    /// The entry with most work that is not invalid: the first to arrive, on a tie.
    best: Id,
}

impl Index {
    /// Rebuilds the tree from the store. Checks only that each header has a parent, not the rules again.
    pub fn load(db: &Database) -> Result<Self, StoreError> {
        let mut index = Self::default();
        db.for_each_header(&mut |place, record| {
            let HeaderRecord { parent, header, status, sequence, tx_count } = record;
            let fault = |what| db.corrupt(format!("header {place} {what}"));
            let id = index.len() as Id;
            if place != id || parent > id || (parent == id && id != GENESIS) {
                return Err(fault("does not follow on those before it"));
            }
            let above = index.slots.get(parent as usize);
            let previous = above.map_or(BlockHash::ZERO, |above| above.hash);
            let header = header.under(previous);
            let target = header.bits.target().map_err(|_| fault("has no target"))?;
            let hash = header.hash();
            if index.find(&hash).is_some() {
                return Err(fault("is there twice"));
            }
            let work = target.work() + above.map_or(Work::ZERO, |above| above.work);
            index.insert(hash, header, parent, work);
            let slot = &mut index.slots[id as usize];
            (slot.status, slot.sequence, slot.tx_count) = (status, sequence, tx_count);
            Ok(())
        })?;
        if index.len() == 0 {
            return Err(db.corrupt("there are no headers"));
        }
        index.propagate_invalid();
        Ok(index)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn get(&self, id: Id) -> Entry {
        let Slot { hash, header, work, height, tx_count, parent, sequence, status, inherited, .. } = *self.slot(id);
        let previous = if id == GENESIS { BlockHash::ZERO } else { self.slot(parent).hash };
        let header = header.under(previous);
        Entry { hash, header, height, work, tx_count, id, parent, sequence, status, inherited }
    }

    fn slot(&self, id: Id) -> &Slot {
        &self.slots[id as usize]
    }

    /// Appends an entry, or updates the mutable fields of an existing one: status, sequence, transaction count.
    pub fn put(&mut self, entry: &Entry) {
        if entry.id as usize == self.slots.len() {
            self.insert(entry.hash, entry.header, entry.parent, entry.work);
        }
        let slot = &mut self.slots[entry.id as usize];
        (slot.status, slot.sequence, slot.tx_count) = (entry.status, entry.sequence, entry.tx_count);
    }

    pub fn find(&self, hash: &BlockHash) -> Option<Entry> {
        let found = self.by_hash.find(self.hasher.hash_one(hash), |id| self.slot(*id).hash == *hash);
        found.map(|id| self.get(*id))
    }

    /// All entries, in the order of arrival.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator {
        (0..self.slots.len() as Id).map(|id| self.get(id))
    }

    /// Appends a header whose rules are checked, under `parent`; `work` is that of its chain. The first is genesis.
    fn insert(&mut self, hash: BlockHash, header: Header, parent: Id, work: Work) {
        let id = self.slots.len() as Id;
        let (mut height, mut skip, mut first_time, mut inherited) = (Height::GENESIS, GENESIS, 0, Status::default());
        if let Some(above) = self.slots.get(parent as usize) {
            height = above.height.next();
            skip = self.ancestor(parent, skip_height(height));
            first_time = if above.height == Height::GENESIS { header.time } else { above.first_time };
            inherited = above.inheritable_flags();
        }
        let (tx_count, sequence, status) = (0, 0, Status::default());
        if self.slots.len() == self.slots.capacity() {
            // Doubling would leave up to half of a long chain's memory unused.
            self.slots.reserve_exact(self.slots.len() / 8 + 64);
        }
        self.slots.push(Slot {
            hash,
            header: header.into(),
            work,
            height,
            tx_count,
            parent,
            skip,
            first_time,
            sequence,
            status,
            inherited,
        });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_hash.insert_unique(hasher.hash_one(hash), id, |id| hasher.hash_one(slots[*id as usize].hash));
        if work > self.slot(self.best).work && inherited == Status::default() {
            self.best = id;
        }
    }

    /// Forgets the entries from `len` on. The others do not refer to them.
    pub fn truncate(&mut self, len: Id) {
        let Self { slots, by_hash, hasher, .. } = self;
        for id in len..slots.len() as Id {
            if let Ok(found) = by_hash.find_entry(hasher.hash_one(slots[id as usize].hash), |other| *other == id) {
                found.remove();
            }
        }
        slots.truncate(len as usize);
        self.propagate_invalid();
    }

    /// Recomputes the inherited faults of every entry after some have changed, which is rare.
    pub fn propagate_invalid(&mut self) {
        for id in 1..self.slots.len() {
            self.slots[id].inherited = self.slot(self.slots[id].parent).inheritable_flags();
        }
        self.find_best();
    }

    fn find_best(&mut self) {
        self.best = GENESIS;
        for (id, slot) in (0..).zip(&self.slots) {
            if slot.work > self.slot(self.best).work && slot.inheritable_flags() == Status::default() {
                self.best = id;
            }
        }
    }

    pub fn best_header(&self) -> Entry {
        self.get(self.best)
    }

    /// The ancestor of `id` at `height`, itself if the height is its own or above.
    pub fn ancestor(&self, id: Id, height: Height) -> Id {
        let mut id = id;
        loop {
            let at = self.slot(id);
            if at.height <= height {
                return id;
            }
            let (skip, next_skip) = (skip_height(at.height), skip_height(at.height.saturating_sub(1)));
            // The parent may have a longer skip that does not go too far.
            let step_first = next_skip.saturating_add(2) < skip && next_skip >= height;
            id = if skip == height || (skip > height && !step_first) { at.skip } else { at.parent };
        }
    }

    /// Whether `entry` is `ancestor` or comes after it.
    pub fn is_on_branch(&self, entry: &Entry, ancestor: &Entry) -> bool {
        self.ancestor(entry.id, ancestor.height) == ancestor.id
    }

    /// The last entry that both branches have.
    pub fn fork(&self, a: &Entry, b: &Entry) -> Entry {
        let height = a.height.min(b.height);
        let (mut a, mut b) = (self.ancestor(a.id, height), self.ancestor(b.id, height));
        while a != b {
            // Skips of equal heights lead to equal heights: jump while that keeps the branches apart.
            let (of_a, of_b) = (self.slot(a), self.slot(b));
            (a, b) = if of_a.skip != of_b.skip { (of_a.skip, of_b.skip) } else { (of_a.parent, of_b.parent) };
        }
        self.get(a)
    }

    /// Takes a block and all before it for connected: the node started from the state after it.
    pub fn assume_complete(&mut self, id: Id) {
        let line: Vec<Id> = self.line(id).collect();
        for id in line {
            let slot = &mut self.slots[id as usize];
            slot.status = slot.status.with(Status::BODY).with(Status::VALID);
            slot.sequence = slot.sequence.max(1);
        }
    }

    /// The chain that ends with `entry`, as the rules see it.
    pub fn tail(&self, entry: &Entry) -> HeaderTail {
        let Entry { hash, header, height, work, id, .. } = *entry;
        HeaderTail::checked((header, hash), height, work, self.slot(id).first_time)
    }

    /// `entry`, its parent, and so on down to genesis.
    pub fn branch(&self, entry: &Entry) -> impl Iterator<Item = Entry> + use<'_> {
        self.line(entry.id).map(|id| self.get(id))
    }

    /// `id`, its parent, and so on down to genesis.
    pub fn line(&self, id: Id) -> impl Iterator<Item = Id> + use<'_> {
        std::iter::successors(Some(id), |id| (*id != GENESIS).then(|| self.slot(*id).parent))
    }

    /// Hashes from `entry` down to genesis, ten one by one, then at doubling distances: enough for a peer to find
    /// where the branches part.
    pub fn locator(&self, entry: &Entry) -> Vec<BlockHash> {
        let mut hashes = vec![entry.hash];
        let mut at = (entry.id, entry.height);
        let mut step = 1;
        while at.1 > Height::GENESIS {
            if hashes.len() >= 10 {
                step *= 2;
            }
            let height = at.1.saturating_sub(step);
            at = (self.ancestor(at.0, height), height);
            hashes.push(self.slot(at.0).hash);
        }
        hashes
    }
}

/// Where the skip of a block at `height` leads: the lowest bit or two of the height are cleared, as in Bitcoin Core, so
/// that skips of neighbours land far apart.
fn skip_height(height: Height) -> Height {
    let clear_lowest = |n: u32| n & n.wrapping_sub(1);
    Height::from_u32(match height.as_u32() {
        0..=1 => 0,
        odd if odd & 1 == 1 => clear_lowest(clear_lowest(odd - 1)) + 1,
        even => clear_lowest(even),
    })
}
