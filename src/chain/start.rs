//! Starts a chain with genesis.

use super::{effects, epochs};
use crate::consensus::check::check_block;
use crate::consensus::coins::Delta;
use crate::consensus::params::Params;
use crate::primitives::hash::FilterHeader;
use crate::primitives::height::Height;
use crate::primitives::mmr;
use crate::storage::{Batch, BlockKey, Database, HeaderRecord, Status, StoreError, TreeRoot};

/// Removes what is in a store that is marked to be started again, and starts it.
pub(super) fn restart(params: &Params, db: &Database) -> Result<(), StoreError> {
    db.clear_chain()?;
    start(params, db)
}

/// Starts an empty store with genesis.
pub(super) fn start(params: &Params, db: &Database) -> Result<(), StoreError> {
    let checked = check_block(params.genesis.clone(), params).expect("genesis is checked with its parameters");
    let created = Delta::created_by(checked.block(), checked.txids(), Height::GENESIS);
    let delta = Delta { created, ..Delta::default() };
    let record = HeaderRecord {
        parent: 0,
        header: params.genesis.header.into(),
        status: Status::BODY.with(Status::VALID),
        sequence: 1,
        tx_count: checked.txids().len() as u32,
    };
    let mut batch = Batch::default();
    epochs::stage_genesis(params, db, &mut batch, &delta)?;
    batch.delete_restart();
    batch.put_meta(&params.genesis_hash);
    batch.put_header(0, &record);
    batch.put_tree_root(&TreeRoot { height: Height::GENESIS, place: 0, first_time: 0 });
    batch.put_block(&BlockKey { height: Height::GENESIS, hash: params.genesis_hash }, checked.block());
    effects::stage_connect(
        &mut batch,
        &checked,
        Height::GENESIS,
        params.genesis_target.work(),
        &delta,
        &mut { FilterHeader::ZERO },
        &mut mmr::Range::default(),
    );
    db.store().commit(batch)
}
