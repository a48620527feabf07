//! Large values in files of their own, and the room of those that are pruned.

use std::path::Path;

use super::{LAZY, open, scan};
use crate::primitives::height::Height;
use crate::storage::disk::store::{Limits, SledStore};
use crate::storage::{Batch, Store};

/// A commit does not wait until a large value is in its file; readers have it from memory, and it counts as what waits.
#[test]
fn a_large_value_is_read_before_and_after_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LAZY).unwrap();
    let mut batch = Batch::default();
    batch.put(b"large", vec![5; 10_000]);
    store.commit(batch).unwrap();
    let file = || std::fs::metadata(dir.path().join("values/80000000")).map_or(0, |file| file.len());
    assert_eq!((store.get(b"large").unwrap(), file()), (Some(vec![5; 10_000]), 0));
    assert!(store.waiting().1 > 10_000, "{:?}", store.waiting());
    store.flush().unwrap();
    assert_eq!((store.get(b"large").unwrap(), file(), store.waiting()), (Some(vec![5; 10_000]), 10_000, (0, 0)));
}

/// Names of the segments of large values.
fn segments(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("values")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn at_height(height: u32) -> (Height, Vec<u8>, Vec<u8>) {
    (Height::from_u32(height), [&b"b"[..], &height.to_be_bytes()].concat(), vec![height as u8; 400])
}

/// Removes the values of heights from `from` to `end`, and frees their room.
fn prune(store: &SledStore, from: u32, end: u32) {
    let mut batch = Batch::default();
    (from..end).for_each(|height| batch.delete(at_height(height).1));
    batch.prune_below(Height::from_u32(end));
    store.commit(batch).unwrap();
    store.flush().unwrap();
}

#[test]
fn pruned_heights_free_whole_files_and_nothing_else_is_lost() {
    let limits = Limits { segment: 1_000, ..LAZY };
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), limits).unwrap();
    let mut batch = Batch::default();
    batch.put("lasting", vec![7; 5_000]);
    // Three values a segment. The first has one of a high height, too: it stays as long as that is needed.
    for height in [1, 2, 20].into_iter().chain(3..20).chain(21..31) {
        let (height, key, value) = at_height(height);
        batch.put_at(height, key, value);
    }
    store.commit(batch).unwrap();
    store.flush().unwrap();
    let numbered = |numbers: &[u32]| {
        let names = numbers.iter().map(|number| format!("{number:08x}"));
        names.chain(["80000000".to_owned()]).collect::<Vec<_>>()
    };
    let all_of_them: Vec<u32> = (0..10).collect();
    assert_eq!(segments(dir.path()), numbered(&all_of_them));
    let old = std::fs::read(dir.path().join("values/00000001")).unwrap();
    let kept = |store: &SledStore, from: u32| {
        let heights: Vec<Vec<u8>> = scan(store, b"b", b"", usize::MAX).into_iter().map(|(key, _)| key).collect();
        assert_eq!(heights, (from..31).map(|height| at_height(height).1).collect::<Vec<_>>());
        (from..31).all(|height| store.get(&at_height(height).1).unwrap() == Some(at_height(height).2))
    };

    prune(&store, 1, 12);
    assert_eq!(segments(dir.path()), numbered(&[0, 4, 5, 6, 7, 8, 9]), "heights 3 to 11 are gone, and 20 is not");
    assert!(kept(&store, 12));
    // As a kill before the deletion would leave it.
    drop(store);
    std::fs::write(dir.path().join("values/00000001"), old).unwrap();
    store = open(dir.path(), limits).unwrap();
    assert!(kept(&store, 12));
    assert_eq!(store.get(&at_height(3).1).unwrap(), None);
    prune(&store, 12, 22);
    assert_eq!(segments(dir.path()), numbered(&[7, 8, 9]), "21 shares one with 22");
    assert!(kept(&store, 22));
    // All heights may be gone, but not the segment that is written to.
    prune(&store, 22, 31);
    assert_eq!(segments(dir.path()), numbered(&[9]));
    let (height, key, value) = at_height(31);
    let mut batch = Batch::default();
    batch.put_at(height, &key, &value);
    store.commit(batch).unwrap();
    drop(store);
    store = open(dir.path(), limits).unwrap();
    assert_eq!((store.get(&key).unwrap(), store.get(b"lasting").unwrap()), (Some(value), Some(vec![7; 5_000])));
}
