//! The states that blocks commit to, of a chain that is built in memory.

use std::convert::Infallible;

use super::changes::Changes;
use super::node::StateId;
use super::table::Table;
use super::update::UpdateError;
use crate::consensus::coins::Delta;
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, StateRoot};
use crate::primitives::height::Height;

/// The coins after the last edge, what became of them since, and the roots that the next blocks commit to.
#[derive(Debug, Clone, Default)]
pub struct Epochs {
    table: Table,
    since: Changes,
    /// The states after the last two edges, the older one first.
    states: Vec<StateId>,
}

impl Epochs {
    /// Adds the next block, which is at `height` and does `delta` to the coins. Genesis is the first.
    ///
    /// # Errors
    /// [`UpdateError`], if the block does not follow from those before.
    pub fn push(
        &mut self,
        params: &Params,
        height: Height,
        block: BlockHash,
        delta: &Delta,
    ) -> Result<(), UpdateError<Infallible>> {
        self.since.apply(delta);
        if params.is_edge(height) {
            self.table.apply(&self.since)?;
            self.since = Changes::default();
            let kept = self.states.len().saturating_sub(1);
            self.states.drain(..kept);
            self.states.push(StateId::new(height, block, self.table.top()));
        }
        Ok(())
    }

    /// What the block at `height`, the next one, commits to as the state: zero in the first epoch.
    pub fn due(&self, params: &Params, height: Height) -> StateRoot {
        let due = params.committed_state(height);
        self.states.iter().find(|state| Some(state.height) == due).map_or(StateRoot::ZERO, |state| state.root)
    }

    /// The coins after the last block.
    ///
    /// # Errors
    /// [`UpdateError`], if the blocks since the last edge do not follow from it.
    pub fn current(&self) -> Result<Table, UpdateError<Infallible>> {
        let mut table = self.table.clone();
        table.apply(&self.since)?;
        Ok(table)
    }

    /// The state after the last edge.
    pub fn last(&self) -> Option<&StateId> {
        self.states.last()
    }

    /// The coins after the last edge.
    pub fn table(&self) -> &Table {
        &self.table
    }
}
