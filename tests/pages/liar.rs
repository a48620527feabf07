//! A node that lies to pages: the protocol's own state machine behind the product's own listener for browsers, whose messages
//! are falsified before they are encrypted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn::chain::Chain;
use cairn::consensus::params::Params;
use cairn::mempool::{Limits, Mempool};
use cairn::p2p::chain_prover::prove_tip;
use cairn::p2p::frame::{Decoder, Frame};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::Message;
use cairn::p2p::noise::{Identity, Session};
use cairn::p2p::{Command, Direction, Event, Input, Node, Now, Output, PeerId, Protocol, Reply};
use cairn::primitives::block::Block;
use cairn::primitives::codec;
use cairn::primitives::time::MonoTime;
use cairn::runtime::webrtc::{Arrival, Listener};
use cairn::runtime::{noise, unix_now};
use cairn::storage::MemoryStore;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::process::{self, Place};

/// What to send in place of a message.
pub type Lie = Box<dyn FnMut(Message) -> Vec<Message> + Send>;

/// A liar at work. Its thread ends with the test.
pub struct Liar {
    /// Where pages reach it.
    pub address: String,
    pub id: NodeId,
    connections: Arc<AtomicU64>,
}

impl Liar {
    /// One with the network of a place, and the blocks of a node.
    pub fn start(place: &Place, with: &process::Node, lie: Lie) -> Self {
        let params = Params::from_json(&std::fs::read_to_string(place.path("genesis.json")).unwrap()).unwrap();
        let blocks = (1..=with.tip().0).map(|height| {
            let hash = with.call("getblockhash", &[json!(height)]);
            let block = with.call("getblock", &[hash, json!(0)]);
            codec::decode::<Block>(&hex::decode(block.as_str().unwrap()).unwrap()).unwrap()
        });
        let blocks: Vec<Block> = blocks.collect();
        // Each has a certificate and an id of its own.
        static COUNT: AtomicU8 = AtomicU8::new(7);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let identity = Identity::from_secret([number; 32]);
        let (dir, connections) = (place.path(&format!("liar-{number}")), Arc::new(AtomicU64::new(0)));
        std::fs::create_dir_all(&dir).unwrap();
        let id = identity.id();
        let (told, address) = std::sync::mpsc::channel();
        let counted = connections.clone();
        std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio.block_on(async {
                let socket = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
                let listener = Listener::new(socket, &dir).unwrap();
                told.send(listener.address().to_string()).unwrap();
                let (arrivals, arrived) = mpsc::unbounded_channel();
                tokio::spawn(listener.run(move |arrival| arrivals.send(arrival).unwrap()));
                Server::new(params, blocks, lie).run(&identity, arrived, &counted).await;
            });
        });
        Self { address: address.recv().unwrap(), id, connections }
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

struct Server {
    node: Node,
    lie: Lie,
    start: Instant,
    wake: Option<MonoTime>,
    max_block_bytes: u32,
}

impl Server {
    fn new(params: Params, blocks: Vec<Block>, lie: Lie) -> Self {
        let (params, start) = (Arc::new(params), Instant::now());
        let chain = Chain::open(params.clone(), Arc::new(MemoryStore::default())).unwrap();
        let mempool = Mempool::new(params.clone(), Limits::default());
        let mut node = Node::new(chain, mempool, cairn::p2p::Config::default(), now(start)).unwrap();
        for block in blocks {
            node.submit_block(now(start), block).unwrap();
        }
        Self { node, lie, start, wake: None, max_block_bytes: params.max_block_bytes }
    }

    /// Takes one page after the other.
    async fn run(
        mut self,
        identity: &Identity,
        mut arrived: mpsc::UnboundedReceiver<Arrival>,
        connections: &AtomicU64,
    ) {
        // It makes its proof before any page asks.
        self.node.handle(now(self.start), Input::Tick);
        self.outputs(PeerId(0));
        while let Some(mut arrival) = arrived.recv().await {
            if arrival.session.open().await.is_err() {
                continue;
            }
            let (mut stream, theirs) = duplex(64 << 10);
            tokio::spawn(arrival.session.carry(theirs));
            let Ok(session) = noise::respond_over(&mut stream, identity, &arrival.carrier).await else { continue };
            let peer = PeerId(connections.fetch_add(1, Ordering::SeqCst) + 1);
            let (address, direction, id) = (arrival.address, Direction::Inbound, session.peer);
            self.node.handle(now(self.start), Input::Connected { peer, address, direction, id });
            self.converse(peer, session, stream).await;
            self.node.handle(now(self.start), Input::Disconnected { peer });
        }
    }

    /// Until either side ends it.
    async fn converse(&mut self, peer: PeerId, session: Session, mut stream: DuplexStream) {
        let Session { mut sealer, mut opener, .. } = session;
        let mut decoder = Decoder::of_connection(self.max_block_bytes);
        let mut buffer = vec![0; 16 << 10];
        loop {
            let Some(messages) = self.outputs(peer) else { return };
            let mut sealed = Vec::new();
            for message in messages.into_iter().flat_map(|message| (self.lie)(message)) {
                sealer.seal(&Frame::from(message).to_bytes(), &mut sealed).unwrap();
            }
            if stream.write_all(&sealed).await.is_err() {
                return;
            }
            let rest = self.wake.map_or(Duration::from_secs(3_600), |at| at.saturating_since(now(self.start).mono));
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => opener.push(&buffer[..count]),
                    _ => return,
                },
                () = tokio::time::sleep(rest) => {
                    self.wake = None;
                    self.node.handle(now(self.start), Input::Tick);
                }
            }
            while let Some(plain) = opener.open().unwrap() {
                decoder.push(plain);
                while let Some(message) = decoder.next_message().unwrap() {
                    let now = now(self.start);
                    self.node.handle(now, Input::Received { peer, message, at: now.mono });
                }
            }
        }
    }

    /// What an honest node would send; `None` if it leaves.
    fn outputs(&mut self, peer: PeerId) -> Option<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            let outputs: Vec<Output> = self.node.drain().collect();
            if outputs.is_empty() {
                return Some(messages);
            }
            for output in outputs {
                match output {
                    Output::Send { frame, .. } => messages.push(frame.message().unwrap()),
                    Output::Flush { peer } => self.node.handle(now(self.start), Input::Flushed { peer }),
                    Output::WakeAt { at } => self.wake = Some(at),
                    Output::Event(Event::ProofDue) => {
                        let chain = self.node.chain();
                        let proof = prove_tip(chain.db(), chain.params(), chain.tip().key()).unwrap();
                        self.node.command(now(self.start), Command::ProofMade(proof, Reply::nowhere()));
                    }
                    Output::Disconnect { peer: left, .. } if left == peer => return None,
                    _ => {}
                }
            }
        }
    }
}

fn now(start: Instant) -> Now {
    Now { mono: MonoTime::START + start.elapsed(), unix: unix_now() }
}
