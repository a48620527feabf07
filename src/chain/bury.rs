//! Keeping the tree in memory small: the headers of the best chain far below its tip are buried, which leaves them to the
//! store alone.
//!
//! A branch that leaves the best chain below the root of the tree is forgotten. Nothing is lost by that: it has less work
//! than the best chain had far below its tip, and if it ever gets more than the whole, its peers send all of its headers
//! again. Then, and when the operator marks a buried block, the blocks above the fork are put back into the tree first. So a
//! reorganisation may go to any depth.
//!
//! No block is buried above which a branch leaves that may matter still: one with as much work as the best chain has
//! [`Burial::depth`] blocks below its tip, one with a block that the operator has marked, or one that is held
//! ([`Chain::hold`]).

use super::index::{Entry, Id};
use super::{BlockTree, Chain};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::storage::{Batch, Burials, BuriedHeader, Status, StoreError};

/// When headers are buried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burial {
    /// Blocks of the best chain below its tip that stay in memory at least.
    pub depth: u32,
    /// Blocks beyond these that are waited for: the index by hash is then changed at many places at once, which costs
    /// little for each. What was put back into the tree stays there until the chain has grown by as many.
    pub batch: u32,
    /// Blocks that one write buries or puts back.
    pub step: u32,
}

impl Default for Burial {
    /// Far more than the 144 blocks by which a branch may be behind and still be stored at once.
    fn default() -> Self {
        Self { depth: 4_096, batch: 8_192, step: 4_096 }
    }
}

/// What one write does.
struct Plan {
    /// Blocks of the best chain, lowest first.
    buried: Vec<Entry>,
    /// Blocks of other branches.
    forgotten: Vec<Entry>,
    /// The new root.
    root: Id,
    /// Whether there is more to do that only one write's size stands in the way of.
    has_more: bool,
}

impl Chain {
    /// Sets when headers are buried. Those that are buried stay so.
    pub fn set_burial(&mut self, burial: Burial) {
        self.burial = burial;
    }

    /// Keeps the branches up to these blocks, to which the caller means to come back, and lets go of those held before.
    pub fn hold(&mut self, tips: Vec<BlockHash>) {
        self.held = tips;
    }

    /// Buries a part of what is to be buried. `true` if there is more.
    pub(super) fn bury_step(&mut self) -> Result<bool, StoreError> {
        let Burial { depth, batch, step } = self.burial;
        let tree = self.tree.read();
        let tip = tree.tip().height;
        let is_deep = tip.blocks_since(tree.index.root_height()) >= depth.saturating_add(batch.max(1));
        if !self.is_burying && (!is_deep || tip < self.bury_from) {
            return Ok(false);
        }
        let plan = plan(&tree, depth, step, &self.held);
        // If a branch is in the way, it is not looked for at every block.
        (self.is_burying, self.bury_from) = (false, tip.saturating_add(batch / 8));
        let Some(Plan { buried, forgotten, root, has_more }) = plan else { return Ok(false) };
        let mut transactions = tree.index.buried_transactions();
        let tree_root = tree.index.tree_root(root);
        let lowest = tree.header_gap().map_or(Height::GENESIS, |gap| gap.end);
        drop(tree);
        let (mut batch, mut burials) = (Batch::default(), Burials::default());
        for entry in &buried {
            transactions += u64::from(entry.tx_count);
            let Entry { header, tx_count, work, .. } = *entry;
            batch.bury(&entry.key(), entry.id, lowest);
            burials.add(&self.db, &entry.key(), &BuriedHeader { header, tx_count, transactions, work })?;
        }
        burials.stage(&mut batch);
        for entry in &forgotten {
            batch.delete_header(entry.id);
            if entry.has_body() {
                batch.forget_block(&entry.key());
            }
        }
        batch.put_tree_root(&tree_root);
        self.db.store().commit(batch)?;
        self.tree.write().bury(root, transactions);
        for entry in &forgotten {
            self.waiting.remove(&entry.parent);
        }
        self.is_burying = has_more;
        Ok(has_more)
    }

    /// Puts the buried blocks from a height on back into the tree. Nothing happens if there are none.
    pub(super) fn unbury(&mut self, from: Height) -> Result<(), StoreError> {
        loop {
            let root = self.tree().index.root();
            if from >= root.height {
                return Ok(());
            }
            let from = from.max(root.height.saturating_sub(self.burial.step.max(1)));
            let mut blocks = Vec::new();
            for height in from.until(root.height) {
                blocks.push(Entry::buried(height, &self.db.buried_at(height)?));
            }
            self.is_burying = false;
            self.bury_from = self.tip().height.saturating_add(self.burial.batch);
            let transactions = self.tree().index.buried_transactions();
            // Readers find the blocks in memory before they are gone from where they were.
            self.tree.write().unbury(&blocks);
            if let Err(error) = self.write_unburied(root.height) {
                self.tree.write().bury(root.id, transactions);
                return Err(error);
            }
        }
    }

    /// Writes what the tree has up to `height`, the former root, where the store has the headers of the tree.
    fn write_unburied(&self, height: Height) -> Result<(), StoreError> {
        let (mut batch, mut burials) = (Batch::default(), Burials::default());
        let tree = self.tree();
        let root = tree.index.root();
        let unburied: Vec<Entry> = root.height.through(height).filter_map(|height| tree.entry_at(height)).collect();
        batch.put_tree_root(&tree.index.tree_root(root.id));
        drop(tree);
        for entry in unburied {
            batch.put_header(entry.id, &entry.record());
            if entry.height < height {
                self.db.stage_unbury(&mut batch, &mut burials, &entry.key(), &entry.header)?;
            }
        }
        burials.stage(&mut batch);
        self.db.store().commit(batch)
    }
}

impl BlockTree {
    fn bury(&mut self, root: Id, transactions: u64) {
        let height = self.index.root_height();
        self.index.bury(root, transactions);
        self.active.drain(..self.index.root_height().blocks_since(height) as usize);
    }

    fn unbury(&mut self, blocks: &[Entry]) {
        self.index.unbury(blocks);
        let root = self.index.root().id;
        (root..root + blocks.len() as Id).rev().for_each(|id| self.active.push_front(id));
    }
}

/// What to bury of a tree next, so that `depth` blocks below the tip stay, and the branches that are `held`; `None` if nothing.
fn plan(tree: &BlockTree, depth: u32, step: u32, held: &[BlockHash]) -> Option<Plan> {
    let (tip, root) = (tree.tip(), tree.index.root());
    let target = tip.height.saturating_sub(depth);
    if target <= root.height {
        return None;
    }
    let others = others(tree);
    let least = tree.entry_at(target).map_or(Work::ZERO, |entry| entry.work);
    let matters = |Other { entry, .. }: &&Other| {
        entry.status.has(Status::REFUSED) || entry.work >= least || held.contains(&entry.hash)
    };
    let target = others.iter().filter(matters).map(|other| other.fork).fold(target, Height::min);
    let end = target.min(root.height.saturating_add(step.max(1)));
    if end <= root.height {
        return None;
    }
    let buried = root.height.until(end).filter_map(|height| tree.entry_at(height)).collect();
    let forgotten = others.into_iter().filter(|other| other.fork < end).map(|other| other.entry).collect();
    Some(Plan { buried, forgotten, root: tree.entry_at(end)?.id, has_more: end < target })
}

/// A block that is not on the best chain, and where its branch leaves that.
struct Other {
    entry: Entry,
    fork: Height,
}

/// The blocks in memory that are not on the best chain, but for those above its tip.
fn others(tree: &BlockTree) -> Vec<Other> {
    let (index, tip) = (&tree.index, tree.tip());
    let best = index.best_header();
    let is_line = index.is_on_branch(&best, &tip)
        && index.len() as u32 == best.height.blocks_since(index.root_height()).saturating_add(1);
    if is_line {
        return Vec::new();
    }
    let first = index.root().id;
    let mut forks = vec![Height::GENESIS; (index.end() - first) as usize];
    let mut others = Vec::new();
    for entry in index.entries() {
        let fork = if tree.is_on_best_chain(&entry) { entry.height } else { forks[(entry.parent - first) as usize] };
        forks[(entry.id - first) as usize] = fork;
        if fork < entry.height && fork < tip.height {
            others.push(Other { entry, fork });
        }
    }
    others
}
