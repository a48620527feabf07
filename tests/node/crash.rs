//! A real node is killed at random moments while it mines, pays and reorganises, on a disk that fills up and is freed.
//! Every time its store must open again and equal a replay of its blocks from genesis. `CAIRN_KILLS` sets the number of
//! kills. The store alone is also killed while its backlog of writes is largest.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

use crate::process::{Disk, Place};
use cairn::chain::{self, Chain};
use cairn::consensus::coins::Coin;
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::address;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::codec;
use cairn::primitives::hash::Hash256;
use cairn::primitives::height::Height;
use cairn::primitives::tx::{OutPoint, Output};
use cairn::rpc::client::{Client, ClientConfig};
use cairn::runtime::STORE_DIR;
use cairn::storage::{Batch, SledStore, Store};
use cairn_testkit::{key, spend};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

/// How often the node is killed, unless [`KILLS_VARIABLE`] says otherwise: the long form takes two seconds a kill.
const KILLS: u32 = 32;
const KILLS_VARIABLE: &str = "CAIRN_KILLS";
/// After so many, a new network begins: a replay takes longer the higher the chain is.
const KILLS_OF_A_CHAIN: u32 = 40;
/// Bytes of the disk on which the node works where one can be mounted, and most that are left free when it is to fill up:
/// from nothing to several windows of the store.
const DISK_BYTES: u64 = 512 << 20;
const MOST_LEFT: u64 = 3 << 20;
/// Coins of genesis: one a payment.
const ALLOCATIONS: u32 = 400;

fn network() -> GenesisSpec {
    let prefix = GenesisSpec::regtest().address_prefix;
    let address = address::encode(&prefix, &key(0).public_key());
    crate::process::spec(0x207f_ffff, &vec![(address.as_str(), COIN); ALLOCATIONS as usize])
}

/// Keeps a node busy until it stops answering.
struct Work {
    client: Client,
    rng: ChaCha20Rng,
    params: Params,
    address: String,
    /// The next coin of genesis to spend.
    next_coin: Arc<AtomicU32>,
    /// Whether the disk is filling up: the node may then refuse anything.
    is_full: Arc<AtomicBool>,
}

impl Work {
    /// Tells `begun` of every order before it is given. Ends with the first that gets no answer.
    fn go_on(mut self, begun: &SyncSender<()>) {
        while begun.send(()).is_ok() && self.order().is_some() {}
    }

    fn order(&mut self) -> Option<()> {
        match self.rng.random_range(0..10) {
            0..4 => {
                // Sometimes many more than are written at once.
                let blocks = if self.rng.random_bool(0.02) { 400 } else { self.rng.random_range(1..6) };
                self.generate(blocks)
            }
            4..7 => self.pay(),
            _ => self.reorganise(),
        }
    }

    fn generate(&mut self, blocks: u32) -> Option<()> {
        self.call("generatetoaddress", &[json!(blocks), json!(self.address)]).map(drop)
    }

    /// Spends a coin of genesis; the next block takes it in.
    fn pay(&mut self) -> Option<()> {
        let index = self.next_coin.fetch_add(1, Ordering::Relaxed) % ALLOCATIONS + 1;
        let genesis = &self.params.genesis.transactions[0];
        let output = genesis.outputs[index as usize].clone();
        let coin = (
            OutPoint { txid: genesis.txid(), index },
            Coin { output, height: Height::GENESIS, coinbase: false },
            &key(0),
        );
        let outputs = vec![
            Output::pay(key(1).public_key(), Amount::from_grains(COIN / 2)),
            Output::pay(key(2).public_key(), Amount::from_grains(COIN / 4)),
        ];
        let tx = spend(&self.params, &[coin], outputs);
        self.call("sendrawtransaction", &[json!(hex::encode(codec::encode(&tx)))]).map(drop)
    }

    /// Refuses some blocks, mines as many others and one more, and takes the first back: two branches of unequal work.
    fn reorganise(&mut self) -> Option<()> {
        let height = u32::try_from(self.call("getblockcount", &[])?.as_u64()?).ok()?;
        let depth = self.rng.random_range(1..12).min(height);
        if depth == 0 {
            return Some(());
        }
        let refused = self.call("getblockhash", &[json!(height - depth + 1)])?;
        self.call("invalidateblock", std::slice::from_ref(&refused))?;
        let longer = self.rng.random_bool(0.5);
        self.generate(if longer { depth + 1 } else { depth.max(2) - 1 })?;
        self.call("reconsiderblock", &[refused]).map(drop)
    }

    /// An error response counts as an answer; `None` means that the node is dead.
    fn call(&self, method: &str, params: &[Value]) -> Option<Value> {
        use cairn::rpc::client::ClientError;
        match self.client.call(method, params) {
            Ok(value) => Some(value),
            // A payment may be of a coin that is spent already.
            Err(ClientError::Rpc { .. }) if method == "sendrawtransaction" => Some(Value::Null),
            Err(ClientError::Rpc { .. }) if self.is_full.load(Ordering::SeqCst) => None,
            Err(error @ ClientError::Rpc { .. }) => panic!("{method} {params:?}: {error}"),
            Err(_) => None,
        }
    }
}

/// Outcomes of the kills.
#[derive(Debug, Default)]
struct Totals {
    kills: u32,
    /// The disk was full at the kill, or earlier, so that the node had stopped by itself.
    full: u32,
    stopped: u32,
    /// Starts on a full disk, and those that failed.
    starts: u32,
    refused: u32,
    /// The tip after the kill before was not on the best chain any more.
    left_behind: u32,
    /// Over all networks.
    blocks: u64,
    branches: u64,
}

#[test]
fn a_node_killed_at_any_moment_comes_back_with_the_coins_of_a_replay() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |kills| kills.parse().expect("a number"));
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut totals = Totals::default();
    while totals.kills < kills {
        let count = (kills - totals.kills).min(KILLS_OF_A_CHAIN);
        kill_over_and_over(count, seed, &mut rng, &mut totals);
        println!("{totals:?}");
    }
    assert!(totals.blocks > u64::from(kills) && totals.branches > 0, "too little was done between kills: {totals:?}");
}

/// A new network, on a disk that is full now and then, whose node is killed `count` times.
fn kill_over_and_over(count: u32, seed: u64, rng: &mut ChaCha20Rng, totals: &mut Totals) {
    let place = Place::new();
    let disk = Disk::mount(DISK_BYTES);
    if let Some(disk) = &disk {
        place.link("node", disk.path());
    }
    let spec = network();
    place.found(&spec);
    let params = Params::new(spec).unwrap();
    let next_coin = Arc::new(AtomicU32::new(0));
    let (mut last, mut height, mut branches) = (params.genesis_hash, 0, 0);
    for _ in 0..count {
        totals.kills += 1;
        let kill = totals.kills;
        let node = place.node("node", &[]);
        assert_eq!(node.tip().1, last.to_string(), "seed {seed}, before kill {kill}");
        let is_full = Arc::new(AtomicBool::new(false));
        let work = Work {
            client: Client::new(ClientConfig { url: None, data_dir: place.path("node"), timeout: None }).unwrap(),
            rng: ChaCha20Rng::seed_from_u64(rng.random()),
            params: params.clone(),
            address: address::encode(&params.address_prefix, &key(3).public_key()),
            next_coin: next_coin.clone(),
            is_full: is_full.clone(),
        };
        let (begun, orders) = mpsc::sync_channel(0);
        let worker = std::thread::spawn(move || work.go_on(&begun));
        // The kill comes during an order or shortly after it, before or after its writes. Writes reach the disk after
        // half a second, so the kill comes within up to three times that.
        let most = if rng.random_bool(0.5) { 16 } else { 300 };
        let pause = Duration::from_millis(1_500) / most;
        let pause = Duration::from_micros(rng.random_range(0..pause.as_micros() as u64));
        let orders_wanted = rng.random_range(1..most);
        let fills_at = (disk.is_some() && rng.random_bool(0.3)).then(|| rng.random_range(0..orders_wanted));
        for order in 0..orders_wanted {
            if fills_at == Some(order) {
                is_full.store(true, Ordering::SeqCst);
                let free = if rng.random_bool(0.3) { 0 } else { rng.random_range(0..MOST_LEFT) };
                disk.as_ref().unwrap().fill(free);
            }
            if orders.recv().is_err() {
                assert!(is_full.load(Ordering::SeqCst), "seed {seed}, kill {kill}: the node answers while it lives");
                break;
            }
            std::thread::sleep(pause);
        }
        let moment = Instant::now() + Duration::from_micros(rng.random_range(0..20_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        let log = node.log();
        let status = node.kill();
        drop(orders);
        worker.join().expect("every order is carried out, or the node is gone");
        if fills_at.is_some() {
            totals.full += 1;
            totals.stopped += u32::from(status.code() == Some(1));
        }
        let expected = status.code().is_none() || fills_at.is_some() && status.code() == Some(1);
        assert!(expected, "seed {seed}, kill {kill}: {status}: {:#?}", log.lock().unwrap());
        if fills_at.is_some() && rng.random_bool(0.5) {
            totals.starts += 1;
            match place.try_node("node", &[]) {
                Ok(node) => assert!(node.kill().code() != Some(0)),
                Err(log) => {
                    totals.refused += 1;
                    let log = log.join("\n");
                    let is_fine = !log.contains("damaged") && !log.contains("panicked");
                    assert!(is_fine, "seed {seed}, after kill {kill}: {log}");
                }
            }
        }
        if let Some(disk) = &disk {
            disk.empty();
        }

        let store = SledStore::open(&place.path("node").join(STORE_DIR)).unwrap();
        let chain = Chain::open(Arc::new(params.clone()), Arc::new(store)).unwrap();
        let report = chain::check(chain.db(), &params, &mut |_, _| {});
        let report = report.unwrap_or_else(|error| panic!("seed {seed}, after kill {kill}: {error}"));
        assert_eq!((report.height, chain.tip().hash), (chain.tip().height, chain.tip().hash));
        // The tip after the previous kill was on the disk, so it must still be there, with its body.
        assert!(chain.entry(&last).is_some_and(|entry| entry.has_body()), "seed {seed}: kill {kill} lost {last}");
        totals.left_behind += u32::from(!chain.is_on_best_chain(&chain.entry(&last).unwrap()));
        println!("kill {kill}: height {}, {} headers, {} coins", report.height, report.headers, report.coins);
        (last, height) = (chain.tip().hash, report.height.as_u32());
        branches = report.headers - u64::from(height) - 1;
    }
    totals.blocks += u64::from(height);
    totals.branches += branches;
}

/// Where the process that is killed keeps its store; only that process has it set.
const DIR_OF_CHILD: &str = "CAIRN_TEST_STORE";
/// Entries that a commit puts, and how many commits later they are removed.
const ENTRIES: u32 = 4_000;
const LIFE: u64 = 20;

fn entry(commit: u64, n: u32) -> Vec<u8> {
    // Spread as txids are.
    [&b"e"[..], Hash256::of(&[&commit.to_le_bytes()[..], &n.to_le_bytes()].concat()).as_bytes(), &commit.to_be_bytes()]
        .concat()
}

/// Where a commit puts a value that belongs to a height, and how often that repeats the commit's number: 200 kB.
fn body(commit: u64) -> Vec<u8> {
    [&b"b"[..], &commit.to_be_bytes()].concat()
}

const BODY_REPEATS: usize = 25_000;

/// The other process: commits as fast as it can, and says what it did.
#[test]
fn commits_without_end_if_it_is_the_one_to_be_killed() {
    let Some(dir) = std::env::var_os(DIR_OF_CHILD) else { return };
    let store = SledStore::open(Path::new(&dir)).unwrap();
    let last = store.get(b"last").unwrap().map_or(0, |last| u64::from_le_bytes(last.try_into().unwrap()));
    for commit in last + 1.. {
        let mut batch = Batch::default();
        for n in 0..ENTRIES {
            batch.put_new(entry(commit, n), commit.to_le_bytes().repeat(10));
            if let Some(old) = commit.checked_sub(LIFE).filter(|old| *old > 0) {
                batch.delete(entry(old, n));
            }
        }
        batch.put(b"large", commit.to_le_bytes().repeat(10_000));
        let height = Height::from_u32(commit as u32);
        batch.put_at(height, body(commit), commit.to_le_bytes().repeat(BODY_REPEATS));
        if let Some(old) = commit.checked_sub(LIFE).filter(|old| *old > 0) {
            batch.delete(body(old));
            batch.prune_below(Height::from_u32(old as u32 + 1));
        }
        batch.put(b"last", commit.to_le_bytes());
        store.commit(batch).unwrap();
        if commit % 200 == 0 {
            store.flush().unwrap();
            println!("flushed {commit}");
        }
        println!("committed {commit}");
    }
}

#[test]
fn a_store_killed_with_a_large_backlog_is_as_some_commit_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(rand::random());
    let (mut last, mut behind) = (0, 0);
    for kill in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "crash::commits_without_end_if_it_is_the_one_to_be_killed"])
            .env(DIR_OF_CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut committed, mut flushed) = (last, last);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut to_go = rng.random_range(10..250);
        for line in lines {
            if let Some(commit) = line.strip_prefix("committed ") {
                committed = commit.parse().unwrap();
                to_go -= 1;
                if to_go == 0 {
                    child.kill().unwrap();
                }
            } else if let Some(commit) = line.strip_prefix("flushed ") {
                flushed = commit.parse().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());

        let store = SledStore::open(dir.path()).unwrap();
        let found = store.get(b"last").unwrap().map_or(0, |last| u64::from_le_bytes(last.try_into().unwrap()));
        assert!(
            (flushed..=committed + 1).contains(&found),
            "kill {kill}: {found}, flushed {flushed}, committed {committed}"
        );
        println!("kill {kill}: {committed} committed, {found} found, {flushed} flushed");
        behind += committed.saturating_sub(found);
        let mut count = 0;
        let mut visit = |key: &[u8], value: &[u8]| {
            let commit = u64::from_be_bytes(key[33..].try_into().unwrap());
            assert!(commit <= found && commit + LIFE > found, "an entry of commit {commit} at {found}");
            assert_eq!(value, commit.to_le_bytes().repeat(10));
            count += 1;
            ControlFlow::Continue(())
        };
        store.scan(b"e", &[], &mut visit).unwrap();
        assert_eq!(count, found.min(LIFE) * u64::from(ENTRIES));
        if found > 0 {
            assert_eq!(store.get(b"large").unwrap(), Some(found.to_le_bytes().repeat(10_000)));
        }
        let mut heights = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            let commit = u64::from_be_bytes(key[1..].try_into().unwrap());
            assert_eq!(value, commit.to_le_bytes().repeat(BODY_REPEATS));
            heights.push(commit);
            ControlFlow::Continue(())
        };
        store.scan(b"b", &[], &mut visit).unwrap();
        assert!(heights.into_iter().eq((found + 1).saturating_sub(LIFE).max(1)..=found), "kill {kill}");
        last = found;
    }
    assert!(behind > 0, "nothing waited when it was killed");
    // Segments of 16 MiB. Most of them held what is pruned now.
    let files = std::fs::read_dir(dir.path().join("values")).unwrap().map(Result::unwrap);
    let of_heights = files.filter(|file| file.file_name().to_string_lossy().starts_with('0'));
    let bytes: u64 = of_heights.map(|file| file.metadata().unwrap().len()).sum();
    let written = last * 8 * BODY_REPEATS as u64;
    println!("{bytes} bytes of {written} are left");
    assert!(bytes < 64 << 20, "{bytes} of {written}");
}

/// The store that another process opens; only that process has it set.
const DIR_TO_OPEN: &str = "CAIRN_TEST_STORE_TO_OPEN";
/// How often that process has to be killed with a snapshot half done, and most attempts at it.
const SNAPSHOTS: u32 = 5;
const ATTEMPTS: u32 = 500;

/// The other process. With a log that is ahead of its snapshot, sled begins with a new one.
#[test]
fn opens_its_store_if_it_is_the_one_to_be_killed() {
    let Some(dir) = std::env::var_os(DIR_TO_OPEN) else { return };
    drop(SledStore::open(Path::new(&dir)).unwrap());
}

#[test]
fn a_store_killed_while_it_writes_a_snapshot_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let (sound, dir) = (home.path().join("sound"), home.path().join("killed"));
    let store = SledStore::open(&sound).unwrap();
    for commit in 1..=20 {
        let mut batch = Batch::default();
        (0..ENTRIES / 4).for_each(|n| batch.put_new(entry(commit, n), commit.to_le_bytes().repeat(10)));
        store.commit(batch).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    let unfinished = || {
        let mut files = std::fs::read_dir(&dir).unwrap().map_while(Result::ok);
        files.find(|file| file.file_name().to_string_lossy().ends_with(".generating"))
    };
    let mut rng = ChaCha20Rng::seed_from_u64(rand::random());
    let (mut hits, mut attempts) = (0, 0);
    while hits < SNAPSHOTS {
        attempts += 1;
        assert!(attempts <= ATTEMPTS, "{hits} snapshots were caught half done in {ATTEMPTS} attempts");
        let _ = std::fs::remove_dir_all(&dir);
        assert!(Command::new("cp").arg("-a").args([&sound, &dir]).status().unwrap().success());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::opens_its_store_if_it_is_the_one_to_be_killed"])
            .env(DIR_TO_OPEN, &dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while unfinished().is_none() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        let moment = Instant::now() + Duration::from_micros(rng.random_range(0..300));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Often it is done first.
        let Some(snapshot) = unfinished() else { continue };
        hits += 1;
        println!("attempt {attempts}: killed at {} bytes", snapshot.metadata().unwrap().len());
        let store = SledStore::open(&dir).unwrap();
        let mut count = 0;
        let mut visit = |key: &[u8], value: &[u8]| {
            let commit = u64::from_be_bytes(key[33..].try_into().unwrap());
            assert_eq!(value, commit.to_le_bytes().repeat(10));
            count += 1;
            ControlFlow::Continue(())
        };
        store.scan(b"e", &[], &mut visit).unwrap();
        assert_eq!(count, 20 * (ENTRIES / 4));
        drop(store);
        assert!(unfinished().is_none(), "what was left half done is gone");
    }
}
