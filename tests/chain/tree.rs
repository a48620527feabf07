//! The tree of blocks, read while the chain moves.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::guarded::Guarded;
use cairn::chain::{BlockTree, Chain, ChainError, TipStatus, TreeReader};
use cairn::consensus::error::RuleError;
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::storage::{Database, MemoryStore, StoreError};
use cairn_testkit::{Ledger, params, seal};

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);

fn accept(chain: &mut Chain, block: &Block) -> Result<(), ChainError> {
    chain.accept_block(block.clone(), NOW, &|_| false).map(drop)
}

/// Invariants between two steps of the tip.
fn assert_whole(tree: &BlockTree) {
    let tip = tree.tip();
    assert!(tip.is_validated() && tree.is_on_best_chain(&tip));
    assert_eq!(tree.entry_at(tip.height).map(|entry| entry.hash), Some(tip.hash));
    assert!(tree.entry_at(tip.height.next()).is_none());
    let mut below = tree.entry_at(Height::GENESIS).unwrap();
    for height in Height::from_u32(1).through(tip.height) {
        let entry = tree.entry_at(height).unwrap();
        assert_eq!((entry.height, entry.header.previous), (height, below.hash));
        assert!(entry.work > below.work && entry.is_validated() && entry.tx_count > 0);
        assert_eq!(tree.entry(&entry.hash).map(|found| found.height), Some(height));
        below = entry;
    }
    let active = |tip: &cairn::chain::ChainTip| tip.status == TipStatus::Active;
    assert_eq!(tree.tips().into_iter().filter(active).map(|tip| tip.hash).collect::<Vec<_>>(), [tip.hash]);
    assert!(tree.best_header().is_invalid() || tree.best_header().work >= tip.work || tip.is_invalid());
}

#[test]
fn readers_see_whole_steps_of_the_tip() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let (left, right) = (Ledger::on(&params()).extend(6, 1), Ledger::on(&params()).extend(9, 2));
    let (seen, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let reader = chain.reader();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = BlockHash::ZERO;
            while !done.load(Ordering::Relaxed) {
                let tree = reader.read();
                assert_whole(&tree);
                let moved = std::mem::replace(&mut last, tree.tip().hash) != last;
                seen.fetch_add(usize::from(moved), Ordering::Relaxed);
            }
        });
        // Also if something here fails: the reader would go on for ever.
        let _done = Done(&done);
        for block in left.iter().chain(&right) {
            accept(&mut chain, block).unwrap();
            let tip = chain.tip().hash;
            assert_eq!(reader.read().tip().hash, tip);
        }
        // From one branch to the other and back, down to genesis each time, until many tips were seen on the way.
        while seen.load(Ordering::Relaxed) < 200 && !thread::panicking() {
            chain.invalidate(&right[0].hash()).unwrap();
            assert_eq!(chain.tip().hash, left[5].hash());
            chain.reconsider(&right[0].hash()).unwrap();
            assert_eq!(chain.tip().hash, right[8].hash());
        }
    });
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Compares the tree with the store, and fails a commit on request.
#[derive(Default)]
struct Comparing {
    inner: Arc<MemoryStore>,
    tree: OnceLock<TreeReader>,
    refuses: AtomicBool,
}

impl Comparing {
    fn compare(&self) {
        let Some(reader) = self.tree.get() else { return };
        let db = Database::new(self.inner.clone());
        let mut records = Vec::new();
        db.for_each_header(&mut |_, record| {
            records.push(record);
            Ok(())
        })
        .unwrap();
        let tree = reader.read();
        assert_whole(&tree);
        assert_eq!(db.tip().unwrap(), Some(tree.tip().hash));
        assert_eq!(tree.header_count(), records.len());
        let stored: HashSet<_> = records.iter().map(|record| (record.header.merkle_root, record.header.time)).collect();
        let best = tree.best_header().header;
        assert!(stored.contains(&(best.merkle_root, best.time)));
    }

    /// What is done before a commit.
    fn guard(&self) -> Result<(), StoreError> {
        // If the tree were locked for writing now, this would deadlock.
        self.compare();
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StoreError::Backend { dir: PathBuf::new(), reason: "told to".to_owned() });
        }
        Ok(())
    }
}

type Act<'a> = dyn Fn(&mut Chain) -> Result<(), ChainError> + 'a;

#[test]
fn readers_see_only_stored_blocks() {
    let store = Arc::new(Comparing::default());
    let guard = store.clone();
    let guarded = Guarded { inner: store.inner.clone(), guard: move || guard.guard() };
    let mut chain = Chain::open(params(), Arc::new(guarded)).unwrap();
    store.tree.set(chain.reader()).unwrap();
    let (left, right) = (Ledger::on(&params()).extend(3, 1), Ledger::on(&params()).extend(5, 2));
    let headers: Vec<_> = right[..4].iter().map(|block| block.header).collect();
    let acts: [&Act; 7] = [
        &|chain| chain.accept_headers(&headers, NOW).map(drop).map_err(|(_, error)| error),
        &|chain| accept(chain, &left[0]),
        // Two bodies that wait for another, then that one, and a block whose header is new.
        &|chain| accept(chain, &right[1]),
        &|chain| accept(chain, &right[2]),
        &|chain| accept(chain, &right[0]),
        &|chain| chain.invalidate(&right[1].hash()).map(drop),
        &|chain| chain.reconsider(&right[1].hash()).map(drop),
    ];
    for act in acts {
        let before = (chain.tip().hash, chain.header_count());
        store.refuses.store(true, Ordering::Relaxed);
        assert!(matches!(act(&mut chain), Err(ChainError::Store(_))));
        assert_eq!((chain.tip().hash, chain.header_count()), before);
        store.compare();
        store.refuses.store(false, Ordering::Relaxed);
        act(&mut chain).unwrap();
        store.compare();
    }
    assert_eq!(chain.tip().hash, right[2].hash());
    // A body that is not its header's leaves no header behind.
    let mut other = right[3].clone();
    other.transactions[0].outputs[1].value =
        other.transactions[0].outputs[1].value.saturating_sub(Amount::from_grains(1));
    for spoilt in [other.clone(), Block { header: right[4].header, ..other }] {
        let count = chain.header_count();
        assert!(matches!(accept(&mut chain, &spoilt), Err(ChainError::Rule { .. })));
        assert_eq!(chain.header_count(), count);
    }
    accept(&mut chain, &right[3]).unwrap();
    accept(&mut chain, &right[4]).unwrap();
    store.compare();
}

#[test]
fn headers_in_one_message_may_repeat_and_part() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let (left, right) = (Ledger::on(&params()).extend(14, 1), Ledger::on(&params()).extend(3, 2));
    let mut headers: Vec<_> = left.iter().map(|block| block.header).collect();
    headers.insert(3, left[1].header);
    headers.extend(right.iter().map(|block| block.header));
    assert_eq!(chain.accept_headers(&headers, NOW).unwrap(), 17);
    assert_eq!(chain.accept_headers(&headers, NOW).unwrap(), 0);
    assert_eq!((chain.header_count(), chain.best_header().hash), (18, left[13].hash()));
    let ends: Vec<_> = chain.tips().into_iter().map(|tip| (tip.hash, tip.height)).collect();
    let genesis = params().genesis_hash;
    assert_eq!(
        ends,
        [(left[13].hash(), 14), (right[2].hash(), 3), (genesis, 0)]
            .map(|(hash, height)| (hash, Height::from_u32(height)))
    );
    // What was checked beside the tree is what a tree read from the store has.
    for entry in chain.branch(&chain.best_header()) {
        let found = chain.entry(&entry.hash).unwrap();
        assert_eq!((found.height, found.work, found.header), (entry.height, entry.work, entry.header));
    }
    // The rules hold within a message: the time may not be before that of the parent, which is in the same one.
    let more = Ledger::on(&params()).extend(20, 3);
    let mut early = more[15].clone();
    early.header.time = more[14].header.time - 1;
    seal(&mut early);
    let headers: Vec<_> = more[..15].iter().chain([&early]).map(|block| block.header).collect();
    let (place, error) = chain.accept_headers(&headers, NOW).unwrap_err();
    assert!(place == 15 && matches!(error.rule(), Some(RuleError::TimeTooOld { .. })), "{place}: {error}");
    assert_eq!(chain.header_count(), 18 + 15, "those before it were taken");
}
