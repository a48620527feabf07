//! Rebuilds the tree from the store.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::{Buried, Index, Slot};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keyed::Keyed;
use crate::primitives::target::Work;
use crate::storage::{BuriedHeader, Database, HeaderRecord, StoreError, TreeRoot};

/// Most places without an entry that may follow on another in a store: more are a sign of damage.
const MAX_GAP: u32 = 1 << 24;

/// The block below the root.
struct Below {
    hash: BlockHash,
    work: Work,
    /// Transactions up to and with it.
    transactions: u64,
}

impl Below {
    /// Genesis has none.
    const NOTHING: Self = Self { hash: BlockHash::ZERO, work: Work::ZERO, transactions: 0 };

    fn of(block: &BuriedHeader) -> Self {
        Self { hash: block.header.hash(), work: block.work, transactions: block.transactions }
    }
}

impl Index {
    /// Rebuilds the tree from the store. Checks only that each header has a parent, not the rules again.
    pub fn load(db: &Database) -> Result<Self, StoreError> {
        let root = db.tree_root()?.ok_or_else(|| db.corrupt("there are no headers"))?;
        let gap = db.header_gap()?;
        let below = match (&gap, root.height.prev()) {
            (Some(gap), _) if gap.end == root.height => {
                // Of those between genesis and the root, none is known.
                let transactions = db.buried_at(Height::GENESIS)?.transactions;
                Below { hash: gap.previous, work: gap.work(), transactions }
            }
            (_, Some(height)) => Below::of(&db.buried_at(height)?),
            (_, None) => Below::NOTHING,
        };
        let mut index = Self {
            slots: VecDeque::new(),
            root: root.place,
            by_hash: HashTable::new(),
            hasher: Keyed::default(),
            best: root.place,
            buried: Buried::new(db.clone(), gap),
            buried_transactions: below.transactions,
            root_previous: below.hash,
        };
        db.for_each_header(&mut |place, record| {
            let HeaderRecord { parent, header, status, sequence, tx_count } = record;
            let fault = |what| db.corrupt(format!("header {place} {what}"));
            let is_root = index.slots.is_empty();
            let follows = if is_root {
                place == root.place
            } else {
                index.is_there(parent) && place >= index.end() && place - index.end() <= MAX_GAP
            };
            if !follows {
                return Err(fault("does not follow on those before it"));
            }
            let (previous, work_before) = if is_root {
                (index.root_previous, below.work)
            } else {
                let above = index.slot(parent);
                (above.hash, above.work)
            };
            let header = header.under(previous);
            let work = header.bits.target().map_err(|_| fault("has no target"))?.work() + work_before;
            let hash = header.hash();
            if index.find_in_memory(&hash).is_some() {
                return Err(fault("is there twice"));
            }
            if is_root {
                index.begin(hash, header, work, &root);
            } else {
                index.slots.resize(index.slots.len() + (place - index.end()) as usize, Slot::EMPTY);
                index.insert(hash, header, parent, work);
            }
            let slot = index.slot_mut(place);
            (slot.status, slot.sequence, slot.tx_count) = (status, sequence, tx_count);
            Ok(())
        })?;
        if index.slots.is_empty() {
            return Err(db.corrupt("there are no headers"));
        }
        index.propagate_invalid();
        Ok(index)
    }

    /// Adds the root.
    fn begin(&mut self, hash: BlockHash, header: Header, work: Work, root: &TreeRoot) {
        let (id, height, first_time) = (root.place, root.height, root.first_time);
        let slot = Slot { hash, header: header.into(), work, height, parent: id, skip: id, first_time, ..Slot::EMPTY };
        self.slots.push_back(slot);
        self.add_hash(hash, id);
    }
}
