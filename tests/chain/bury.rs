//! Headers far below the tip are left to the store: what is answered about them, how few stay in memory, and branches that
//! leave the best chain at, above and below the root of the tree.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cairn::chain::{self, Burial, Chain, ChainError, Entry, Retention, TipStatus};
use cairn::primitives::block::Block;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::mmr;
use cairn::primitives::time::UnixTime;
use cairn::storage::{Batch, MemoryStore, Store, StoreError, Visitor};
use cairn_testkit::{Ledger, params};

use crate::guarded::Guarded;
use crate::storage::entries;

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);
const BURIAL: Burial = Burial { depth: 6, batch: 4, step: 3 };

fn at(height: u32) -> Height {
    Height::from_u32(height)
}

fn open(store: Arc<dyn Store>) -> Chain {
    let mut chain = Chain::open(params(), store).unwrap();
    chain.set_burial(BURIAL);
    chain
}

fn accept(chain: &mut Chain, block: &Block) -> Result<(), ChainError> {
    let mut unfinished = chain.accept_block(block.clone(), NOW, &|_| false)?.unfinished;
    while unfinished {
        unfinished = chain.resume()?.unfinished;
    }
    Ok(())
}

fn accept_all(chain: &mut Chain, blocks: &[Block]) {
    blocks.iter().for_each(|block| accept(chain, block).unwrap());
}

fn headers(blocks: &[Block]) -> Vec<Header> {
    blocks.iter().map(|block| block.header).collect()
}

/// Height of the lowest block in memory, if all in memory are on one branch.
fn root(chain: &Chain) -> u32 {
    (chain.header_count() - chain.tree().headers_in_memory()) as u32
}

/// All that is said of a block.
fn facts(chain: &Chain, entry: &Entry) -> impl PartialEq + std::fmt::Debug + use<> {
    let Entry { hash, header, height, work, tx_count, .. } = *entry;
    let tree = chain.tree();
    let ancestors: Vec<_> =
        [0, 1, 7, 20].map(|h| tree.ancestor(entry, at(h)).map(|found| found.hash)).into_iter().collect();
    let below: Vec<BlockHash> = tree.branch(entry).map(|entry| entry.hash).collect();
    let known = (entry.is_validated(), entry.is_invalid(), tree.has_body(entry), tree.is_on_best_chain(entry));
    let sums = (tree.median_time(entry), tree.transactions_up_to(height));
    drop(tree);
    let fork = chain.fork_point(entry, &chain.tip()).hash;
    let after = chain.headers_after(&[hash], &BlockHash::ZERO, 5).unwrap();
    ((hash, header, height, work, tx_count), (ancestors, below), known, sums, (fork, after, chain.locator(entry)))
}

/// Compares a chain with one that has all headers in memory.
fn compare(buried: &Chain, whole: &Chain) {
    assert_eq!((buried.tip().hash, buried.header_count()), (whole.tip().hash, whole.header_count()));
    for height in Height::GENESIS.through(whole.tip().height) {
        let (found, expected) = (buried.entry_at(height).unwrap(), whole.entry_at(height).unwrap());
        assert_eq!(facts(buried, &found), facts(whole, &expected), "at {height}");
        assert_eq!(buried.entry(&expected.hash).map(|found| found.height), Some(height));
        assert_eq!(buried.db().hash_at(height).unwrap(), Some(expected.hash));
        let body = |chain: &Chain| chain.db().raw_block(&expected.key()).unwrap();
        assert!(body(buried).is_some() && body(buried) == body(whole));
        let from = |chain: &Chain| chain.tree().headers_from(height, 9);
        assert_eq!(from(buried), from(whole));
        let stop = whole.entry_at(height.saturating_add(3)).map_or(BlockHash::ZERO, |entry| entry.hash);
        let after = |chain: &Chain| chain.headers_after(&[BlockHash::ZERO, expected.hash], &stop, 5).unwrap();
        assert_eq!(after(buried), after(whole));
    }
    assert!(buried.entry_at(buried.tip().height.next()).is_none());
    assert!(buried.entry(&BlockHash::of(b"no block")).is_none());
}

#[test]
fn few_headers_stay_in_memory_and_the_others_are_answered_from_the_store() {
    let store = Arc::new(MemoryStore::new());
    let (mut buried, mut whole) = (open(store.clone()), Chain::open(params(), Arc::new(MemoryStore::new())).unwrap());
    let most = (BURIAL.depth + BURIAL.batch + 1) as usize;
    for block in &Ledger::on(&params()).extend(60, 1) {
        accept(&mut buried, block).unwrap();
        accept(&mut whole, block).unwrap();
        assert!(buried.tree().headers_in_memory() <= most, "{} headers", buried.tree().headers_in_memory());
        if buried.tip().height.as_u32().is_multiple_of(7) {
            buried = open(store.clone());
        }
    }
    assert!(root(&buried) >= 50);
    let stored = |kind: u8| entries(&*store).iter().filter(|(key, _)| key[0] == kind).count();
    assert_eq!(stored(b'h'), buried.tree().headers_in_memory(), "a buried block has its header where all are");
    let nodes = mmr::node_count(61);
    let root = root(&buried) as u64;
    let unstored = root + root / 2 + root / 4;
    assert_eq!(stored(b'R') as u64, nodes - unstored, "nodes over up to four buried blocks are computed");
    for number in 0..nodes {
        assert_eq!(buried.db().range_node(number).unwrap(), whole.db().range_node(number).unwrap(), "{number}");
    }
    compare(&buried, &whole);
    compare(&open(store), &whole);
    let ends = buried.tree().tips();
    assert_eq!(
        ends.iter().map(|end| (end.hash, end.status)).collect::<Vec<_>>(),
        [(whole.tip().hash, TipStatus::Active)]
    );
    let report = chain::check(buried.db(), &params(), &mut |_, _| {}).unwrap();
    assert_eq!((report.headers, report.height), (61, at(60)));
}

#[test]
fn a_reorganisation_may_leave_the_chain_anywhere() {
    let mut trunk = Ledger::on(&params());
    let blocks = trunk.extend(40, 1);
    // The root is at 34, or at 31 to 34 where less was buried.
    for fork in [0, 1, 12, 29, 30, 31, 32, 33, 34, 35, 39] {
        let mut branch = Ledger::on(&params());
        blocks[..fork].iter().for_each(|block| drop(branch.push(block.clone())));
        let better = branch.extend(42 - fork as u32, 2);
        let store = Arc::new(MemoryStore::new());
        let mut chain = open(store.clone());
        accept_all(&mut chain, &blocks);
        let before = root(&chain);
        assert!((30..=34).contains(&before));
        for (n, block) in better.iter().enumerate() {
            // The last headers come before their bodies.
            if n + 3 == better.len() {
                chain.accept_headers(&headers(&better[n..]), NOW).unwrap();
            }
            accept(&mut chain, block).unwrap();
            // A branch with little work would be forgotten by a restart.
            if n % 5 == 0 && fork + n + 1 >= 34 {
                chain = open(store.clone());
            }
            chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
        }
        assert_eq!(chain.tip().hash, better.last().unwrap().hash(), "fork at {fork}");
        let mut whole = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
        accept_all(&mut whole, &blocks[..fork]);
        accept_all(&mut whole, &better);
        // The old branch may still be in memory, or be forgotten.
        let others = chain.tree().tips().iter().filter(|end| end.status != TipStatus::Active).count();
        assert!(others <= 1);
        for height in Height::GENESIS.through(whole.tip().height) {
            let (found, expected) = (chain.entry_at(height).unwrap(), whole.entry_at(height).unwrap());
            assert_eq!(facts(&chain, &found), facts(&whole, &expected), "fork at {fork}, height {height}");
        }
    }
}

#[test]
fn a_branch_that_falls_behind_is_forgotten_and_can_come_back() {
    let mut trunk = Ledger::on(&params());
    let first = trunk.extend(10, 1);
    let mut side = trunk.clone();
    let (stale, rest) = (side.extend(4, 2), trunk.extend(30, 1));
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(store.clone());
    accept_all(&mut chain, &first);
    accept_all(&mut chain, &stale);
    let keys: Vec<_> = stale.iter().map(|block| chain.entry(&block.hash()).unwrap().key()).collect();
    accept_all(&mut chain, &rest);
    assert_eq!((chain.tip().hash, chain.header_count()), (rest[29].hash(), 41));
    for (block, key) in stale.iter().zip(&keys) {
        assert!(chain.entry(&block.hash()).is_none() && chain.db().block(key).unwrap().is_none());
    }
    assert_eq!(chain.tips().len(), 1);
    // It comes again, with more work than the chain.
    let more = side.extend(28, 2);
    let all = [stale, more].concat();
    assert_eq!(chain.accept_headers(&headers(&all), NOW).unwrap(), 32);
    assert_eq!((chain.best_header().hash, chain.tip().hash), (all[31].hash(), rest[29].hash()));
    assert!(root(&chain) <= 10, "the branch keeps its fork in memory");
    chain = open(store);
    assert_eq!(chain.missing_bodies(u32::MAX, usize::MAX).len(), 32);
    accept_all(&mut chain, &all);
    assert_eq!(chain.tip().hash, all[31].hash());
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
}

#[test]
fn a_branch_with_as_much_work_as_the_root_stays() {
    let mut trunk = Ledger::on(&params());
    let first = trunk.extend(5, 1);
    let (side, rest) = (trunk.clone().extend(29, 2), trunk.extend(30, 1));
    let mut chain = open(Arc::new(MemoryStore::new()));
    accept_all(&mut chain, &[first, rest].concat());
    // All but the last of its headers have less work than the tip.
    chain.accept_headers(&headers(&side), NOW).unwrap();
    let end = chain.entry(&side[28].hash()).unwrap();
    let more = trunk.extend(5, 1);
    accept_all(&mut chain, &more);
    assert_eq!(
        chain.entry(&end.hash).map(|end| end.height),
        Some(at(34)),
        "the root would be at 34, with as much work"
    );
    assert_eq!(chain.fork_point(&end, &chain.tip()).height, at(5));
    accept_all(&mut chain, &trunk.extend(6, 1));
    assert!(chain.entry(&end.hash).is_none() && root(&chain) > 34);
}

#[test]
fn the_operator_may_mark_any_block_and_marks_stay() {
    let mut trunk = Ledger::on(&params());
    let first = trunk.extend(10, 1);
    let (stale, rest) = (trunk.clone().extend(2, 2), trunk.extend(30, 1));
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(store.clone());
    accept_all(&mut chain, &first);
    chain.accept_headers(&headers(&stale), NOW).unwrap();
    chain.invalidate(&stale[0].hash()).unwrap();
    accept_all(&mut chain, &rest);
    chain = open(store.clone());
    assert!(chain.entry(&stale[0].hash()).unwrap().is_invalid(), "nothing is buried above it");
    chain.reconsider(&stale[0].hash()).unwrap();
    while chain.resume().unwrap().unfinished {}
    assert!(chain.entry(&stale[0].hash()).is_none() && root(&chain) > 30);
    // The last block that is buried, the root, and others.
    let tip = chain.tip().hash;
    for height in [root(&chain) - 1, root(&chain), 1, 20, 40] {
        let hash = chain.entry_at(at(height)).unwrap().hash;
        chain.invalidate(&hash).unwrap();
        assert_eq!(chain.tip().height, at(height - 1));
        chain = open(store.clone());
        assert!(chain.entry(&hash).unwrap().is_invalid());
        chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
        let mut unfinished = chain.reconsider(&hash).unwrap().unfinished;
        while unfinished {
            unfinished = chain.resume().unwrap().unfinished;
        }
        assert_eq!(chain.tip().hash, tip);
        chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
    }
    // A buried block may be reconsidered for the sake of those after it.
    chain.invalidate(&chain.tip().hash.clone()).unwrap();
    chain.reconsider(&first[0].hash()).unwrap();
    assert_eq!(chain.tip().hash, tip);
    let genesis = chain.params().genesis_hash;
    assert!(matches!(chain.invalidate(&genesis), Err(ChainError::GenesisIsFixed)));
}

#[test]
fn known_blocks_stay_known_when_they_are_buried() {
    let mut chain = open(Arc::new(MemoryStore::new()));
    let blocks = Ledger::on(&params()).extend(40, 1);
    accept_all(&mut chain, &blocks);
    assert_eq!(chain.accept_headers(&headers(&blocks), NOW).unwrap(), 0);
    for block in &blocks {
        assert!(matches!(accept(&mut chain, block), Err(ChainError::Duplicate { .. })));
    }
    let before = root(&chain);
    // A header that breaks a rule puts nothing back.
    let mut early = blocks[5].clone();
    early.header.time -= 1_000;
    cairn_testkit::seal(&mut early);
    assert!(chain.accept_header(early.header, NOW).is_err());
    assert_eq!(root(&chain), before);
    let bookmark = chain.bookmark();
    assert_eq!((bookmark, root(&chain)).1, before);
}

#[test]
fn a_chain_can_be_rewound_to_where_it_is_buried_now() {
    let mut ledger = Ledger::on(&params());
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(store.clone());
    accept_all(&mut chain, &ledger.extend(20, 1));
    let (bookmark, tip) = (chain.bookmark(), chain.tip());
    let mut side = ledger.clone();
    accept_all(&mut chain, &ledger.extend(30, 1));
    accept_all(&mut chain, &side.extend(32, 2));
    chain.rewind(&bookmark).unwrap();
    assert_eq!((chain.tip().hash, chain.header_count()), (tip.hash, 21));
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
    chain = open(store);
    assert_eq!(chain.tip().hash, tip.hash);
    accept_all(&mut chain, &side.blocks[21..]);
    assert_eq!(chain.tip().height, at(52));
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
}

#[test]
fn a_branch_that_is_held_is_not_forgotten() {
    let mut ledger = Ledger::on(&params());
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(store);
    accept_all(&mut chain, &ledger.extend(10, 1));
    let mut side = ledger.clone();
    accept_all(&mut chain, &ledger.extend(5, 1));
    let (bookmark, tip) = (chain.bookmark(), chain.tip());
    chain.hold(vec![bookmark.tip()]);
    // Another branch wins, and leaves that one far below.
    accept_all(&mut chain, &side.extend(60, 2));
    chain.rewind(&bookmark).unwrap();
    assert_eq!((chain.tip().hash, chain.header_count()), (tip.hash, 16));
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();

    accept_all(&mut chain, &side.blocks[11..]);
    chain.hold(Vec::new());
    accept_all(&mut chain, &side.extend(60, 2));
    assert!(chain.tree().entry_at(at(15)).is_some() && root(&chain) > 15, "it is buried");
    assert!(matches!(chain.rewind(&bookmark), Err(ChainError::UnknownBlock { hash }) if hash == tip.hash));
}

#[test]
fn buried_blocks_are_pruned() {
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(store.clone());
    chain.set_retention(Retention::Last(20));
    let mut ledger = Ledger::on(&params());
    accept_all(&mut chain, &ledger.extend(200, 1));
    while chain.is_pruning_due() {
        chain.prune_step().unwrap();
    }
    let kept_from = chain.kept_from();
    assert!(kept_from > at(100) && chain.db().lowest_kept().unwrap() == Some(kept_from));
    chain = open(store);
    for height in Height::GENESIS.through(chain.tip().height) {
        let entry = chain.entry_at(height).unwrap();
        assert_eq!(chain.has_body(&entry), height >= kept_from);
    }
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
    let buried = chain.entry_at(at(50)).unwrap().hash;
    assert!(matches!(chain.invalidate(&buried), Err(ChainError::Pruned { .. })));
    // A branch that leaves the chain where that is pruned is refused, and puts nothing back.
    let before = root(&chain);
    let mut branch = Ledger::on(&params());
    ledger.blocks[1..=50].iter().for_each(|block| drop(branch.push(block.clone())));
    let (_, error) = chain.accept_headers(&headers(&branch.extend(200, 2)), NOW).unwrap_err();
    assert!(matches!(error, ChainError::TooDeep { fork, .. } if fork == at(50)), "{error}");
    assert_eq!(root(&chain), before);
}

/// Blocks of a chain, of a branch that leaves it below what is buried, and of another from its end, with marks between.
fn scenario(chain: &mut Chain, from: usize, trunk: &[Block], branch: &[Block]) -> Result<(), (usize, ChainError)> {
    let steps = trunk.iter().chain(branch);
    for (n, block) in steps.enumerate().skip(from) {
        match accept(chain, block) {
            Ok(()) | Err(ChainError::Duplicate { .. }) => {}
            Err(error) => return Err((n, error)),
        }
    }
    Ok(())
}

/// Every write fails once, and the node goes on; or the process ends there, and starts again.
#[test]
fn any_write_may_fail_and_any_may_be_the_last() {
    let mut ledger = Ledger::on(&params());
    let trunk = ledger.extend(24, 1);
    let mut branch = Ledger::on(&params());
    trunk[..8].iter().for_each(|block| drop(branch.push(block.clone())));
    let better = branch.extend(19, 2);
    let mut writes = 0;
    for restarts in [false, true] {
        for fails in 0.. {
            let left = Arc::new(AtomicUsize::new(fails));
            let counted = left.clone();
            let guard = move || {
                if counted.fetch_sub(1, Ordering::Relaxed) == 0 {
                    return Err(StoreError::Backend { dir: PathBuf::new(), reason: "told to".to_owned() });
                }
                Ok(())
            };
            let store = Arc::new(Guarded::new(guard));
            let Ok(mut chain) = Chain::open(params(), store.clone()) else { continue };
            chain.set_burial(BURIAL);
            let Err((n, error)) = scenario(&mut chain, 0, &trunk, &better) else {
                writes += fails;
                break;
            };
            assert!(matches!(error, ChainError::Store(StoreError::Backend { .. })), "{error}");
            let (tip, count) = (chain.tip().hash, chain.header_count());
            for height in Height::GENESIS.through(chain.tip().height) {
                let hash = chain.entry_at(height).unwrap().hash;
                assert_eq!(chain.db().hash_at(height).unwrap(), Some(hash), "what memory has is what the store has");
                assert_eq!(chain.entry(&hash).map(|entry| entry.height), Some(height));
            }
            // Another process sees the same, but for what it does at once.
            let copy = MemoryStore::new();
            let mut batch = Batch::default();
            entries(&*store.inner).iter().for_each(|(key, value)| batch.put(key, value));
            copy.commit(batch).unwrap();
            let other = Chain::open(params(), Arc::new(copy)).unwrap();
            assert!(other.header_count() == count && (other.tip().hash == tip || other.tip().work > chain.tip().work));
            chain::check(other.db(), &params(), &mut |_, _| {}).unwrap();
            if restarts {
                chain = other;
                chain.set_burial(BURIAL);
            }
            // A restart may forget the branch, while it has little work. Then its headers come first.
            if restarts {
                scenario(&mut chain, n.min(trunk.len()), &trunk, &[]).unwrap();
                chain.accept_headers(&headers(&better), NOW).unwrap();
            }
            scenario(&mut chain, if restarts { 0 } else { n }, &trunk, &better).unwrap();
            assert_eq!(chain.tip().hash, better.last().unwrap().hash());
            chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
        }
    }
    assert!(writes > 2 * 60, "{writes} writes");
}

/// A store that cannot read what is under some prefix.
struct Unreadable {
    inner: MemoryStore,
    broken: AtomicBool,
    failed: AtomicBool,
}

impl Store for Unreadable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.broken.load(Ordering::Relaxed) && b"OI".contains(&key[0]) {
            return Err(StoreError::Backend { dir: PathBuf::new(), reason: "told to".to_owned() });
        }
        self.inner.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.inner.scan(prefix, from, visit)
    }

    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.inner.scan_back(prefix, before, visit)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(StoreError::Backend { dir: PathBuf::new(), reason: "failed before".to_owned() });
        }
        self.inner.commit(batch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush()
    }

    fn fail(&self, _error: &StoreError) {
        self.failed.store(true, Ordering::Relaxed);
    }

    fn bytes_on_disk(&self) -> u64 {
        0
    }

    fn dir(&self) -> PathBuf {
        self.inner.dir()
    }
}

#[test]
fn nothing_is_committed_once_a_buried_header_could_not_be_read() {
    let acts: [&dyn Fn(&Chain); 4] = [
        &|chain| assert!(chain.entry_at(at(3)).is_none()),
        &|chain| assert!(chain.entry(&BlockHash::of(b"any")).is_none()),
        &|chain| assert!(chain.ancestor(&chain.tip(), at(3)).is_none()),
        &|chain| assert!(chain.locator(&chain.tip()).len() < 17),
    ];
    for act in acts {
        let (inner, broken, failed) = (MemoryStore::new(), AtomicBool::new(false), AtomicBool::new(false));
        let store = Arc::new(Unreadable { inner, broken, failed });
        let mut chain = open(store.clone());
        let blocks = Ledger::on(&params()).extend(31, 1);
        accept_all(&mut chain, &blocks[..30]);
        store.broken.store(true, Ordering::Relaxed);
        assert!(!store.failed.load(Ordering::Relaxed));
        act(&chain);
        assert!(store.failed.load(Ordering::Relaxed));
        assert!(matches!(accept(&mut chain, &blocks[30]), Err(ChainError::Store(_))));
        assert_eq!(chain.tip().height, at(30));
    }
}
