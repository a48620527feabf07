//! The chain: every header known, and the state at the end of the best branch.
//!
//! One thread owns a [`Chain`]. A step connects one block, or disconnects one, in one atomic batch; memory follows only
//! when the batch is in. A process killed at any point therefore finds a consistent tip when it comes back, and goes on
//! from there.
//!
//! A chain may start from a state in place of genesis ([`Chain::begin_load`]), and then without the headers far below it, which
//! come later ([`Chain::begin_load_above`], [`Chain::fill_headers`]).
//!
//! Other threads read the store, and the tree of blocks through a [`TreeReader`]. The tree changes a step at a time too, just
//! after the store: for that instant the two have different tips.

mod accept;
mod activate;
mod archive;
mod audit;
mod audit_state;
mod buried;
mod bury;
mod effects;
mod epochs;
mod error;
mod index;
mod late;
mod load;
mod operate;
mod prefetch;
mod prune;
mod rewind;
mod start;
mod stats;
mod tips;
mod transfer;
mod tree;

use std::collections::BTreeSet;
use std::sync::{Arc, RwLockReadGuard};

pub use activate::{ChainUpdate, IsVerified};
pub use archive::Run;
pub use audit::{Level, Report, check, check_recent};
pub use bury::Burial;
pub use epochs::{StateTable, Step, committed_by, ledger_root};
pub use error::ChainError;
pub use index::Entry;
pub use load::{
    HeaderStart, LoadStep, NoState, SORTED_COINS, StateHeights, StateTarget, TargetBlock, is_buried, issued_by,
};
pub use prune::min_kept;
pub use rewind::Bookmark;
pub use stats::{Histogram, Stats};
pub use tips::{ChainTip, TipStatus};
pub use transfer::{Imported, TransferError, check_archive, check_exportable, export, import};
pub use tree::{BlockTree, MEDIAN_SPAN, Retention, TreeReader};

use crate::consensus::coins::{Coin, CoinView};
use crate::consensus::commitment::Committed;
use crate::consensus::context::HeaderContext;
use crate::consensus::headers::HeaderTail;
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, FilterHeader};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keyed::HashMap;
use crate::primitives::mmr;
use crate::primitives::tx::OutPoint;
use crate::storage::{BlockKey, Database, Store, StoreError};

use activate::Candidate;
use archive::Archived;
use index::{Id, Index};
use load::Loading;
use tree::TreeOwner;

/// The header tree, and the coins and indexes at the tip. One thread owns it.
pub struct Chain {
    params: Arc<Params>,
    db: Database,
    tree: TreeOwner,
    /// Over the headers of the best chain, the tip's included.
    range: mmr::Range,
    /// The tip's filter header.
    filters: FilterHeader,
    /// Entries that could be the tip, best last: complete, not invalid, and no worse than the tip, which is one of
    /// them.
    candidates: BTreeSet<Candidate>,
    /// Entries with a body whose parent is not complete, by parent.
    waiting: HashMap<Id, Vec<Id>>,
    /// The sequence number of the next block that becomes complete.
    next_sequence: u32,
    states: Arc<StateTable>,
    /// The last edge whose state may be used; `None` if this thread moves the table itself, when it needs a root.
    ready_to: Option<Height>,
    /// The state that is to take the place of genesis, if one is being loaded.
    loading: Option<Loading>,
    /// What is below is to be pruned, as far as it may be.
    prune_to: Height,
    /// Only whole runs are.
    is_archiving: bool,
    burial: Burial,
    /// Ends of branches that are not forgotten, whatever their work.
    held: Vec<BlockHash>,
    /// Whether burying has begun and not ended.
    is_burying: bool,
    /// Height of the tip from which on burying may begin.
    bury_from: Height,
    stats: Stats,
}

/// What memory has of a chain in a store.
struct Read {
    tree: BlockTree,
    range: mmr::Range,
    filters: FilterHeader,
    next_sequence: u32,
}

impl Read {
    fn from_store(params: &Params, db: &Database) -> Result<Self, StoreError> {
        let mut index = Index::load(db)?;
        let tip = db.tip()?.ok_or_else(|| db.corrupt("there is no tip"))?;
        let find = |index: &Index, hash| {
            index.find(&hash).ok_or_else(|| db.corrupt(format!("block {hash} of the best chain has no header")))
        };
        let base = db.state_base()?;
        if let Some(height) = base {
            let hash =
                db.hash_at(height)?.ok_or_else(|| db.corrupt(format!("there is no block at height {height}")))?;
            let base = find(&index, hash)?;
            // A block that is buried is taken for connected anyway.
            index.place(&base).into_iter().for_each(|base| index.assume_complete(base));
        }
        let tip = find(&index, tip)?;
        let genesis = index.ancestor_of(&tip, Height::GENESIS);
        let range = effects::load_range(db, tip.height)?;
        if genesis.is_none_or(|genesis| genesis.hash != params.genesis_hash) || range.work() != tip.work {
            return Err(db.corrupt(format!("the header range is not over the headers up to tip {}", tip.hash)));
        }
        let (_, filters) = db.filter_header_of(&tip.key())?;
        let next_sequence = 1 + index.entries().map(|entry| entry.sequence).max().unwrap_or(0);
        let archived = Archived::load(params, db)?;
        let tree = BlockTree { base, archived, ..BlockTree::new(index, &tip, db.kept_from()?) };
        Ok(Self { tree, range, filters, next_sequence })
    }
}

impl Chain {
    /// Opens the chain in `store`, or starts one there with genesis, and finishes an activation that an earlier process
    /// left unfinished.
    ///
    /// # Errors
    /// [`StoreError`] for a store of another network, of another version, or damaged.
    pub fn open(params: Arc<Params>, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let db = Database::new(store);
        if !db.check_meta(&params.genesis_hash)? {
            start::start(&params, &db)?;
        } else if db.is_restarting()? {
            start::restart(&params, &db)?;
        }
        let Read { tree, range, filters, next_sequence } = Read::from_store(&params, &db)?;
        let states = Arc::new(StateTable::new(params.clone(), db.clone()));
        let mut chain = Self {
            params,
            tree: TreeOwner::new(tree),
            range,
            filters,
            candidates: BTreeSet::new(),
            waiting: HashMap::default(),
            next_sequence,
            states,
            ready_to: None,
            loading: db.state_load()?.map(Loading::new),
            prune_to: Height::GENESIS,
            is_archiving: false,
            burial: Burial::default(),
            held: Vec::new(),
            is_burying: false,
            bury_from: Height::GENESIS,
            stats: Stats::default(),
            db,
        };
        chain.clear_for_load()?;
        chain.find_waiting();
        chain.find_candidates();
        let mut update = ChainUpdate { unfinished: true, ..ChainUpdate::default() };
        while update.unfinished {
            update = ChainUpdate::default();
            chain.activate(&|_| false, &mut update)?;
        }
        Ok(chain)
    }

    /// The parameters of the network whose chain this is.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The database, for reading.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// Statistics since it was opened.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The tree of blocks, unchanged until the guard is dropped.
    pub fn tree(&self) -> RwLockReadGuard<'_, BlockTree> {
        self.tree.read()
    }

    /// A reader of the tree of blocks for other threads.
    pub fn reader(&self) -> TreeReader {
        self.tree.reader()
    }

    /// The best chain's last block.
    pub fn tip(&self) -> Entry {
        self.tree().tip()
    }

    /// The header with most work that is not known to be invalid; its body may still be missing.
    pub fn best_header(&self) -> Entry {
        self.tree().best_header()
    }

    /// Number of headers known, on all branches.
    pub fn header_count(&self) -> usize {
        self.tree().header_count()
    }

    /// A header by its hash, on any branch.
    pub fn entry(&self, hash: &BlockHash) -> Option<Entry> {
        self.tree().entry(hash)
    }

    /// The best chain's block at `height`.
    pub fn entry_at(&self, height: Height) -> Option<Entry> {
        self.tree().entry_at(height)
    }

    /// The ancestor of `entry` at `height`; `None` above it.
    pub fn ancestor(&self, entry: &Entry, height: Height) -> Option<Entry> {
        self.tree().ancestor(entry, height)
    }

    /// Whether `entry` is on the best chain.
    pub fn is_on_best_chain(&self, entry: &Entry) -> bool {
        self.tree().is_on_best_chain(entry)
    }

    /// Whether the best chain has this block at this height.
    pub fn has(&self, at: &BlockKey) -> bool {
        self.entry_at(at.height).is_some_and(|entry| entry.hash == at.hash)
    }

    /// The last block that both branches have.
    pub fn fork_point(&self, a: &Entry, b: &Entry) -> Entry {
        self.tree().index.fork(a, b)
    }

    /// `entry` and its ancestors, down to genesis.
    pub fn branch(&self, entry: &Entry) -> impl Iterator<Item = Entry> + use<'_> {
        // Takes the lock for each step, so that the caller may query the chain between steps.
        std::iter::successors(Some(*entry), |entry| self.tree().index.parent(entry))
    }

    /// The end of every branch, highest first.
    pub fn tips(&self) -> Vec<ChainTip> {
        self.tree().tips()
    }

    /// Hashes by which a peer finds where its chain leaves this branch.
    pub fn locator(&self, entry: &Entry) -> Vec<BlockHash> {
        self.tree().index.locator(entry)
    }

    /// Up to `max` headers of the best chain after the first hash of `locator` that is on it (genesis if none is), up
    /// to and with `stop`.
    ///
    /// # Errors
    /// If some of the headers after that hash are still to come: the lowest height that is missing, and that from which on none
    /// is.
    pub fn headers_after(
        &self,
        locator: &[BlockHash],
        stop: &BlockHash,
        max: usize,
    ) -> Result<Vec<Header>, (Height, Height)> {
        let tree = self.tree();
        let known = locator.iter().filter_map(|hash| tree.entry(hash)).find(|entry| tree.is_on_best_chain(entry));
        let first = known.map_or(Height::GENESIS, |entry| entry.height).next();
        if let Some(gap) = tree.header_gap().filter(|gap| first < gap.end) {
            return Err((gap.from, gap.end));
        }
        let mut headers = tree.headers_from(first, max);
        if let Some(stop) = tree.entry(stop).filter(|stop| stop.height >= first && tree.is_on_best_chain(stop)) {
            headers.truncate(stop.height.blocks_since(first) as usize + 1);
        }
        Ok(headers)
    }

    /// Median time past of a block: of itself and the ten before.
    pub fn median_time(&self, entry: &Entry) -> u32 {
        self.tree().median_time(entry)
    }

    /// The chain that ends with `entry`, as the rules see it.
    pub(crate) fn tail(&self, entry: &Entry) -> HeaderTail {
        self.tree().index.tail(entry)
    }

    /// What the next block's header is checked against.
    pub fn next_context(&self) -> HeaderContext {
        let tree = self.tree();
        tree.index.tail(&tree.tip()).next_context(&self.params)
    }

    /// What the next block's coinbase must commit to.
    ///
    /// # Errors
    /// [`ChainError::StatePending`], [`ChainError::Loading`], [`ChainError::Store`].
    pub fn committed(&self) -> Result<Committed, ChainError> {
        let state = self.due_state()?;
        Ok(Committed { range: self.range.root(), state, filters: self.filters })
    }

    /// [`Chain::missing_bodies_to`] the best header.
    pub fn missing_bodies(&self, window: u32, max: usize) -> Vec<(BlockHash, Height)> {
        self.missing_bodies_to(&self.best_header(), window, max)
    }

    /// Up to `max` blocks on the branch to `best` whose bodies are missing, lowest first, none more than
    /// `window` heights above the last block with which the branch is complete. That is the tip, or on another branch
    /// the last block stored without a gap: the tip does not move there before the branch has more work.
    pub fn missing_bodies_to(&self, best: &Entry, window: u32, max: usize) -> Vec<(BlockHash, Height)> {
        let tree = self.tree();
        let index = &tree.index;
        let fork = index.fork(&tree.tip(), best);
        // All blocks of the best chain were here.
        let Some(place) = index.place(best).filter(|_| fork.hash != best.hash) else { return Vec::new() };
        if fork.height.next() < tree.kept_from() || self.loading.is_some() {
            return Vec::new();
        }
        // Complete entries come before all others on a branch.
        let (mut base, mut above) = (fork.height, best.height.next());
        while above.blocks_since(base) > 1 {
            let middle = base.saturating_add(above.blocks_since(base) / 2);
            if index.get(index.ancestor(place, middle)).is_complete() { base = middle } else { above = middle }
        }
        let top = index.get(index.ancestor(place, best.height.min(base.saturating_add(window))));
        let mut missing: Vec<_> = index
            .branch(&top)
            .take_while(|entry| entry.height > base)
            .filter(|entry| !entry.has_body())
            .map(|entry| (entry.hash, entry.height))
            .collect();
        missing.reverse();
        missing.truncate(max);
        missing
    }
}

impl CoinView for Chain {
    type Error = StoreError;

    /// There is none while a state is loaded.
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, StoreError> {
        if self.loading.is_some() { Ok(None) } else { self.db.coin(outpoint) }
    }
}
