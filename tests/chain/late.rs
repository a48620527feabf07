//! Starting from a state without the headers before it, which come later: what the chain is meanwhile and then, killed at any
//! write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn::chain::{self, Burial, Chain, ChainError, HeaderStart, LoadStep};
use cairn::consensus::params::Params;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::mmr;
use cairn::receipt::succinct::ProvenHeader;
use cairn::receipt::weight::{Milestone, work_of};
use cairn::storage::{MemoryStore, StoreError};
use cairn_testkit::Ledger;

use crate::guarded::Guarded;
use crate::load::{EDGE, EPOCH, NOW, accept, base_of, compare, full, load, params, writes_left};
use crate::storage::entries;

/// The first header that the chain has.
const START: u32 = EDGE - EPOCH - 1;

fn at(height: u32) -> Height {
    Height::from_u32(height)
}

/// What a proof would show of a full chain.
fn start_of(full: &Chain, height: u32) -> HeaderStart {
    let mut range = mmr::Range::default();
    for entry in at(0).until(at(height)).map(|height| full.entry_at(height).unwrap()) {
        range.push(mmr::Node::leaf(entry.hash, work_of(&entry.header), entry.header.time));
    }
    let first_time = full.entry_at(at(1)).unwrap().header.time;
    HeaderStart { height: at(height), header: full.entry_at(at(height)).unwrap().header, range, first_time }
}

fn proven(full: &Chain, heights: impl Iterator<Item = Height>) -> Vec<ProvenHeader> {
    let of = |height| {
        let entry = full.entry_at(height).unwrap();
        let place = Milestone { after: entry.work, own: work_of(&entry.header), time: entry.header.time };
        ProvenHeader { height, header: entry.header, hash: entry.hash, place }
    };
    heights.map(of).collect()
}

fn follow(chain: &mut Chain, ledger: &Ledger) {
    let headers: Vec<_> = ledger.blocks[START as usize + 1..].iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
}

/// A chain that has started from the state, without the headers below.
fn started(params: &Arc<Params>, full: &Chain, ledger: &Ledger) -> (Chain, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
    chain.begin_load_above(base_of(full), 4, &start_of(full, START)).unwrap();
    follow(&mut chain, ledger);
    assert_eq!(load(&mut chain, full).unwrap(), LoadStep::Started);
    (chain, store)
}

fn fill(chain: &mut Chain, full: &Chain, most: u32) -> Result<(), StoreError> {
    loop {
        let gap = chain.tree().header_gap().cloned();
        let Some(gap) = gap else { return Ok(()) };
        let end = gap.from.saturating_add(most).min(gap.end);
        assert!(chain.fill_headers(&proven(full, gap.from.until(end)))?);
    }
}

#[test]
fn headers_below_a_state_come_late() {
    let params = params();
    let (full, ledger) = full(&params);
    let (mut chain, store) = started(&params, &full, &ledger);
    let missing = |chain: &Chain| chain.tree().header_gap().map(|gap| (gap.from.as_u32(), gap.end.as_u32()));
    assert_eq!((missing(&chain), chain.header_count()), (Some((1, START)), ledger.blocks.len() - START as usize + 1));
    // What is asked about the gap has no answer, rather than a wrong one.
    assert!(chain.entry_at(at(3)).is_none() && chain.entry(&ledger.blocks[3].hash()).is_none());
    assert_eq!(chain.entry_at(at(0)).map(|genesis| genesis.hash), Some(params.genesis_hash));
    assert!(chain.tree().headers_from(at(1), 9).is_empty() && chain.tree().headers_from(at(START - 1), 9).is_empty());
    assert_eq!(chain.tree().headers_from(at(0), 9), [params.genesis.header]);
    let after = |chain: &Chain, hash| chain.headers_after(&[hash], &BlockHash::ZERO, 3);
    assert_eq!(after(&chain, BlockHash::ZERO), Err((at(1), at(START))));
    assert_eq!(after(&chain, ledger.blocks[START as usize].hash()).map(|headers| headers.len()), Ok(3));
    assert!((1..START + 5).all(|height| chain.tree().lacks_header(at(height))));
    assert!(!chain.tree().lacks_header(at(0)) && !chain.tree().lacks_header(at(START + 5)));
    assert_eq!(chain.branch(&chain.tip()).count() as u32, EDGE - START + 1);
    let other = Ledger::on(&params).extend(1, 9)[0].header;
    let refused = chain.accept_header(other, NOW).unwrap_err();
    assert!(matches!(refused, ChainError::TooDeep { fork: Height::GENESIS, .. }), "{refused}");
    chain::check(chain.db(), &params, &mut |_, _| {}).unwrap();

    // Not the lowest, too many, and some that are not of this chain.
    let mut none = |headers: Vec<ProvenHeader>| assert!(!chain.fill_headers(&headers).unwrap());
    none(proven(&full, at(2).until(at(4))));
    none(proven(&full, at(1).until(at(START + 1))));
    let mut wrong = proven(&full, at(1).until(at(START)));
    wrong[2].hash = BlockHash::of(b"another");
    assert!(matches!(chain.fill_headers(&wrong), Err(StoreError::Corrupt { .. })));
    assert_eq!(missing(&chain), Some((1, START)), "nothing has changed");

    // They come in parts, between which the node is opened again.
    assert!(chain.fill_headers(&proven(&full, at(1).until(at(3)))).unwrap());
    let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
    assert_eq!(missing(&chain), Some((3, START)));
    assert_eq!(chain.entry(&ledger.blocks[2].hash()).map(|entry| entry.height), Some(at(2)));
    assert_eq!(chain.tree().headers_from(at(1), 9), [ledger.blocks[1].header, ledger.blocks[2].header]);
    chain::check(chain.db(), &params, &mut |_, _| {}).unwrap();
    // Meanwhile blocks go on, and headers above the gap are buried.
    chain.set_burial(Burial { depth: 2, batch: 1, step: 3 });
    compare(&mut chain, &full, &ledger);
    assert!(chain.header_count() - chain.tree().headers_in_memory() > 3);
    fill(&mut chain, &full, 2).unwrap();
    let chain = Chain::open(params.clone(), store).unwrap();
    assert_eq!((missing(&chain), chain.header_count()), (None, ledger.blocks.len()));
    for height in at(0).through(full.tip().height) {
        let (found, expected) = (chain.entry_at(height).unwrap(), full.entry_at(height).unwrap());
        assert_eq!((found.hash, found.work, found.height), (expected.hash, expected.work, height));
        assert_eq!(chain.entry(&found.hash).map(|found| found.height), Some(height));
        assert_eq!(chain.tree().median_time(&found), full.tree().median_time(&expected));
        assert_eq!(chain.tree().headers_from(height, 9), full.tree().headers_from(height, 9));
    }
    for number in 0..mmr::node_count(u64::from(full.tip().height.as_u32()) + 1) {
        assert_eq!(chain.db().range_node(number).unwrap(), full.db().range_node(number).unwrap(), "{number}");
    }
    chain::check(chain.db(), &params, &mut |_, _| {}).unwrap();
}

/// The chain is then, entry for entry, one that had all headers from the beginning and buried as many.
#[test]
fn a_gap_that_is_filled_leaves_no_trace() {
    let params = params();
    let (full, ledger) = full(&params);
    let (mut late, store) = started(&params, &full, &ledger);
    fill(&mut late, &full, 3).unwrap();
    let same = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params.clone(), same.clone()).unwrap();
    let headers: Vec<_> = ledger.blocks[1..].iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
    chain.begin_load(base_of(&full), 4).unwrap();
    assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Started);
    chain.set_burial(Burial { depth: EDGE - START, batch: 1, step: 1_000 });
    while chain.resume().unwrap().unfinished {
        chain = Chain::open(params.clone(), same.clone()).unwrap();
    }
    // Genesis has a transaction, which only a chain that began with it counts in those above: none is known of these.
    let kinds = |store: &MemoryStore| -> Vec<(Vec<u8>, Vec<u8>)> {
        entries(store).into_iter().filter(|(key, _)| ![b'O', b'H'].contains(&key[0])).collect()
    };
    assert_eq!(kinds(&store), kinds(&same));
}

#[test]
fn a_start_above_a_gap_that_fails_at_any_write_goes_on_from_there() {
    let params = params();
    let (full, ledger) = full(&params);
    let (mut failures, mut stages) = (0, [0; 3]);
    for writes in 0.. {
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let store = Arc::new(Guarded::new(writes_left(&left)));
        let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
        left.store(writes, Ordering::SeqCst);
        let began = chain.begin_load_above(base_of(&full), 4, &start_of(&full, START));
        let all = began.and_then(|()| {
            let headers: Vec<_> = ledger.blocks[START as usize + 1..].iter().map(|block| block.header).collect();
            match chain.accept_headers(&headers, NOW) {
                Err((_, ChainError::Store(error))) => return Err(error),
                accepted => accepted.map(drop).unwrap(),
            }
            load(&mut chain, &full)?;
            fill(&mut chain, &full, 2)
        });
        left.store(usize::MAX, Ordering::SeqCst);
        // As after a kill: what is not in the store is forgotten.
        drop(chain);
        let mut chain = Chain::open(params.clone(), store.inner.clone()).unwrap();
        if chain.state_load().is_none() && chain.started_from().is_none() {
            stages[0] += 1;
            assert!(chain.is_fresh(), "after {writes} writes");
            chain.begin_load_above(base_of(&full), 4, &start_of(&full, START)).unwrap();
        }
        if chain.started_from().is_none() {
            stages[1] += 1;
            follow(&mut chain, &ledger);
            assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Started, "after {writes} writes");
        }
        stages[2] += usize::from(chain.tree().header_gap().is_some());
        fill(&mut chain, &full, 2).unwrap();
        compare(&mut chain, &full, &ledger);
        if all.is_ok() {
            break;
        }
        failures += 1;
    }
    assert!(
        failures > 12 && stages[0] > 2 && stages[1] > stages[0] + 5 && stages[2] > stages[1] + 2,
        "{failures}, {stages:?}"
    );
}

#[test]
fn a_load_above_a_gap_can_be_begun_anew() {
    let params = params();
    let (full, ledger) = full(&params);
    let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
    for start in [START - 1, START] {
        chain.begin_load_above(base_of(&full), 4, &start_of(&full, start)).unwrap();
        assert_eq!((chain.tip().height, chain.is_fresh()), (at(start), false));
    }
    follow(&mut chain, &ledger);
    // Of a state that moves, the headers stay.
    chain.begin_load(base_of(&full), 2).unwrap();
    assert_eq!((chain.tip().height, chain.best_header().height), (at(START), full.tip().height));
    assert!(chain.begin_load_above(base_of(&full), 4, &start_of(&full, EDGE)).is_err(), "the edge before is not shown");
    assert_eq!(load(&mut chain, &full).unwrap(), LoadStep::Started);
    chain.begin_load_above(base_of(&full), 4, &start_of(&full, START)).unwrap();
    assert_eq!(chain.started_from(), Some(at(EDGE)), "it has blocks, so nothing happens");
    accept(&mut chain, &ledger.blocks[EDGE as usize + 1]);
    chain.restart().unwrap();
    assert!(chain.is_fresh() && chain.tree().header_gap().is_none());
}
