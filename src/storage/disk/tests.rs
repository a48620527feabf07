//! The store against a map, in any order of operations, and cut off at any write.

mod values;
mod versions;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::changes::{Change, Window};
use super::extents::Unsynced;
use super::large::SEGMENT_BYTES;
use super::store::{Limits, SledStore};
use super::value::{Stored, Value};
use crate::storage::{Batch, Store, StoreError, Visitor};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Windows of few changes, so that the writer is always at work.
const LIMITS: Limits = Limits { linger: Duration::ZERO, window: 2_000, backlog: 20_000, segment: SEGMENT_BYTES };
/// Changes wait for a flush, or for the store to be full.
const LAZY: Limits =
    Limits { linger: Duration::from_secs(3_600), window: 1 << 20, backlog: 1 << 20, segment: SEGMENT_BYTES };

fn open(dir: &Path, limits: Limits) -> Result<SledStore, StoreError> {
    SledStore::open_limited(dir, 1 << 20, limits)
}

#[derive(Debug, Clone)]
enum Step {
    /// Puts a value of some length, or none, under each key.
    Commit(Vec<(Vec<u8>, Option<usize>)>),
    Get(Vec<u8>),
    Scan {
        prefix: Vec<u8>,
        from: Vec<u8>,
        limit: usize,
    },
    ScanBack {
        prefix: Vec<u8>,
        rest: Vec<u8>,
        limit: usize,
    },
    Flush,
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few enough to repeat; some are prefixes of others.
    prop_oneof![vec(0u8..3, 0..5), (0u8..200).prop_map(|n| vec![n; 30])]
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![6 => 0usize..60, 2 => 200usize..400, 1 => 1_000usize..5_000];
    prop_oneof![
        8 => vec((key(), proptest::option::weighted(0.6, length)), 0..60).prop_map(Step::Commit),
        4 => key().prop_map(Step::Get),
        4 => (vec(0u8..3, 0..3), key(), 1usize..300).prop_map(|(prefix, from, limit)| Step::Scan { prefix, from, limit }),
        4 => (vec(0u8..3, 0..3), key(), 1usize..300).prop_map(|(prefix, rest, limit)| Step::ScanBack { prefix, rest, limit }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

/// Makes the batch, and does to the model what the batch will do to the store.
fn batch(model: &mut Model, changes: &[(Vec<u8>, Option<usize>)], salt: usize) -> Batch {
    let mut batch = Batch::default();
    for (n, (key, length)) in changes.iter().enumerate() {
        match length {
            Some(length) => {
                let value = vec![(n + salt) as u8; *length];
                // Half of the new keys are put as new.
                let new = !model.contains_key(key) && value.len().is_multiple_of(2);
                if new {
                    batch.put_new(key.clone(), value.clone())
                } else {
                    batch.put(key.clone(), value.clone())
                }
                model.insert(key.clone(), value);
            }
            None => {
                batch.delete(key.clone());
                model.remove(key);
            }
        }
    }
    batch
}

/// The first entries that a scan visits.
fn visited(limit: usize, scan: impl FnOnce(Visitor<'_>) -> Result<(), StoreError>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    scan(&mut visit).unwrap();
    found
}

fn scan(store: &SledStore, prefix: &[u8], from: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    visited(limit, |visit| store.scan(prefix, from, visit))
}

fn all(store: &SledStore) -> Model {
    scan(store, &[], &[], usize::MAX).into_iter().collect()
}

#[test]
fn pages_that_become_empty_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAZY).unwrap();
    let key = |height: u32, n: u32| [&[7][..], &height.to_be_bytes(), &n.to_be_bytes()].concat();
    let mut most = 0;
    for height in 0..50 {
        let mut batch = Batch::default();
        for n in 0..200 {
            batch.put_new(key(height, n), [n as u8; 40]);
            if let Some(before) = height.checked_sub(2) {
                batch.delete(key(before, n));
            }
        }
        store.commit(batch).unwrap();
        store.flush().unwrap();
        most = most.max(store.pages().unwrap());
    }
    assert!((5..30).contains(&most), "those of two or three heights: {most}");
    assert_eq!(scan(&store, &[7], &[], usize::MAX).len(), 400);
    drop(store);
    assert_eq!(scan(&open(dir.path(), LAZY).unwrap(), &[7], &[], usize::MAX).len(), 400);
}

/// Scans a store in which pages are split and others go after some entries were seen: what stays is seen once, in order.
fn scan_while_pages_change(is_back: bool, seen_before: usize) {
    const KEYS: u32 = 600;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAZY).unwrap();
    let key = |n: u32, rest: &[u8]| [&[7][..], &n.to_be_bytes(), rest].concat();
    let mut batch = Batch::default();
    (0..KEYS).for_each(|n| batch.put_new(key(n, &[]), [n as u8; 60]));
    store.commit(batch).unwrap();
    store.flush().unwrap();
    let goes = |n: u32| (100..250).contains(&n) || (400..500).contains(&n);
    let mut seen = Vec::new();
    let mut visit = |at: &[u8], _: &[u8]| {
        if seen.len() == seen_before {
            let mut batch = Batch::default();
            for n in 0..KEYS {
                match goes(n) {
                    true => batch.delete(key(n, &[])),
                    false => batch.put_new(key(n, &[1]), [n as u8; 60]),
                }
            }
            store.commit(batch).unwrap();
            store.flush().unwrap();
        }
        seen.push(at.to_vec());
        ControlFlow::Continue(())
    };
    match is_back {
        true => store.scan_back(&[7], &[8], &mut visit).unwrap(),
        false => store.scan(&[7], &[], &mut visit).unwrap(),
    }
    assert!(seen.is_sorted_by(|one, next| if is_back { one > next } else { one < next }), "once, and in order");
    let missed = (0..KEYS).filter(|n| !goes(*n) && !seen.contains(&key(*n, &[]))).collect::<Vec<_>>();
    assert!(missed.is_empty(), "{missed:?} after {seen_before}");
}

#[test]
fn a_scan_sees_what_stays_once_while_pages_change() {
    for seen_before in (0..340).step_by(20) {
        scan_while_pages_change(false, seen_before);
        scan_while_pages_change(true, seen_before);
    }
}

/// Leaves in the file of pages what a power cut may: of what was not synced some is there, some is not, some is in part.
fn tear(dir: &Path, unsynced: &Unsynced) {
    let file = std::fs::OpenOptions::new().write(true).open(dir.join("pages")).unwrap();
    for (n, range) in unsynced.lock().unwrap().iter().enumerate() {
        let middle = range.start.midpoint(range.end);
        let (start, end) = [(range.start, range.start), (range.start, range.end), (middle, range.end)][n % 3];
        file.write_all_at(&vec![0xaa; (end - start) as usize], start).unwrap();
        if n % 4 == 3 && file.metadata().unwrap().len() == range.end {
            file.set_len(middle).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_behaves_as_a_map(steps in vec(step(), 1..80), eager in any::<bool>()) {
        let limits = if eager { LIMITS } else { LAZY };
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), limits).unwrap();
        let mut model = Model::new();
        for (salt, step) in steps.into_iter().enumerate() {
            match step {
                Step::Commit(changes) => store.commit(batch(&mut model, &changes, salt)).unwrap(),
                Step::Get(key) => prop_assert_eq!(store.get(&key).unwrap(), model.get(&key).cloned()),
                Step::Scan { prefix, from, limit } => {
                    let expected = model.range(from.clone().max(prefix.clone())..);
                    let expected = expected.filter(|(key, _)| key.starts_with(&prefix)).take(limit);
                    let expected: Vec<_> = expected.map(|(key, value)| (key.clone(), value.clone())).collect();
                    prop_assert_eq!(scan(&store, &prefix, &from, limit), expected);
                }
                Step::ScanBack { prefix, rest, limit } => {
                    let before = [&prefix[..], &rest].concat();
                    let expected = model.range(prefix.clone()..before.clone()).rev().take(limit);
                    let expected: Vec<_> = expected.map(|(key, value)| (key.clone(), value.clone())).collect();
                    prop_assert_eq!(visited(limit, |visit| store.scan_back(&prefix, &before, visit)), expected);
                }
                Step::Flush => store.flush().unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = open(dir.path(), limits).unwrap();
                }
            }
        }
        prop_assert_eq!(all(&store), model.clone());
        drop(store);
        prop_assert_eq!(all(&open(dir.path(), limits).unwrap()), model);
    }

    /// Pages or the tree fail after so many writes, and the power is cut. The store then holds the state after some commit, no
    /// earlier than the last flush.
    #[test]
    fn cut_off_at_any_write_it_is_as_some_commit_left_it(
        commits in vec((vec((key(), proptest::option::weighted(0.7, 0usize..300)), 1..80), any::<bool>()), 1..12),
        writes in 0usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), LIMITS).unwrap();
        store.fail_after(writes);
        let mut states = vec![Model::new()];
        let (mut flushed, mut failed) = (0, false);
        let unsynced = store.unsynced();
        for (salt, (changes, flush)) in commits.iter().enumerate() {
            let mut model = states[states.len() - 1].clone();
            if store.commit(batch(&mut model, changes, salt)).is_err() {
                failed = true;
                break;
            }
            states.push(model);
            // What is in memory stays readable, whether or not the writer is at its end.
            prop_assert_eq!(&all(&store), &states[states.len() - 1]);
            if *flush {
                match store.flush() {
                    Ok(()) => flushed = states.len() - 1,
                    Err(_) => failed = true,
                }
            }
        }
        if failed {
            let mut one = Batch::default();
            one.put(vec![9], vec![9]);
            let refused = matches!(store.commit(one), Err(StoreError::Backend { .. }));
            prop_assert!(refused, "a commit after a failed write");
            prop_assert!(store.flush().is_err() || flushed == states.len() - 1);
        }
        drop(store);
        tear(dir.path(), &unsynced);
        let store = open(dir.path(), LIMITS).unwrap();
        let found = all(&store);
        let place = states.iter().rposition(|state| *state == found);
        prop_assert!(place.is_some_and(|place| place >= flushed), "{:?} of {}, flushed {}", place, states.len(), flushed);
        // And it goes on from there.
        let mut model = found;
        store.commit(batch(&mut model, &commits[0].0, 99)).unwrap();
        store.flush().unwrap();
        drop(store);
        prop_assert_eq!(all(&open(dir.path(), LIMITS).unwrap()), model);
    }
}

/// What a window's log says is what the window says: a journal that is read again makes the same changes.
#[test]
fn a_window_replayed_is_the_same() {
    let change = (key(), proptest::option::weighted(0.6, 0u8..4), any::<bool>());
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&vec(change, 0..60), |changes| {
        let mut window = Window::default();
        let mut expected: BTreeMap<&Vec<u8>, (Option<Vec<u8>>, bool)> = BTreeMap::new();
        for (key, value, new) in &changes {
            let value = value.map(|n| vec![n; usize::from(n)]);
            // A key can only be new if nothing is known of it, or it was removed.
            let is_new = *new && value.is_some() && expected.get(key).is_none_or(|(value, _)| value.is_none());
            let before = expected.get(key).map(|(_, is_new)| *is_new);
            match (before, &value) {
                (Some(true), None) => drop(expected.remove(key)),
                _ => drop(expected.insert(key, (value.clone(), before.unwrap_or(is_new)))),
            }
            window.record(Change { key, value: value.as_deref().map(Stored::Small), is_new });
        }
        let all = |window: &Window| -> Vec<(Vec<u8>, Option<Value>, bool)> {
            let owned = |change: Change<'_>| (change.key.to_vec(), change.value.map(Stored::to_value), change.is_new);
            window.range(&[], &[]).map(owned).collect()
        };
        let expected =
            expected.into_iter().map(|(key, (value, is_new))| (key.clone(), value.map(Value::Small), is_new));
        let expected: Vec<_> = expected.collect();
        prop_assert_eq!(&all(&window), &expected);
        prop_assert_eq!(window.len(), expected.len());
        let bytes = window.log().as_bytes();
        prop_assert_eq!(all(&Window::replay(bytes).unwrap()), expected);
        // A log that is cut off is none, unless it is cut between two changes.
        let cut = &bytes[..bytes.len() - usize::from(!bytes.is_empty())];
        prop_assert_eq!(Window::replay(cut).is_some(), bytes.is_empty());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// A split is interrupted between the parts of a page; the same changes split it again, and others follow. Entries left
/// in the old page must not come back.
#[test]
fn a_split_cut_off_at_any_write_brings_nothing_back() {
    for writes in 0..120 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), LAZY).unwrap();
        let mut model = Model::new();
        let all_to = |length| (0..200).map(|n| (vec![n, n], Some(length))).collect::<Vec<_>>();
        // Pages that are nearly full, so that what is left of one is more than a part.
        for length in [100, 130] {
            store.commit(batch(&mut model, &all_to(length), 1)).unwrap();
            store.flush().unwrap();
        }
        store.fail_after(writes);
        let before = model.clone();
        // Each page becomes several.
        store.commit(batch(&mut model, &all_to(600), 2)).unwrap();
        let _ = store.flush();
        let unsynced = store.unsynced();
        drop(store);
        tear(dir.path(), &unsynced);
        let store = open(dir.path(), LAZY).unwrap();
        let found = all(&store);
        assert!(found == model || (writes == 0 && found == before), "cut off at write {writes}");
        let mut model = found;
        store.commit(batch(&mut model, &all_to(700), 3)).unwrap();
        store.flush().unwrap();
        assert_eq!(all(&store), model, "cut off at write {writes}, and written again");
        assert!((0..200).all(|n| store.get(&[n, n]).unwrap() == model.get(&vec![n, n]).cloned()));
    }
}

/// Entries that are replaced again and again, at random places, take room once, and so do pages of many windows.
#[test]
fn replaced_pages_leave_their_room_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), Limits { window: 1 << 18, ..LAZY }).unwrap();
    let length = || std::fs::metadata(dir.path().join("pages")).unwrap().len();
    let name = |n: u32| n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    let mut model = Model::new();
    let mut write = |store: &SledStore, of: u32, salt: usize| {
        let changes: Vec<_> = (0..20_000).filter(|n| n % 7 % of == 0).map(|n| (name(n).to_vec(), Some(60))).collect();
        for changes in changes.chunks(500) {
            store.commit(batch(&mut model, changes, salt)).unwrap();
        }
        store.flush().unwrap();
        model.clone()
    };
    write(&store, 1, 0);
    let first = length();
    for salt in 1..8 {
        let expected = write(&store, 1 + salt as u32 % 3, salt);
        if salt % 3 == 0 {
            drop(store);
            store = open(dir.path(), LAZY).unwrap();
        }
        assert!(length() < 2 * first + (8 << 20), "{} bytes, {first} at first", length());
        assert_eq!(all(&store), expected);
    }
}

#[test]
fn readers_see_each_commit_whole_and_at_once_whatever_the_writer_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), LIMITS).unwrap());
    let name = |n: u32| [&b"key"[..], &n.wrapping_mul(0x9e37_79b9).to_be_bytes()].concat();
    let mut first = Batch::default();
    (0..400).for_each(|n| first.put(name(n), vec![0; 100]));
    store.commit(first).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (store.clone(), done.clone());
        std::thread::spawn(move || {
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                // All entries stay, so a scan finds all, either way, and none goes back.
                let forwards = visited(usize::MAX, |visit| store.scan(b"key", &[], visit));
                let backwards = visited(usize::MAX, |visit| store.scan_back(b"key", b"key\xff\xff\xff\xff\xff", visit));
                for seen in [forwards, backwards] {
                    assert_eq!(seen.len(), 400);
                    assert!(seen.iter().all(|(_, value)| value[0] >= last), "an entry of a commit before {last}");
                }
                let now = store.get(&name(7)).unwrap().unwrap()[0];
                assert!(now >= last);
                assert!(store.get(&name(399)).unwrap().unwrap()[0] >= now, "part of a commit");
                last = now;
            }
            last
        })
    };
    for round in 1..=100 {
        let mut batch = Batch::default();
        (0..400).for_each(|n| batch.put(name(n), vec![round; 100]));
        store.commit(batch).unwrap();
        assert_eq!(store.get(&name(3)).unwrap().unwrap()[0], round);
    }
    done.store(true, Ordering::Release);
    assert!(reader.join().unwrap() > 0, "nothing was read meanwhile");
}

#[test]
fn coins_made_and_spent_before_a_write_never_reach_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAZY).unwrap();
    for round in 0..100u32 {
        let mut batch = Batch::default();
        (0..100u32)
            .for_each(|n| batch.put_new([&b"c"[..], &round.to_be_bytes(), &n.to_be_bytes()].concat(), vec![1; 50]));
        store.commit(batch).unwrap();
        let mut batch = Batch::default();
        (0..100u32).for_each(|n| batch.delete([&b"c"[..], &round.to_be_bytes(), &n.to_be_bytes()].concat()));
        store.commit(batch).unwrap();
    }
    assert_eq!(store.waiting(), (0, 0), "changes and bytes that wait");
    let before = store.bytes_on_disk();
    store.flush().unwrap();
    assert_eq!(store.bytes_on_disk(), before);
    assert_eq!(all(&store), Model::new());
}

#[test]
fn a_commit_waits_for_room_and_memory_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Limits { linger: Duration::from_secs(3_600), ..LIMITS }).unwrap();
    for round in 0..200u32 {
        let mut batch = Batch::default();
        (0..20u32).for_each(|n| batch.put([round.to_be_bytes(), n.to_be_bytes()].concat(), vec![2; 40]));
        store.commit(batch).unwrap();
        // A batch is let in as long as there is any room.
        assert!(store.waiting().1 < LIMITS.backlog + 20 * 200, "{:?}", store.waiting());
    }
    store.flush().unwrap();
    assert_eq!(store.waiting(), (0, 0));
    assert_eq!(all(&store).len(), 4_000);
}

#[test]
fn damage_to_any_of_its_files_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAZY).unwrap();
    let mut batch = Batch::default();
    batch.put(b"large", vec![5; 10_000]);
    store.commit(batch).unwrap();
    store.flush().unwrap();
    let large = dir.path().join("values/80000000");
    let mut bytes = std::fs::read(&large).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&large, &bytes).unwrap();
    assert!(matches!(store.get(b"large"), Err(StoreError::Corrupt { .. })));
    std::fs::write(&large, &bytes[..9_000]).unwrap();
    assert!(matches!(store.get(b"large"), Err(StoreError::Corrupt { .. })));

    // A page that changed, and one that a lost sync never wrote.
    let pages = dir.path().join("pages");
    let sound = std::fs::read(&pages).unwrap();
    for damaged in [vec![0; sound.len()], sound[..sound.len() / 2].to_vec()] {
        std::fs::write(&pages, damaged).unwrap();
        assert!(matches!(store.get(b"large"), Err(StoreError::Corrupt { .. })));
        assert!(matches!(store.scan(&[], &[], &mut |_, _| ControlFlow::Continue(())), Err(StoreError::Corrupt { .. })));
    }
    std::fs::write(&pages, sound).unwrap();

    // Pages cut off in the middle of being changed, and a journal that does not say how to go on.
    store.fail_after(2);
    let mut batch = Batch::default();
    (0..100u8).for_each(|n| batch.put(vec![n], vec![n; 200]));
    store.commit(batch).unwrap();
    assert!(store.flush().is_err());
    drop(store);
    let journal = dir.path().join("journal");
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(open(dir.path(), LAZY), Err(StoreError::Corrupt { .. })));
    std::fs::write(&journal, &bytes).unwrap();
    assert_eq!(all_but_large(&open(dir.path(), LAZY).unwrap()), 100);
}

fn all_but_large(store: &SledStore) -> usize {
    (0..100u8).filter(|n| store.get(&[*n]).unwrap() == Some(vec![*n; 200])).count()
}

#[test]
fn a_failed_read_that_is_reported_stops_writing() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicBool::new(false));
    let teller = told.clone();
    let store = SledStore::open_with(dir.path(), 1 << 20, move |_| teller.store(true, Ordering::Relaxed)).unwrap();
    let put = |key: &str| {
        let mut batch = Batch::default();
        batch.put(key, "value");
        store.commit(batch)
    };
    put("before").unwrap();
    store.fail(&StoreError::Backend { dir: dir.path().to_owned(), reason: "told to".to_owned() });
    assert!(told.load(Ordering::Relaxed));
    assert!(matches!(put("after"), Err(StoreError::Backend { .. })) && store.flush().is_err());
    assert_eq!(store.get(b"before").unwrap(), Some(b"value".to_vec()));
}
