//! The store under faults: damage, failed commits, and archives exported and imported.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::guarded::Guarded;
use cairn::chain::{self, Burial, Chain, ChainError, TransferError};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::Output;
use cairn::storage::archive::ArchiveError;
use cairn::storage::{Batch, Database, MemoryStore, SledStore, Store, StoreError};
use cairn_testkit::{Ledger, genesis_coin, key, params, spend};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);

/// A branch of `n` blocks, with a payment in every other one.
fn blocks(n: u32, salt: u64) -> Vec<Block> {
    let params = params();
    let mut branch = Ledger::on(&params);
    let mut coin = genesis_coin(&params, 0);
    (0..n)
        .map(|at| {
            let mut transactions = Vec::new();
            if at % 2 == 0 {
                let value = coin.1.output.value.as_grains();
                let outputs = vec![
                    Output::pay(key(0).public_key(), Amount::from_grains(value - 9)),
                    Output::pay(key(1).public_key(), Amount::from_grains(9)),
                ];
                transactions.push(spend(&params, &[(coin.0, coin.1.clone(), &key(0))], outputs));
            }
            let block = branch.make(&key(2).public_key(), &transactions, 0, salt);
            branch.push(block.clone());
            if let Some(tx) = transactions.first() {
                coin = branch.coin(tx.txid(), 0);
            }
            block
        })
        .collect()
}

fn accept_all(chain: &mut Chain, blocks: &[Block]) {
    for block in blocks {
        let update = chain.accept_block(block.clone(), NOW, &|_| false).unwrap();
        assert!(update.rejected.is_empty());
    }
}

pub fn entries(store: &dyn Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        entries.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(&[], &[], &mut visit).unwrap();
    entries
}

/// All uses of a store when a node starts, and `cairn db check`.
fn use_store(dir: &Path) -> Result<u32, StoreError> {
    let store = Arc::new(SledStore::open(dir)?);
    let chain = Chain::open(params(), store)?;
    let report = chain::check(chain.db(), &params(), &mut |_, _| {})?;
    Ok(report.height.as_u32())
}

#[test]
fn a_damaged_store_is_an_error_that_names_the_remedy_and_never_a_panic() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let home = tempfile::tempdir().unwrap();
    let sound = home.path().join("sound");
    let mut chain = Chain::open(params(), Arc::new(SledStore::open(&sound).unwrap())).unwrap();
    accept_all(&mut chain, &blocks(60, 0));
    chain.db().store().flush().unwrap();
    drop(chain);
    assert_eq!(use_store(&sound).unwrap(), 60);

    let mut damaged_stores = 0;
    for variant in 0..40 {
        let dir = home.path().join(format!("damaged-{variant}"));
        copy_dir(&sound, &dir);
        let file = dir.join("db");
        let mut bytes = fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let what = if variant % 2 == 0 {
            let length = rng.random_range(1..used);
            bytes.truncate(length);
            format!("cut to {length} of {used}")
        } else {
            let flips: Vec<usize> = (0..8).map(|_| rng.random_range(0..used)).collect();
            flips.iter().for_each(|at| bytes[*at] ^= 1 << rng.random_range(0..8));
            format!("flipped at {flips:?} of {used}")
        };
        fs::write(&file, bytes).unwrap();
        match use_store(&dir) {
            // sled drops a torn end; what is left is a shorter chain.
            Ok(height) => assert!(height <= 60, "{what}"),
            Err(error) => {
                damaged_stores += 1;
                let text = error.to_string();
                assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::Backend { .. }), "{what}: {text}");
                if matches!(error, StoreError::Corrupt { .. }) {
                    assert!(text.contains("cairn db import"), "{what}: {text}");
                }
                assert!(text.contains(dir.to_str().unwrap()), "{what}: {text}");
            }
        }
    }
    assert!(damaged_stores > 0, "no damage was noticed in 40 stores");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn the_check_misses_no_entry() {
    for burial in [Burial::default(), Burial { depth: 2, batch: 1, step: 9 }] {
        misses_no_entry(burial);
    }
}

fn misses_no_entry(burial: Burial) {
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params(), store.clone()).unwrap();
    chain.set_burial(burial);
    accept_all(&mut chain, &blocks(6, 0));
    let check = |store: &Arc<MemoryStore>| {
        chain::check(&Database::new(store.clone() as Arc<dyn Store>), &params(), &mut |_, _| {})
    };
    let report = check(&store).unwrap();
    assert_eq!((report.height, report.headers, report.transactions), (Height::from_u32(6), 7, 10));

    let sound = entries(&*store);
    let changed = |key: &[u8], value: Option<Vec<u8>>| {
        let store = Arc::new(MemoryStore::new());
        let mut batch = Batch::default();
        sound.iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
        store.commit(batch).unwrap();
        check(&store)
    };
    for (key, value) in &sound {
        let name = format!("{}{}", key[0] as char, hex::encode(&key[1..]));
        assert!(changed(key, None).is_err(), "{name} may be missing");
        // What is known of a block, its turn and its size are at the end of a header's record: no block says what they are.
        for at in (0..value.len()).filter(|_| key[0] != b'H') {
            let mut other = value.clone();
            other[at] ^= 1;
            let Err(refused) = changed(key, Some(other)) else { panic!("byte {at} of {name} may be another") };
            if key[0] == b'h' {
                let height = u32::from_be_bytes(*key[1..].first_chunk().unwrap());
                let said = format!("the header of a stored block at height {height} is");
                assert!(refused.to_string().contains(&said), "{refused}");
            }
        }
        if let Some(last) = key[1..].last() {
            let mut extra = key.clone();
            *extra.last_mut().unwrap() = last ^ 0x80;
            if !matches!(key[0], b'B' | b'U') {
                assert!(changed(&extra, Some(value.clone())).is_err(), "an entry beside {name} may be there");
            }
        }
    }
}

#[test]
fn a_store_that_fails_at_any_commit_leaves_a_chain_that_goes_on() {
    let left = blocks(3, 1);
    let right = blocks(5, 2);
    // Headers first, a branch left for a longer one whose bodies come in reverse, and an operator's change of mind.
    for fails_at in 0.. {
        // Commits until the one that fails.
        let left_to_do = Arc::new(AtomicUsize::new(usize::MAX));
        let counter = left_to_do.clone();
        let store = Guarded::new(move || match counter.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(StoreError::Backend { dir: PathBuf::new(), reason: "the disk is full".to_owned() }),
            _ => Ok(()),
        });
        let mut chain = Chain::open(params(), Arc::new(store)).unwrap();
        left_to_do.store(fails_at, Ordering::Relaxed);
        let mut failures = 0;
        let mut retry = |chain: &mut Chain, act: &dyn Fn(&mut Chain) -> Result<(), ChainError>| {
            for _ in 0..2 {
                match act(chain) {
                    Ok(()) | Err(ChainError::Duplicate { .. }) => {
                        let _ = chain.resume().unwrap();
                        return;
                    }
                    Err(ChainError::Store(_)) => {
                        failures += 1;
                        // Steps before the failed one persist, in the store and in memory alike.
                        assert_eq!(chain.db().tip().unwrap(), Some(chain.tip().hash));
                        chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("it failed twice");
        };
        let headers: Vec<_> = right.iter().map(|block| block.header).collect();
        retry(&mut chain, &|chain| chain.accept_headers(&headers, NOW).map(drop).map_err(|(_, error)| error));
        for block in left.iter().chain(right.iter().rev()) {
            retry(&mut chain, &|chain| chain.accept_block(block.clone(), NOW, &|_| false).map(drop));
        }
        assert_eq!(chain.tip().hash, right[4].hash());
        retry(&mut chain, &|chain| chain.invalidate(&right[0].hash()).map(drop));
        assert_eq!(chain.tip().hash, left[2].hash());
        retry(&mut chain, &|chain| chain.reconsider(&right[0].hash()).map(drop));
        assert_eq!(chain.tip().hash, right[4].hash());
        chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
        if failures == 0 {
            assert!(fails_at > 20, "only {fails_at} commits were made");
            break;
        }
        assert_eq!(failures, 1);
    }
}

#[test]
fn an_archive_brings_the_whole_chain_back() {
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params(), store.clone()).unwrap();
    accept_all(&mut chain, &blocks(3, 1));
    accept_all(&mut chain, &blocks(20, 2));
    let mut archive = Vec::new();
    let mut heights = Vec::new();
    let genesis = params().genesis_hash;
    assert_eq!(chain::export(chain.db(), &genesis, &mut archive, &mut |height| heights.push(height)).unwrap(), 20);
    assert_eq!(heights, (1..=20).map(Height::from_u32).collect::<Vec<_>>());

    let mut other = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let imported = chain::import(&mut other, Cursor::new(&archive), NOW, &mut |_, _| {}).unwrap();
    assert_eq!((imported.new, imported.known), (20, 0));
    assert_eq!(other.tip().hash, chain.tip().hash);
    assert_eq!(other.db().coin_stats().unwrap(), chain.db().coin_stats().unwrap());
    let again = chain::import(&mut other, Cursor::new(&archive), NOW, &mut |_, _| {}).unwrap();
    assert_eq!((again.new, again.known), (0, 20));

    // A truncated archive imports its complete blocks; a block that breaks a rule is named by its offset.
    let mut third = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let error = chain::import(&mut third, Cursor::new(&archive[..archive.len() - 1]), NOW, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, TransferError::Archive(ArchiveError::Truncated { .. })));
    assert_eq!(third.tip().height, Height::from_u32(19));
    let mut fourth = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let error = chain::import(&mut fourth, Cursor::new(&archive), UnixTime::EPOCH, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, TransferError::Block { offset: 44, .. }), "{error}");

    // A body that is lost ends the export there, with all before it written.
    let hash = chain.entry_at(Height::from_u32(8)).unwrap().hash;
    let mut batch = Batch::default();
    batch.delete([&b"B"[..], &8u32.to_be_bytes(), &hash.as_bytes()[..12]].concat());
    store.commit(batch).unwrap();
    let mut part = Vec::new();
    let error = chain::export(chain.db(), &genesis, &mut part, &mut |_| {}).unwrap_err();
    assert!(matches!(error, TransferError::Store(StoreError::Corrupt { .. })));
    assert!(part.len() > 44 && archive.starts_with(&part));
    let mut fifth = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    assert_eq!(chain::import(&mut fifth, Cursor::new(&part), NOW, &mut |_, _| {}).unwrap().new, 7);
}

/// sled writes a snapshot while it opens, and may be killed or find the disk full at any byte.
#[test]
fn a_snapshot_that_is_cut_or_half_written_is_done_without() {
    let home = tempfile::tempdir().unwrap();
    let sound = home.path().join("sound");
    let mut chain = Chain::open(params(), Arc::new(SledStore::open(&sound).unwrap())).unwrap();
    accept_all(&mut chain, &blocks(60, 0));
    drop(chain);
    // The second opening has something to write a snapshot of.
    assert_eq!(use_store(&sound).unwrap(), 60);
    let expected = entries(&SledStore::open(&sound).unwrap());
    let names = fs::read_dir(&sound).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let snapshot = names.filter(|name| name.starts_with("snap.")).max().expect("sled wrote a snapshot");
    let whole = fs::read(sound.join(&snapshot)).unwrap();
    let settings = fs::read(sound.join("conf")).unwrap();

    let dir = home.path().join("broken");
    let mut tried = 0;
    let mut opens_after = |what: &str, breaks: &dyn Fn(&Path)| {
        let _ = fs::remove_dir_all(&dir);
        copy_dir(&sound, &dir);
        breaks(&dir);
        let found = SledStore::open(&dir).map(|store| entries(&store)).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(found == expected, "{what}: {} entries, not {}", found.len(), expected.len());
        let left = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!left.into_iter().any(|name| name.ends_with(".generating")), "{what}");
        tried += 1;
    };
    let lengths = (0..20).chain((20..whole.len()).step_by(whole.len() / 12)).chain(whole.len() - 14..whole.len());
    for length in lengths {
        let cut = whole.get(..length).expect("within the file");
        opens_after(&format!("cut to {length}"), &|dir| fs::write(dir.join(&snapshot), cut).unwrap());
        // A newer one in the making, beside the one that is whole.
        let newer = "snap.00000000FFFFFFFF.generating";
        opens_after(&format!("{length} bytes of a newer one"), &|dir| fs::write(dir.join(newer), cut).unwrap());
    }
    for at in [0, whole.len() / 2, whole.len() - 1] {
        opens_after(&format!("a bit flipped at {at}"), &|dir| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(dir.join(&snapshot), bytes).unwrap();
        });
    }
    for length in 0..settings.len() {
        opens_after(&format!("settings cut to {length}"), &|dir| {
            fs::write(dir.join("conf"), &settings[..length]).unwrap()
        });
    }
    opens_after("no snapshot", &|dir| fs::remove_file(dir.join(&snapshot)).unwrap());
    assert!(tried > 100, "{tried} ways");
}

/// All flushed data is there, or opening reports the loss, even where sled itself sees an older log or none.
#[test]
fn a_log_that_is_cut_never_passes_for_an_earlier_chain() {
    let home = tempfile::tempdir().unwrap();
    let sound = home.path().join("sound");
    let blocks = blocks(40, 0);
    for some in blocks.chunks(10) {
        let mut chain = Chain::open(params(), Arc::new(SledStore::open(&sound).unwrap())).unwrap();
        accept_all(&mut chain, some);
    }
    let db = fs::read(sound.join("db")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let dir = home.path().join("cut");
    let (mut damaged, mut whole) = (0, 0);
    for length in (0..=used).step_by(used / 60).chain([0, 1, used, db.len()]) {
        for keeps_snapshot in [true, false] {
            let _ = fs::remove_dir_all(&dir);
            copy_dir(&sound, &dir);
            fs::write(dir.join("db"), &db[..length]).unwrap();
            if !keeps_snapshot {
                for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
                    if entry.file_name().to_string_lossy().starts_with("snap.") {
                        fs::remove_file(entry.path()).unwrap();
                    }
                }
            }
            match use_store(&dir) {
                Ok(height) => {
                    assert_eq!(height, 40, "cut to {length} of {used}, and nothing said");
                    whole += 1;
                }
                Err(StoreError::Corrupt { .. }) => damaged += 1,
                Err(error) => panic!("cut to {length} of {used}: {error}"),
            }
        }
    }
    assert!(damaged > 60 && whole >= 2, "{damaged} damaged, {whole} whole");
}

#[test]
fn a_store_that_cannot_write_tells_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let store = SledStore::open_with(dir.path(), SledStore::CACHE_BYTES, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    let mut batch = Batch::default();
    batch.put(vec![1; 2_000], b"a key that is too long");
    assert!(store.commit(batch).is_err());
    let mut batch = Batch::default();
    batch.put(b"key", b"value");
    store.commit(batch).unwrap();
    store.flush().unwrap();
    drop(store);
    assert_eq!(told.load(Ordering::SeqCst), 0, "a batch that is refused is no failure, and an orderly end neither");
}
