//! Headers that come late: a node that starts from a state by a proof has all headers from shortly below the state on, and
//! fetches those before when it has time.
//!
//! Until they are here, they are a gap between genesis and the root that the tree had first. The range over them is known from
//! the proof, so each may come in any company, proven under it. They are written in order, each write with the place to which
//! they have come, so that a killed node goes on from there.

use super::load::{HeaderStart, Loading};
use super::{Chain, effects};
use crate::primitives::height::Height;
use crate::primitives::mmr;
use crate::receipt::succinct::ProvenHeader;
use crate::receipt::weight::work_of;
use crate::storage::{
    Batch, BlockKey, Burials, BuriedHeader, HeaderGap, HeaderRecord, StateBase, StateLoad, Status, StoreError, TreeRoot,
};

impl Chain {
    /// [`Chain::begin_load`] of a state on a chain that is proven: headers are followed from `start` on, a block at or below the
    /// edge before the state's, and not genesis. What the chain has is removed first. While the state is loaded, `start` is the
    /// tip. Nothing happens if the chain has blocks of its own.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the range is not over the headers before `start`; the store's.
    pub fn begin_load_above(&mut self, base: StateBase, parts: usize, start: &HeaderStart) -> Result<(), StoreError> {
        if self.tip().height > Height::GENESIS && self.loading.is_none() {
            return Ok(());
        }
        let HeaderStart { height, header, range, first_time } = start;
        if *height == Height::GENESIS
            || range.leaves() != u64::from(height.as_u32())
            || *height > base.height.saturating_sub(self.params.epoch_blocks)
        {
            return Err(self.db.corrupt(format!("no headers can be followed from height {height} on")));
        }
        self.restart()?;
        let (genesis, at) = (self.tip(), BlockKey { height: *height, hash: header.hash() });
        let (mut batch, mut burials) = (Batch::default(), Burials::default());
        let transactions = genesis.tx_count.into();
        let buried =
            BuriedHeader { header: genesis.header, tx_count: genesis.tx_count, transactions, work: genesis.work };
        batch.bury(&genesis.key(), genesis.id, Height::GENESIS);
        burials.add(&self.db, &genesis.key(), &buried)?;
        burials.stage(&mut batch);
        batch.delete_bodies(&[genesis.key()]);
        batch.delete_filter(&genesis.key());
        batch.prune_below(height.next());
        batch.put_kept_from(height.next());

        // The places below are for the headers that come late, should they ever be put back into the tree.
        let place = height.as_u32();
        let status = Status::BODY.with(Status::VALID);
        let record = HeaderRecord { parent: place, header: (*header).into(), status, sequence: 1, tx_count: 0 };
        batch.put_header(place, &record);
        batch.put_tree_root(&TreeRoot { height: *height, place, first_time: *first_time });
        let (from, peaks) = (Height::GENESIS.next(), range.peaks().to_vec());
        mmr::peak_numbers(range.leaves()).zip(&peaks).for_each(|(number, peak)| batch.put_range_node(number, peak));
        let leaf = mmr::Node::leaf(at.hash, work_of(header), header.time);
        range.clone().push_numbered(leaf).for_each(|(number, node)| batch.put_range_node(number, &node));
        batch.put_header_gap(&HeaderGap { from, end: *height, previous: header.previous, peaks });
        batch.put_best(*height, &at.hash);
        batch.put_filter_header(&at, &base.filters);
        batch.put_tip(&at.hash);
        let load = StateLoad::new(base, parts.next_power_of_two());
        batch.put_state_load(&load);
        self.db.store().commit(batch)?;
        self.read_again()?;
        self.loading = Some(Loading::new(load));
        self.clear_for_load()
    }

    /// Takes headers that are still to come, the lowest of them first, each the parent of the next. The caller has checked that
    /// they are proven under the [range](HeaderGap::range) of the gap. `false` if these are not the next.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they do not make that range; the store's.
    pub fn fill_headers(&mut self, headers: &[ProvenHeader]) -> Result<bool, StoreError> {
        let Some(mut gap) = self.tree().header_gap().cloned() else { return Ok(false) };
        let is_next = gap.from.until(gap.end).zip(headers).filter(|(height, proven)| proven.height == *height).count();
        let Some(before) = gap.from.prev().filter(|_| is_next == headers.len()) else { return Ok(false) };
        let transactions = self.db.buried_at(before)?.transactions;
        let mut range = effects::load_range(&self.db, before)?;
        let (mut batch, mut burials) = (Batch::default(), Burials::default());
        for ProvenHeader { height, header, hash, place } in headers {
            let nodes = range.push_numbered(mmr::Node::leaf(*hash, place.own, place.time));
            nodes.for_each(|(number, node)| batch.put_range_node(number, &node));
            let buried = BuriedHeader { header: *header, tx_count: 0, transactions, work: place.after };
            batch.delete_low_nodes(*height, Height::GENESIS);
            burials.add(&self.db, &BlockKey { height: *height, hash: *hash }, &buried)?;
            gap.from = height.next();
        }
        if gap.from == gap.end {
            if range.peaks() != gap.peaks {
                return Err(self.db.corrupt("the headers that came late are not those below the state"));
            }
            batch.close_header_gap(gap.end, self.tree().index.root_height());
        }
        burials.stage(&mut batch);
        batch.put_header_gap(&gap);
        self.db.store().commit(batch)?;
        self.tree.write().index.set_gap(gap);
        Ok(true)
    }
}
