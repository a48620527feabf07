//! `cairn bench thread`: time of the node's thread for a block that is accepted, a block that is served, and a
//! transaction that is relayed. What sockets do on other threads, decryption and decoding, is not in it.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::fixture::Scratch;
use super::{Figure, payments, shortest};
use crate::chain::Chain;
use crate::consensus::params::Params;
use crate::mempool::{Limits, Mempool};
use crate::miner::{kernel, template};
use crate::p2p::compact::CompactBlock;
use crate::p2p::frame::Frame;
use crate::p2p::kad::NodeId;
use crate::p2p::message::{Hello, Item, Message, SERVICE_FULL};
use crate::p2p::{Config, Direction, Input, Node, Now, Output, PeerId, Protocol};
use crate::primitives::block::Block;
use crate::primitives::height::Height;
use crate::primitives::keys::{SecretKey, SignatureCheck};
use crate::primitives::time::{MonoTime, UnixTime};
use crate::primitives::tx::Transaction;
use crate::storage::{SledStore, Store};

/// Peers of the node; the last three want blocks pushed.
const PEERS: u64 = 8;
const PUSHED: u64 = 3;
const PAYMENTS: [u32; 2] = [1_000, 4_000];
const ROUNDS: u32 = 8;
/// Between two looks at what the node has to do, and until it has announced what it has.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
const ANNOUNCED: Duration = Duration::from_millis(400);
/// After which a node that says nothing is given up, in its own time.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let mut figures = Vec::new();
    for count in PAYMENTS {
        figures.extend(accepted(&Scene::new(count)?)?);
    }
    figures.extend(served(&Scene::new(PAYMENTS[1])?)?);
    figures.push(relayed(&Scene::new(PAYMENTS[0])?)?);
    let about = format!(
        "\
The node's thread, with {PEERS} peers; {PUSHED} of them want blocks pushed. References: for a block accepted, the chain
alone, which also knows its signatures; for a block served, its frame made once; for a transaction relayed to all
peers, its signature checked alone."
    );
    Ok((about, figures))
}

/// A network with payments that its next block may have, and that block.
struct Scene {
    params: Arc<Params>,
    transactions: Vec<Transaction>,
    checks: Vec<SignatureCheck>,
    block: Block,
}

impl Scene {
    fn new(count: u32) -> anyhow::Result<Self> {
        let (params, mut coins) = payments::network(count)?;
        let checks = payments::signature_checks(&params, &coins);
        let transactions = payments::payments(&params, &mut coins).into_iter().map(|(_, tx)| tx).collect();
        let genesis = Block { header: params.genesis.header, transactions: Vec::new() };
        let mut scene = Self { params, transactions, checks, block: genesis };
        let dir = Scratch::new()?;
        let bench = scene.bench(&open(dir.path())?, true)?;
        let payee = SecretKey::from_seed([8; 32]).public_key();
        let template = template::build(bench.node.chain(), bench.node.mempool(), &payee, 1, bench.now.unix)?;
        let nonce = kernel::search(&template.header, template.target, 0..=u32::MAX).context("no nonce is enough")?;
        scene.block = template.block(nonce);
        ensure!(scene.block.transactions.len() == scene.transactions.len() + 1, "the payments do not fit into a block");
        Ok(scene)
    }

    fn now(&self) -> UnixTime {
        UnixTime::from_secs(u64::from(self.params.timestamp) + 1_000)
    }

    /// A node with peers, on what is in `store`, and with the payments in its mempool if it `knows` them.
    fn bench(&self, store: &Arc<dyn Store>, knows: bool) -> anyhow::Result<Bench> {
        let now = Now { mono: MonoTime::from_millis(1_000), unix: self.now() };
        let chain = Chain::open(self.params.clone(), store.clone())?;
        let mut mempool = Mempool::new(self.params.clone(), Limits::default());
        for tx in self.transactions.iter().filter(|_| knows) {
            mempool.accept(tx.clone(), &chain, now.unix)?;
        }
        let mut bench = Bench { node: Node::new(chain, mempool, Config::default(), now)?, now };
        let hello = Hello::new(self.params.genesis_hash, SERVICE_FULL);
        for n in 0..PEERS {
            let address = ([10, 0, n as u8, 1], 7331).into();
            let id = NodeId([n as u8 + 1; 32]);
            bench.give(Input::Connected { peer: PeerId(n), address, direction: Direction::Inbound, id });
            bench.say(n, Message::Hello(hello.clone()));
            if n >= PEERS - PUSHED {
                bench.say(n, Message::SendCompact(true));
            }
        }
        bench.after(Duration::from_secs(1));
        Ok(bench)
    }
}

fn open(dir: &Path) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(SledStore::open(dir)?))
}

/// A node and the time that it is told.
struct Bench {
    node: Node,
    now: Now,
}

impl Bench {
    /// Has the node handle an input, and takes the frames that it sends.
    fn give(&mut self, input: Input) -> Vec<(PeerId, Frame)> {
        self.node.handle(self.now, input);
        let sent = self.node.drain().filter_map(|output| match output {
            Output::Send { peer, frame } => Some((peer, frame)),
            _ => None,
        });
        sent.collect()
    }

    fn say(&mut self, peer: u64, message: Message) -> Vec<(PeerId, Frame)> {
        self.give(Input::Received { peer: PeerId(peer), message, at: self.now.mono })
    }

    fn after(&mut self, span: Duration) -> Vec<(PeerId, Frame)> {
        self.now.mono += span;
        self.give(Input::Tick)
    }

    /// Goes on until so many messages were sent.
    fn until(&mut self, sent: &mut Vec<(PeerId, Frame)>, count: usize) -> anyhow::Result<()> {
        let start = self.now.mono;
        while sent.len() < count {
            let waited = self.now.mono.saturating_since(start);
            ensure!(waited < TIMEOUT, "the node has sent {} of {count} messages", sent.len());
            sent.extend(self.after(POLL_INTERVAL));
        }
        Ok(())
    }
}

/// The block, whose transactions are in the mempool, from a peer to the tip and on to the peers that want it pushed.
fn accepted(scene: &Scene) -> anyhow::Result<[Figure; 2]> {
    let block = &scene.block;
    let whole = Message::Block(Arc::new(block.clone()));
    let compact = Message::CompactBlock(Arc::new(CompactBlock::new(block, &block.txids(), 1, &[])));
    let mut shortest = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for (message, shortest) in [&whole, &compact].into_iter().zip(&mut shortest) {
            let dir = Scratch::new()?;
            let mut bench = scene.bench(&open(dir.path())?, true)?;
            bench.say(0, Message::Headers(vec![block.header]));
            let message = message.clone();
            let start = Instant::now();
            let pushed = bench.say(0, message);
            // What was pushed on is connected in the next call.
            let told = bench.after(POLL_INTERVAL);
            *shortest = start.elapsed().min(*shortest);
            ensure!(bench.node.tip().0 == Height::from_u32(1), "the block does not become the tip");
            drop((pushed, told));
        }
        let dir = Scratch::new()?;
        let mut chain = Chain::open(scene.params.clone(), open(dir.path())?)?;
        let block = block.clone();
        let start = Instant::now();
        let _ = chain.accept_block(block, scene.now(), &|_| true)?;
        shortest[2] = start.elapsed().min(shortest[2]);
    }
    let [whole, compact, chain] = shortest.map(|time| time.as_secs_f64() * 1e3);
    let count = scene.transactions.len();
    let figure = |how, time| Figure::cost(format!("a block of {count} accepted, {how}"), time, "ms", chain);
    Ok([figure("pushed whole", whole), figure("compact", compact)])
}

/// The newest block, from the store to peers that ask for it at once.
fn served(scene: &Scene) -> anyhow::Result<Vec<Figure>> {
    let dir = Scratch::new()?;
    let store = open(dir.path())?;
    let message = Message::Block(Arc::new(scene.block.clone()));
    scene.bench(&store, false)?.say(0, message.clone());
    store.flush()?;
    let framed = shortest(ROUNDS, &mut [Box::new(|| drop(black_box(Frame::from(black_box(&message)))))]);
    let mut figures = Vec::new();
    for peers in [1, PEERS] {
        let mut shortest = Duration::MAX;
        for _ in 0..ROUNDS {
            let mut bench = scene.bench(&store, false)?;
            let start = Instant::now();
            let mut sent = Vec::new();
            for peer in 0..peers {
                sent.extend(bench.say(peer, Message::GetData(vec![Item::Block(scene.block.hash())])));
            }
            bench.until(&mut sent, peers as usize)?;
            shortest = start.elapsed().min(shortest);
        }
        let name = format!("a block of {} served to peers: {peers}", scene.transactions.len());
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        figures.push(Figure::cost(name, millis(shortest), "ms", millis(framed[0])));
    }
    Ok(figures)
}

/// Transactions pushed by one peer: checked, pushed on, announced, and served to those that ask.
fn relayed(scene: &Scene) -> anyhow::Result<Figure> {
    let count = scene.transactions.len();
    let checks = &scene.checks;
    let alone = shortest(ROUNDS, &mut [Box::new(|| assert!(checks.iter().all(SignatureCheck::holds)))]);
    let mut shortest = Duration::MAX;
    for _ in 0..ROUNDS {
        let dir = Scratch::new()?;
        let mut bench = scene.bench(&open(dir.path())?, false)?;
        let messages: Vec<Message> =
            scene.transactions.iter().map(|tx| Message::Transaction(Arc::new(tx.clone()))).collect();
        let start = Instant::now();
        let mut sent: Vec<_> = messages.into_iter().flat_map(|message| bench.say(0, message)).collect();
        let announced = bench.after(ANNOUNCED);
        for (peer, frame) in &announced {
            if let Ok(Message::Inventory(items)) = frame.message() {
                sent.extend(bench.say(peer.0, Message::GetData(items)));
            }
        }
        bench.until(&mut sent, (PEERS as usize - 1) * count).context("relaying transactions")?;
        shortest = start.elapsed().min(shortest);
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    Ok(Figure::cost("a transaction relayed".to_owned(), micros(shortest), "us", micros(alone[0])))
}
