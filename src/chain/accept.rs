//! Taking headers and blocks in.

use std::sync::Arc;

use super::index::{Entry, Id};
use super::prefetch::Prefetched;
use super::{Chain, ChainError, ChainUpdate};
use crate::consensus::check::{CheckedBlock, check_block, check_proof_of_work};
use crate::consensus::connect::{BlockContext, ConnectError, connect};
use crate::consensus::context::{check_clock, check_header};
use crate::consensus::error::{RuleError, Verdict};
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::storage::{Batch, Status, StoreError};

/// Says whether a transaction's signatures are known to be good: the mempool's knowledge.
pub type IsVerified<'a> = &'a dyn Fn(&Txid) -> bool;

impl Chain {
    /// Takes a header without its body. `true` if it was not known.
    ///
    /// # Errors
    /// [`ChainError`]; nothing has changed then.
    pub fn accept_header(&mut self, header: Header, now: u64) -> Result<bool, ChainError> {
        self.accept_headers(&[header], now).map(|new| new == 1).map_err(|(_, error)| error)
    }

    /// Takes headers in order, in one batch; answers how many were not known. `now` is the clock's, in seconds since
    /// 1970.
    ///
    /// # Errors
    /// The place of the first that was refused, and why. Those before it are taken, unless the store failed.
    pub fn accept_headers(&mut self, headers: &[Header], now: u64) -> Result<usize, (usize, ChainError)> {
        let before = self.index.len();
        let hashed = headers.iter().zip(Header::hash_all(headers));
        let refused = hashed
            .enumerate()
            .find_map(|(place, (header, hash))| self.insert_header(*header, hash, now).err().map(|e| (place, e)));
        let mut batch = Batch::default();
        self.index.entries().skip(before).for_each(|entry| batch.put_header(entry.id, &entry.record()));
        if !batch.is_empty()
            && let Err(error) = self.db.store().commit(batch)
        {
            self.index.truncate(before);
            return Err((0, error.into()));
        }
        match refused {
            Some(refused) => Err(refused),
            None => Ok(self.index.len() - before),
        }
    }

    /// Takes a block: its header if that is new, its body, and moves to the best chain that this makes possible. A body
    /// may come before those of the blocks before it; it is then stored until they are there. `now` is the clock's, in
    /// seconds since 1970.
    ///
    /// # Errors
    /// [`ChainError::Rule`] if the block is refused. Where the body is its header's, the block and all after it are
    /// invalid from then on; a body that is not leaves the header's good name alone. The tip has not moved.
    /// [`ChainError::Store`] if the store fails; the steps before that one stand.
    pub fn accept_block(
        &mut self,
        block: Block,
        now: u64,
        is_verified: IsVerified<'_>,
    ) -> Result<ChainUpdate, ChainError> {
        let hash = block.hash();
        if self.index.find(&hash).is_some_and(|entry| entry.has_body() && !entry.is_invalid()) {
            return Err(ChainError::Duplicate { hash });
        }
        // The header is in memory only until the first write, which takes it to the store too.
        let headers = self.index.len();
        let id = self.insert_header(block.header, hash, now)?;
        let mut update = ChainUpdate::default();
        let first_write = match self.stats.check.time(|| check_block(block, &self.params)) {
            Err(source) if source.verdict() != Verdict::Invalid => {
                self.index.truncate(headers);
                return Err(ChainError::Rule { hash, source });
            }
            Err(source) => self.mark_broken(id, source, &mut update),
            Ok(checked) if self.is_next(id) => self.connect(id, Arc::new(checked), is_verified, &mut update),
            Ok(checked) => self.keep_body(id, &checked),
        };
        if let Err(error) = first_write {
            self.index.truncate(headers);
            return Err(error.into());
        }
        self.activate(is_verified, &mut update)?;
        match update.rejected.iter().find(|(rejected, _)| *rejected == hash) {
            Some((_, source)) if update.is_empty() => Err(ChainError::Rule { hash, source: source.clone() }),
            _ => Ok(update),
        }
    }

    /// Whether `block`, proof of work aside, could be the next on the tip (BIP-23's proposal). Nothing changes.
    ///
    /// # Errors
    /// [`ChainError::Rule`] if not, [`ChainError::Store`].
    pub fn check_proposal(&self, block: Block, now: u64, is_verified: IsVerified<'_>) -> Result<(), ChainError> {
        let hash = block.hash();
        let rule = |source| ChainError::Rule { hash, source };
        let place = self.next_context();
        check_header(&block.header, &place).map_err(rule)?;
        check_clock(&block.header, now, &self.params).map_err(rule)?;
        let block = check_block(block, &self.params).map_err(rule)?;
        let context = BlockContext { params: &self.params, height: place.height, commitment: self.range.root() };
        match connect(&block, &context, &Prefetched::new(&self.db, &block)?, is_verified) {
            Ok(_) => Ok(()),
            Err(ConnectError::Rule(source)) => Err(rule(source)),
            Err(ConnectError::View(error)) => Err(error.into()),
        }
    }

    /// Checks a header and puts it into the tree, in memory only; its place there.
    fn insert_header(&mut self, header: Header, hash: BlockHash, now: u64) -> Result<Id, ChainError> {
        if let Some(entry) = self.index.find(&hash) {
            return self.not_invalid(&entry, hash).map(|()| entry.id);
        }
        let rule = |source| ChainError::Rule { hash, source };
        check_proof_of_work(&header, &hash, &self.params).map_err(rule)?;
        let parent =
            self.index.find(&header.previous).ok_or(ChainError::UnknownParent { hash, parent: header.previous })?;
        self.not_invalid(&parent, hash)?;
        check_header(&header, &self.index.child_context(&parent, &self.params)).map_err(rule)?;
        check_clock(&header, now, &self.params).map_err(rule)?;
        let own_work = header.bits.target().map_err(|e| rule(e.into()))?.work();
        let (parent, work) = (parent.id, parent.work + own_work);
        Ok(self.index.insert(hash, header, parent, work))
    }

    /// Refuses block `hash` if `entry`, which is it or its parent, is known to be invalid: the nearest bad block is
    /// named. What only the operator refuses is no peer's fault.
    fn not_invalid(&self, entry: &Entry, hash: BlockHash) -> Result<(), ChainError> {
        if entry.has_fault(Status::BROKEN) {
            let bad = self.index.branch(entry).find(|entry| entry.status.has(Status::BROKEN)).unwrap_or(*entry);
            return Err(ChainError::Rule { hash, source: RuleError::InvalidParent { parent: bad.hash } });
        }
        if entry.has_fault(Status::REFUSED) { Err(ChainError::Refused { hash }) } else { Ok(()) }
    }

    /// Whether a block that has just arrived can be stored and connected in one write.
    fn is_next(&self, id: Id) -> bool {
        let nothing_is_better = self.candidates.len() == 1;
        self.index.get(id).parent == self.tip().id && nothing_is_better && !self.waiting.contains_key(&id)
    }

    /// Stores a body that cannot be connected yet or is on a side branch. What waited for it becomes complete.
    fn keep_body(&mut self, own: Id, block: &CheckedBlock) -> Result<(), StoreError> {
        let mut entry = self.index.get(own);
        entry.status = entry.status.with(Status::BODY);
        entry.tx_count = block.txids().len() as u32;
        let mut completed: Vec<Entry> = Vec::new();
        if self.index.get(entry.parent).is_complete() {
            completed.push(entry);
            let mut next = 0;
            while let Some(above) = completed.get(next) {
                let waiting = self.waiting.get(&above.id).into_iter().flatten();
                completed.extend(waiting.map(|id| self.index.get(*id)).collect::<Vec<_>>());
                next += 1;
            }
        }
        // Of those that become complete at one time, the first to be announced has its turn first.
        completed.sort_unstable_by_key(|entry| entry.id);
        for (sequence, entry) in (self.next_sequence..).zip(&mut completed) {
            entry.sequence = sequence;
        }
        let mut batch = Batch::default();
        batch.put_block(&entry.hash, block.block());
        let is_waiting = completed.is_empty();
        let changed = if is_waiting { vec![entry] } else { completed };
        changed.iter().for_each(|entry| batch.put_header(entry.id, &entry.record()));
        self.db.store().commit(batch)?;

        if is_waiting {
            self.index.update(&entry);
            self.waiting.entry(entry.parent).or_default().push(own);
            return Ok(());
        }
        for entry in changed {
            self.index.update(&entry);
            self.waiting.remove(&entry.id);
            self.next_sequence += 1;
            self.add_candidate(entry.id);
        }
        Ok(())
    }
}
