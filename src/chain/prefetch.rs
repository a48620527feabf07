//! Looks up the coins that a block spends on all cores in parallel, since a coin that is not in memory costs a disk
//! read.

use rayon::prelude::*;

use crate::consensus::check::CheckedBlock;
use crate::consensus::coins::{Coin, CoinView};
use crate::primitives::keyed::{HashMap, HashSet};
use crate::primitives::meter;
use crate::primitives::tx::OutPoint;
use crate::storage::{Database, StoreError};

/// Fewest inputs for which other threads are woken.
const MIN_INPUTS: usize = 128;
/// Coins that a thread looks up in one go.
const COINS_PER_TASK: usize = 32;

/// A view of the coins that a block may spend; the rest is looked up when it is asked for.
pub(super) struct Prefetched<'a> {
    db: &'a Database,
    found: HashMap<OutPoint, Option<Coin>>,
}

impl<'a> Prefetched<'a> {
    /// Looks up the coins of other blocks that `block` spends, if there are many.
    ///
    /// # Errors
    /// The store's.
    pub fn new(db: &'a Database, block: &CheckedBlock) -> Result<Self, StoreError> {
        let inputs = block.block().transactions.iter().flat_map(|tx| &tx.inputs);
        let mut outpoints: Vec<OutPoint> = inputs.map(|input| input.outpoint).collect();
        if outpoints.len() < MIN_INPUTS {
            return Ok(Self { db, found: HashMap::default() });
        }
        let own: HashSet<_> = block.txids().iter().collect();
        outpoints.retain(|outpoint| !own.contains(&outpoint.txid));
        let look_up = |outpoint: &OutPoint| Ok((*outpoint, db.coin(outpoint)?));
        let found = outpoints.par_iter().with_min_len(COINS_PER_TASK).map(look_up);
        let found = meter::apart(|| found.collect::<Result<_, StoreError>>())?;
        Ok(Self { db, found })
    }
}

impl CoinView for Prefetched<'_> {
    type Error = StoreError;

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        match self.found.get(outpoint) {
            Some(found) => Ok(found.clone()),
            None => self.db.coin(outpoint),
        }
    }
}
