//! Activates the best branch, a block at a time.

use std::cmp::Reverse;

use super::index::{Entry, Id};
use super::prefetch::Prefetched;
use super::{Chain, ChainError, effects};
use crate::consensus::check::CheckedBlock;
use crate::consensus::connect::{BlockContext, ConnectError, spend};
use crate::consensus::error::RuleError;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::target::Work;
use crate::storage::{Batch, Status, StoreError};

/// Says whether a transaction's signatures are known to be good: the mempool's knowledge.
pub type IsVerified<'a> = &'a dyn Fn(&Txid) -> bool;

/// Most bytes of blocks that one call connects or disconnects, since an update holds them all in memory. The next call
/// continues.
const MAX_MOVED_BYTES: usize = 64 << 20;
/// Memory of a block besides its bytes, rounded up.
const BLOCK_OVERHEAD: usize = 1 << 10;

/// How the best chain changed, as the difference between before and after.
#[derive(Debug, Default)]
pub struct ChainUpdate {
    /// Blocks that left it, newest first.
    pub disconnected: Vec<CheckedBlock>,
    /// Blocks that joined it, oldest first.
    pub connected: Vec<CheckedBlock>,
    /// Blocks found invalid on the way, with the rule each broke.
    pub rejected: Vec<(BlockHash, RuleError)>,
    /// The call reached its limit: [`Chain::resume`], or the next accepted block, continues.
    pub unfinished: bool,
    /// The next block waits for the root over the coins that it commits to: [`Chain::state_ready`], then
    /// [`Chain::resume`], continue.
    pub awaits_state: bool,
}

impl ChainUpdate {
    /// Whether the tip is where it was.
    pub fn is_empty(&self) -> bool {
        self.disconnected.is_empty() && self.connected.is_empty()
    }
}

/// A block that could be the tip, ordered from worse to better: most work, then first to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    work: Work,
    sequence: Reverse<u32>,
    pub(super) id: Id,
}

impl Candidate {
    fn new(entry: &Entry) -> Self {
        Self { work: entry.work, sequence: Reverse(entry.sequence), id: entry.id }
    }

    /// `entry`, if it could be the tip and is better than the present one.
    pub(super) fn better_than(tip: &Entry, entry: &Entry) -> Option<Self> {
        let candidate = Self::new(entry);
        (entry.is_complete() && !entry.is_invalid() && candidate > Self::new(tip)).then_some(candidate)
    }
}

impl Chain {
    /// Moves the tip to the best candidate. Each step is one write, and leaves a chain that could stay as it is.
    pub(super) fn activate(&mut self, is_verified: IsVerified<'_>, update: &mut ChainUpdate) -> Result<(), StoreError> {
        let result = self.step_towards_best(is_verified, update);
        if !update.disconnected.is_empty() {
            self.stats.reorganisation.observe(update.disconnected.len() as f64);
        }
        self.plan_pruning();
        result?;
        update.unfinished |= self.bury_step()?;
        Ok(())
    }

    /// As many steps as one call may take.
    fn step_towards_best(&mut self, is_verified: IsVerified<'_>, update: &mut ChainUpdate) -> Result<(), StoreError> {
        let mut moved = 0;
        // A tip can only become invalid by the operator's order.
        let was_invalid = self.tip().is_invalid();
        while self.tip().is_invalid() && moved < MAX_MOVED_BYTES {
            moved += self.step_down(update)?;
        }
        if was_invalid && !self.tip().is_invalid() {
            self.find_candidates();
        }
        while let Some(next) = self.next_step() {
            if moved >= MAX_MOVED_BYTES {
                update.unfinished = true;
                return Ok(());
            }
            moved += match next {
                Step::Up(_) if self.is_state_pending() => {
                    update.awaits_state = true;
                    return Ok(());
                }
                Step::Up(entry) => {
                    let block = self.load(&entry)?;
                    let size = block.block().size() + BLOCK_OVERHEAD;
                    self.step_up(entry, block, is_verified, update)?;
                    size
                }
                Step::Down => self.step_down(update)?,
            };
        }
        self.candidates = self.candidates.split_off(&Candidate::new(&self.tip()));
        Ok(())
    }

    /// The step to take from the tip towards the best candidate; `None` if it is the tip.
    fn next_step(&self) -> Option<Step> {
        let tree = self.tree.read();
        let tip = tree.tip();
        if tip.is_invalid() {
            return Some(Step::Down);
        }
        let best = tree.index.get(self.candidates.last()?.id);
        if best.id == tip.id {
            return None;
        }
        let is_above = best.height > tip.height && tree.index.is_on_branch(&best, &tip);
        let next = is_above.then(|| tree.ancestor(&best, tip.height.next())).flatten();
        Some(next.map_or(Step::Down, Step::Up))
    }

    /// Checks `entry`, whose parent is the tip, against the coins, and makes it the tip or marks it as
    /// broken. A body, or header, that is not stored yet goes in with the same write.
    pub(super) fn step_up(
        &mut self,
        mut entry: Entry,
        block: CheckedBlock,
        is_verified: IsVerified<'_>,
        update: &mut ChainUpdate,
    ) -> Result<(), StoreError> {
        let commitment = match self.committed() {
            Ok(committed) => committed.commitment(),
            Err(ChainError::Store(error)) => return Err(error),
            // The caller has asked before.
            Err(error) => return Err(self.db.corrupt(error.to_string())),
        };
        let context = BlockContext { params: &self.params, height: entry.height, commitment };
        let db = &self.db;
        let own_work = entry.work - self.tip().work;
        let (mut range, mut filters) = (self.range.clone(), self.filters);
        let mut batch = Batch::default();
        let result = self.stats.connect.time(|| -> Result<(), ConnectError<StoreError>> {
            let view = Prefetched::new(db, &block).map_err(ConnectError::View)?;
            let (delta, signatures) = spend(&block, &context, &view, is_verified)?;
            let (batch, range, filters) = (&mut batch, &mut range, &mut filters);
            signatures.verify_during(|| {
                effects::stage_connect(batch, &block, entry.height, own_work, &delta, filters, range);
            })?;
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(ConnectError::Rule(source)) if entry.is_validated() => {
                let reason = format!("block {}, which kept all rules before, now fails: {source}", entry.hash);
                return Err(self.db.corrupt(reason));
            }
            Err(ConnectError::Rule(source)) => return self.mark_broken(entry, source, update),
            Err(ConnectError::View(error)) => return Err(error),
        }
        let is_new = !entry.has_body();
        if is_new {
            batch.put_block(&entry.key(), block.block());
            entry.tx_count = block.txids().len() as u32;
            entry.sequence = self.next_sequence;
        }
        entry.status = entry.status.with(Status::BODY).with(Status::VALID);
        batch.put_header(entry.id, &entry.record());
        self.stats.commit.time(|| self.db.store().commit(batch))?;

        let mut tree = self.tree.write();
        tree.index.put(&entry);
        tree.active.push_back(entry.id);
        drop(tree);
        (self.range, self.filters) = (range, filters);
        if is_new {
            self.next_sequence += 1;
            self.candidates.insert(Candidate::new(&entry));
        }
        match update.disconnected.last() {
            // Back on the old tip, after the better branch turned out to be invalid.
            Some(last) if update.connected.is_empty() && last.hash() == block.hash() => {
                update.disconnected.pop();
            }
            _ => update.connected.push(block),
        }
        Ok(())
    }

    /// Makes the parent of the tip the tip again. Returns the bytes moved.
    pub(super) fn step_down(&mut self, update: &mut ChainUpdate) -> Result<usize, StoreError> {
        let entry = self.tip();
        let block = self.load(&entry)?;
        let delta = effects::delta_of(&self.db, &block, entry.height)?;
        let range = effects::load_range(&self.db, entry.height.saturating_sub(1))?;
        let filters = effects::filter_header_before(&self.db, entry.height, &entry.header.previous)?;
        let mut batch = Batch::default();
        effects::stage_disconnect(&mut batch, &block, &entry, &delta, &range);
        let states = self.states.clone();
        let behind = states.go_behind(&entry.key(), &delta)?;
        self.db.store().commit(batch)?;
        drop(behind);
        self.ready_to = self.ready_to.map(|ready| ready.min(entry.height.saturating_sub(1)));

        self.tree.write().active.pop_back();
        (self.range, self.filters) = (range, filters);
        let size = block.block().size() + BLOCK_OVERHEAD;
        // A block that this update connected is disconnected again.
        if update.connected.pop().is_none() {
            update.disconnected.push(block);
        }
        Ok(size)
    }

    /// Marks a block and its descendants as invalid.
    pub(super) fn mark_broken(
        &mut self,
        entry: Entry,
        source: RuleError,
        update: &mut ChainUpdate,
    ) -> Result<(), StoreError> {
        self.set_statuses(&[Entry { status: entry.status.with(Status::BROKEN), ..entry }])?;
        update.rejected.push((entry.hash, source));
        Ok(())
    }

    /// The body of `entry`, which is stored.
    pub(super) fn load(&self, entry: &Entry) -> Result<CheckedBlock, StoreError> {
        effects::load(&self.db, &self.params, &entry.key())
    }

    /// Searches all entries for candidates, after the tip lost work or blocks became valid again.
    pub(super) fn find_candidates(&mut self) {
        let tree = self.tree.read();
        let tip = tree.tip();
        let better = tree.index.entries().filter_map(|entry| {
            Candidate::better_than(&tip, &entry).filter(|_| tree.check_reachable(&entry, entry.hash).is_ok())
        });
        self.candidates = better.chain([Candidate::new(&tip)]).collect();
    }

    /// Finds bodies that wait for their ancestors' bodies, when the chain is opened.
    pub(super) fn find_waiting(&mut self) {
        let tree = self.tree.read();
        for entry in tree.index.entries().filter(|entry| tree.has_body(entry) && !entry.is_complete()) {
            self.waiting.entry(entry.parent).or_default().push(entry.id);
        }
    }
}

/// A step of the tip.
enum Step {
    /// Connects a child of the tip.
    Up(Entry),
    /// A step back: disconnects the tip.
    Down,
}
