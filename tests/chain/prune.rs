//! Pruning: what goes, what stays, and branches that would need what is gone.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::guarded::Guarded;
use cairn::chain::{self, Chain, ChainError, Level, Retention, Run, TransferError, check_recent, min_kept};
use cairn::consensus::error::Blame;
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Lock, MAX_DATA_BYTES, OutPoint, Output};
use cairn::storage::{Batch, MemoryStore, SledStore, Store, StoreError, TxLocation};
use cairn_testkit::{Ledger, MINER, genesis_coin, key, params, public, sign, unsigned};

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);

fn at(height: u32) -> Height {
    Height::from_u32(height)
}

fn accept_all(chain: &mut Chain, blocks: &[Block]) {
    for block in blocks {
        let update = chain.accept_block(block.clone(), NOW, &|_| false).unwrap();
        assert!(update.rejected.is_empty());
        while chain.is_pruning_due() {
            chain.prune_step().unwrap();
        }
    }
}

/// A chain that keeps its last 100 blocks, at height 400.
fn pruned(store: Arc<dyn Store>) -> (Chain, Ledger) {
    let mut chain = Chain::open(params(), store).unwrap();
    chain.set_retention(Retention::Last(100));
    let mut branch = Ledger::on(&params());
    accept_all(&mut chain, &branch.extend(400, 0));
    (chain, branch)
}

/// What the store has of the blocks at each height: bodies and filters from one height on, all filter headers.
fn assert_kept_from(chain: &Chain, from: Height) {
    assert_eq!((chain.kept_from(), chain.db().kept_from().unwrap()), (from, from));
    assert_eq!(chain.db().lowest_kept().unwrap(), Some(from));
    for height in Height::GENESIS.through(chain.tip().height) {
        let entry = chain.entry_at(height).unwrap();
        let (is_kept, db) = (height >= from, chain.db());
        assert_eq!(db.block(&entry.key()).unwrap().map(|block| block.hash()), is_kept.then_some(entry.hash));
        assert_eq!(db.filter(&entry.key()).unwrap().is_some(), is_kept);
        assert!(db.filter_header(&entry.key()).unwrap().is_some());
        assert_eq!(chain.has_body(&entry), is_kept);
    }
}

#[test]
fn the_last_blocks_stay_and_headers_coins_and_indexes_stay_whole() {
    let store = Arc::new(MemoryStore::new());
    let (mut chain, mut branch) = pruned(store.clone());
    let mut whole = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    accept_all(&mut whole, &branch.blocks[1..]);
    // A step is taken when 128 blocks are too many: at height 355.
    assert_kept_from(&chain, at(256));
    let same = |chain: &Chain| {
        let counts = |chain: &Chain| chain.db().counts().unwrap();
        let (of, all) = (counts(chain), counts(&whole));
        assert_eq!((of.coins, of.transactions, of.history), (all.coins, all.transactions, all.history));
        assert_eq!(chain.db().coin_stats().unwrap(), whole.db().coin_stats().unwrap());
        let history = |chain: &Chain| {
            let owner = branch.blocks[1].transactions[0].outputs.iter().find_map(|output| output.key().copied());
            chain.db().address_history(&owner.unwrap(), TxLocation::default(), 1_000).unwrap()
        };
        assert_eq!((history(chain).len(), history(chain)), (400, history(&whole)));
    };
    same(&chain);
    let report = chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
    assert_eq!((report.height, report.kept_from, report.transactions), (at(400), at(256), 401));
    let tip = (chain.tip().hash, chain.tip().height);
    assert!(check_recent(chain.db(), &params(), tip, Level::Connect, u32::MAX, &|| true).unwrap());

    // Started again without the option, it keeps what it has and all that comes.
    drop(chain);
    chain = Chain::open(params(), store).unwrap();
    same(&chain);
    let more = branch.extend(200, 0);
    accept_all(&mut chain, &more);
    assert_kept_from(&chain, at(256));
    // And with a smaller number, in steps.
    chain.set_retention(Retention::Last(10));
    let mut steps = Vec::new();
    while chain.is_pruning_due() {
        chain.prune_step().unwrap();
        steps.push(chain.kept_from().as_u32());
    }
    assert_eq!(steps, [384, 512, 591]);
    assert_kept_from(&chain, at(591));
}

#[test]
fn an_archive_of_a_pruned_chain_is_refused() {
    let (chain, _) = pruned(Arc::new(MemoryStore::new()));
    let mut archive = Vec::new();
    let result = chain::export(chain.db(), &params().genesis_hash, &mut archive, &mut |_| ());
    assert!(matches!(result, Err(TransferError::Pruned { kept_from }) if kept_from == at(256)), "{result:?}");
    assert!(archive.is_empty());
}

/// A branch that leaves the given one after `height`, with `length` blocks of its own.
fn fork(branch: &Ledger, height: u32, length: u32) -> Vec<Block> {
    let mut other = Ledger::on(&params());
    branch.blocks[1..=height as usize].iter().for_each(|block| drop(other.push(block.clone())));
    other.extend(length, 7)
}

#[test]
fn the_tip_goes_back_as_far_as_blocks_are_kept_and_no_further() {
    let (mut chain, branch) = pruned(Arc::new(MemoryStore::new()));
    // The block at height 256 is kept, so the tip can go back to 255.
    let deep = fork(&branch, 254, 3);
    for (place, block) in deep.iter().enumerate() {
        let error = chain.accept_block(block.clone(), NOW, &|_| false).unwrap_err();
        match (place, &error) {
            (0, ChainError::TooDeep { hash, fork, kept_from }) => {
                assert_eq!((*hash, *fork, *kept_from), (block.hash(), at(254), at(256)));
                assert!(error.to_string().contains("start the node again with an empty data directory"), "{error}");
            }
            (0, _) => panic!("{error}"),
            (_, error) => assert!(matches!(error, ChainError::UnknownParent { .. }), "{error}"),
        }
        assert_eq!(error.blame(), Blame::None);
    }
    assert_eq!(chain.tree().too_deep(), None, "a body alone shows no work");
    let headers: Vec<_> = deep.iter().map(|block| block.header).collect();
    let (place, error) = chain.accept_headers(&headers, NOW).unwrap_err();
    assert!(place == 0 && matches!(error, ChainError::TooDeep { .. }), "{error}");
    assert_eq!(chain.tree().too_deep(), Some(at(254)));
    assert_eq!(chain.tip().height, at(400));

    let pruned_block = branch.blocks[255].hash();
    let error = chain.invalidate(&pruned_block).unwrap_err();
    assert!(matches!(error, ChainError::Pruned { hash, kept_from } if (hash, kept_from) == (pruned_block, at(256))));

    let shallow = fork(&branch, 255, 146);
    let mut disconnected = 0;
    for block in &shallow {
        disconnected += chain.accept_block(block.clone(), NOW, &|_| false).unwrap().disconnected.len();
    }
    assert_eq!((disconnected, chain.tip().height), (145, at(401)));
    let last = shallow.last().unwrap().hash();
    chain.invalidate(&shallow[0].hash()).unwrap();
    assert_eq!(chain.tip().hash, branch.blocks[400].hash());
    chain.reconsider(&last).unwrap();
    assert_eq!(chain.tip().hash, last);
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
}

/// Blocks of other branches go with those of their height, and such a branch is not taken up again.
#[test]
fn side_branches_are_pruned_too() {
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params(), store.clone()).unwrap();
    let mut branch = Ledger::on(&params());
    accept_all(&mut chain, &branch.extend(20, 0));
    let side = fork(&branch, 10, 8);
    let waiting = fork(&branch, 12, 3);
    accept_all(&mut chain, &side[..5]);
    // Bodies whose parent's body does not come.
    let headers: Vec<_> = waiting.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
    accept_all(&mut chain, &waiting[1..]);
    chain.set_retention(Retention::Last(50));
    accept_all(&mut chain, &branch.extend(200, 0));
    assert_kept_from(&chain, at(128));
    let check = |chain: &mut Chain| {
        assert!(chain.tips().iter().any(|tip| tip.hash == side[4].hash()), "its headers are known");
        for block in [&side[5], &waiting[0]] {
            let error = chain.accept_block(block.clone(), NOW, &|_| false).unwrap_err();
            assert!(matches!(error, ChainError::TooDeep { .. }), "{error}");
        }
        let missing = chain.entry(&waiting[2].hash()).unwrap();
        assert_eq!(chain.missing_bodies_to(&missing, 1_024, 100), []);
        chain.reconsider(&side[4].hash()).unwrap();
        assert_eq!(chain.tip().height, at(220));
        chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
    };
    check(&mut chain);
    drop(chain);
    check(&mut Chain::open(params(), store).unwrap());
}

/// The headers of a better branch are known and its bodies are not: nothing goes that going over to it would need.
#[test]
fn nothing_is_pruned_above_the_fork_with_the_best_header() {
    let (mut chain, mut branch) = pruned(Arc::new(MemoryStore::new()));
    let better = fork(&branch, 300, 400);
    let headers: Vec<_> = better.iter().map(|block| block.header).collect();
    chain.accept_headers(&headers, NOW).unwrap();
    accept_all(&mut chain, &branch.extend(250, 0));
    assert_kept_from(&chain, at(300));
    accept_all(&mut chain, &better);
    assert_eq!(chain.tip().height, at(700));
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
}

#[test]
fn by_hand_as_much_goes_as_the_owner_says_but_not_the_last_blocks() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let mut branch = Ledger::on(&params());
    let least = min_kept(&params());
    assert!(matches!(chain.prune_below(at(5)), Err(ChainError::NotPruning)));
    chain.set_retention(Retention::Manual);
    accept_all(&mut chain, &branch.extend(least - 1, 0));
    assert!(matches!(chain.prune_below(at(5)), Err(ChainError::TooShort { .. })));
    accept_all(&mut chain, &branch.extend(21, 0));
    let mut prune = |height| {
        let kept_from = chain.prune_below(at(height)).unwrap();
        while chain.is_pruning_due() {
            chain.prune_step().unwrap();
        }
        assert_eq!(chain.kept_from(), kept_from);
        kept_from.as_u32()
    };
    assert_eq!([prune(5), prune(3), prune(4_000_000)], [5, 5, 20]);
}

#[test]
fn a_step_that_cannot_be_written_changes_nothing() {
    let fails = Arc::new(AtomicBool::new(false));
    let is_full = fails.clone();
    let store = Arc::new(Guarded::new(move || match is_full.load(Ordering::Relaxed) {
        false => Ok(()),
        true => Err(StoreError::Backend { dir: "memory".into(), reason: "the disk is full".to_owned() }),
    }));
    let mut chain = Chain::open(params(), store.clone()).unwrap();
    accept_all(&mut chain, &Ledger::on(&params()).extend(400, 0));
    chain.set_retention(Retention::Last(100));
    fails.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(matches!(chain.prune_step(), Err(StoreError::Backend { .. })));
        assert_kept_from(&chain, Height::GENESIS);
    }
    fails.store(false, Ordering::Relaxed);
    chain.prune_step().unwrap();
    assert_kept_from(&chain, at(128));
    drop(chain);
    let chain = Chain::open(params(), store.inner.clone()).unwrap();
    assert_kept_from(&chain, at(128));
    chain::check(chain.db(), &params(), &mut |_, _| {}).unwrap();
}

fn bytes_under(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.metadata().unwrap()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// Blocks that each have six payments with data, some 3 kB.
fn with_data(branch: &mut Ledger, count: u32) -> Vec<Block> {
    let (mut outpoint, coin) = genesis_coin(&branch.params, 0);
    let mut output = coin.output;
    let mut next = |n: u32| {
        let mut payments = Vec::new();
        for _ in 0..6 {
            let spent = output.clone();
            output.value = output.value.saturating_sub(Amount::from_grains(9));
            let data = Output { value: Amount::ZERO, lock: Lock::Data(vec![n as u8; MAX_DATA_BYTES]) };
            let tx = unsigned(&[outpoint], vec![output.clone(), data]);
            payments.push(sign(&branch.params, tx, &[(&spent, &key(0))]));
            outpoint = OutPoint { txid: payments[payments.len() - 1].txid(), index: 0 };
        }
        let block = branch.make(&public(MINER), &payments, 6 * 9, 0);
        branch.append(&block);
        block
    };
    (0..count).map(&mut next).collect()
}

#[test]
fn the_disk_shrinks_by_whole_files_and_the_store_opens_again() {
    const BLOCKS: u32 = 10_000;
    const KEPT: u32 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let open = || Chain::open(params(), Arc::new(SledStore::open(dir.path()).unwrap())).unwrap();
    let mut chain = open();
    let mut branch = Ledger::on(&params());
    accept_all(&mut chain, &with_data(&mut branch, BLOCKS));
    chain.db().store().flush().unwrap();
    let values = dir.path().join("values");
    let bodies = |blocks: &[Block]| blocks.iter().map(|block| block.size() as u64).sum::<u64>();
    let kept = bodies(&branch.blocks[(BLOCKS - KEPT + 1) as usize..]);
    let before = (bytes_under(&values), chain.db().store().bytes_on_disk());
    assert!(before.0 >= bodies(&branch.blocks));
    chain.set_retention(Retention::Last(KEPT));
    while chain.is_pruning_due() {
        chain.prune_step().unwrap();
    }
    chain.db().store().flush().unwrap();
    drop(chain);
    let chain = open();
    let after = (bytes_under(&values), chain.db().store().bytes_on_disk());
    println!(
        "{BLOCKS} blocks, {KEPT} kept, {kept} bytes: values {} -> {}, all {} -> {}",
        before.0, after.0, before.1, after.1
    );
    // At most the segment that is written to and the one with the lowest kept block are not full of kept blocks.
    assert!(after.0 >= kept && after.0 < kept + 2 * (16 << 20) && after.0 < before.0, "{before:?}, {after:?}");
    assert_kept_from(&chain, at(BLOCKS - KEPT + 1));
    assert_eq!(chain.tip().hash, branch.blocks.last().unwrap().hash());
}

/// Of a chain that keeps its last 100 blocks at height 400, every second run of old ones is archived.
#[test]
fn archived_runs_stay_readable_and_are_checked() {
    const EPOCH: u32 = 24;
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let params = Arc::new(Params::new(spec).unwrap());
    let mut branch = Ledger::on(&params);
    branch.extend(400, 0);
    let dir = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn Store> { Arc::new(SledStore::open(dir.path()).unwrap()) };
    let mut chain = Chain::open(params.clone(), open()).unwrap();
    chain.set_retention(Retention::Last(100));
    let is_chosen = |Run(run): Run| run % 2 == 1;
    let chosen: Vec<_> = (0..16)
        .filter(|run| is_chosen(Run(*run)))
        .map(|run| branch.blocks[Run(run).last(EPOCH).as_usize()].hash())
        .collect();
    for block in &branch.blocks[1..] {
        chain.accept_block(block.clone(), NOW, &|_| false).unwrap();
        while chain.is_pruning_due() {
            chain.prune_step_keeping(|last| chosen.contains(last)).unwrap();
        }
    }
    // Blocks 241 to 255 are of run 10, whose last block is 264.
    let runs = [1, 3, 5, 7, 9];
    let check = |chain: &Chain| {
        assert_eq!(chain.kept_from(), at(256));
        let found: Vec<u32> = chain.archived_runs().into_iter().map(|(Run(run), _)| run).collect();
        assert_eq!((found, chain.tree().archived_blocks()), (runs.to_vec(), 5 * EPOCH));
        for height in Height::GENESIS.through(chain.tip().height) {
            let entry = chain.entry_at(height).unwrap();
            let is_kept = height >= at(256) || is_chosen(Run::of(height, EPOCH));
            assert_eq!(chain.has_body(&entry), is_kept, "{height}");
            let block = chain.db().block(&entry.key()).unwrap();
            assert_eq!(block.as_ref(), is_kept.then(|| &branch.blocks[height.as_usize()]));
            assert_eq!(chain.db().filter(&entry.key()).unwrap().is_some(), height >= at(256));
        }
        chain::check(chain.db(), &params, &mut |_, _| {}).unwrap();
        let tip = (chain.tip().hash, chain.tip().height);
        assert!(check_recent(chain.db(), &params, tip, Level::Connect, u32::MAX, &|| true).unwrap());
    };
    check(&chain);
    drop(chain);
    // The files of what was pruned are gone; those of the archive are not among them.
    let mut chain = Chain::open(params.clone(), open()).unwrap();
    check(&chain);

    // A run that is fetched comes from its last block down, and is there with its first.
    let fetch = |chain: &mut Chain, from: u32, to: u32| {
        for height in (from..=to).rev() {
            let key = chain.entry_at(at(height)).unwrap().key();
            chain.archive_fetched(&key, &branch.blocks[height as usize]).unwrap();
        }
    };
    fetch(&mut chain, 50, 72);
    assert!(!chain.has_run(Run(2)) && !chain.has_body(&chain.entry_at(at(60)).unwrap()));
    drop(chain);
    let mut chain = Chain::open(params.clone(), open()).unwrap();
    assert!(chain.db().block(&chain.entry_at(at(60)).unwrap().key()).unwrap().is_some());
    chain.remove_unfinished_runs().unwrap();
    assert!(chain.db().block(&chain.entry_at(at(60)).unwrap().key()).unwrap().is_none());
    check(&chain);
    fetch(&mut chain, 49, 72);
    fetch(&mut chain, 0, 24);
    drop(chain);
    let mut chain = Chain::open(params.clone(), open()).unwrap();
    assert!([0, 1, 2, 3].into_iter().all(|run| chain.has_run(Run(run))) && chain.pruned_runs() == 10);
    chain::check(chain.db(), &params, &mut |_, _| {}).unwrap();
    for run in [0, 2] {
        chain.remove_run(Run(run)).unwrap();
    }
    check(&chain);

    let entry = chain.entry_at(at(30)).unwrap();
    let key = [&b"Q"[..], &30_u32.to_be_bytes(), &entry.hash.as_bytes()[..12]].concat();
    let mut batch = Batch::default();
    let other = chain.db().raw_block(&chain.entry_at(at(31)).unwrap().key()).unwrap().unwrap();
    batch.put(key, &other[Header::LEN..]);
    chain.db().store().commit(batch).unwrap();
    let error = chain::check(chain.db(), &params, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("the archived block at height 30 has changed"), "{error}");
}
