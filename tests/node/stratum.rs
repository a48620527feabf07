//! Mining over Stratum by clients that know no more than a miner does: lines, words and hashes.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cpuminer::sha256d;
use crate::cpuminer::stratum::{Job, Miner};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::p2p::Command;
use cairn::primitives::address;
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::keys::{PublicKey, Signature};
use cairn::primitives::target::Bits;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::runtime::mining::generate;
use cairn::runtime::{self, Running};
use cairn::storage::BlockKey;
use cairn::stratum::{self, Limits, StratumServer};
use cairn_testkit::{funded, key};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpSocket;

const DEADLINE: Duration = Duration::from_secs(60);
/// Bits of a network with real miners, which this test cannot meet.
const HARD: Bits = Bits(0x1b00_ffff);

/// A node with its Stratum server.
struct Place {
    tokio: tokio::runtime::Runtime,
    node: Option<Running>,
    server: Option<StratumServer>,
    params: Arc<Params>,
    _dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with(GenesisSpec::regtest().bits, |_| ())
    }

    fn with(bits: Bits, change: impl FnOnce(&mut Limits)) -> Self {
        let mut params = Params::new(funded([0], 1_000_000)).unwrap();
        // Genesis itself need not be mined: only what the next block must meet counts.
        params.genesis.header.bits = bits;
        params.genesis_target = bits.target().unwrap();
        params.genesis_hash = params.genesis.header.hash();
        let params = Arc::new(params);
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let node = tokio.block_on(Running::start(runtime::Config::new(dir.path(), params.clone()))).unwrap();
        let mut config = stratum::Config::new("127.0.0.1:0".parse().unwrap());
        change(&mut config.limits);
        let server = tokio.block_on(stratum::serve(config, node.handle().clone())).unwrap();
        Self { tokio, node: Some(node), server: Some(server), params, _dir: dir }
    }

    fn handle(&self) -> &runtime::Handle {
        self.node.as_ref().unwrap().handle()
    }

    fn meters(&self) -> &stratum::Meters {
        self.server.as_ref().unwrap().meters()
    }

    fn address(&self, n: u8) -> String {
        address::encode(&self.params.address_prefix, &key(n).public_key())
    }

    fn connect(&self) -> Miner {
        Miner::connect(self.server.as_ref().unwrap().address())
    }

    /// From an address of this machine; loopback has many.
    fn connect_from(&self, from: &str) -> Miner {
        let to = self.server.as_ref().unwrap().address();
        let stream = self.tokio.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
            socket.connect(to).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Miner::over(stream)
    }

    /// A miner with work, paid at the address of key `n`.
    fn miner(&self, n: u8) -> Miner {
        let mut miner = self.connect();
        miner.subscribe();
        assert_eq!(miner.call("mining.authorize", json!([self.address(n), "x"])), Ok(json!(true)));
        miner.worker = self.address(n);
        miner.wait_for_job();
        miner
    }

    /// A miner with work, whose shares take some 256 hashes.
    fn connect_with_easy_shares(&self, n: u8) -> Miner {
        let mut miner = self.connect();
        miner.subscribe();
        assert_eq!(miner.call("mining.suggest_difficulty", json!([0.00000006])), Ok(json!(true)));
        assert_eq!(miner.call("mining.authorize", json!([self.address(n), "x"])), Ok(json!(true)));
        miner.worker = self.address(n);
        miner.wait_for_job();
        miner
    }

    fn tip(&self) -> (u32, BlockHash) {
        let tip = *self.handle().tip().borrow();
        (tip.height.as_u32(), tip.hash)
    }

    /// Has a miner mine until the tip is its own.
    fn find_block(&self, miner: &mut Miner) {
        let nonce = miner.search_block("00000000");
        let header = miner.header("00000000", &miner.job.time, nonce);
        assert_eq!(miner.submit("00000000", nonce), Ok(json!(true)));
        assert_eq!(self.tip().1, BlockHash::from_bytes(sha256d(&header)));
    }

    /// Blocks that no miner of this test found.
    fn generate(&self, count: usize) -> Vec<BlockHash> {
        self.tokio.block_on(generate(self.handle(), PublicKey([7; 32]), count, u64::MAX)).unwrap()
    }

    fn balance(&self, n: u8) -> Amount {
        let coins = self.handle().db().address_coins(&key(n).public_key(), None, 1_000).unwrap();
        Amount::saturating_sum(coins.iter().map(|(_, coin)| coin.output.value))
    }

    fn stop(mut self) {
        let (node, server) = (self.node.take().unwrap(), self.server.take().unwrap());
        self.tokio.block_on(async {
            server.stop().await;
            node.stop().await.unwrap();
        });
    }
}

#[test]
fn blocks_are_found_and_their_finders_paid() {
    let place = Place::new();
    let mut a = place.miner(1);
    let mut b = place.miner(2);
    assert_ne!(a.extranonce1, b.extranonce1);
    for height in 1..=6 {
        let finder = if height % 3 == 0 { &mut b } else { &mut a };
        place.find_block(finder);
        assert_eq!(place.tip().0, height);
        for miner in [&mut a, &mut b] {
            miner.wait_for_job();
            assert!(miner.job.clean);
        }
    }
    let mined = |blocks| Amount::saturating_sum(vec![place.params.subsidy; blocks]);
    assert_eq!((place.balance(1), place.balance(2)), (mined(4), mined(2)));
    assert_eq!((place.meters().blocks(), place.meters().connections()), (6, 2));
    assert_eq!(place.meters().shares().accepted, 6);
    let miners = place.meters().miners();
    assert_eq!((&miners[0].worker, &miners[1].worker), (&place.address(1), &place.address(2)));
    assert_eq!((miners[0].agent.as_str(), miners[0].accepted), ("cpuminer/2.5.1", 4));
    assert!(place.meters().hash_rate() > 0.0);
    place.stop();
    a.until_closed();
}

#[test]
fn transactions_and_their_fees_are_mined() {
    let place = Place::new();
    let params = place.params.clone();
    // A chain of payments makes a tree of several levels.
    let (mut outpoint, mut value) = (OutPoint { txid: params.genesis.transactions[0].txid(), index: 1 }, 1_000_000);
    for _ in 0..6 {
        let spent = Output::pay(key(0).public_key(), Amount::from_grains(value));
        value -= 10_000;
        let mut tx = Transaction {
            version: 1,
            inputs: vec![Input { outpoint, signature: Signature::EMPTY }],
            outputs: vec![Output::pay(key(0).public_key(), Amount::from_grains(value))],
            lock_height: Height::GENESIS,
        };
        tx.inputs[0].signature = key(0).sign(&tx.signature_digest(&params.genesis_hash, [&spent]));
        outpoint = OutPoint { txid: tx.txid(), index: 0 };
        let taken = place.handle().command(move |reply| Command::SubmitTransaction(tx, reply));
        place.tokio.block_on(taken).unwrap().unwrap();
    }
    let mut miner = place.miner(1);
    assert_eq!(miner.job.branch.len(), 3, "seven leaves");
    place.find_block(&mut miner);
    assert_eq!(place.balance(1), params.subsidy.saturating_add(Amount::from_grains(60_000)));
    let (height, hash) = place.tip();
    let at = BlockKey { height: Height::from_u32(height), hash };
    assert_eq!(place.handle().db().block(&at).unwrap().unwrap().transactions.len(), 7);
}

#[test]
fn a_worker_has_an_address_and_perhaps_a_name() {
    let place = Place::new();
    let mut miner = place.connect();
    miner.subscribe();
    for odd in ["", "alice", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", &"x".repeat(200)] {
        let (code, text) = miner.call("mining.authorize", json!([odd, "x"])).unwrap_err();
        assert_eq!(code, 24, "{odd}: {text}");
    }
    let named = format!("{}.garage", place.address(1));
    assert_eq!(miner.call("mining.authorize", json!([named, "x"])), Ok(json!(true)));
    miner.wait_for_job();
    miner.worker = named.clone();
    // Another worker name for the same payee is accepted, another payee is not.
    assert_eq!(miner.call("mining.authorize", json!([place.address(1), "x"])), Ok(json!(true)));
    assert_eq!(miner.call("mining.authorize", json!([place.address(2), "x"])).unwrap_err().0, 24);
    place.find_block(&mut miner);
    assert_eq!(place.balance(1), place.params.subsidy);
}

#[test]
fn a_bad_share_is_refused_by_its_number() {
    let place = Place::with(HARD, |_| ());
    let mut miner = place.connect();
    miner.worker = place.address(1);
    assert_eq!(miner.submit("00000000", 0).unwrap_err().0, 20, "empty fields");
    let params = json!([place.address(1), "1", "00000000", "00000000", "00000000"]);
    assert_eq!(miner.call("mining.submit", params.clone()).unwrap_err().0, 25);
    miner.subscribe();
    assert_eq!(miner.call("mining.submit", params).unwrap_err().0, 24);
    // 2^-24: 256 hashes a share.
    assert_eq!(miner.call("mining.suggest_difficulty", json!([0.00000006])), Ok(json!(true)));
    assert_eq!(miner.call("mining.authorize", json!([place.address(1), "x"])), Ok(json!(true)));
    miner.wait_for_job();
    assert_eq!(miner.job.difficulty, (-24f64).exp2());

    let share = miner.search("00000000", 0, true);
    assert_eq!(miner.submit("00000000", share), Ok(json!(true)));
    assert_eq!(miner.submit("00000000", share).unwrap_err().0, 22);
    let other = miner.search("0000000f", 0, true);
    assert_eq!(miner.submit("0000000f", other), Ok(json!(true)));
    let miss = miner.search("00000000", 0, false);
    assert_eq!(miner.submit("00000000", miss).unwrap_err().0, 23);
    assert_eq!(miner.submit("0000", share).unwrap_err().0, 20);
    assert_eq!(miner.submit("000000000000", share).unwrap_err().0, 20);

    let job = miner.job.clone();
    for odd in ["00000000", "ffffffff"] {
        miner.job.time = odd.to_owned();
        let (code, text) = miner.submit("00000000", share).unwrap_err();
        assert_eq!((code, text.contains("ntime")), (20, true), "{text}");
    }
    miner.job = job.clone();
    miner.job.name = "ffff".to_owned();
    assert_eq!(miner.submit("00000000", share).unwrap_err().0, 21);
    miner.job = job;
    miner.worker = place.address(2);
    assert_eq!(miner.submit("00000000", share).unwrap_err().0, 24);
    let (code, text) = miner.call("mining.guess", json!([])).unwrap_err();
    assert_eq!((code, text.as_str()), (-3, "no such method"));
    // Extensions are granted or declined one by one.
    let extensions = ["minimum-difficulty", "info", "subscribe-extranonce"];
    let answer = json!({ "minimum-difficulty": false, "info": false, "subscribe-extranonce": true });
    assert_eq!(miner.call("mining.configure", json!([extensions, {}])), Ok(answer));
    assert_eq!(miner.call("mining.extranonce.subscribe", json!([])), Ok(json!(true)));
    let shares = place.meters().shares();
    assert_eq!((shares.accepted, shares.duplicate, shares.low, shares.stale), (2, 1, 1, 1));
    assert_eq!(shares.invalid, 8);
    assert_eq!(place.tip().0, 0, "none of them was a block");
}

/// Jobs given one after another may be of one template, whose headers are then the same.
#[test]
fn a_share_counts_once_whatever_job_it_names() {
    let place = Place::with(HARD, |_| ());
    let mut miner = place.connect();
    miner.worker = place.address(1);
    miner.subscribe();
    let suggest = json!([0.00000006]);
    assert_eq!(miner.call("mining.suggest_difficulty", suggest.clone()), Ok(json!(true)));
    assert_eq!(miner.call("mining.authorize", json!([place.address(1), "x"])), Ok(json!(true)));
    miner.wait_for_job();
    let first = miner.job.clone();
    let share = miner.search("00000000", 0, true);
    assert_eq!(miner.submit("00000000", share), Ok(json!(true)));
    assert_eq!(miner.call("mining.suggest_difficulty", suggest), Ok(json!(true)));
    miner.wait_for_job();
    assert_ne!(miner.job.name, first.name);
    miner.job.time = first.time;
    assert_eq!(miner.submit("00000000", share).unwrap_err().0, 22);
    let shares = place.meters().shares();
    assert_eq!((shares.accepted, shares.duplicate), (1, 1));
}

/// BIP-310, in the bits of BIP-320.
#[test]
fn a_version_may_be_rolled_within_the_mask() {
    let place = Place::new();
    let mut miner = place.connect();
    for (asked, given) in [(json!({}), "1fffe000"), (json!({ "version-rolling.mask": "F4003FFF" }), "14002000")] {
        let answer = json!({ "version-rolling": true, "version-rolling.mask": given });
        assert_eq!(miner.call("mining.configure", json!([["version-rolling"], asked])), Ok(answer));
    }
    miner.subscribe();
    assert_eq!(miner.call("mining.authorize", json!([place.address(1), "x"])), Ok(json!(true)));
    miner.wait_for_job();
    let rolled = u32::from_str_radix(&miner.job.version, 16).unwrap() | 0x0400_2000;
    miner.job.version = format!("{rolled:08x}");
    let nonce = format!("{:08x}", miner.search_block("00000000"));
    let share = |bits: &str| json!([place.address(1), miner.job.name, "00000000", miner.job.time, nonce, bits]);
    let (outside, inside) = (share("24002000"), share("04002000"));
    let (code, text) = miner.call("mining.submit", outside).unwrap_err();
    assert_eq!((code, text.contains("14002000")), (20, true), "{text}");
    assert_eq!(miner.call("mining.submit", inside), Ok(json!(true)));
    let (height, hash) = place.tip();
    let at = BlockKey { height: Height::from_u32(height), hash };
    assert_eq!(place.handle().db().block(&at).unwrap().unwrap().header.version.cast_unsigned(), rolled);
}

#[test]
fn time_may_be_rolled() {
    let place = Place::new();
    let mut miner = place.miner(1);
    let later = u32::from_str_radix(&miner.job.time, 16).unwrap() + 60;
    miner.job.time = format!("{later:08x}");
    place.find_block(&mut miner);
    let (height, hash) = place.tip();
    let at = BlockKey { height: Height::from_u32(height), hash };
    assert_eq!(place.handle().db().block(&at).unwrap().unwrap().header.time, later);
}

#[test]
fn time_is_rolled_no_further_than_the_node_takes_it() {
    let place = Place::new();
    let mut miner = place.miner(1);
    let now = u64::from(u32::from_str_radix(&miner.job.time, 16).unwrap());
    let most = u64::from(place.params.max_future_secs);
    place.handle().set_mock_time(UnixTime::from_secs(now));
    let job = miner.job.clone();
    for (late, fine) in [(most, false), (most - 9, false), (most - 10, true)] {
        miner.job = Job { time: format!("{:08x}", now + late), ..job.clone() };
        let nonce = miner.search("00000000", 0, true);
        match miner.submit("00000000", nonce) {
            Ok(_) => assert!(fine, "{late} s ahead"),
            Err((code, text)) => assert!(!fine && code == 20 && text.contains("ntime"), "{late} s ahead: {text}"),
        }
    }
}

#[test]
fn a_new_tip_makes_jobs_stale() {
    let place = Place::new();
    let mut miner = place.miner(1);
    let old = miner.job.clone();
    let nonce = miner.search("00000000", 0, true);
    let tip = place.generate(1)[0];
    miner.wait_for_job();
    assert!(miner.job.clean);
    assert_eq!(miner.job.previous, stratum::job::swapped_words(&tip));
    let now = std::mem::replace(&mut miner.job, old);
    let (code, text) = miner.submit("00000000", nonce).unwrap_err();
    assert_eq!((code, text.contains("stale")), (21, true), "{text}");
    miner.job = now;
    place.find_block(&mut miner);
    // Being late is no offence.
    assert_eq!(place.meters().shares().stale, 1);
}

#[test]
fn difficulty_follows_the_miner() {
    let place = Place::with(HARD, |_| ());
    let mut miner = place.connect();
    miner.subscribe();
    assert_eq!(miner.call("mining.suggest_difficulty", json!([1e-30])), Ok(json!(true)));
    assert_eq!(miner.call("mining.authorize", json!([place.address(1), "x"])), Ok(json!(true)));
    miner.worker = place.address(1);
    miner.wait_for_job();
    let easiest = miner.job.difficulty;
    assert_eq!(easiest, (-32f64).exp2());
    // Faster than one in five seconds by far.
    let (first, mut nonce) = (miner.jobs, 0);
    while miner.jobs == first {
        nonce = miner.search("00000000", nonce, true);
        assert_eq!(miner.submit("00000000", nonce), Ok(json!(true)));
        nonce += 1;
    }
    assert!(miner.job.difficulty >= 64.0 * easiest, "{}", miner.job.difficulty);
    assert!(!miner.job.clean, "work on the old job still counts");
    // And what was found at the old difficulty too; the new one is another measure.
    let share = miner.search("00000000", 0, true);
    assert_eq!(miner.submit("00000000", share), Ok(json!(true)));
    let miss = miner.search("00000000", 0, false);
    assert_eq!(miner.submit("00000000", miss).unwrap_err().0, 23);
    assert_eq!(place.meters().miners()[0].level.difficulty(), miner.job.difficulty);
}

#[test]
fn floods_and_silence_close_the_connection() {
    let place = Place::with(HARD, |limits| {
        limits.offences = 10;
        limits.setup = Duration::from_secs(1);
        limits.idle = Duration::from_secs(2);
    });
    let mut flooder = place.miner(1);
    let miss = flooder.search("00000000", 0, false);
    for _ in 0..9 {
        assert_eq!(flooder.submit("00000000", miss).unwrap_err().0, 23);
    }
    flooder.send(&json!({ "id": 1, "method": "mining.submit", "params": [] }).to_string());
    flooder.until_closed();

    let mut wordy = place.connect();
    wordy.send(&"x".repeat(5000));
    wordy.until_closed();
    let mut confused = place.connect();
    confused.send("GET / HTTP/1.1");
    confused.until_closed();
    // A line that never ends, a byte at a time, buys no time.
    let mut slow = place.connect();
    slow.writer.write_all(b"{\"id\"").unwrap();
    slow.until_closed();
    place.miner(2).until_closed();
    let end = Instant::now() + DEADLINE;
    while place.meters().connections() > 0 {
        assert!(Instant::now() < end, "{:?}", place.meters().miners());
        std::thread::yield_now();
    }
}

/// Has work, from another address of this machine.
fn miner_from(place: &Place, from: &str, n: u8) -> Miner {
    let mut miner = place.connect_from(from);
    miner.subscribe();
    assert_eq!(miner.call("mining.authorize", json!([place.address(n), "x"])), Ok(json!(true)));
    miner.worker = place.address(n);
    miner.wait_for_job();
    miner
}

#[test]
fn silent_miners_of_one_address_block_no_other() {
    let place = Place::with(HARD, |limits| {
        limits.connections = 12;
        limits.per_address = 4;
    });
    // More than there are places, all logged in and silent: one address has no more than its share.
    let silent: Vec<Miner> = (0..20).map(|_| place.miner(1)).collect();
    let mut other = miner_from(&place, "127.0.0.2", 2);
    // Each time the miner idle for longest was disconnected.
    let mut silent = silent.into_iter();
    silent.by_ref().take(16).for_each(Miner::until_closed);
    assert_eq!(silent.len(), 4);
    // Five addresses fill the server, and the next one finds a place all the same.
    let crowd: Vec<Miner> = (3..=5)
        .flat_map(|host| (0..4).map(move |_| host))
        .map(|host| miner_from(&place, &format!("127.0.0.{host}"), 3))
        .collect();
    let mut late = miner_from(&place, "127.0.0.6", 4);
    // Alone at its address, each of these two was not the one to give way.
    for miner in [&mut other, &mut late] {
        assert_eq!(miner.call("mining.extranonce.subscribe", json!([])), Ok(json!(true)));
    }
    drop(crowd);
}

#[test]
fn a_working_miner_is_not_evicted() {
    let place = Place::with(HARD, |limits| limits.connections = 3);
    let mut miners: Vec<Miner> = (1..=3).map(|n| place.connect_with_easy_shares(n)).collect();
    for miner in &mut miners {
        let share = miner.search("00000000", 0, true);
        assert_eq!(miner.submit("00000000", share), Ok(json!(true)));
    }
    place.connect().until_closed();
    for miner in &mut miners {
        assert_eq!(miner.call("mining.extranonce.subscribe", json!([])), Ok(json!(true)));
    }
    // A place is free when one leaves.
    miners.pop();
    let end = Instant::now() + DEADLINE;
    loop {
        let mut next = place.connect();
        next.send(&json!({ "id": 1, "method": "mining.subscribe", "params": [] }).to_string());
        if next.read().is_some() {
            break;
        }
        assert!(Instant::now() < end);
    }
}

#[test]
fn lines_come_no_faster_than_they_may() {
    let place = Place::with(HARD, |limits| {
        limits.line_time = Duration::from_millis(50);
        limits.burst = Duration::from_millis(100);
    });
    let mut miner = place.miner(1);
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(miner.call("mining.extranonce.subscribe", json!([])), Ok(json!(true)));
    }
    assert!(start.elapsed() >= Duration::from_millis(800), "{:?}", start.elapsed());
}
