//! Time of the node's thread: for a block that is accepted, a block that is served, and a transaction that is relayed. What
//! sockets do on other threads, decoding and encryption, is not in it.

use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::mempool::{Limits, Mempool};
use cairn::p2p::compact::CompactBlock;
use cairn::p2p::frame::Frame;
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::{Hello, Item, Message, PROTOCOL_VERSION, SERVICE_FULL, TipClaim};
use cairn::p2p::{Config, Direction, Input, Node, Now, Output, PeerId, Protocol};
use cairn::primitives::block::Block;
use cairn::primitives::target::Work;
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::primitives::tx::Transaction;
use cairn::storage::{SledStore, Store};
use cairn_testkit::{Ledger, full_block};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Peers of the node; the last three of them want blocks pushed.
const PEERS: u64 = 8;
const PAYMENTS: [u32; 2] = [1_000, 4_000];

/// A node and the time that it is told.
struct Bench {
    node: Node,
    now: Now,
}

impl Bench {
    /// A node with peers, on what is in `store`, and with transactions in its mempool.
    fn new(ledger: &Ledger, store: Arc<dyn Store>, transactions: &[Transaction]) -> Self {
        let params = ledger.params.clone();
        let now =
            Now { mono: MonoTime::from_millis(1_000), unix: UnixTime::from_secs(u64::from(params.timestamp) + 1_000) };
        let chain = Chain::open(params.clone(), store).expect("the chain opens");
        let mut mempool = Mempool::new(params.clone(), Limits::default());
        for tx in transactions {
            mempool.accept(tx.clone(), &chain, now.unix).expect("the payment is valid");
        }
        let mut bench =
            Self { node: Node::new(chain, mempool, Config::default(), now).expect("the store is read"), now };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            genesis: params.genesis_hash,
            services: SERVICE_FULL,
            tip: TipClaim { height: 0, hash: params.genesis_hash, work: Work::ZERO },
            listen_port: 0,
            user_agent: String::new(),
        };
        for n in 0..PEERS {
            let address = ([10, 0, n as u8, 1], 7331).into();
            let id = NodeId([n as u8 + 1; 32]);
            bench.give(Input::Connected { peer: PeerId(n), address, direction: Direction::Inbound, id });
            bench.say(n, Message::Hello(hello.clone()));
            if n >= PEERS - 3 {
                bench.say(n, Message::SendCompact(true));
            }
        }
        bench.after(Duration::from_secs(1));
        bench
    }

    /// Has the node handle an input, and gets what it sends ready for the sockets.
    fn give(&mut self, input: Input) -> Vec<(PeerId, Frame)> {
        self.node.handle(self.now, input);
        let outputs = self.node.drain().filter_map(|output| match output {
            Output::Send { peer, frame } => Some((peer, frame)),
            _ => None,
        });
        outputs.collect()
    }

    fn say(&mut self, peer: u64, message: Message) -> Vec<(PeerId, Frame)> {
        self.give(Input::Received { peer: PeerId(peer), message, at: self.now.mono })
    }

    fn after(&mut self, span: Duration) -> Vec<(PeerId, Frame)> {
        self.now.mono += span;
        self.give(Input::Tick)
    }
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = SledStore::open(dir.path()).expect("a fresh store opens");
    (dir, Arc::new(store))
}

/// Blocks whose transactions are in the mempool, from a peer to the tip and on to the peers that want them pushed.
fn accepted(c: &mut Criterion) {
    let mut group = c.benchmark_group("node's thread, block accepted");
    group.sample_size(10);
    for payments in PAYMENTS {
        let (ledger, block) = full_block(payments);
        let whole = || Message::Block(Arc::new(block.clone()));
        let compact = || Message::CompactBlock(Arc::new(CompactBlock::new(&block, &block.txids(), 1, &[])));
        let mut run = |name: &str, message: &dyn Fn() -> Message| {
            group.bench_function(format!("{payments} payments, {name}"), |b| {
                let prepare = || {
                    let (dir, store) = store();
                    let mut bench = Bench::new(&ledger, store, &block.transactions[1..]);
                    bench.say(0, Message::Headers(vec![block.header]));
                    (dir, bench, message())
                };
                let accept = |(dir, mut bench, message): (_, Bench, Message)| {
                    let pushed = bench.say(0, message);
                    // What was pushed on is connected in the next call.
                    let told = bench.after(Duration::from_millis(1));
                    assert_eq!(bench.node.tip().0, 1);
                    (dir, bench, pushed, told)
                };
                b.iter_batched(prepare, accept, BatchSize::PerIteration);
            });
        };
        run("pushed whole", &whole);
        run("compact", &compact);
    }
    group.finish();
}

/// The newest block, from the store to peers that ask for it at once.
fn served(c: &mut Criterion) {
    let (ledger, block) = full_block(PAYMENTS[1]);
    let (_dir, store) = store();
    Bench::new(&ledger, store.clone(), &[]).say(0, Message::Block(Arc::new(block.clone())));
    store.flush().expect("the disk has room");
    let mut group = c.benchmark_group("node's thread, block served");
    group.sample_size(20);
    for peers in [1, PEERS] {
        group.throughput(Throughput::Elements(peers));
        group.bench_function(format!("{} payments, to {peers}", PAYMENTS[1]), |b| {
            let serve = |mut bench: Bench| {
                let ask = |peer| (peer, Message::GetData(vec![Item::Block(block.hash())]));
                let mut sent: Vec<_> = (0..peers).map(ask).flat_map(|(peer, ask)| bench.say(peer, ask)).collect();
                while sent.len() < peers as usize {
                    sent.extend(bench.after(Duration::from_millis(1)));
                }
                (bench, sent)
            };
            b.iter_batched(|| Bench::new(&ledger, store.clone(), &[]), serve, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// Transactions pushed by one peer: checked, pushed on, announced, and served to those that ask.
fn relayed(c: &mut Criterion) {
    let (ledger, Block { transactions, .. }) = full_block(PAYMENTS[0]);
    let mut group = c.benchmark_group("node's thread, transaction relayed");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(PAYMENTS[0])));
    group.bench_function(format!("{} payments, to {PEERS}", PAYMENTS[0]), |b| {
        let prepare = || {
            let (dir, store) = store();
            let messages = transactions[1..].iter().map(|tx| Message::Transaction(Arc::new(tx.clone())));
            (dir, Bench::new(&ledger, store, &[]), messages.collect())
        };
        let relay = |(dir, mut bench, messages): (_, Bench, Vec<Message>)| {
            let mut sent: Vec<_> = messages.into_iter().flat_map(|message| bench.say(0, message)).collect();
            let announced = bench.after(Duration::from_millis(400));
            for (peer, frame) in &announced {
                if let Ok(Message::Inventory(items)) = frame.message() {
                    sent.extend(bench.say(peer.0, Message::GetData(items)));
                }
            }
            while sent.len() < (PEERS as usize - 1) * PAYMENTS[0] as usize {
                sent.extend(bench.after(Duration::from_millis(1)));
            }
            (dir, bench, announced, sent)
        };
        b.iter_batched(prepare, relay, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, accepted, served, relayed);
criterion_main!(benches);
