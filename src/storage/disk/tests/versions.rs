//! Stores of other versions are told from damaged ones.

use std::fs;

use super::{LAZY, open};
use crate::storage::StoreError;
use crate::storage::disk::extents::{PageFile, Space};
use crate::storage::disk::sled::Tree;
use crate::storage::schema::SCHEMA_VERSION;

/// A store of a version that had the pages in sled is not taken for an empty or a damaged one.
#[test]
fn pages_of_an_earlier_version_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path(), 1 << 20).unwrap();
    let entries = [&[1, 0, 1, 0, b'T', 7][..], &[1, 0, 36, 0, b'v', 9, 0, 0, 0], &[5; 32]].concat();
    tree.put(b"q", entries).unwrap();
    tree.sync().unwrap();
    drop(tree);
    assert!(matches!(open(dir.path(), LAZY), Err(StoreError::OtherSchema { found: 9, .. })));
}

/// So is one of a version whose pages this one cannot read. Its journal is left alone.
#[test]
fn pages_with_whole_keys_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path(), 1 << 20).unwrap();
    let page = [&[1, 2, b'T', 7][..], &[1, 37, b'v', 13, 0, 0, 0], &[5; 32]].concat();
    let file = PageFile::open(dir.path(), 0).unwrap();
    let extent = file.write(&mut Space::without(Vec::new()), &page).unwrap();
    file.sync().unwrap();
    tree.put(b"q", extent.to_bytes()).unwrap();
    tree.sync().unwrap();
    drop((tree, file));
    fs::write(dir.path().join("journal"), b"a window of that version").unwrap();
    assert!(matches!(open(dir.path(), LAZY), Err(StoreError::OtherSchema { found: 13, .. })));
    assert_eq!(fs::read(dir.path().join("journal")).unwrap(), b"a window of that version");
}

#[test]
fn a_store_says_which_format_it_has() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), LAZY).unwrap());
    drop(open(dir.path(), LAZY).unwrap());
    let tree = Tree::open(dir.path(), 1 << 20).unwrap();
    tree.put(b"f", (SCHEMA_VERSION + 1).to_le_bytes().to_vec()).unwrap();
    tree.sync().unwrap();
    drop(tree);
    let found = SCHEMA_VERSION + 1;
    assert!(matches!(open(dir.path(), LAZY), Err(StoreError::OtherSchema { found: other, .. }) if other == found));
}
