//! Starting from a state instead of genesis: which state is good enough, its coins as they arrive, and the chain that
//! goes on from there.
//!
//! While a state is loaded the tip is genesis, and nothing is connected. The coins are written as they arrive; when all
//! are there, the records above them, the indexes and the lists of the headers are written too, a part at each call; then
//! one write makes the state's block the tip. A killed node goes on with what it was at.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};

use super::index::{Entry, Id};
use super::{BlockTree, Chain, Read, start};
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{BlockHash, MerkleRoot};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::mmr;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;
use crate::receipt::weight::{BURIED, Milestone, Slow, due_until, weigh, work_of};
use crate::state::source::BUCKET;
use crate::state::{Builder, Inner, Key, KeyRange, Leaf, Node, StateId};
use crate::storage::{Batch, BlockKey, CoinIndex, Edge, HeaderGap, StateBase, StateHead, StateLoad, StoreError};

/// Epochs before the last edge in which a state is looked for: as many as nodes keep.
const SEARCHED_EPOCHS: u32 = 2;
/// Coins read, or headers written, by one step after all coins are there.
const STEP: usize = 4_096;
/// Coins that are sorted at once for the indexes of coins: 30 MB, and some four to a page of the store at 10 million coins.
pub const SORTED_COINS: usize = 1 << 18;

/// A block that has to do with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetBlock {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// The root over its transactions.
    pub merkle_root: MerkleRoot,
}

impl TargetBlock {
    /// A block with this header, whose hash is known.
    pub fn new(height: Height, hash: BlockHash, header: &Header) -> Self {
        Self { height, hash, merkle_root: header.merkle_root }
    }

    /// Its height and hash.
    pub fn key(&self) -> BlockKey {
        BlockKey { height: self.height, hash: self.hash }
    }
}

impl From<Entry> for TargetBlock {
    fn from(entry: Entry) -> Self {
        Self::new(entry.height, entry.hash, &entry.header)
    }
}

/// A state that a node may start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateTarget {
    /// The block after which it is, at an edge.
    pub edge: TargetBlock,
    /// The block at the edge before.
    pub before: TargetBlock,
    /// The edge's child, which commits to the state after `before` and to the edge's filter header.
    pub next: TargetBlock,
    /// The first block that commits to the state.
    pub first: TargetBlock,
    /// What all blocks up to the edge may have issued: no valid state has more.
    pub issued: Amount,
}

/// The heights of the blocks of a state that a chain may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateHeights {
    /// Of [`StateTarget::edge`].
    pub edge: Height,
    /// Of [`StateTarget::before`].
    pub before: Height,
    /// Of [`StateTarget::first`].
    pub first: Height,
}

impl StateHeights {
    /// Those of the states that a chain up to height `tip` commits to and nodes keep, newest first.
    pub fn below(tip: Height, params: &Params) -> impl Iterator<Item = Self> {
        let (last, epoch) = (params.last_edge(tip), params.epoch_blocks);
        (0..=SEARCHED_EPOCHS).map_while(move |epochs| {
            let first = last.checked_sub(epochs * epoch)?;
            let edge = first.checked_sub(epoch).filter(|edge| *edge > Height::GENESIS)?;
            Some(Self { edge, before: edge.saturating_sub(epoch), first })
        })
    }
}

/// What all blocks up to a height may have issued: no valid state after it has more.
pub fn issued_by(edge: Height, params: &Params) -> Amount {
    let subsidies = Height::GENESIS.through(edge).map(|height| params.subsidy_at(height));
    let allocated = params.alloc.iter().map(|allocation| allocation.value);
    Amount::saturating_sum(subsidies.chain(allocated))
}

/// Whether the first block that commits to a state is buried under enough work: `earlier` are blocks before it, latest first,
/// of a chain with `total` work, which was due until the time `until`.
///
/// # Errors
/// [`NoState::Slow`], unless that is accepted.
pub fn is_buried(
    first: Milestone,
    earlier: impl Iterator<Item = Milestone>,
    total: Work,
    until: u32,
    accepts_slow: bool,
    params: &Params,
) -> Result<bool, NoState> {
    let weight = weigh(first, earlier, total, until).under(params);
    // Nodes keep the states of three edges only.
    if weight.confirmations < BURIED.min(params.epoch_blocks) {
        return Ok(false);
    }
    weight.slow.filter(|_| !accepts_slow).map_or(Ok(true), |slow| Err(NoState::Slow(slow)))
}

/// A block from which on a node has all headers, and what it needs to know of those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderStart {
    /// The block's height.
    pub height: Height,
    /// Its header.
    pub header: Header,
    /// The range over all headers before it.
    pub range: mmr::Range,
    /// Time of block 1.
    pub first_time: u32,
}

/// Where [`Chain::load_step`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadStep {
    /// Coins are missing, or there is more to write.
    Loading,
    /// The state's block is the tip.
    Started,
    /// The state has more value than its blocks may have issued, so its chain is not valid. What was loaded is there until
    /// [`Chain::restart`].
    Inflated,
}

/// Why there is no state to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoState {
    /// No state is committed to by a block that is buried.
    #[error("the chain is too short: no block that commits to coins is buried under enough work")]
    TooShort,
    /// The chain slowed down, so that it may be a branch which most miners have left.
    #[error("{0}")]
    Slow(Slow),
}

/// A state that is being loaded.
pub(super) struct Loading {
    load: StateLoad,
    rest: Rest,
}

/// A builder that is kept between calls.
type TreeBuilder = Builder<Box<dyn FnMut(&Inner, &Node) + Send>>;

/// What is still to be written.
enum Rest {
    /// Coins that have to come, then all that follows.
    Coins,
    /// The records above the coins in a range; `made` has those not written yet. The indexes of `coins`, which are
    /// before the range, are still to be written.
    Records { range: KeyRange, builder: TreeBuilder, made: Receiver<Inner>, coins: Vec<Leaf> },
    /// The rest of an index of some coins, which are in its order, then what follows.
    Index { index: CoinIndex, coins: Vec<Leaf>, done: usize, then: Box<Rest> },
    /// The lists of the branch and of the range over its headers.
    Headers { branch: VecDeque<Id>, range: mmr::Range, top: Option<Node> },
}

impl Rest {
    /// The indexes of some coins, then what follows. Their order has nothing to do with that of the coins, so it pays to sort
    /// many at once: a page of the store then gets more than one of them at a time.
    fn indexes(mut coins: Vec<Leaf>, then: Self) -> Self {
        CoinIndex::Owner.sort(&mut coins);
        Self::Index { index: CoinIndex::Owner, coins, done: 0, then: Box::new(then) }
    }
}

impl Loading {
    pub(super) fn new(load: StateLoad) -> Self {
        Self { load, rest: Rest::Coins }
    }
}

impl Chain {
    /// The newest state on the branch to the best header that is buried under enough work, also under less than its miners did
    /// before if that is accepted. Reads all headers.
    ///
    /// # Errors
    /// Why there is none.
    pub fn state_target(&self, now: UnixTime, accepts_slow: bool) -> Result<StateTarget, NoState> {
        let tree = self.tree();
        let best = tree.best_header();
        let until = due_until(best.header.time, now, &self.params);
        for StateHeights { edge, before, first } in StateHeights::below(best.height, &self.params) {
            let Some(block) = tree.ancestor(&best, first) else { break };
            let mut shown = milestones(&tree, &block);
            let Some(committing) = shown.next() else { break };
            if !is_buried(committing, shown, best.work, until, accepts_slow, &self.params)? {
                continue;
            }
            let at = |height| tree.ancestor(&best, height).map(TargetBlock::from).ok_or(NoState::TooShort);
            let (edge, before, next) = (at(edge)?, at(before)?, at(edge.next())?);
            let issued = issued_by(edge.height, &self.params);
            return Ok(StateTarget { edge, before, next, first: block.into(), issued });
        }
        Err(NoState::TooShort)
    }

    /// How far a state is loaded, if one is being loaded.
    pub fn state_load(&self) -> Option<&StateLoad> {
        self.loading.as_ref().map(|loading| &loading.load)
    }

    /// The block from whose state the node started; `None` if it started from genesis. What only it and earlier blocks can
    /// show is missing: their transactions, the history of keys, their filter headers.
    pub fn started_from(&self) -> Option<Height> {
        self.tree().started_from()
    }

    /// From now on headers of branches are taken to which the tip cannot go back: the caller will [`Chain::restart`] the chain
    /// if one of them is the best.
    pub fn take_deep_headers(&mut self) {
        self.tree.write().takes_deep_headers = true;
    }

    /// Whether nothing but headers has come yet, so that a state can take the place of genesis.
    pub fn is_fresh(&self) -> bool {
        self.tip().height == Height::GENESIS && self.loading.is_none()
    }

    /// Begins to load a state in place of the coins of genesis, in about `parts` ranges at a time. If another was being loaded,
    /// what is there of it is to be compared. Nothing happens if the chain has blocks, or this state is being loaded.
    ///
    /// # Errors
    /// The store's, and so for every method below.
    pub fn begin_load(&mut self, base: StateBase, parts: usize) -> Result<(), StoreError> {
        if self.tip().height > Height::GENESIS && self.loading.is_none() {
            return Ok(());
        }
        let parts = parts.next_power_of_two();
        let load = match self.state_load() {
            Some(load) if load.is_cleared && load.base == base => return Ok(()),
            // Before all coins are there, nothing else is written of a state.
            Some(load) if load.is_cleared && !load.is_complete() => load.turn_to(base, parts),
            _ => StateLoad::new(base, parts),
        };
        let mut batch = Batch::default();
        batch.put_state_load(&load);
        self.db.store().commit(batch)?;
        self.loading = Some(Loading::new(load));
        self.clear_for_load()
    }

    /// Removes the coins that were there before those of the state.
    pub(super) fn clear_for_load(&mut self) -> Result<(), StoreError> {
        let Some(loading) = self.loading.as_mut().filter(|loading| !loading.load.is_cleared) else { return Ok(()) };
        self.db.clear_coins()?;
        let mut batch = Batch::default();
        loading.load.is_cleared = true;
        batch.put_state_load(&loading.load);
        self.db.store().commit(batch)
    }

    /// Writes the coins of the state from `first`, where a missing range begins, up to `end`. The caller has checked that these
    /// are all. What is missing after them is split at `split`. `false` if they were not missing.
    ///
    /// # Errors
    /// The store's.
    pub fn load_coins(
        &mut self,
        (first, end): (&Key, &Key),
        coins: &[Leaf],
        split: Option<&Key>,
    ) -> Result<bool, StoreError> {
        let mut batch = Batch::default();
        coins.iter().for_each(|leaf| batch.put_loaded_coin(leaf));
        self.change_load(batch, |load| {
            let is_missing = load.arrive(first, end);
            split.into_iter().for_each(|at| load.split(at));
            is_missing
        })
    }

    /// The front of an outdated range with at most `most` coins, and these coins: every one that is there.
    ///
    /// # Errors
    /// The store's.
    pub fn outdated_coins(&self, range: &KeyRange, most: usize) -> Result<(KeyRange, Vec<Leaf>), StoreError> {
        let mut leaves = self.db.with_state_table(None, |source| (source.leaves)(range, most))?;
        leaves.truncate(most);
        let end = leaves.last().filter(|_| leaves.len() >= most).map_or(*range.last(), |last| last.key);
        Ok((KeyRange::new(*range.first(), end).unwrap_or(*range), leaves))
    }

    /// Takes note whether the coins that are there in `part`, the front of an outdated range, are those of the state. If not, they
    /// are removed, and are missing. `false` if `part` was not outdated.
    ///
    /// # Errors
    /// The store's.
    pub fn compared_coins(&mut self, part: &KeyRange, is_same: bool) -> Result<bool, StoreError> {
        if self.loading.is_none() {
            return Ok(false);
        }
        let mut batch = Batch::default();
        if !is_same {
            let coins = self.db.with_state_table(None, |source| (source.leaves)(part, usize::MAX))?;
            coins.iter().for_each(|leaf| batch.delete_loaded_coin(leaf));
        }
        self.change_load(batch, |load| load.compared(part, is_same))
    }

    /// Writes a change of what is missing, together with that of the coins. If `change` is `false`, nothing changes.
    fn change_load(
        &mut self,
        mut batch: Batch,
        change: impl FnOnce(&mut StateLoad) -> bool,
    ) -> Result<bool, StoreError> {
        let Some(loading) = &mut self.loading else { return Ok(false) };
        let mut load = loading.load.clone();
        if !change(&mut load) {
            return Ok(false);
        }
        batch.put_state_load(&load);
        self.db.store().commit(batch)?;
        loading.load = load;
        Ok(true)
    }

    /// When all coins are there, writes a part of what is left. About `sorted` coins are sorted at once for the indexes:
    /// [`SORTED_COINS`] is a good number. After an error the state is still being loaded, and the next call begins with what
    /// follows the coins.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the coins are not those that arrived; the store's.
    pub fn load_step(&mut self, sorted: usize) -> Result<LoadStep, StoreError> {
        let Some(Loading { load, rest }) = self.loading.take_if(|loading| loading.load.is_complete()) else {
            return Ok(LoadStep::Loading);
        };
        // If this fails, all that follows the coins is written once more, as by a node that was killed.
        self.loading = Some(Loading::new(load.clone()));
        let mut batch = Batch::default();
        let rest = match rest {
            Rest::Coins => {
                let (sender, made) = channel();
                // The receiver is kept with the builder, so nothing is lost.
                let note = move |inner: &Inner, node: &Node| {
                    if node.count > BUCKET {
                        let _ = sender.send(*inner);
                    }
                };
                Rest::Records { range: KeyRange::ALL, builder: Builder::new(Box::new(note)), made, coins: Vec::new() }
            }
            Rest::Records { range, mut builder, made, mut coins } => {
                let base = &load.base;
                let wrong = || self.db.corrupt(format!("the coins loaded are not those after block {}", base.block));
                let most = STEP.min(sorted);
                let read = self.db.with_state_table(None, |source| (source.leaves)(&range, most))?;
                read.iter().try_for_each(|leaf| builder.push_coin(leaf)).map_err(|_| wrong())?;
                let next = read.last().filter(|_| read.len() >= most).and_then(|last| last.key.next());
                coins.extend(read);
                made.try_iter().for_each(|record| batch.put_state_record(&record));
                match next.and_then(|next| KeyRange::new(next, *range.last())) {
                    Some(range) if coins.len() < sorted => Rest::Records { range, builder, made, coins },
                    Some(range) => Rest::indexes(coins, Rest::Records { range, builder, made, coins: Vec::new() }),
                    None => {
                        let top = builder.finish().map_err(|_| wrong())?;
                        if StateId::new(base.height, base.block, top.as_ref()) != base.id() {
                            return Err(wrong());
                        }
                        if top.is_some_and(|top| top.sum > base.issued) {
                            // Its coins are still there, in place of those of genesis.
                            return Ok(LoadStep::Inflated);
                        }
                        let tree = self.tree();
                        let edge = tree.entry(&base.block).ok_or_else(wrong)?;
                        made.try_iter().for_each(|record| batch.put_state_record(&record));
                        let branch = branch_ids(&tree, &edge);
                        let range = range_below_root(&tree);
                        Rest::indexes(coins, Rest::Headers { branch, range, top })
                    }
                }
            }
            Rest::Index { index, mut coins, done, then } => {
                let end = coins.len().min(done + STEP);
                coins[done..end].iter().for_each(|leaf| batch.put_loaded_index(index, leaf));
                match index {
                    _ if end < coins.len() => Rest::Index { index, coins, done: end, then },
                    CoinIndex::Owner => {
                        CoinIndex::OutPoint.sort(&mut coins);
                        Rest::Index { index: CoinIndex::OutPoint, coins, done: 0, then }
                    }
                    CoinIndex::OutPoint => *then,
                }
            }
            Rest::Headers { branch, mut range, top } => {
                let tree = self.tree();
                let below = tree.index.root_height().as_usize();
                let done = (range.leaves() as usize).saturating_sub(below).min(branch.len());
                for (entry, leaf) in leaves(&tree, branch.iter().skip(done)).take(STEP) {
                    batch.put_best(entry.height, &entry.hash);
                    range.push_numbered(leaf).for_each(|(number, node)| batch.put_range_node(number, &node));
                }
                drop(tree);
                if range.leaves() as usize == below + branch.len() {
                    self.start_from(&load.base, top, branch, range, batch)?;
                    return Ok(LoadStep::Started);
                }
                Rest::Headers { branch, range, top }
            }
        };
        if !batch.is_empty() {
            self.db.store().commit(batch)?;
        }
        self.loading = Some(Loading { load, rest });
        Ok(LoadStep::Loading)
    }

    /// Makes the state's block the tip, with all that is still staged.
    fn start_from(
        &mut self,
        base: &StateBase,
        top: Option<Node>,
        branch: VecDeque<Id>,
        range: mmr::Range,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        let StateBase { height, block, root, before: (before, before_root), filters, issued: _ } = *base;
        let kept_from = height.next();
        let is_old = |entry: &Entry| entry.has_body() && entry.height < kept_from;
        let old: Vec<_> = self.tree().index.entries().filter(is_old).map(|entry| entry.key()).collect();
        batch.delete_bodies(&old);
        old.iter().for_each(|at| batch.delete_filter(at));
        batch.prune_below(kept_from);
        batch.put_kept_from(kept_from);
        batch.put_filter_header(&base.key(), &filters);
        let before = Edge { block: before, root: before_root, top: None };
        batch.put_edge(height.saturating_sub(self.params.epoch_blocks), &before);
        batch.put_edge(height, &Edge { block, root, top });
        batch.put_state_head(&StateHead { height, top, oldest: height });
        batch.put_state_base(height);
        batch.put_tip(&block);
        batch.delete_state_load();
        self.db.store().commit(batch)?;
        self.loading = None;

        let mut tree = self.tree.write();
        (tree.kept_from, tree.base) = (kept_from, Some(height));
        if let Some(edge) = branch.back() {
            tree.index.assume_complete(*edge);
        }
        tree.active = branch;
        drop(tree);
        (self.range, self.filters) = (range, filters);
        if self.ready_to.is_some() {
            self.await_states()?;
        }
        self.waiting.clear();
        self.find_waiting();
        self.find_candidates();
        Ok(())
    }

    /// Removes everything, headers included, and starts again from genesis. A killed node finishes this when it opens the
    /// chain.
    ///
    /// # Errors
    /// The store's.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let states = self.states.clone();
        let _still = states.lock();
        let mut batch = Batch::default();
        batch.put_restart();
        self.db.store().commit(batch)?;
        start::restart(&self.params, &self.db)?;
        self.read_again()
    }

    /// Makes memory what is in the store, where nothing is loaded.
    pub(super) fn read_again(&mut self) -> Result<(), StoreError> {
        let Read { tree, range, filters, next_sequence } = Read::from_store(&self.params, &self.db)?;
        let BlockTree { retention, takes_deep_headers, .. } = *self.tree();
        *self.tree.write() = BlockTree { retention, takes_deep_headers, ..tree };
        (self.range, self.filters, self.next_sequence) = (range, filters, next_sequence);
        (self.loading, self.prune_to, self.bury_from) = (None, Height::GENESIS, Height::GENESIS);
        if self.ready_to.is_some() {
            self.await_states()?;
        }
        self.waiting.clear();
        self.find_candidates();
        Ok(())
    }
}

impl BlockTree {
    /// The block from whose state the node started; `None` if it started from genesis.
    pub fn started_from(&self) -> Option<Height> {
        self.base
    }
}

/// A block and those before it, as a weight is computed from them.
fn milestones(tree: &BlockTree, block: &Entry) -> impl Iterator<Item = Milestone> {
    tree.branch(block).map(|entry| {
        let own = work_of(&entry.header);
        Milestone { after: entry.work, own, time: entry.header.time }
    })
}

/// The range over the headers below the root of a tree that has buried nothing since it began there.
fn range_below_root(tree: &BlockTree) -> mmr::Range {
    tree.header_gap().and_then(HeaderGap::range).unwrap_or_default()
}

/// The blocks up to one, from the root of the tree on: none is buried while a state is loaded.
fn branch_ids(tree: &BlockTree, to: &Entry) -> VecDeque<Id> {
    let mut ids: VecDeque<Id> = tree.index.line(to.id).collect();
    ids.make_contiguous().reverse();
    ids
}

/// The blocks of a branch, and their leaves in the header range.
fn leaves<'a>(tree: &'a BlockTree, branch: impl Iterator<Item = &'a Id>) -> impl Iterator<Item = (Entry, mmr::Node)> {
    branch.map(|id| {
        let entry = tree.index.get(*id);
        (entry, mmr::Node::leaf(entry.hash, work_of(&entry.header), entry.header.time))
    })
}
