//! Many connections make small requests that cost a real node as much work and memory as possible, over both of its
//! ports at once. Honest peers stay connected and receive blocks, and probes are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Node, Place, spec, wait_for};
use cairn::chain::Chain;
use cairn::consensus::params::Params;
use cairn::mempool::{Limits, Mempool};
use cairn::miner::template;
use cairn::p2p::frame;
use cairn::p2p::message::{Hello, Item, MAX_INVENTORY, Message};
use cairn::p2p::noise::{Identity, Sealer};
use cairn::p2p::proofs::ProofQuery;
use cairn::primitives::address;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{BlockHash, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::{SecretKey, Signature};
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::runtime::noise;
use cairn::storage::{MemoryStore, TxLocation};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections to the peer port that make expensive requests.
const HOSTILE: usize = 42;
/// Connections to the RPC port that make expensive requests and never read, and as many that never finish their
/// request.
const CALLERS: usize = 40;
/// Most memory that the node may use, in bytes: far less than these connections together ask it to keep.
const MAX_MEMORY: u64 = 400 << 20;
/// Requests they have sent before the test watches blocks.
const REQUESTS: u64 = 2_000;
/// Transactions of a full block.
const FULL: usize = 2_000;
/// Full blocks, whose parts and proofs are requested.
const BLOCKS: usize = 5;
/// Blocks mined during the attack.
const MINED: u32 = 10;
/// Time between two requests on one connection. Sending faster would not help: the node answers each before it reads
/// the next.
const PACE: Duration = Duration::from_millis(5);
/// Time in which a block must reach the other nodes on an idle machine. This test may share the machine with other
/// programs, so it bounds the sum over all blocks instead of each one.
const ARRIVAL: Duration = Duration::from_secs(2);

/// The key that owns all coins.
fn owner() -> SecretKey {
    cairn_testkit::key(7)
}

/// The request that a connection repeats.
#[derive(Debug, Clone, Copy)]
enum Demand {
    /// One of the last blocks in its compact form, 2,000 times in one message.
    Compact,
    /// All of the last blocks, whole.
    Whole,
    /// One transaction of a block.
    Part,
    /// Proofs of what a key received.
    Proofs,
    /// Announces 2,000 txids that do not exist, for the node to remember.
    Ids,
    /// Sends orphans with bad signatures, then their parent, so that the node checks them.
    Orphans,
}

const DEMANDS: [Demand; 6] =
    [Demand::Compact, Demand::Whole, Demand::Part, Demand::Proofs, Demand::Ids, Demand::Orphans];

/// A chain that ends with full blocks.
fn full_blocks(params: &Arc<Params>) -> Vec<Block> {
    let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
    let pool = Mempool::new(params.clone(), Limits::default());
    let genesis = &params.genesis.transactions[0];
    let mine = genesis.outputs.iter().zip(0..).find(|(output, _)| output.value.as_grains() == 10 * COIN).unwrap();
    let mut coins = vec![(OutPoint { txid: genesis.txid(), index: mine.1 }, mine.0.clone())];
    let mut blocks = Vec::new();
    for number in 0..=BLOCKS as u64 {
        let count = if number == 0 { FULL } else { 1 };
        let txs: Vec<Transaction> = coins.iter().map(|coin| pay(params, coin, count)).collect();
        coins = txs
            .iter()
            .flat_map(|tx| {
                let txid = tx.txid();
                (0..).zip(&tx.outputs).map(move |(index, output)| (OutPoint { txid, index }, output.clone()))
            })
            .collect();
        let time = u64::from(chain.tip().header.time) + 1;
        let mut block =
            template::build(&chain, &pool, &owner().public_key(), number, UnixTime::from_secs(time)).unwrap().block(0);
        block.transactions.extend(txs);
        cairn_testkit::seal(&mut block);
        chain.accept_block(block.clone(), UnixTime::from_secs(u64::from(u32::MAX)), &|_| false).unwrap();
        blocks.push(block);
    }
    blocks
}

/// Spends a coin to `count` coins of the same owner.
fn pay(params: &Params, (outpoint, spent): &(OutPoint, Output), count: usize) -> Transaction {
    let value = (spent.value.as_grains() - 1_000) / count as u64;
    let inputs = vec![Input { outpoint: *outpoint, signature: Signature::EMPTY }];
    let outputs = vec![Output::pay(owner().public_key(), Amount::from_grains(value)); count];
    let mut tx = Transaction { version: 1, inputs, outputs, lock_height: Height::GENESIS };
    tx.inputs[0].signature = owner().sign(&tx.signature_digest(&params.genesis_hash, [spent]));
    tx
}

/// A child of a transaction that spends its outputs, unsigned.
fn orphan(parent: &Transaction, number: usize) -> Transaction {
    let inputs = parent.outpoints(parent.txid()).map(|(outpoint, _)| Input { outpoint, signature: Signature::EMPTY });
    let outputs = vec![Output::pay(owner().public_key(), Amount::from_grains(1 + number as u64))];
    Transaction { version: 1, inputs: inputs.collect(), outputs, lock_height: Height::GENESIS }
}

/// Opens connections to the RPC port one after another, sends `bytes` on each and does not read until the node closes
/// it.
async fn call_and_never_read(address: String, bytes: String) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            // However it ends, it begins anew.
            let _ = stream.write_all(bytes.as_bytes()).await;
            let _ = stream.ready(tokio::io::Interest::ERROR).await;
        }
        tokio::time::sleep(PACE).await;
    }
}

struct Attacker {
    victim: SocketAddr,
    genesis: BlockHash,
    demand: Demand,
    blocks: Arc<Vec<BlockHash>>,
    /// Payments that spend the last block's coins.
    parents: Arc<Vec<Transaction>>,
    asked: Arc<AtomicU64>,
}

impl Attacker {
    /// Reconnects whenever the node disconnects it.
    async fn run(self) {
        loop {
            if let Ok(stream) = TcpStream::connect(self.victim).await {
                // However it ends, it begins anew.
                let _ = self.demand(stream).await;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    async fn demand(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let session = noise::initiate(&mut stream, &Identity::from_secret(rand::random()), None)
            .await
            .map_err(std::io::Error::other)?;
        let (mut reading, mut writing) = stream.into_split();
        let asking = async {
            let mut sealer = session.sealer;
            let hello = Hello { user_agent: "/hostile/".to_owned(), ..Hello::new(self.genesis, 0) };
            say(&mut writing, &mut sealer, &Message::Hello(hello)).await?;
            for number in 0.. {
                say(&mut writing, &mut sealer, &self.request(number)).await?;
                self.asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PACE).await;
            }
            Ok(())
        };
        // Reads and ignores what the node sends.
        let taking = async {
            let mut buffer = vec![0; 256 << 10];
            while reading.read(&mut buffer).await? > 0 {}
            Ok(())
        };
        tokio::select! {
            ended = asking => ended,
            ended = taking => ended,
        }
    }

    fn request(&self, number: usize) -> Message {
        let block = self.blocks[number % self.blocks.len()];
        match self.demand {
            Demand::Compact => Message::GetData(vec![Item::CompactBlock(block); MAX_INVENTORY]),
            Demand::Whole => Message::GetData(self.blocks.iter().map(|hash| Item::Block(*hash)).collect()),
            Demand::Part => Message::GetBlockTransactions { block, places: vec![1] },
            Demand::Proofs => {
                let from = TxLocation { height: Height::from_u32(2 + number as u32 % BLOCKS as u32), position: 0 };
                Message::GetProofs(ProofQuery::Key { key: owner().public_key(), from })
            }
            Demand::Ids => {
                let id =
                    |n: usize| Txid::of(&[number, n, std::process::id() as usize].map(usize::to_le_bytes).concat());
                Message::Inventory((0..MAX_INVENTORY).map(|n| Item::Transaction(id(n))).collect())
            }
            Demand::Orphans => {
                // Nine children of one parent, and then the parent.
                let parent = &self.parents[number / 10 % self.parents.len()];
                Message::Transaction(Arc::new(if number % 10 == 9 { parent.clone() } else { orphan(parent, number) }))
            }
        }
    }
}

async fn say(
    stream: &mut tokio::net::tcp::OwnedWriteHalf,
    sealer: &mut Sealer,
    message: &Message,
) -> std::io::Result<()> {
    let mut records = Vec::new();
    sealer.seal(&frame::encode(message), &mut records).map_err(std::io::Error::other)?;
    stream.write_all(&records).await
}

/// The connections of a node that are not hostile, by number, and the least time that a ping to them took.
fn honest(node: &Node) -> Vec<(u64, Option<f64>)> {
    let peers = node.call("getpeerinfo", &[]);
    let peers = peers.as_array().unwrap().iter().filter(|peer| peer["subver"] != "/hostile/");
    peers.map(|peer| (peer["id"].as_u64().unwrap(), peer["pingtime"].as_f64())).collect()
}

#[test]
fn honest_peers_stay_and_blocks_arrive_while_others_ask_for_all_there_is() {
    let _alone = crate::alone();
    let place = Place::new();
    let prefix = spec(0x207f_ffff, &[]).address_prefix;
    let spec = spec(0x207f_ffff, &[(&address::encode(&prefix, &owner().public_key()), 10 * COIN)]);
    place.found(&spec);
    let payee = address::encode(&prefix, &owner().public_key());
    let params = Arc::new(Params::new(spec).unwrap());
    let victim = place.node("victim", &[]);
    let blocks = full_blocks(&params);
    for block in &blocks {
        let hex = hex::encode(cairn::primitives::codec::encode(block));
        assert_eq!(victim.call("submitblock", &[hex.into()]), Value::Null);
    }
    let peers: Vec<Node> =
        ["one", "two", "three"].iter().map(|name| place.node(name, &["--connect", &victim.peer_address()])).collect();
    for peer in &peers {
        wait_for("an honest peer to sync", || (peer.tip() == victim.tip()).then_some(()));
    }
    let before = honest(&victim);
    assert_eq!(before.len(), 3);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked = Arc::<AtomicU64>::default();
    let hashes = Arc::new(blocks[1..].iter().map(Block::hash).collect::<Vec<_>>());
    let last = blocks.last().unwrap();
    let coins = last.transactions[1..].iter().map(|tx| (OutPoint { txid: tx.txid(), index: 0 }, tx.outputs[0].clone()));
    let parents: Arc<Vec<Transaction>> = Arc::new(coins.take(500).map(|coin| pay(&params, &coin, 20)).collect());
    let rpc = victim.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let body = format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "getblock", "params": ["{}", 1]}}"#, last.hash());
    let head = format!("POST /public HTTP/1.1\r\nHost: {rpc}\r\nContent-Length: {}\r\n\r\n", body.len());
    for _ in 0..CALLERS {
        runtime.spawn(call_and_never_read(rpc.clone(), format!("{head}{body}").repeat(20)));
        runtime.spawn(call_and_never_read(rpc.clone(), "GET /health HTTP/1.1\r\nHost: ".to_owned()));
    }
    for number in 0..HOSTILE {
        let attacker = Attacker {
            victim: victim.peer_address().parse().unwrap(),
            genesis: params.genesis_hash,
            demand: DEMANDS[number % DEMANDS.len()],
            blocks: hashes.clone(),
            parents: parents.clone(),
            asked: asked.clone(),
        };
        runtime.spawn(attacker.run());
    }
    wait_for("the attack to be under way", || (asked.load(Ordering::Relaxed) >= REQUESTS).then_some(()));

    let mut slowest = Duration::ZERO;
    let mut all = Duration::ZERO;
    for _ in 0..MINED {
        peers[0].generate(1, &payee);
        let (mined, tip) = (Instant::now(), peers[0].tip());
        // From the first through the victim to the others.
        for node in [&victim, &peers[1], &peers[2]] {
            wait_for("a block to arrive", || (node.tip() == tip).then_some(()));
        }
        place.run("victim", &["health"]).ok();
        slowest = slowest.max(mined.elapsed());
        all += mined.elapsed();
    }
    // All answer a ping during the attack.
    victim.call("ping", &[]);
    let asked_before = asked.load(Ordering::Relaxed);
    wait_for("the attack to go on", || (asked.load(Ordering::Relaxed) >= asked_before + REQUESTS).then_some(()));
    let after = honest(&victim);
    println!(
        "{} requests; {MINED} blocks went from one peer to all others in {all:?}, the slowest in {slowest:?}; pings {after:?}",
        asked.load(Ordering::Relaxed)
    );
    let numbers = |peers: &[(u64, Option<f64>)]| peers.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(numbers(&after), numbers(&before), "the same connections");
    assert!(after.iter().all(|(_, ping)| ping.is_some()), "{after:?}");
    assert!(all < ARRIVAL * MINED, "{all:?}");
    let memory = victim.memory_at_most();
    println!("{memory} bytes of memory at most");
    assert!(memory < MAX_MEMORY, "{memory} bytes");
    drop(runtime);
    assert!(victim.terminate().success());
}
