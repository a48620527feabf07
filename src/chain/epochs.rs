//! Follows the best chain with the table of the state: a part of an epoch at a time, from the bodies and undo records that
//! the store has anyway.
//!
//! The table is behind the tip, or at it. A block commits to the coins of an epoch or two before it, so the table has the
//! time of an epoch to follow, and any thread may move it: a lock keeps the tip from going back behind it meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::{Chain, ChainError, effects};
use crate::consensus::coins::Delta;
use crate::consensus::commitment::{self, Committed};
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, FilterHeader, LedgerRoot, StateRoot};
use crate::primitives::height::Height;
use crate::state::{Changes, Halves, SourceError, Table, Update, UpdateError};
use crate::storage::{Batch, BlockKey, Database, Edge, StateHead, StoreError, TableChange};

/// Changed coins from which on a step of the table ends, though no edge is reached: that bounds its memory, and the time for
/// which it keeps the tip from going back.
const STEP_CHANGES: usize = 1 << 16;
/// Changed coins from which on two threads compute what becomes of the table.
const HALVED_CHANGES: usize = 1 << 10;
/// Epochs before the last edge whose states are kept, so that a state can be served until the next one is buried.
const KEPT_EPOCHS: u32 = 2;

/// Where a write has brought the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Closer to the next edge.
    Between,
    /// To the coins after this block, at an edge.
    Edge(BlockKey),
    /// Nowhere: it is where it should be.
    Idle,
}

/// Moves the table of the state.
pub struct StateTable {
    params: Arc<Params>,
    db: Database,
    /// Held while the table moves, and while the tip goes back.
    moving: Mutex<()>,
}

impl StateTable {
    pub(super) fn new(params: Arc<Params>, db: Database) -> Self {
        Self { params, db, moving: Mutex::new(()) }
    }

    /// Moves the table towards the coins after the last edge of the best chain, by one write: up to an edge, or by as few
    /// blocks as change `most` coins.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the blocks do not follow from the table; the store's own.
    pub fn advance(&self, most: usize) -> Result<Step, StoreError> {
        let _moving = self.lock();
        if self.db.state_load()?.is_some() {
            return Ok(Step::Idle);
        }
        let head = self.clean_head()?;
        let edge = edge_from(&self.params, head.height.next());
        if self.db.hash_at(edge)?.is_none() {
            return Ok(Step::Idle);
        }
        let (mut changes, mut height, mut block) = (Changes::default(), head.height, None);
        while height < edge && changes.len() < most {
            height = height.next();
            let at = self.db.key_at(height)?;
            let at = at.ok_or_else(|| self.db.corrupt(format!("the best chain has no block at height {height}")))?;
            changes.apply(&effects::delta_of(&self.db, &effects::load(&self.db, &self.params, &at)?, height)?);
            block = Some(at);
        }
        let Some(block) = block else { return Ok(Step::Idle) };
        self.write(&head, &changes, &block)?;
        Ok(if height == edge { Step::Edge(block) } else { Step::Between })
    }

    /// Moves the table to the next edge, if the best chain has come to one.
    ///
    /// # Errors
    /// As [`StateTable::advance`].
    pub fn next_edge(&self) -> Result<Option<BlockKey>, StoreError> {
        loop {
            match self.advance(STEP_CHANGES)? {
                Step::Between => {}
                Step::Edge(block) => return Ok(Some(block)),
                Step::Idle => return Ok(None),
            }
        }
    }

    /// Calls `work` while the table stays. `None` if it moves just now.
    pub fn while_it_stays<T>(&self, work: impl FnOnce(&Database) -> T) -> Option<T> {
        let _moving = match self.moving.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(work(&self.db))
    }

    /// Has the table go back behind the block `at` of the best chain, which is to be disconnected, where `delta` is what it
    /// did to the coins. The table stays as long as the guard is kept.
    pub(super) fn go_behind(&self, at: &BlockKey, delta: &Delta) -> Result<MutexGuard<'_, ()>, StoreError> {
        let moving = self.lock();
        let head = self.clean_head()?;
        if head.height < at.height {
            return Ok(moving);
        }
        let below = at.height.prev().and_then(|height| self.db.key_at(height).transpose());
        let below = below.ok_or_else(|| self.db.corrupt(format!("block {} has no parent", at.hash)))??;
        let mut changes = Changes::default();
        changes.undo(delta);
        self.write(&head, &changes, &below)?;
        Ok(moving)
    }

    /// Makes the table that after block `to`, from which it differs by `changes`.
    fn write(&self, head: &StateHead, changes: &Changes, to: &BlockKey) -> Result<(), StoreError> {
        let (params, db) = (&self.params, &self.db);
        let update = self.update(head, changes).map_err(|error| match error {
            UpdateError::Source(SourceError::Read(error)) => error,
            other => db.corrupt(format!("the table of the state at height {}: {other}", head.height)),
        })?;
        let mut batch = Batch::default();
        let log = params.last_edge(head.height.min(to.height));
        let log = Some((log, log == head.height || db.is_log_empty(log)?));
        db.stage_table_change(&mut batch, &TableChange { changes, update: &update, log })?;
        let mut oldest = head.oldest;
        if to.height < head.height {
            // What was kept of states above is of a branch that is left.
            oldest = oldest.min(edge_from(params, to.height));
            if params.is_edge(head.height) {
                batch.delete_edge(head.height);
            }
        } else if params.is_edge(to.height) {
            oldest = oldest.max(to.height.saturating_sub(KEPT_EPOCHS * params.epoch_blocks));
            batch.put_edge(to.height, &Edge::new(to.height, to.hash, update.top));
        }
        batch.put_state_head(&StateHead { height: to.height, top: update.top, oldest });
        db.store().commit(batch)
    }

    /// What becomes of the table where it differs by `changes`: if they are many, this thread and another compute a half each.
    fn update(&self, head: &StateHead, changes: &Changes) -> Result<Update, UpdateError<StoreError>> {
        let db = &self.db;
        db.with_state_table(head.top, |source| {
            let halves = if changes.len() < HALVED_CHANGES { None } else { Halves::new(source, changes)? };
            let Some(halves) = halves else { return Update::new(source, changes) };
            // Apart from the threads that check blocks, which would wait. A page has no other thread.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "state".to_owned()).build();
            let Ok(pool) = pool else { return Update::new(source, changes) };
            let mut right = None;
            let left = pool.in_place_scope(|scope| {
                scope.spawn(|_| right = Some(db.with_state_table(None, |source| halves.half(source, true))));
                halves.half(source, false)
            });
            let right = right.unwrap_or_else(|| halves.half(source, true));
            halves.join(left?, right?)
        })
    }

    /// Where the table is, with no entries left in logs that it must not find.
    fn clean_head(&self) -> Result<StateHead, StoreError> {
        let head = self.db.state_head()?;
        loop {
            let mut batch = Batch::default();
            let more = self.db.stage_log_cleaning(&mut batch, &head)?;
            if !batch.is_empty() {
                self.db.store().commit(batch)?;
            }
            if !more {
                return Ok(head);
            }
        }
    }

    /// Keeps the table from being moved by another thread.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        // What is written is written in one batch, so a thread that panicked has left nothing half done.
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain {
    /// What moves the table of the state, for another thread.
    pub fn state_table(&self) -> Arc<StateTable> {
        self.states.clone()
    }

    /// From now on another thread moves the table: a block waits for its state until [`Chain::state_ready`] is called.
    ///
    /// # Errors
    /// The store's.
    pub fn await_states(&mut self) -> Result<(), StoreError> {
        self.ready_to = Some(self.params.last_edge(self.db.state_head()?.height));
        Ok(())
    }

    /// The best chain's block at its last edge.
    pub fn last_edge(&self) -> BlockKey {
        let tip = self.tip();
        let edge = self.params.last_edge(tip.height);
        self.entry_at(edge).unwrap_or(tip).key()
    }

    /// Whether the best chain has an edge whose state may not be used yet.
    pub fn is_state_due(&self) -> bool {
        self.ready_to.is_some_and(|ready| self.params.last_edge(self.tip().height) > ready)
    }

    /// The table has come to the coins after `block` at an edge, so later blocks may be connected. If it has been moved
    /// back since, it is moved there again. Nothing happens if the block is no longer on the best chain.
    ///
    /// # Errors
    /// The store's.
    pub fn state_ready(&mut self, block: &BlockKey) -> Result<(), StoreError> {
        if self.has(block) {
            self.compute(block.height)?;
            self.ready_to = self.ready_to.map(|ready| ready.max(block.height));
        }
        Ok(())
    }

    /// Whether the next block commits to coins over which the root is not computed yet.
    pub fn is_state_pending(&self) -> bool {
        let due = self.params.committed_state(self.tip().height.next());
        self.loading.is_some() || matches!((due, self.ready_to), (Some(edge), Some(ready)) if edge > ready)
    }

    /// The root over the coins that the next block commits to.
    pub(super) fn due_state(&self) -> Result<StateRoot, ChainError> {
        if let Some(load) = self.state_load() {
            return Err(ChainError::Loading { base: load.base.height });
        }
        let Some(edge) = self.params.committed_state(self.tip().height.next()) else { return Ok(StateRoot::ZERO) };
        if self.is_state_pending() {
            return Err(ChainError::StatePending { edge });
        }
        Ok(self.compute(edge)?)
    }

    /// The root over the coins after the best chain's block at `edge`, for which the table is moved if it is not there.
    fn compute(&self, edge: Height) -> Result<StateRoot, StoreError> {
        loop {
            if let Some(state) = self.db.edge(edge)? {
                return Ok(state.id(edge).root);
            }
            if self.states.next_edge()?.is_none() {
                return Err(self.db.corrupt(format!("the best chain has no state at height {edge}")));
            }
        }
    }
}

/// Stages the table of genesis, which made these coins.
pub(super) fn stage_genesis(
    params: &Params,
    db: &Database,
    batch: &mut Batch,
    delta: &Delta,
) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    changes.apply(delta);
    let nothing = Table::default();
    let update = nothing.with_source(|source| Update::new(source, &changes));
    let update = update.map_err(|error| db.corrupt(format!("the coins of genesis: {error}")))?;
    db.stage_table_change(batch, &TableChange { changes: &changes, update: &update, log: None })?;
    batch.put_edge(Height::GENESIS, &Edge::new(Height::GENESIS, params.genesis_hash, update.top));
    batch.put_state_head(&StateHead { height: Height::GENESIS, top: update.top, oldest: Height::GENESIS });
    Ok(())
}

/// The root over the coins that a block at `height` commits to, zero in the first epoch; `None` if it is not computed
/// yet.
pub(super) fn due_root(params: &Params, db: &Database, height: Height) -> Result<Option<StateRoot>, StoreError> {
    let Some(edge) = params.committed_state(height) else { return Ok(Some(StateRoot::ZERO)) };
    Ok(db.edge(edge)?.map(|state| state.id(edge).root))
}

/// What a block of the best chain at `height` commits to besides headers, where `previous` is its parent.
///
/// # Errors
/// The store's.
pub fn ledger_root(
    db: &Database,
    params: &Params,
    height: Height,
    previous: &BlockHash,
) -> Result<LedgerRoot, StoreError> {
    let (state, filters) = ledger(db, params, height, previous)?;
    Ok(commitment::ledger_root(&state, &filters))
}

/// All that a block of the best chain at `height`, at least 1, commits to, where `previous` is its parent.
///
/// # Errors
/// The store's.
pub fn committed_by(
    db: &Database,
    params: &Params,
    height: Height,
    previous: &BlockHash,
) -> Result<Committed, StoreError> {
    let (state, filters) = ledger(db, params, height, previous)?;
    Ok(Committed { range: effects::load_range(db, height.saturating_sub(1))?.root(), state, filters })
}

fn ledger(
    db: &Database,
    params: &Params,
    height: Height,
    previous: &BlockHash,
) -> Result<(StateRoot, FilterHeader), StoreError> {
    let state = due_root(params, db, height)?;
    let missing = || db.corrupt(format!("the root over the coins that block {height} commits to is missing"));
    Ok((state.ok_or_else(missing)?, effects::filter_header_before(db, height, previous)?))
}

/// The first edge from a height on.
fn edge_from(params: &Params, height: Height) -> Height {
    let last = params.last_edge(height);
    if last == height { height } else { last.saturating_add(params.epoch_blocks) }
}
