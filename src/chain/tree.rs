//! All headers and the best chain among them, read from any thread and written by one.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::archive::Archived;
use super::index::{Entry, Id, Index};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::storage::HeaderGap;

/// Blocks over which the median time past is taken.
pub const MEDIAN_SPAN: u32 = 11;

/// Which blocks are kept whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Retention {
    /// All.
    #[default]
    All,
    /// The last so many of the best chain, and those that go with the next step.
    Last(u32),
    /// All, until the owner has older ones pruned.
    Manual,
}

/// The tree of blocks: every header known, and which of them are the best chain.
///
/// Headers of the best chain that are buried deep are read from the store when they are asked for: a few microseconds each,
/// unless the system has to read them from the disk. If that fails, the answer is as for a header that is not known, and the
/// store commits nothing more.
#[derive(Debug)]
pub struct BlockTree {
    pub(super) index: Index,
    /// The best chain from the root of the index on, by height. Never empty.
    pub(super) active: VecDeque<Id>,
    pub(super) retention: Retention,
    pub(super) kept_from: Height,
    pub(super) archived: Archived,
    /// The block from whose state the node started, if it did not start from genesis.
    pub(super) base: Option<Height>,
    pub(super) too_deep: Option<Height>,
    /// Headers of branches are taken to which the tip cannot go back, since the chain may be started again.
    pub(super) takes_deep_headers: bool,
}

impl BlockTree {
    /// The tree in which the best chain ends at `tip`. Blocks below `kept_from` are pruned.
    pub(super) fn new(index: Index, tip: &Entry, kept_from: Height) -> Self {
        let mut active: VecDeque<Id> = index.line(tip.id).collect();
        active.make_contiguous().reverse();
        Self {
            index,
            active,
            retention: Retention::default(),
            kept_from,
            archived: Archived::default(),
            base: None,
            too_deep: None,
            takes_deep_headers: false,
        }
    }

    /// Whether the body of a pruned block is archived.
    pub(super) fn is_archived(&self, entry: &Entry) -> bool {
        self.archived.has(entry.height) && self.is_on_best_chain(entry)
    }

    /// How many pruned blocks are archived.
    pub fn archived_blocks(&self) -> u32 {
        self.archived.blocks(self.kept_from)
    }

    /// The best chain's last block.
    pub fn tip(&self) -> Entry {
        self.index.get(self.active[self.active.len() - 1])
    }

    /// The header with most work that is not known to be invalid; its body may still be missing.
    pub fn best_header(&self) -> Entry {
        self.index.best_header()
    }

    /// Number of headers known, on all branches.
    pub fn header_count(&self) -> usize {
        let missing = self.header_gap().map_or(0, |gap| gap.end.blocks_since(gap.from));
        self.index.root_height().as_usize() + self.index.len() - missing as usize
    }

    /// Number of headers in memory: of the best chain's last blocks, of those above its tip, and of branches.
    pub fn headers_in_memory(&self) -> usize {
        self.index.len()
    }

    /// A header by its hash, on any branch.
    pub fn entry(&self, hash: &BlockHash) -> Option<Entry> {
        self.index.find(hash)
    }

    /// The best chain's block at `height`.
    pub fn entry_at(&self, height: Height) -> Option<Entry> {
        match height.checked_sub(self.index.root_height().as_u32()) {
            Some(above) => self.active.get(above.as_usize()).map(|id| self.index.get(*id)),
            None => self.index.buried().at(height).map(|block| Entry::buried(height, &block)),
        }
    }

    /// Time of the block at height 1, the anchor of difficulty, on the branches in memory.
    pub fn first_time(&self) -> u32 {
        self.index.tree_root(self.index.root().id).first_time
    }

    /// The headers of the best chain that are still to come, since the node started from a state. `None` if all are here.
    pub fn header_gap(&self) -> Option<&HeaderGap> {
        self.index.buried().gap()
    }

    /// Whether the header of the best chain's block at a height is still to come, or one that its median time past needs.
    pub fn lacks_header(&self, height: Height) -> bool {
        self.header_gap().is_some_and(|gap| gap.from <= height && height < gap.end.saturating_add(MEDIAN_SPAN / 2))
    }

    /// Up to `max` headers of the best chain from a height on, up to the first that is still to come.
    pub fn headers_from(&self, height: Height, max: usize) -> Vec<Header> {
        let root = self.index.root_height();
        if let Some(gap) = self.header_gap().filter(|gap| height < gap.end) {
            let end = gap.from.min(height.saturating_add(u32::try_from(max).unwrap_or(u32::MAX)));
            return self.index.buried().headers(height, end);
        }
        let end = height.saturating_add(u32::try_from(max).unwrap_or(u32::MAX));
        let mut headers = Vec::new();
        if height < root {
            headers = self.index.buried().headers(height, end.min(root));
        }
        let above = self.active.iter().skip(height.blocks_since(root) as usize);
        headers.extend(above.take(max - headers.len().min(max)).map(|id| self.index.get(*id).header));
        headers
    }

    /// Transactions in the best chain's blocks up to and with a height.
    pub fn transactions_up_to(&self, height: Height) -> u64 {
        match self.index.root_height() {
            root if height < root => self.index.buried().transactions(height),
            root => {
                let above = self.active.iter().take(height.blocks_since(root) as usize + 1);
                let above: u64 = above.map(|id| u64::from(self.index.get(*id).tx_count)).sum();
                self.index.buried_transactions() + above
            }
        }
    }

    /// The ancestor of `entry` at `height`; `None` above it.
    pub fn ancestor(&self, entry: &Entry, height: Height) -> Option<Entry> {
        if height <= entry.height { self.index.ancestor_of(entry, height) } else { None }
    }

    /// Whether `entry` is on the best chain.
    pub fn is_on_best_chain(&self, entry: &Entry) -> bool {
        let at_height = match self.index.place(entry) {
            Some(id) => {
                return self.active.get(entry.height.blocks_since(self.index.root_height()) as usize) == Some(&id);
            }
            None => self.entry_at(entry.height),
        };
        at_height.is_some_and(|found| found.hash == entry.hash)
    }

    /// `entry` and its ancestors, down to genesis. Ends early if the store fails.
    pub fn branch(&self, entry: &Entry) -> impl Iterator<Item = Entry> + use<'_> {
        self.index.branch(entry)
    }

    /// Median time past of a block, as Bitcoin's RPC reports it: of the block and the (up to) ten before, the later of two
    /// middle ones. Times do not fall, so it is the time of the block in the middle.
    pub fn median_time(&self, entry: &Entry) -> u32 {
        let span = entry.height.as_u32().saturating_add(1).min(MEDIAN_SPAN);
        let middle = entry.height.saturating_sub((span - 1) / 2);
        self.index.ancestor_of(entry, middle).map_or(entry.header.time, |middle| middle.header.time)
    }
}

/// Reads the tree from any thread, without going through the thread that owns the chain. Clones read the same tree.
#[derive(Debug, Clone)]
pub struct TreeReader(Arc<RwLock<BlockTree>>);

impl TreeReader {
    /// The tree between two steps of the tip. The guard blocks the chain, so hold it only for a bounded number of reads of
    /// buried headers, and for no other of the disk. A thread should hold only one, and must not change the chain meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, BlockTree> {
        // No write under this lock can fail halfway, so a poisoned lock still guards a whole tree.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chain's handle of the tree, the only one that can write. Its guards borrow it, so a write guard cannot be taken
/// while another guard is held.
#[derive(Debug)]
pub(super) struct TreeOwner(TreeReader);

impl TreeOwner {
    pub fn new(tree: BlockTree) -> Self {
        Self(TreeReader(Arc::new(RwLock::new(tree))))
    }

    pub fn reader(&self) -> TreeReader {
        self.0.clone()
    }

    pub fn read(&self) -> RwLockReadGuard<'_, BlockTree> {
        self.0.read()
    }

    /// For changes that the store already has. Changes that readers must see together use one guard.
    pub fn write(&mut self) -> RwLockWriteGuard<'_, BlockTree> {
        self.0.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
