//! The storage format, pinned by digests that stand beside its version.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::large::SEGMENT_BYTES;
use super::sled::Tree;
use super::store::{Limits, SledStore};
use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::gcs::Filter;
use crate::primitives::hash::{BlockHash, FilterHeader, Hash256, MerkleRoot, StateRoot};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::{PublicKey, Signature};
use crate::primitives::mmr;
use crate::primitives::target::{Bits, Work};
use crate::primitives::tx::{Input, Lock, OutPoint, Output, Transaction};
use crate::state::{Inner, Key, Leaf, Node, Prefix};
use crate::storage::CoinIndex;
use crate::storage::schema::{
    BlockKey, FILES_DIGEST, HeaderRecord, HistoryEntry, SCHEMA_DIGEST, SCHEMA_VERSION, Status, TxLocation,
};
use crate::storage::{
    Batch, Burials, BuriedHeader, Database, Edge, HeaderGap, MemoryStore, StateBase, StateHead, StateLoad, Store,
    TreeRoot,
};

const OWNER: PublicKey = PublicKey([0x22; 32]);

/// One entry of each kind, with every variant that a value can have.
fn one_of_each() -> Batch {
    let header = Header {
        version: -2,
        previous: BlockHash::from_bytes([0x11; 32]),
        merkle_root: MerkleRoot::from_bytes([0x12; 32]),
        time: 0x0102_0304,
        bits: Bits(0x1d00_ffff),
        nonce: 0x0506_0708,
    };
    let pay = Output { value: Amount::from_grains(0x0102_0304_0506_0708), lock: Lock::Key(OWNER) };
    let data = Output { value: Amount::ZERO, lock: Lock::Data(vec![7; 300]) };
    let coinbase =
        Transaction { version: 1, inputs: vec![], outputs: vec![pay.clone(), data], lock_height: Height::from_u32(5) };
    let outpoint = OutPoint { txid: coinbase.txid(), index: 0x0102 };
    let input = Input { outpoint, signature: Signature([0x33; 64]) };
    let spend = Transaction { version: 2, inputs: vec![input], outputs: vec![], lock_height: Height::GENESIS };
    let hash = header.hash();
    let (txid, block) = (spend.txid(), Block { header, transactions: vec![coinbase, spend] });
    let coin = |coinbase| Coin { output: pay.clone(), height: Height::from_u32(0x090a), coinbase };
    let filter = |elements: u8| Filter::new(&hash, (0..elements).map(|element| [element]));
    let work = header.bits.target().unwrap().work();

    let mut batch = Batch::default();
    batch.put_meta(&hash);
    batch.put_tip(&hash);
    for (place, status) in [Status::BODY, Status::BROKEN, Status::REFUSED, Status::VALID].into_iter().enumerate() {
        let record = HeaderRecord { parent: 0x0b0c, header: header.into(), status, sequence: 0x0d0e, tx_count: 0x0f10 };
        batch.put_header(0x0100 + place as u32, &record);
    }
    let at = BlockKey { height: Height::from_u32(0x0102_0304), hash };
    let buried = BuriedHeader { header, tx_count: 0x1f20, transactions: 0x2122_2324_2526, work };
    let mut burials = Burials::default();
    let below = BlockKey { height: Height::from_u32(0x0102_0303), hash };
    batch.bury(&below, 0x00ff, Height::GENESIS);
    // One that follows from another.
    let second = Header { previous: hash, ..header };
    let transactions = buried.transactions + 0x0102;
    let second = BuriedHeader { header: second, tx_count: 0x0102, transactions, work: work + work };
    let db = Database::new(Arc::new(MemoryStore::new()));
    for (height, buried) in [(0x0102_0301, buried), (0x0102_0302, second)] {
        let at = BlockKey { height: Height::from_u32(height), hash: buried.header.hash() };
        burials.add(&db, &at, &buried).unwrap();
    }
    burials.stage(&mut batch);
    batch.put_tree_root(&TreeRoot { height: at.height, place: 0x0100, first_time: 0x2728_292a });
    let missing = HeaderGap {
        from: Height::from_u32(0x2b2c),
        end: Height::from_u32(0x2d2e),
        previous: hash,
        peaks: vec![mmr::Node::leaf(hash, work, 0x2f30)],
    };
    batch.put_header_gap(&missing);
    batch.put_kept_from(Height::from_u32(0x0a0b_0c0d));
    batch.put_block(&at, &block);
    batch.put_archived(&below, codec::encode(&block.transactions));
    batch.put_undo(&at, [coin(false), coin(true)].iter());
    batch.put_filter(&at, &filter(30), &FilterHeader::from_bytes([0x44; 32]));
    batch.put_filter(&below, &filter(3), &FilterHeader::from_bytes([0x43; 32]));
    batch.put_best(Height::from_u32(0x0102_0304), &hash);
    batch.put_range_node(0x0102_0304_0506, &mmr::Node::leaf(hash, Work::ZERO, 0x0708_090a));
    batch.put_coin(&outpoint, &coin(true));
    batch.put_coin(&OutPoint { index: 0, ..outpoint }, &coin(false));
    batch.put_tx(&txid, TxLocation { height: Height::from_u32(0x1112), position: 0x1314 });
    let entry = HistoryEntry {
        height: Height::from_u32(0x1516),
        position: 0x1718,
        txid,
        received: Amount::from_grains(0x191a),
        spent: Amount::from_grains(0x1b1c),
    };
    batch.put_history(&OWNER, &entry);
    let height = Height::from_u32(0x1d1e);
    let base = StateBase {
        height,
        block: hash,
        root: StateRoot::from_bytes([0x55; 32]),
        before: (hash, StateRoot::from_bytes([0x56; 32])),
        filters: FilterHeader::from_bytes([0x57; 32]),
        issued: Amount::from_grains(0x1f20),
    };
    let (left, right) = (
        Node { digest: Hash256::of(b"left"), sum: Amount::ZERO, count: 0x2122 },
        Node { digest: Hash256::of(b"right"), sum: Amount::from_grains(0x2324), count: 0x2526 },
    );
    let inner = Inner { prefix: Prefix::of(&Key::new(&OWNER, &outpoint), 13), left, right };
    batch.put_state_head(&StateHead { height, top: Some(left), oldest: Height::GENESIS });
    batch.put_edge(height, &Edge::new(height, hash, Some(right)));
    if let Some(leaf) = Leaf::new(&OutPoint { index: 1, ..outpoint }, &coin(false)) {
        batch.put_loaded_coin(&leaf);
        batch.put_loaded_index(CoinIndex::Owner, &leaf);
        batch.put_loaded_index(CoinIndex::OutPoint, &leaf);
    }
    batch.put_state_record(&inner);
    batch.put_state_load(&StateLoad::new(base, 2));
    batch.put_state_base(height);
    batch.put_restart();
    batch.put_peer(b"name", b"record".to_vec());
    batch
}

fn put_field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend((field.len() as u64).to_le_bytes());
    bytes.extend(field);
}

fn check(digest: &str, bytes: &[u8], name: &str) {
    let found = Hash256::of(bytes).to_string();
    assert_eq!(
        found, digest,
        "The storage format changed. Raise SCHEMA_VERSION, which is {SCHEMA_VERSION}, and set {name} to {found}."
    );
}

#[test]
fn keys_and_values_are_those_of_the_version() {
    let store = MemoryStore::new();
    store.commit(one_of_each()).unwrap();
    let (mut bytes, mut prefixes) = (Vec::new(), Vec::new());
    let mut visit = |key: &[u8], value: &[u8]| {
        prefixes.push(key[0]);
        put_field(&mut bytes, key);
        put_field(&mut bytes, value);
        ControlFlow::Continue(())
    };
    store.scan(&[], &[], &mut visit).unwrap();
    prefixes.dedup();
    assert_eq!(prefixes, b"ABCDEFGHIKNOPQRSTUXYbghlorsv", "each prefix of the schema has an entry here");
    check(SCHEMA_DIGEST, &bytes, "SCHEMA_DIGEST");
}

#[test]
fn files_are_those_of_the_version() {
    const LIMITS: Limits =
        Limits { linger: Duration::from_secs(3_600), window: 1 << 20, backlog: 1 << 20, segment: SEGMENT_BYTES };
    let dir = tempfile::tempdir().unwrap();
    let open = || SledStore::open_limited(dir.path(), 1 << 20, LIMITS).unwrap();
    let mut bytes = Vec::new();

    // Pages: one of them split, with a value that has a place of its own.
    let store = open();
    let mut batch = one_of_each();
    (0..200u8).for_each(|n| batch.put([n; 40], [1; 50]));
    batch.put(b"large", vec![2; 5_000]);
    store.commit(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    let tree = Tree::open(dir.path(), 1 << 20).unwrap();
    let mut from = Vec::new();
    while let Some((name, page)) = tree.at_or_after(&from).unwrap() {
        put_field(&mut bytes, &name);
        put_field(&mut bytes, &page);
        from = [&name, &[0][..]].concat();
    }
    drop(tree);

    // A journal that holds a window: the tree fails before the window's changes are made.
    let store = open();
    let mut batch = Batch::default();
    batch.put(b"small", [3; 10]);
    batch.put_new(b"new", vec![4; 5_000]);
    batch.delete(b"large");
    store.fail_after(1);
    store.commit(batch).unwrap();
    assert!(store.flush().is_err(), "the tree has no writes left");
    drop(store);
    ["pages", "values/00000000", "values/80000000", "journal"]
        .iter()
        .for_each(|file| put_field(&mut bytes, &read(dir.path(), file)));
    check(FILES_DIGEST, &bytes, "FILES_DIGEST");
}

fn read(dir: &Path, file: &str) -> Vec<u8> {
    fs::read(dir.join(file)).unwrap()
}
