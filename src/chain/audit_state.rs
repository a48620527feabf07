//! Checking the states that a store keeps.

use crate::consensus::coins::Delta;
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, StateRoot};
use crate::primitives::height::Height;
use crate::state::source::BUCKET;
use crate::state::{Builder, Epochs, Inner, Key, KeyRange, Leaf, Node, Source, StateId, Table};
use crate::storage::{Database, Edge, StateHead, StoreError};

/// Coins of a kept state that are read at once.
const PAGE: usize = 4_096;

/// The states of a chain that is replayed, compared with those of the store.
pub(super) struct Audit<'a> {
    db: &'a Database,
    params: &'a Params,
    head: StateHead,
    epochs: Epochs,
    /// The coins after the block where the table of the store stands.
    table: Table,
}

impl<'a> Audit<'a> {
    pub(super) fn new(db: &'a Database, params: &'a Params) -> Result<Self, StoreError> {
        Ok(Self { db, params, head: db.state_head()?, epochs: Epochs::default(), table: Table::default() })
    }

    /// What the next block, at `height`, commits to.
    pub(super) fn due(&self, height: Height) -> StateRoot {
        self.epochs.due(self.params, height)
    }

    /// Adds the next block, and compares the state after it, if the store should have that: then it returns `true`.
    pub(super) fn push(&mut self, height: Height, block: BlockHash, delta: &Delta) -> Result<bool, StoreError> {
        let Self { db, params, head, epochs, table } = self;
        let fault = |error: &dyn std::fmt::Display| db.corrupt(format!("the coins after block {block}: {error}"));
        epochs.push(params, height, block, delta).map_err(|error| fault(&error))?;
        let stored = db.edge(height)?;
        let is_expected = params.is_edge(height) && height <= head.height;
        let expected = is_expected.then(|| Edge::new(height, block, epochs.table().top().copied()));
        if stored != expected {
            return Err(fault(&"the root over them is another"));
        }
        if height == head.height {
            *table = epochs.current().map_err(|error| fault(&error))?;
        }
        Ok(expected.is_some())
    }

    /// Compares the table, and the states before it.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        compare(self.db, &self.head, &self.table)?;
        check_kept(self.db, self.params)
    }
}

/// Compares the table's records with its coins.
pub(super) fn check_table(db: &Database) -> Result<(), StoreError> {
    let mut leaves = Vec::new();
    db.for_each_state_coin(&mut |leaf| leaves.push(leaf))?;
    let table = Table::new(leaves).map_err(|error| db.corrupt(format!("the coins of the state: {error}")))?;
    compare(db, &db.state_head()?, &table)
}

/// Compares the table of the store with another.
fn compare(db: &Database, head: &StateHead, table: &Table) -> Result<(), StoreError> {
    let (mut leaves, mut records, mut differs) = (table.leaves(), table.records(), head.top.as_ref() != table.top());
    db.for_each_state_coin(&mut |leaf: Leaf| differs |= leaves.next() != Some(&leaf))?;
    db.for_each_state_record(&mut |record: Inner| differs |= records.next() != Some(&record))?;
    if differs || leaves.next().is_some() || records.next().is_some() {
        return Err(db.corrupt(format!("the table of the state is not that after block {}", head.height)));
    }
    Ok(())
}

/// Reads all states that the store keeps, coin by coin, and compares their roots.
pub(super) fn check_kept(db: &Database, params: &Params) -> Result<(), StoreError> {
    let (head, epoch) = (db.state_head()?, params.epoch_blocks);
    if !params.is_edge(head.oldest) || head.oldest >= head.height.saturating_add(epoch) {
        return Err(db.corrupt(format!("no state is kept from block {} on", head.oldest)));
    }
    for edge in (head.oldest.as_u32()..=head.height.as_u32()).step_by(epoch as usize) {
        let edge = Height::from_u32(edge);
        let fault = || db.corrupt(format!("the state after block {edge} is another than its root says"));
        let state = db.edge(edge)?.ok_or_else(fault)?;
        let top = db.with_state(edge, epoch, |source| node_of(source, &fault))?.ok_or_else(fault)??;
        if StateId::new(edge, state.block, top.as_ref()) != state.id(edge) {
            return Err(fault());
        }
    }
    Ok(())
}

/// The node over all coins of a state, whose records are compared with them.
fn node_of(source: &Source<'_, StoreError>, fault: &dyn Fn() -> StoreError) -> Result<Option<Node>, StoreError> {
    let mut records = Ok(());
    let mut builder = Builder::new(|inner: &Inner, node: &Node| {
        if node.count > BUCKET && records.is_ok() {
            let same = |record| if record == Some(*inner) { Ok(()) } else { Err(fault()) };
            records = (source.record)(&inner.prefix).and_then(same);
        }
    });
    let mut range = Some(KeyRange::ALL);
    while let Some(rest) = range {
        let leaves = (source.leaves)(&rest, PAGE)?;
        // The root says nothing of the lock beside a coin's key.
        if leaves.iter().any(|leaf| leaf.key != Key::new(&leaf.lock, &leaf.key.outpoint())) {
            return Err(fault());
        }
        leaves.iter().try_for_each(|leaf| builder.push_coin(leaf)).map_err(|_| fault())?;
        let more = leaves.last().filter(|_| leaves.len() >= PAGE).and_then(|leaf| leaf.key.next());
        range = more.and_then(|next| KeyRange::new(next, *rest.last()));
    }
    let top = builder.finish().map_err(|_| fault())?;
    records.map(|()| top)
}
