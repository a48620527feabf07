//! Starting from a state: which, from ranges in any order, killed at any write, and what the chain then is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn::chain::{self, Burial, Chain, LoadStep, NoState, Step, is_buried};
use cairn::consensus::params::{GenesisSpec, Params, Retarget};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::height::Height;
use cairn::primitives::target::Work;
use cairn::primitives::time::UnixTime;
use cairn::receipt::weight::Milestone;
use cairn::state::{Key, KeyRange, Leaf, Source};
use cairn::storage::{MemoryStore, StateBase, Store, StoreError};
use cairn_testkit::{Ledger, funded};
use ruint::aliases::U256;

use crate::epochs::spending;
use crate::guarded::Guarded;
use crate::storage::entries;

pub const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);
pub const EPOCH: u32 = 4;
const LENGTH: u32 = 22;
/// The last edge whose first committing block, at 16, has an epoch of blocks on top, itself included.
pub const EDGE: u32 = 12;
/// Coins sorted at once: far fewer than there are.
const SORTED: usize = 9;

pub fn params() -> Arc<Params> {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(0..100, COIN) };
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).unwrap())
}

/// A chain that has validated all blocks of a ledger.
pub fn full(params: &Arc<Params>) -> (Chain, Ledger) {
    let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
    let mut ledger = Ledger::on(params);
    spending(&mut ledger, LENGTH).iter().for_each(|block| accept(&mut chain, block));
    while chain.state_table().advance(1).unwrap() != Step::Idle {}
    (chain, ledger)
}

pub fn accept(chain: &mut Chain, block: &Block) {
    assert!(chain.accept_block(block.clone(), NOW, &|_| false).unwrap().rejected.is_empty());
}

fn follow_headers(chain: &mut Chain, ledger: &Ledger) {
    let headers: Vec<_> = ledger.blocks[1..].iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
}

/// What `from` says about the state of its target.
pub fn base_of(from: &Chain) -> StateBase {
    let target = from.state_target(NOW, false).unwrap();
    assert_eq!(target.edge.height, Height::from_u32(EDGE));
    let root = |height| from.db().edge(height).unwrap().unwrap().root;
    StateBase {
        height: target.edge.height,
        block: target.edge.hash,
        root: root(target.edge.height),
        before: (target.before.hash, root(target.before.height)),
        filters: from.db().filter_header_of(&target.edge.key()).unwrap().1,
        issued: target.issued,
    }
}

fn coins(from: &Chain, range: &KeyRange) -> Vec<Leaf> {
    let read = |source: &Source<'_, StoreError>| (source.leaves)(range, usize::MAX).unwrap();
    from.db().with_state(Height::from_u32(EDGE), EPOCH, read).unwrap().expect("the state is kept")
}

/// Loads what is missing, the last range first, a coin at a time; what follows the first coin is split before the last.
pub fn load(chain: &mut Chain, from: &Chain) -> Result<LoadStep, StoreError> {
    while let Some(range) = chain.state_load().and_then(|load| load.outdated.last()).copied() {
        let (part, before) = chain.outdated_coins(&range, 2)?;
        let is_same = before == coins(from, &part);
        assert!(chain.compared_coins(&part, is_same)?);
    }
    while let Some(range) = chain.state_load().and_then(|load| load.missing.last()).copied() {
        let found = coins(from, &range);
        let (first, end, split) = match &found[..] {
            [first, .., last] => (&found[..1], first.key, Some(&last.key)),
            all => (all, *range.last(), None),
        };
        assert!(chain.load_coins((range.first(), &end), first, split)?);
    }
    loop {
        match chain.load_step(SORTED)? {
            LoadStep::Loading => {}
            done => return Ok(done),
        }
    }
}

/// Compares a chain that started from the state with one that has all blocks.
pub fn compare(chain: &mut Chain, full: &Chain, ledger: &Ledger) {
    assert_eq!((chain.tip().height, chain.started_from()), (Height::from_u32(EDGE), Some(Height::from_u32(EDGE))));
    chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
    for block in &ledger.blocks[EDGE as usize + 1..] {
        accept(chain, block);
        while let Some(edge) = chain.state_table().next_edge().unwrap() {
            chain.state_ready(&edge).unwrap();
        }
    }
    assert_eq!(chain.tip().hash, full.tip().hash);
    assert_eq!(chain.db().coin_stats().unwrap(), full.db().coin_stats().unwrap());
    for edge in [EDGE, EDGE + EPOCH, EDGE + 2 * EPOCH] {
        let state = |chain: &Chain| chain.db().edge(Height::from_u32(edge)).unwrap().unwrap();
        assert_eq!(state(chain), state(full), "at {edge}");
    }
    assert_eq!(chain.committed().unwrap(), full.committed().unwrap());
    chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
}

/// The headers below the state are buried once it is the tip, and what they tell is that of a full chain.
#[test]
fn the_headers_below_a_state_are_buried() {
    let params = params();
    let (full, ledger) = full(&params);
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
    follow_headers(&mut chain, &ledger);
    chain.begin_load(base_of(&full), 2).unwrap();
    assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Started);
    let burial = Burial { depth: 2, batch: 1, step: 3 };
    chain.set_burial(burial);
    while chain.resume().unwrap().unfinished {
        chain = Chain::open(params.clone(), store.clone()).unwrap();
        chain.set_burial(burial);
    }
    assert_eq!(chain.header_count() - chain.tree().headers_in_memory(), EDGE as usize - 2);
    for height in Height::GENESIS.through(full.tip().height) {
        let (found, expected) = (chain.ancestor(&chain.best_header(), height).unwrap(), full.entry_at(height).unwrap());
        assert_eq!((found.hash, found.work, found.height), (expected.hash, expected.work, height));
    }
    compare(&mut chain, &full, &ledger);
    assert!(
        chain.header_count() - chain.tree().headers_in_memory() > EDGE as usize,
        "the state's block is buried, too"
    );
    let mut chain = Chain::open(params, store).unwrap();
    assert!(chain.entry_at(Height::from_u32(EDGE)).is_some_and(|edge| !chain.has_body(&edge) && edge.is_validated()));
    chain.restart().unwrap();
    assert!(chain.is_fresh() && chain.header_count() == 1);
    chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
}

#[test]
fn a_chain_goes_on_from_a_state_as_one_that_has_validated_all() {
    let params = params();
    let (full, ledger) = full(&params);
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
    chain.await_states().unwrap();
    assert_eq!(chain.state_target(NOW, false).unwrap_err(), NoState::TooShort);
    follow_headers(&mut chain, &ledger);
    chain.begin_load(base_of(&full), 8).unwrap();
    // Nothing is connected meanwhile, and no coin can be used.
    accept(&mut chain, &ledger.blocks[1]);
    assert!(
        chain.tip().height == Height::GENESIS && chain.is_state_pending() && chain.missing_bodies(10, 10).is_empty()
    );
    assert!(chain::check(chain.db(), &params, &mut |_, _| {}).is_err(), "it is not complete");
    assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Started);
    assert!(!chain.is_state_pending() && !chain.is_state_due());
    let before = entries(&*store);
    compare(&mut chain, &full, &ledger);

    // Opened again from what was on the disk then, it is the same.
    let mut batch = cairn::storage::Batch::default();
    before.iter().for_each(|(key, value)| batch.put(key, value));
    let copy = Arc::new(MemoryStore::new());
    copy.commit(batch).unwrap();
    compare(&mut Chain::open(params, copy).unwrap(), &full, &ledger);
}

/// A guard that lets so many writes through, and then none.
pub fn writes_left(left: &Arc<AtomicUsize>) -> impl Fn() -> Result<(), StoreError> + Send + Sync + 'static {
    let left = left.clone();
    move || match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::Backend { dir: "here".into(), reason: "a test has it fail".into() }),
    }
}

/// Prepares a chain, and has it begin and load a state. The first write fails, then the second, and so on until none does. Each
/// time the load goes on from what was written: as after a kill, and in the chain that failed. Returns how often it failed.
fn failing_at_each_write(
    (full, ledger): (&Chain, &Ledger),
    base: StateBase,
    prepare: impl Fn(&mut Chain),
    begin: impl Fn(&mut Chain) -> Result<(), StoreError>,
) -> usize {
    for (writes, is_killed) in (0..).flat_map(|writes| [(writes, true), (writes, false)]) {
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let store = Arc::new(Guarded::new(writes_left(&left)));
        let mut chain = Chain::open(params(), store.clone()).unwrap();
        follow_headers(&mut chain, ledger);
        prepare(&mut chain);
        left.store(writes, Ordering::SeqCst);
        let loaded = begin(&mut chain).and_then(|()| load(&mut chain, full));
        left.store(usize::MAX, Ordering::SeqCst);
        let has_failed = loaded.is_err();
        let loaded = loaded.unwrap_or_else(|_| {
            if is_killed {
                chain = Chain::open(params(), store.inner.clone()).unwrap();
            }
            assert_eq!(chain.tip().height, Height::GENESIS);
            chain.begin_load(base, 4).unwrap();
            load(&mut chain, full).unwrap()
        });
        assert_eq!(loaded, LoadStep::Started, "after {writes} writes, killed: {is_killed}");
        compare(&mut chain, full, ledger);
        if !has_failed {
            return writes;
        }
    }
    unreachable!("at some time every write succeeds");
}

#[test]
fn a_load_that_fails_at_any_write_goes_on_from_there() {
    let (full, ledger) = full(&params());
    let base = base_of(&full);
    let failures = failing_at_each_write((&full, &ledger), base, |_| {}, |chain| chain.begin_load(base, 4));
    assert!(failures > 12, "{failures}");
}

/// A later state takes the place of one that is partly there, or of a third, at any write.
#[test]
fn of_an_earlier_state_only_what_differs_is_loaded_again() {
    let params = params();
    let (full, ledger) = full(&params);
    let later = base_of(&full);
    let earlier =
        StateBase { height: Height::from_u32(EDGE - EPOCH), block: later.before.0, root: later.before.1, ..later };
    let mut before = Ledger::on(&params);
    ledger.blocks[1..=(EDGE - EPOCH) as usize].iter().for_each(|block| drop(before.append(block)));
    assert_eq!(before.epochs.last(), Some(&earlier.id()));
    let is_partly_there = |chain: &mut Chain| {
        chain.begin_load(earlier, 8).unwrap();
        let mut there = Vec::new();
        while let Some(range) = chain.state_load().and_then(|load| load.missing.get(1)).copied() {
            let all = before.epochs.table().leaves();
            let found: Vec<Leaf> = all.filter(|leaf| range.contains(&leaf.key)).copied().collect();
            assert!(chain.load_coins((range.first(), range.last()), &found, None).unwrap());
            there.extend(found);
        }
        let same = there.iter().filter(|leaf| coins(&full, &KeyRange::key(leaf.key)) == [**leaf]).count();
        assert!((20..there.len()).contains(&same), "{same} of {} coins stay", there.len());
    };
    let failures = failing_at_each_write((&full, &ledger), later, is_partly_there, |chain| {
        chain.begin_load(later, 4)?;
        let load = chain.state_load().unwrap().clone();
        assert_eq!((load.missing.len(), load.outdated.len(), load.is_complete()), (1, 4, false));
        chain.begin_load(later, 8)?;
        assert_eq!(chain.state_load(), Some(&load), "it is being loaded already");
        Ok(())
    });
    assert!(failures > 30, "{failures}");
}

/// When all coins are there, more than coins is written: nothing of it stays for another state.
#[test]
fn a_whole_state_gives_way_to_another_whole() {
    let params = params();
    let (full, ledger) = full(&params);
    let base = base_of(&full);
    for steps in [0, 3, 6] {
        let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
        follow_headers(&mut chain, &ledger);
        chain.begin_load(base, 1).unwrap();
        assert!(chain.load_coins((&Key::MIN, &Key::MAX), &coins(&full, &KeyRange::ALL), None).unwrap());
        for _ in 0..steps {
            assert_eq!(chain.load_step(SORTED).unwrap(), LoadStep::Loading);
        }
        chain.begin_load(StateBase { issued: Amount::MAX, ..base }, 4).unwrap();
        let load = chain.state_load().unwrap();
        assert_eq!((load.missing.len(), load.outdated.len()), (4, 0));
        assert!(chain.outdated_coins(&KeyRange::ALL, usize::MAX).unwrap().1.is_empty());
        assert_eq!(crate::load::load(&mut chain, &full).unwrap(), LoadStep::Started);
        compare(&mut chain, &full, &ledger);
    }
}

#[test]
fn a_chain_that_is_removed_starts_again_even_if_that_fails() {
    let params = params();
    let (full, ledger) = full(&params);
    for writes in 0.. {
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let store = Arc::new(Guarded::new(writes_left(&left)));
        let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
        let fresh = entries(&*store);
        follow_headers(&mut chain, &ledger);
        chain.begin_load(base_of(&full), 4).unwrap();
        assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Started);
        accept(&mut chain, &ledger.blocks[EDGE as usize + 1]);
        left.store(writes, Ordering::SeqCst);
        let restarted = chain.restart();
        left.store(usize::MAX, Ordering::SeqCst);
        if restarted.is_err() {
            drop(chain);
            chain = Chain::open(params.clone(), store.inner.clone()).unwrap();
            if writes == 0 {
                assert_eq!(chain.started_from(), Some(Height::from_u32(EDGE)), "nothing was written");
                continue;
            }
        }
        assert_eq!(entries(&*store), fresh, "after {writes} writes");
        assert!(chain.is_fresh() && chain.started_from().is_none() && chain.header_count() == 1);
        for block in &ledger.blocks[1..] {
            accept(&mut chain, block);
        }
        assert_eq!(chain.db().coin_stats().unwrap(), full.db().coin_stats().unwrap());
        if restarted.is_ok() {
            return;
        }
    }
}

#[test]
fn a_state_with_more_than_was_issued_is_not_started_from() {
    let params = params();
    let (full, ledger) = full(&params);
    let base = base_of(&full);
    let sum = full.db().edge(base.height).unwrap().unwrap().top.unwrap().sum;
    assert_eq!(base.issued, sum, "every block of this chain took its whole subsidy, and no fee was left");
    let mut chain = Chain::open(params, Arc::new(MemoryStore::new())).unwrap();
    follow_headers(&mut chain, &ledger);
    let issued = Amount::from_grains(sum.as_grains() - 1);
    chain.begin_load(StateBase { issued, ..base }, 4).unwrap();
    assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Inflated);
    // Its coins are there, so no block is connected before they are removed.
    accept(&mut chain, &ledger.blocks[1]);
    assert!(chain.tip().height == Height::GENESIS && chain.state_load().is_some() && !chain.is_fresh());
    chain.restart().unwrap();
    ledger.blocks[1..].iter().for_each(|block| accept(&mut chain, block));
    assert_eq!(chain.db().coin_stats().unwrap(), full.db().coin_stats().unwrap());
}

#[test]
fn a_state_under_a_chain_that_slowed_down_is_buried_only_where_that_is_accepted() {
    let mut spec = GenesisSpec { retarget: Retarget::Asert, max_future_secs: 60, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let params = Params::new(spec).unwrap();
    let work = |units: u64| Work(U256::from(units));
    let place = |block: u64| Milestone { after: work(1_000 * block), own: work(1_000), time: 10 * block as u32 };
    let buried = |blocks: u64, until: u32, accepts_slow| {
        let earlier = (0..2_000).rev().map(place);
        is_buried(place(2_000), earlier, work(1_000 * (2_000 + blocks)), until, accepts_slow, &params)
    };
    // 300 blocks in the time of 300, then in that of 1,000.
    assert_eq!((buried(300, 23_000, false), buried(300, 23_000, true)), (Ok(true), Ok(true)));
    assert!(matches!(buried(300, 30_000, false), Err(NoState::Slow(slow)) if slow.percent == 30));
    assert_eq!(buried(300, 30_000, true), Ok(true));
    assert_eq!(buried(0, 30_000, true), Ok(false), "it is under no work at all");
}
