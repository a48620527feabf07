//! Accepts headers and blocks.

use super::activate::{Candidate, IsVerified};
use super::index::{Entry, Id, Index, NOWHERE};
use super::prefetch::Prefetched;
use super::{BlockTree, Chain, ChainError, ChainUpdate};
use crate::consensus::check::{CheckedBlock, MatchedBlock, check_block, check_matched, check_proof_of_work};
use crate::consensus::connect::{BlockContext, ConnectError, connect};
use crate::consensus::context::{check_clock, check_header};
use crate::consensus::error::{RuleError, Verdict};
use crate::consensus::headers::HeaderTail;
use crate::consensus::params::Params;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::keyed::HashMap;
use crate::primitives::time::UnixTime;
use crate::storage::{Batch, Status, StoreError};

impl Chain {
    /// Accepts a header without its body. `true` if it is new.
    ///
    /// # Errors
    /// [`ChainError`]; nothing has changed then.
    pub fn accept_header(&mut self, header: Header, now: UnixTime) -> Result<bool, ChainError> {
        self.accept_headers(&[header], now).map(|new| new == 1).map_err(|(_, error)| error)
    }

    /// Accepts headers in order, in one batch, and returns how many are new. `now` is the clock's.
    ///
    /// # Errors
    /// The index of the first refused header, and why. Headers before it are accepted, unless the store failed.
    pub fn accept_headers(&mut self, headers: &[Header], now: UnixTime) -> Result<usize, (usize, ChainError)> {
        self.accept_hashed(headers, &Header::hash_all(headers), now)
    }

    /// [`Chain::accept_headers`], for headers that the caller has already hashed.
    pub(crate) fn accept_hashed(
        &mut self,
        headers: &[Header],
        hashes: &[BlockHash],
        now: UnixTime,
    ) -> Result<usize, (usize, ChainError)> {
        let mut draft = UnstoredHeaders::default();
        let tree = self.tree.read();
        let refused = headers.iter().zip(hashes).enumerate().find_map(|(place, (header, hash))| {
            self.check_header(&tree, &mut draft, *header, *hash, now).err().map(|error| (place, error))
        });
        drop(tree);
        if let Some((_, ChainError::TooDeep { fork, .. })) = &refused {
            self.tree.write().too_deep = Some(*fork);
        }
        if !draft.new.is_empty() {
            self.unbury_parents(&mut draft).map_err(|error| (0, error.into()))?;
            let mut batch = Batch::default();
            draft.new.iter().for_each(|(entry, _)| batch.put_header(entry.id, &entry.record()));
            self.db.store().commit(batch).map_err(|error| (0, error.into()))?;
            let mut tree = self.tree.write();
            draft.new.iter().for_each(|(entry, _)| tree.index.put(entry));
        }
        match refused {
            Some(refused) => Err(refused),
            None => Ok(draft.new.len()),
        }
    }

    /// Accepts a block: stores its header if new and its body, then activates the best chain. A body may arrive before
    /// the bodies of its ancestors; it is then stored until they arrive. `now` is the clock's.
    ///
    /// # Errors
    /// [`ChainError::Rule`] if the block is refused. If the body matches its header, the block and its descendants are
    /// marked invalid; a body that does not match its header does not invalidate the header. The tip has not moved.
    /// [`ChainError::Store`] if the store fails; earlier steps stand.
    pub fn accept_block(
        &mut self,
        block: Block,
        now: UnixTime,
        is_verified: IsVerified<'_>,
    ) -> Result<ChainUpdate, ChainError> {
        self.accept(block.header, block.hash(), now, is_verified, |params| check_block(block, params))
    }

    /// [`Chain::accept_block`], for a block whose body is known to be its header's: nothing of it is hashed again.
    ///
    /// # Errors
    /// As [`Chain::accept_block`].
    pub fn accept_matched(
        &mut self,
        block: MatchedBlock,
        now: UnixTime,
        is_verified: IsVerified<'_>,
    ) -> Result<ChainUpdate, ChainError> {
        self.accept(block.block().header, block.hash(), now, is_verified, |params| check_matched(block, params))
    }

    fn accept(
        &mut self,
        header: Header,
        hash: BlockHash,
        now: UnixTime,
        is_verified: IsVerified<'_>,
        check: impl FnOnce(&Params) -> Result<CheckedBlock, RuleError>,
    ) -> Result<ChainUpdate, ChainError> {
        if self.entry(&hash).is_some_and(|entry| entry.has_body() && !entry.is_invalid()) {
            return Err(ChainError::Duplicate { hash });
        }
        // A new header is stored with the first write.
        let tree = self.tree.read();
        let mut entry = self.check_header(&tree, &mut UnstoredHeaders::default(), header, hash, now)?;
        if tree.entry(&hash).is_some() {
            tree.check_reachable(&entry, hash)?;
        }
        drop(tree);
        if entry.id == NOWHERE {
            return Err(ChainError::Duplicate { hash });
        }
        if entry.parent == NOWHERE {
            entry.parent = self.unburied_parent(&entry)?;
        }
        let mut update = ChainUpdate::default();
        match self.stats.check.time(|| check(&self.params)) {
            Err(source) if source.verdict() != Verdict::Invalid => return Err(ChainError::Rule { hash, source }),
            Err(source) => self.mark_broken(entry, source, &mut update)?,
            Ok(checked) if self.is_next(&entry) && !self.is_state_pending() => {
                self.step_up(entry, checked, is_verified, &mut update)?
            }
            Ok(checked) => self.keep_body(entry, &checked)?,
        }
        self.activate(is_verified, &mut update)?;
        match update.rejected.iter().find(|(rejected, _)| *rejected == hash) {
            Some((_, source)) if update.is_empty() => Err(ChainError::Rule { hash, source: source.clone() }),
            _ => Ok(update),
        }
    }

    /// Checks whether `block`, proof of work aside, could extend the tip (BIP-23's proposal). Changes nothing.
    ///
    /// # Errors
    /// [`ChainError::Rule`] if not, [`ChainError::Store`].
    pub fn check_proposal(&self, block: Block, now: UnixTime, is_verified: IsVerified<'_>) -> Result<(), ChainError> {
        let hash = block.hash();
        let rule = |source| ChainError::Rule { hash, source };
        let place = self.next_context();
        check_header(&block.header, &place).map_err(rule)?;
        check_clock(&block.header, now, &self.params).map_err(rule)?;
        let block = check_block(block, &self.params).map_err(rule)?;
        let commitment = self.committed()?.commitment();
        let context = BlockContext { params: &self.params, height: place.height, commitment };
        match connect(&block, &context, &Prefetched::new(&self.db, &block)?, is_verified) {
            Ok(_) => Ok(()),
            Err(ConnectError::Rule(source)) => Err(rule(source)),
            Err(ConnectError::View(error)) => Err(error.into()),
        }
    }

    /// The entry of a header. A new header is checked and added to `draft`.
    fn check_header(
        &self,
        tree: &BlockTree,
        draft: &mut UnstoredHeaders,
        header: Header,
        hash: BlockHash,
        now: UnixTime,
    ) -> Result<Entry, ChainError> {
        let index = &tree.index;
        if let Some((entry, _)) = draft.find(&hash) {
            return Ok(entry);
        }
        if let Some(entry) = index.find(&hash) {
            return check_not_invalid(index, &entry, hash).map(|()| entry);
        }
        let rule = |source| ChainError::Rule { hash, source };
        check_proof_of_work(&header, &hash, &self.params).map_err(rule)?;
        let (parent, mut tail) = match draft.find(&header.previous) {
            Some(drafted) => drafted,
            None => {
                let unknown = ChainError::UnknownParent { hash, parent: header.previous };
                let parent = index.find(&header.previous).ok_or(unknown)?;
                check_not_invalid(index, &parent, hash)?;
                tree.check_above_gap(&parent, hash)?;
                if !tree.takes_deep_headers {
                    tree.check_reachable(&parent, hash)?;
                }
                (parent, index.tail(&parent))
            }
        };
        tail.push_child(&header, hash, &self.params).map_err(rule)?;
        check_clock(&header, now, &self.params).map_err(rule)?;
        let id = index.end() + draft.new.len() as Id;
        let entry = Entry::new(id, parent.id, &tail);
        draft.add(entry, tail);
        Ok(entry)
    }

    /// Puts the parents of new headers that are buried back into the tree.
    fn unbury_parents(&mut self, draft: &mut UnstoredHeaders) -> Result<(), StoreError> {
        for (entry, _) in draft.new.iter_mut().filter(|(entry, _)| entry.parent == NOWHERE) {
            entry.parent = self.unburied_parent(entry)?;
        }
        Ok(())
    }

    /// The place of the parent of a new entry, which is put back into the tree if it is buried.
    fn unburied_parent(&mut self, entry: &Entry) -> Result<Id, StoreError> {
        self.unbury(entry.height.saturating_sub(1))?;
        let parent = self.entry(&entry.header.previous).and_then(|parent| self.tree().index.place(&parent));
        parent.ok_or_else(|| self.db.corrupt(format!("the parent of block {} is gone", entry.hash)))
    }

    /// Whether a block that has just arrived can be stored and connected in one write.
    fn is_next(&self, entry: &Entry) -> bool {
        let nothing_is_better = self.candidates.len() == 1;
        entry.parent == self.tip().id && nothing_is_better && !self.waiting.contains_key(&entry.id)
    }

    /// Stores a body that cannot be connected yet or is on a side branch. Blocks that waited for it become complete.
    fn keep_body(&mut self, mut entry: Entry, block: &CheckedBlock) -> Result<(), StoreError> {
        entry.status = entry.status.with(Status::BODY);
        entry.tx_count = block.txids().len() as u32;
        let mut completed: Vec<Entry> = Vec::new();
        let tree = self.tree.read();
        if tree.index.get(entry.parent).is_complete() {
            completed.push(entry);
            let mut next = 0;
            while let Some(above) = completed.get(next) {
                let waiting = self.waiting.get(&above.id).into_iter().flatten();
                completed.extend(waiting.map(|id| tree.index.get(*id)).collect::<Vec<_>>());
                next += 1;
            }
        }
        drop(tree);
        // Blocks that become complete together are ordered by arrival of their headers.
        completed.sort_unstable_by_key(|entry| entry.id);
        for (sequence, entry) in (self.next_sequence..).zip(&mut completed) {
            entry.sequence = sequence;
        }
        let mut batch = Batch::default();
        batch.put_block(&entry.key(), block.block());
        let is_waiting = completed.is_empty();
        let changed = if is_waiting { vec![entry] } else { completed };
        changed.iter().for_each(|entry| batch.put_header(entry.id, &entry.record()));
        self.db.store().commit(batch)?;

        let mut tree = self.tree.write();
        changed.iter().for_each(|entry| tree.index.put(entry));
        let tip = tree.tip();
        drop(tree);
        if is_waiting {
            self.waiting.entry(entry.parent).or_default().push(entry.id);
            return Ok(());
        }
        for entry in &changed {
            self.waiting.remove(&entry.id);
            self.next_sequence += 1;
            self.candidates.extend(Candidate::better_than(&tip, entry));
        }
        Ok(())
    }
}

/// Checked headers that are not stored yet. They enter the tree only after the store has them, so that readers never
/// see a header that may be lost.
#[derive(Default)]
struct UnstoredHeaders {
    new: Vec<(Entry, HeaderTail)>,
    by_hash: HashMap<BlockHash, usize>,
}

impl UnstoredHeaders {
    fn find(&self, hash: &BlockHash) -> Option<(Entry, HeaderTail)> {
        self.by_hash.get(hash).map(|place| self.new[*place])
    }

    fn add(&mut self, entry: Entry, tail: HeaderTail) {
        self.by_hash.insert(entry.hash, self.new.len());
        self.new.push((entry, tail));
    }
}

/// Refuses block `hash` if `entry`, the block itself or its parent, is invalid, and names the nearest bad block. A
/// block that only the operator refuses is no peer's fault.
fn check_not_invalid(index: &Index, entry: &Entry, hash: BlockHash) -> Result<(), ChainError> {
    if entry.has_fault(Status::BROKEN) {
        let bad = index.branch(entry).find(|entry| entry.status.has(Status::BROKEN)).unwrap_or(*entry);
        return Err(ChainError::Rule { hash, source: RuleError::InvalidParent { parent: bad.hash } });
    }
    if entry.has_fault(Status::REFUSED) { Err(ChainError::Refused { hash }) } else { Ok(()) }
}
