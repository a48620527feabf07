//! The state at the best chain's end, and the steps that move it.
//!
//! A step connects one block, or disconnects one, in one atomic batch; memory follows only when the batch is in. A
//! process killed at any point therefore finds a consistent tip when it comes back, and goes on from there.

use std::collections::HashMap;
use std::sync::Arc;

use super::index::{BAD_ANCESTOR, BODY, INVALID, Id, Index, VALID};
use super::step::{self, load_range, start};
use super::{ChainError, Entry};
use crate::consensus::check::{CheckedBlock, check_block, check_proof_of_work};
use crate::consensus::coins::{Coin, CoinView, Delta};
use crate::consensus::connect::{BlockContext, ConnectError, connect};
use crate::consensus::context::{HeaderContext, check_clock, check_header};
use crate::consensus::error::{RuleError, Verdict};
use crate::consensus::params::Params;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Hash256, Txid};
use crate::primitives::header::Header;
use crate::primitives::mmr;
use crate::primitives::tx::OutPoint;
use crate::storage::{Batch, Database, Store, StoreError};

/// The header tree, and the coins and indexes at the tip. One thread owns it.
pub struct Chain {
    params: Arc<Params>,
    db: Database,
    pub(super) index: Index,
    tip: Id,
    /// Over the headers of the best chain, the tip's included.
    range: mmr::Range,
}

/// What became of the best chain, as the difference between before and after.
#[derive(Debug, Default)]
pub struct ChainUpdate {
    /// Blocks that left it, newest first.
    pub disconnected: Vec<Arc<CheckedBlock>>,
    /// Blocks that joined it, oldest first.
    pub connected: Vec<Arc<CheckedBlock>>,
    /// Blocks found invalid on the way, with the rule each broke.
    pub rejected: Vec<(BlockHash, RuleError)>,
}

impl ChainUpdate {
    /// Whether the tip is where it was.
    pub fn is_empty(&self) -> bool {
        self.disconnected.is_empty() && self.connected.is_empty()
    }
}

/// Says whether a transaction's signatures are known to be good: the mempool's knowledge.
pub type IsVerified<'a> = &'a dyn Fn(&Txid) -> bool;

/// Blocks met while the tip moves, for the difference at the end.
type Passed = HashMap<BlockHash, Arc<CheckedBlock>>;

impl Chain {
    /// Opens the chain in `store`, or starts one there with genesis.
    ///
    /// # Errors
    /// [`StoreError`] for a store of another network, of a newer version, or damaged.
    pub fn open(params: Arc<Params>, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let db = Database::new(store);
        if !db.check_meta(&params.genesis_hash)? {
            start(&params, &db)?;
        }
        let index = Index::load(db.headers()?).ok_or_else(|| db.corrupt("the header tree has a gap"))?;
        let tip = db.tip()?.ok_or_else(|| db.corrupt("there is no tip"))?;
        let tip = index.find(&tip).ok_or_else(|| db.corrupt(format!("tip {tip} has no header")))?.id;
        let range = load_range(&db, index.get(tip).height)?;
        Ok(Self { params, db, index, tip, range })
    }

    /// The network's parameters.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The database, for reading.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// The best chain's last block.
    pub fn tip(&self) -> &Entry {
        self.index.get(self.tip)
    }

    /// The header with most work that is not known to be invalid; its body may still be missing.
    pub fn best_header(&self) -> &Entry {
        self.index.best_header()
    }

    /// Number of headers known, on all branches.
    pub fn header_count(&self) -> usize {
        self.index.len()
    }

    /// A header by its hash, on any branch.
    pub fn entry(&self, hash: &BlockHash) -> Option<&Entry> {
        self.index.find(hash)
    }

    /// The best chain's block at `height`.
    pub fn entry_at(&self, height: u32) -> Option<&Entry> {
        (height <= self.tip().height).then(|| self.index.ancestor(self.tip(), height))
    }

    /// The ancestor of `entry` at `height`; `None` above it.
    pub fn ancestor<'a>(&'a self, entry: &'a Entry, height: u32) -> Option<&'a Entry> {
        (height <= entry.height).then(|| self.index.ancestor(entry, height))
    }

    /// Whether `entry` is on the best chain.
    pub fn is_on_best_chain(&self, entry: &Entry) -> bool {
        self.entry_at(entry.height).is_some_and(|other| other.id == entry.id)
    }

    /// The last block that both branches have.
    pub fn fork_point<'a>(&'a self, a: &'a Entry, b: &'a Entry) -> &'a Entry {
        self.index.fork(a, b)
    }

    /// `entry` and its ancestors, down to genesis.
    pub fn branch<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Entry> {
        self.index.branch(entry)
    }

    /// Hashes by which a peer finds where its chain leaves this branch.
    pub fn locator(&self, entry: &Entry) -> Vec<BlockHash> {
        self.index.locator(entry)
    }

    /// Up to `max` headers of the best chain after the first hash of `locator` that is on it (genesis if none is), up
    /// to and with `stop`.
    pub fn headers_after(&self, locator: &[BlockHash], stop: &BlockHash, max: usize) -> Vec<Header> {
        let known = locator.iter().filter_map(|hash| self.entry(hash)).find(|entry| self.is_on_best_chain(entry));
        let first = known.map_or(1, |entry| entry.height + 1);
        let last = self.tip().height.min(first.saturating_add(max as u32).saturating_sub(1));
        if first > last {
            return Vec::new();
        }
        let end = self.index.ancestor(self.tip(), last);
        let mut entries: Vec<&Entry> = self.index.branch(end).take((last - first + 1) as usize).collect();
        entries.reverse();
        let cut = entries.iter().position(|entry| entry.hash == *stop).map_or(entries.len(), |at| at + 1);
        entries[..cut].iter().map(|entry| entry.header).collect()
    }

    /// Median time past of a block: of itself and the ten before.
    pub fn median_time(&self, entry: &Entry) -> u32 {
        self.index.median_time(entry)
    }

    /// What the rules ask of the header of the next block.
    pub fn next_context(&self) -> HeaderContext {
        self.index.child_context(self.tip(), &self.params)
    }

    /// What the next block's coinbase must commit to.
    pub fn commitment(&self) -> Hash256 {
        self.range.root()
    }

    /// Up to `max` blocks on the branch to the best header whose bodies are missing, lowest first, none more than
    /// `window` heights above the tip's branch.
    pub fn missing_bodies(&self, window: u32, max: usize) -> Vec<(BlockHash, u32)> {
        let best = self.best_header();
        let fork = self.index.fork(self.tip(), best);
        let top = self.index.ancestor(best, fork.height.saturating_add(window));
        let mut missing: Vec<_> = self
            .index
            .branch(top)
            .take_while(|entry| entry.id != fork.id)
            .filter(|entry| !entry.has_body())
            .map(|entry| (entry.hash, entry.height))
            .collect();
        missing.reverse();
        missing.truncate(max);
        missing
    }

    /// Takes a header without its body. `true` if it was not known.
    ///
    /// # Errors
    /// [`ChainError`]; nothing has changed then.
    pub fn accept_header(&mut self, header: Header, now: u64) -> Result<bool, ChainError> {
        self.accept_headers(&[header], now).map(|new| new == 1).map_err(|(_, error)| error)
    }

    /// Takes headers in order, in one batch; answers how many were not known.
    ///
    /// # Errors
    /// The place of the first that was refused, and why. Those before it are taken.
    pub fn accept_headers(&mut self, headers: &[Header], now: u64) -> Result<usize, (usize, ChainError)> {
        let before = self.index.len();
        let refused = headers
            .iter()
            .enumerate()
            .find_map(|(place, header)| self.insert_header(*header, now).err().map(|error| (place, error)));
        let mut batch = Batch::default();
        self.index.entries()[before..].iter().for_each(|entry| batch.put_header(entry.id, &entry.record()));
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

    /// Checks a header and puts it into the tree, in memory only; its place there.
    fn insert_header(&mut self, header: Header, now: u64) -> Result<Id, ChainError> {
        let hash = header.hash();
        if let Some(entry) = self.index.find(&hash) {
            return if entry.is_invalid() { Err(self.invalid_ancestor(entry)) } else { Ok(entry.id) };
        }
        let rule = |source| ChainError::Rule { hash, source };
        check_proof_of_work(&header, &hash, &self.params).map_err(rule)?;
        let parent =
            self.index.find(&header.previous).ok_or(ChainError::UnknownParent { hash, parent: header.previous })?;
        if parent.is_invalid() {
            return Err(rule(RuleError::InvalidParent { parent: parent.hash }));
        }
        check_header(&header, &self.index.child_context(parent, &self.params)).map_err(rule)?;
        check_clock(&header, now, &self.params).map_err(rule)?;
        Ok(self.index.insert(header, hash))
    }

    /// The error for a block known to be invalid: the nearest bad block is named.
    fn invalid_ancestor(&self, entry: &Entry) -> ChainError {
        let bad = self.index.branch(entry).find(|entry| entry.status & INVALID != 0).unwrap_or(entry);
        ChainError::Rule { hash: entry.hash, source: RuleError::InvalidParent { parent: bad.hash } }
    }

    /// Takes a block: its header if that is new, its body, and moves to the best chain that this makes possible.
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
        self.accept_header(block.header, now)?;
        let id = self.index.find(&hash).ok_or(ChainError::UnknownBlock { hash })?.id;
        let checked = match check_block(block, &self.params) {
            Ok(checked) => Arc::new(checked),
            Err(source) => {
                if source.verdict() == Verdict::Invalid {
                    self.mark_invalid(id)?;
                }
                return Err(ChainError::Rule { hash, source });
            }
        };
        let mut passed = Passed::from([(hash, checked.clone())]);
        let before = self.tip;
        // The common case, a child of the tip, stores and connects in one batch; any other is stored first.
        if self.index.get(id).parent != self.tip {
            let mut batch = Batch::default();
            self.put_body(&mut batch, id, &checked);
            self.db.store().commit(batch)?;
            self.index.add_body(id, checked.txids().len() as u32);
        } else if let Err(error) = self.connect_tip(id, &checked, is_verified) {
            if let ChainError::Rule { .. } = error {
                self.mark_invalid(id)?;
            }
            return Err(error);
        }
        let update = self.activate(before, &mut passed, is_verified)?;
        match update.rejected.iter().find(|(rejected, _)| *rejected == hash) {
            Some((_, source)) if update.is_empty() => Err(ChainError::Rule { hash, source: source.clone() }),
            _ => Ok(update),
        }
    }

    /// Moves to the best chain that the stored bodies allow: what is left to do after a crash between two steps.
    ///
    /// # Errors
    /// [`ChainError::Store`].
    pub fn resume(&mut self) -> Result<ChainUpdate, ChainError> {
        self.activate(self.tip, &mut Passed::new(), &|_| false)
    }

    /// Declares a block and all after it invalid, and leaves them if they are on the best chain.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`], [`ChainError::GenesisIsFixed`], [`ChainError::Store`].
    pub fn invalidate(&mut self, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let entry = self.index.find(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        if entry.height == 0 {
            return Err(ChainError::GenesisIsFixed);
        }
        let (id, before) = (entry.id, self.tip);
        let mut passed = Passed::new();
        if self.is_on_best_chain(self.index.get(id)) {
            while self.tip != self.index.get(id).parent {
                self.disconnect_tip(&mut passed)?;
            }
        }
        self.mark_invalid(id)?;
        self.activate(before, &mut passed, &|_| false)
    }

    /// Takes back what made a block, its ancestors and its descendants invalid; they are checked again.
    ///
    /// # Errors
    /// [`ChainError::UnknownBlock`], [`ChainError::Store`].
    pub fn reconsider(&mut self, hash: &BlockHash) -> Result<ChainUpdate, ChainError> {
        let entry = self.index.find(hash).ok_or(ChainError::UnknownBlock { hash: *hash })?;
        let lowest_bad = self.index.branch(entry).filter(|entry| entry.is_invalid()).last();
        let Some(lowest_bad) = lowest_bad else { return self.resume() };
        let ancestors = self.index.branch(entry).take_while(|e| e.id != lowest_bad.id).map(|e| e.id);
        let mut changed: Vec<Id> = ancestors.chain([lowest_bad.id]).chain(self.index.descendants(entry.id)).collect();
        changed.sort_unstable();
        changed.dedup();
        let mut statuses: HashMap<Id, u8> = HashMap::new();
        for id in changed {
            statuses.insert(id, self.index.get(id).status & !(INVALID | BAD_ANCESTOR));
        }
        // Branches off the cleared ancestors are no longer below a bad block either, unless one of their own is bad.
        for id in self.index.descendants(lowest_bad.id) {
            let entry = self.index.get(id);
            let parent = statuses.get(&entry.parent).copied().unwrap_or(self.index.get(entry.parent).status);
            if !statuses.contains_key(&id) && parent & (INVALID | BAD_ANCESTOR) == 0 {
                statuses.insert(id, entry.status & !BAD_ANCESTOR);
            }
        }
        self.change_statuses(statuses)?;
        self.resume()
    }

    fn mark_invalid(&mut self, id: Id) -> Result<(), ChainError> {
        let statuses = self.index.descendants(id).into_iter().map(|under| {
            let flag = if under == id { INVALID } else { BAD_ANCESTOR };
            (under, self.index.get(under).status | flag)
        });
        let statuses = statuses.collect();
        self.change_statuses(statuses)
    }

    fn change_statuses(&mut self, statuses: HashMap<Id, u8>) -> Result<(), ChainError> {
        let mut batch = Batch::default();
        for (id, status) in &statuses {
            let mut record = self.index.get(*id).record();
            record.status = *status;
            batch.put_header(*id, &record);
        }
        self.db.store().commit(batch)?;
        statuses.into_iter().for_each(|(id, status)| self.index.set_status(id, status));
        self.index.rebuild_best();
        Ok(())
    }

    /// Steps to the best candidate. A block that proves invalid on the way is marked, and the next best is tried.
    fn activate(
        &mut self,
        before: Id,
        passed: &mut Passed,
        is_verified: IsVerified<'_>,
    ) -> Result<ChainUpdate, ChainError> {
        let mut rejected = Vec::new();
        while let Some(best) = self.index.best_candidate().filter(|best| best.work > self.tip().work) {
            let fork = self.index.fork(self.tip(), best);
            let fork_id = fork.id;
            let mut path: Vec<Id> =
                self.index.branch(best).take_while(|entry| entry.id != fork_id).map(|entry| entry.id).collect();
            while self.tip != fork_id {
                self.disconnect_tip(passed)?;
            }
            while let Some(id) = path.pop() {
                let hash = self.index.get(id).hash;
                let connected = match self.checked_body(&hash, passed) {
                    Ok(block) => self.connect_tip(id, &block, is_verified),
                    Err(error) => Err(error),
                };
                match connected {
                    Ok(()) => {}
                    Err(ChainError::Rule { source, .. }) => {
                        self.mark_invalid(id)?;
                        rejected.push((hash, source));
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.index.prune_candidates(self.tip);
        let fork = self.index.fork(self.index.get(before), self.tip()).id;
        let mut side = |from: Id| -> Result<Vec<Arc<CheckedBlock>>, ChainError> {
            let hashes: Vec<BlockHash> =
                self.index.branch(self.index.get(from)).take_while(|entry| entry.id != fork).map(|e| e.hash).collect();
            hashes.iter().map(|hash| self.checked_body(hash, passed)).collect()
        };
        let disconnected = side(before)?;
        let mut connected = side(self.tip)?;
        connected.reverse();
        Ok(ChainUpdate { disconnected, connected, rejected })
    }

    /// A stored body, checked anew unless it has just been.
    fn checked_body(&self, hash: &BlockHash, passed: &mut Passed) -> Result<Arc<CheckedBlock>, ChainError> {
        if let Some(block) = passed.get(hash) {
            return Ok(block.clone());
        }
        let block = self.db.block(hash)?.ok_or_else(|| self.db.corrupt(format!("body of block {hash} is missing")))?;
        let checked = check_block(block, &self.params)
            .map_err(|e| self.db.corrupt(format!("stored block {hash} breaks a rule it kept before: {e}")))?;
        Ok(passed.entry(*hash).or_insert(Arc::new(checked)).clone())
    }

    fn put_body(&self, batch: &mut Batch, id: Id, block: &CheckedBlock) {
        let mut record = self.index.get(id).record();
        record.status |= BODY;
        record.tx_count = block.txids().len() as u32;
        batch.put_header(id, &record);
        batch.put_block(&record.hash, block.block());
    }

    /// One step up: checks the block against the coins, and makes it the tip.
    fn connect_tip(&mut self, id: Id, block: &CheckedBlock, is_verified: IsVerified<'_>) -> Result<(), ChainError> {
        let entry = self.index.get(id);
        let context = BlockContext { params: &self.params, height: entry.height, commitment: self.range.root() };
        let delta = connect(block, &context, &self.db, is_verified).map_err(|error| match error {
            ConnectError::Rule(source) => ChainError::Rule { hash: entry.hash, source },
            ConnectError::View(error) => ChainError::Store(error),
        })?;
        let mut batch = Batch::default();
        let mut record = entry.record();
        if !entry.has_body() {
            batch.put_block(&entry.hash, block.block());
        }
        record.status |= BODY | VALID;
        record.tx_count = block.txids().len() as u32;
        batch.put_header(id, &record);
        let mut range = self.range.clone();
        step::connect(&mut batch, entry, block.block(), block.txids(), &delta, &mut range);
        self.db.store().commit(batch)?;
        self.range = range;
        self.tip = id;
        if !self.index.get(id).has_body() {
            self.index.add_body(id, record.tx_count);
        }
        self.index.set_status(id, record.status);
        Ok(())
    }

    /// One step down: makes the parent the tip again.
    fn disconnect_tip(&mut self, passed: &mut Passed) -> Result<(), ChainError> {
        let (hash, height, parent) = (self.tip().hash, self.tip().height, self.tip().parent);
        let block = self.checked_body(&hash, passed)?;
        let undo = self.db.undo(&hash)?;
        let inputs: Vec<OutPoint> =
            block.block().transactions.iter().flat_map(|tx| &tx.inputs).map(|input| input.outpoint).collect();
        if inputs.len() != undo.len() {
            let reason = format!("undo of block {hash} has {} coins for {} inputs", undo.len(), inputs.len());
            return Err(self.db.corrupt(reason).into());
        }
        let delta = Delta {
            spent: inputs.into_iter().zip(undo).collect(),
            created: Delta::created_by(block.block(), block.txids(), height),
            fees: 0,
        };
        let range = load_range(&self.db, height - 1)?;
        let mut batch = Batch::default();
        step::disconnect(&mut batch, self.tip(), block.block(), block.txids(), &delta, &range);
        self.db.store().commit(batch)?;
        self.range = range;
        self.tip = parent;
        Ok(())
    }
}

impl CoinView for Chain {
    type Error = StoreError;

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        self.db.coin(outpoint)
    }
}
