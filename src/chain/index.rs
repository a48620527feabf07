//! The tree of headers, in memory: an arena in the order of arrival, which is also the order on disk.
//!
//! It begins with its root, a block of the best chain that is buried deep. The blocks below the root, all of the best chain,
//! are in the store: [`Buried`] reads them.

mod ancestry;
mod load;

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::buried::Buried;
use crate::consensus::headers::HeaderTail;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keyed::Keyed;
use crate::primitives::target::Work;
use crate::storage::{BareHeader, BlockKey, BuriedHeader, HeaderGap, HeaderRecord, Status, TreeRoot};

/// Place of an entry in the order of arrival. A parent's is less than its child's.
pub(super) type Id = u32;

/// In place of the place of an entry that is not in memory.
pub(super) const NOWHERE: Id = Id::MAX;

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
    /// [`NOWHERE`] for a buried block, and so for a parent.
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

    /// A buried block: it was connected, and so were all before it.
    pub(super) fn buried(height: Height, block: &BuriedHeader) -> Self {
        let BuriedHeader { header, tx_count, transactions: _, work } = *block;
        let (hash, status) = (header.hash(), Status::BODY.with(Status::VALID));
        let (id, parent, sequence, inherited) = (NOWHERE, NOWHERE, 1, Status::NONE);
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

/// What a slot without an entry has as parent.
const EMPTY: Id = NOWHERE;

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
    /// No entry.
    const EMPTY: Self = Self {
        hash: BlockHash::ZERO,
        header: BareHeader::EMPTY,
        work: Work::ZERO,
        height: Height::GENESIS,
        tx_count: 0,
        parent: EMPTY,
        skip: EMPTY,
        first_time: 0,
        sequence: 0,
        status: Status::NONE,
        inherited: Status::NONE,
    };

    /// What children inherit.
    fn inheritable_flags(&self) -> Status {
        let own = self.status.with(self.inherited);
        FAULTS.into_iter().filter(|fault| own.has(*fault)).fold(Status::default(), Status::with)
    }
}

/// The tree. Its owner writes to the disk first.
#[derive(Debug)]
pub(super) struct Index {
    /// The first is the root's. Those of forgotten entries are empty.
    slots: VecDeque<Slot>,
    /// Place of the root, which is its own parent.
    root: Id,
    /// Places by hash. The hashes themselves are in the slots.
    by_hash: HashTable<Id>,
    hasher: Keyed,
    /// The entry with most work that is not invalid: the first to arrive, on a tie.
    best: Id,
    /// The blocks below the root.
    buried: Buried,
    /// Transactions in these blocks.
    buried_transactions: u64,
    /// Hash of the last of these; zero if there is none.
    root_previous: BlockHash,
}

impl Index {
    fn add_hash(&mut self, hash: BlockHash, id: Id) {
        let Self { slots, root, by_hash, hasher, .. } = self;
        by_hash.insert_unique(hasher.hash_one(hash), id, |id| hasher.hash_one(slots[(*id - *root) as usize].hash));
    }

    fn remove_hash(&mut self, id: Id) {
        let hash = self.hasher.hash_one(self.slot(id).hash);
        if let Ok(found) = self.by_hash.find_entry(hash, |other| *other == id) {
            found.remove();
        }
    }

    /// Headers in memory.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// The place that the next entry will have.
    pub fn end(&self) -> Id {
        self.root + self.slots.len() as Id
    }

    /// The lowest block in memory, an ancestor of all others.
    pub fn root(&self) -> Entry {
        self.get(self.root)
    }

    /// The root as the store keeps it.
    pub fn tree_root(&self, id: Id) -> TreeRoot {
        let Slot { height, first_time, .. } = *self.slot(id);
        TreeRoot { height, place: id, first_time }
    }

    /// Height of the root: all lower blocks of the best chain are buried.
    pub fn root_height(&self) -> Height {
        self.slot(self.root).height
    }

    /// The blocks below the root.
    pub fn buried(&self) -> &Buried {
        &self.buried
    }

    /// Other headers below the root are still to come.
    pub fn set_gap(&mut self, gap: HeaderGap) {
        self.buried.set_gap(gap);
    }

    /// Transactions in the blocks below the root.
    pub fn buried_transactions(&self) -> u64 {
        self.buried_transactions
    }

    /// Whether there is an entry at this place.
    fn is_there(&self, id: Id) -> bool {
        id.checked_sub(self.root)
            .and_then(|place| self.slots.get(place as usize))
            .is_some_and(|slot| slot.parent != EMPTY)
    }

    /// Where an entry is now; `None` if it is not in memory.
    pub fn place(&self, entry: &Entry) -> Option<Id> {
        if self.is_there(entry.id) && self.slot(entry.id).hash == entry.hash {
            return Some(entry.id);
        }
        self.find_in_memory(&entry.hash)
    }

    pub fn get(&self, id: Id) -> Entry {
        let Slot { hash, header, work, height, tx_count, parent, sequence, status, inherited, .. } = *self.slot(id);
        let previous = if id == self.root { self.root_previous } else { self.slot(parent).hash };
        let header = header.under(previous);
        Entry { hash, header, height, work, tx_count, id, parent, sequence, status, inherited }
    }

    fn slot(&self, id: Id) -> &Slot {
        &self.slots[(id - self.root) as usize]
    }

    fn slot_mut(&mut self, id: Id) -> &mut Slot {
        &mut self.slots[(id - self.root) as usize]
    }

    /// Appends an entry, or updates the mutable fields of an existing one: status, sequence, transaction count.
    pub fn put(&mut self, entry: &Entry) {
        if entry.id == self.end() {
            self.insert(entry.hash, entry.header, entry.parent, entry.work);
        }
        let slot = self.slot_mut(entry.id);
        (slot.status, slot.sequence, slot.tx_count) = (entry.status, entry.sequence, entry.tx_count);
    }

    /// A header by its hash, in memory or buried.
    pub fn find(&self, hash: &BlockHash) -> Option<Entry> {
        match self.find_in_memory(hash) {
            Some(id) => Some(self.get(id)),
            None if self.root_height() == Height::GENESIS => None,
            None => self.buried.find(hash).map(|(height, block)| Entry::buried(height, &block)),
        }
    }

    fn find_in_memory(&self, hash: &BlockHash) -> Option<Id> {
        self.by_hash.find(self.hasher.hash_one(hash), |id| self.slot(*id).hash == *hash).copied()
    }

    /// All entries in memory, in the order of arrival.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> {
        (self.root..self.end()).filter(|id| self.is_there(*id)).map(|id| self.get(id))
    }

    /// Appends a header whose rules are checked, under `parent`; `work` is that of its chain.
    fn insert(&mut self, hash: BlockHash, header: Header, parent: Id, work: Work) {
        let id = self.end();
        let above = self.slot(parent);
        let (height, inherited) = (above.height.next(), above.inheritable_flags());
        let first_time = if above.height == Height::GENESIS { header.time } else { above.first_time };
        let skip = self.skip_of(parent);
        if self.slots.len() == self.slots.capacity() {
            // Doubling would leave up to half of a long chain's memory unused.
            self.slots.reserve_exact(self.slots.len() / 8 + 64);
        }
        let header_kept = header.into();
        let slot = Slot { hash, header: header_kept, work, height, parent, skip, first_time, inherited, ..Slot::EMPTY };
        self.slots.push_back(slot);
        self.add_hash(hash, id);
        if work > self.slot(self.best).work && inherited == Status::default() {
            self.best = id;
        }
    }

    /// Forgets entries that no others refer to.
    pub fn remove(&mut self, ids: &[Id]) {
        for id in ids {
            self.remove_hash(*id);
            *self.slot_mut(*id) = Slot::EMPTY;
        }
        while self.slots.pop_back_if(|slot| slot.parent == EMPTY).is_some() {}
        self.propagate_invalid();
    }

    /// Makes `root`, a block of the best chain, the root: forgets all that does not come after it. The store has the
    /// blocks of the best chain below it, which have so many transactions.
    pub fn bury(&mut self, root: Id, transactions: u64) {
        let previous = self.get(root).header.previous;
        let mut descends: Vec<bool> = vec![false; self.slots.len()];
        descends[(root - self.root) as usize] = true;
        for id in self.root..self.end() {
            if !self.is_there(id) {
                continue;
            }
            let place = (id - self.root) as usize;
            let parent = (self.slot(id).parent - self.root) as usize;
            descends[place] |= id > root && descends[parent];
            if !descends[place] {
                self.remove_hash(id);
                *self.slot_mut(id) = Slot::EMPTY;
            }
        }
        self.slots.drain(..(root - self.root) as usize);
        self.root = root;
        self.slot_mut(root).parent = root;
        (self.root_previous, self.buried_transactions) = (previous, transactions);
        if self.slots.capacity() / 4 > self.slots.len() {
            self.slots.shrink_to_fit();
            let Self { slots, by_hash, hasher, .. } = self;
            by_hash.shrink_to_fit(|id| hasher.hash_one(slots[(*id - root) as usize].hash));
        }
    }

    /// Puts back blocks below the root, in order; the last one is its parent. They get the places before it.
    pub fn unbury(&mut self, blocks: &[Entry]) {
        let Some(lowest) = blocks.first() else { return };
        let old_root = self.root;
        let first_time = self.slot(old_root).first_time;
        // A block's place is not less than its height.
        self.root = old_root - blocks.len() as Id;
        for (id, block) in (self.root..old_root).zip(blocks).rev() {
            let Entry { hash, header, height, work, tx_count, sequence, status, .. } = *block;
            let first_time = if height == Height::GENESIS { 0 } else { first_time };
            let parent = id.saturating_sub(1).max(self.root);
            let header = header.into();
            self.slots.push_front(Slot {
                hash,
                header,
                work,
                height,
                tx_count,
                parent,
                skip: parent,
                first_time,
                sequence,
                status,
                ..Slot::EMPTY
            });
            self.buried_transactions = self.buried_transactions.saturating_sub(tx_count.into());
        }
        (self.root..old_root).zip(blocks).for_each(|(id, block)| self.add_hash(block.hash, id));
        self.slot_mut(old_root).parent = old_root - 1;
        self.root_previous = lowest.header.previous;
        // Skips led at most down to the old root.
        for id in self.root + 1..self.end() {
            if self.is_there(id) {
                let skip = self.skip_of(self.slot(id).parent);
                self.slot_mut(id).skip = skip;
            }
        }
        self.buried.forget();
    }

    /// Recomputes the inherited faults of every entry after some have changed, which is rare.
    pub fn propagate_invalid(&mut self) {
        for id in self.root + 1..self.end() {
            if self.is_there(id) {
                self.slot_mut(id).inherited = self.slot(self.slot(id).parent).inheritable_flags();
            }
        }
        self.find_best();
    }

    fn find_best(&mut self) {
        self.best = self.root;
        for (id, slot) in (self.root..).zip(&self.slots) {
            let is_valid = slot.parent != EMPTY && slot.inheritable_flags() == Status::default();
            if is_valid && slot.work > self.slot(self.best).work {
                self.best = id;
            }
        }
    }

    pub fn best_header(&self) -> Entry {
        self.get(self.best)
    }

    /// Takes a block and all before it for connected: the node started from the state after it.
    pub fn assume_complete(&mut self, id: Id) {
        let line: Vec<Id> = self.line(id).collect();
        for id in line {
            let slot = self.slot_mut(id);
            slot.status = slot.status.with(Status::BODY).with(Status::VALID);
            slot.sequence = slot.sequence.max(1);
        }
    }

    /// The chain that ends with `entry`, as the rules see it.
    pub fn tail(&self, entry: &Entry) -> HeaderTail {
        let Entry { hash, header, height, work, .. } = *entry;
        let first_time = match self.place(entry) {
            Some(id) => self.slot(id).first_time,
            None if height == Height::GENESIS => 0,
            None => self.slot(self.root).first_time,
        };
        HeaderTail::checked((header, hash), height, work, first_time)
    }
}
