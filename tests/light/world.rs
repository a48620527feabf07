//! A light client and the full nodes that it dials, in virtual time. A node's messages can be falsified on their way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::consensus::params::Params;
use cairn::light::{Answer, Config, Headers, Light, Notice, Question};
use cairn::mempool::{Limits, Mempool};
use cairn::p2p::chain_prover::prove_tip;
use cairn::p2p::frame::{Decoder, Frame};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::Message;
use cairn::p2p::{Command, Direction, Event, Input, Node, Now, Output, PeerAddr, PeerId, Protocol, Reason, Reply};
use cairn::primitives::block::Block;
use cairn::primitives::hash::Hash256;
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::storage::MemoryStore;

/// How a liar, otherwise an honest node, falsifies a message: it returns the messages to send instead.
pub type Lie = Box<dyn FnMut(Message) -> Vec<Message>>;

/// A full node, whose words may be bent.
pub struct Server {
    pub node: Node,
    lie: Lie,
    /// Its number for the connection, and the client's.
    link: Option<PeerId>,
    wake: Option<MonoTime>,
    /// Messages that came from the client, by name.
    pub heard: Vec<&'static str>,
}

/// The client and its servers. Server `n` listens at 10.0.0.`n`, port 7331.
pub struct World {
    params: Arc<Params>,
    pub light: Light,
    pub servers: Vec<Server>,
    pub now: Now,
    wake: Option<MonoTime>,
    next_peer: u64,
    /// The headers that the client wants kept, those from just above `kept_above` on.
    pub kept: Vec<u8>,
    kept_above: usize,
    /// What it wants kept before them.
    pub beginning: Vec<u8>,
    /// All notices of the client.
    pub notices: Vec<Notice>,
    /// Why it let peers go.
    pub goodbyes: Vec<(usize, Reason)>,
}

pub fn address(server: usize) -> PeerAddr {
    PeerAddr::from(([10, 0, 0, server as u8], 7331))
}

pub fn honest() -> Lie {
    Box::new(|message| vec![message])
}

impl World {
    /// A client that knows `servers`; its clock starts an hour after genesis.
    pub fn new(params: &Arc<Params>, servers: usize, config: Config) -> Self {
        let now =
            Now { mono: MonoTime::from_millis(1_000), unix: UnixTime::from_secs(u64::from(params.timestamp) + 3_600) };
        let config = Config { peers: (0..servers).map(|server| (address(server), None)).collect(), ..config };
        Self::resume(Headers::new(params.clone()), config, now)
    }

    /// A client that goes on from a chain, at a time.
    pub fn resume(chain: Headers, config: Config, now: Now) -> Self {
        let params = &chain.params().clone();
        let light = Light::new(chain, config, now);
        Self {
            params: params.clone(),
            light,
            servers: Vec::new(),
            now,
            wake: Some(MonoTime::START),
            next_peer: 1,
            kept: Vec::new(),
            kept_above: 0,
            beginning: Vec::new(),
            notices: Vec::new(),
            goodbyes: Vec::new(),
        }
    }

    /// Adds the next server, which has these blocks after genesis.
    pub fn serve(&mut self, blocks: &[Block], lie: Lie) {
        let chain = Chain::open(self.params.clone(), Arc::new(MemoryStore::default())).unwrap();
        let mempool = Mempool::new(self.params.clone(), Limits::default());
        let config = cairn::p2p::Config { listens: vec![PeerAddr::tcp_port(7331)], ..cairn::p2p::Config::default() };
        let node = Node::new(chain, mempool, config, self.now).unwrap();
        self.servers.push(Server { node, lie, link: None, wake: None, heard: Vec::new() });
        let server = self.servers.len() - 1;
        self.mine(server, blocks);
    }

    /// Gives a server more blocks.
    pub fn mine(&mut self, server: usize, blocks: &[Block]) {
        for block in blocks {
            self.servers[server].node.submit_block(self.now, block.clone()).unwrap();
        }
    }

    /// The answer to a question.
    pub fn ask(&mut self, question: Question) -> Answer {
        self.light.ask(self.now, question);
        let answered = move |notice: &Notice| matches!(notice, Notice::Answered(asked, _) if *asked == question);
        self.run_until("an answer", |world| world.notices.iter().any(answered));
        let place = self.notices.iter().position(answered).unwrap();
        match self.notices.remove(place) {
            Notice::Answered(_, answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time go by until `done`; panics after two hours of it.
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now.mono + Duration::from_secs(2 * 3_600);
        loop {
            self.exchange();
            if done(self) {
                return;
            }
            let wakes = self.servers.iter().filter_map(|server| server.wake).chain(self.wake);
            let next = wakes.min().unwrap_or(end).max(self.now.mono + Duration::from_millis(1));
            assert!(next < end, "{what} has not come; servers: {:?}, notices: {:?}", self.goodbyes, self.notices);
            let span = Duration::from_secs(next.as_millis() / 1_000 - self.now.mono.as_millis() / 1_000);
            self.now.unix = self.now.unix.saturating_add(span);
            self.now.mono = next;
            if self.wake.take_if(|at| *at <= next).is_some() {
                self.light.handle(self.now, Input::Tick);
            }
            for server in &mut self.servers {
                if server.wake.take_if(|at| *at <= next).is_some() {
                    server.node.handle(self.now, Input::Tick);
                }
            }
        }
    }

    /// Lets time go by until the client knows all that its servers have.
    pub fn sync(&mut self) {
        self.run_until("the end of synchronisation", |world| world.light.is_synced());
    }

    /// Carries messages to and fro until there are none.
    fn exchange(&mut self) {
        loop {
            let mut work: VecDeque<Output> = self.light.drain().collect();
            let mut idle = work.is_empty();
            while let Some(output) = work.pop_front() {
                self.act(output);
            }
            for server in 0..self.servers.len() {
                let outputs: Vec<Output> = self.servers[server].node.drain().collect();
                idle &= outputs.is_empty();
                for output in outputs {
                    self.serve_output(server, output);
                }
            }
            self.notices.extend(self.light.take_notices());
            if idle {
                return;
            }
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Connect { address: to, .. } => {
                let found = (0..self.servers.len()).find(|server| address(*server) == to);
                match found {
                    Some(server) => {
                        let peer = PeerId(self.next_peer);
                        self.next_peer += 1;
                        let id = NodeId(Hash256::of(&peer.0.to_le_bytes()).to_bytes());
                        let from = PeerAddr::from(([10, 1, 0, 1], 40_000 + peer.0 as u16));
                        let inbound = Input::Connected { peer, address: from, direction: Direction::Inbound, id };
                        self.servers[server].link = Some(peer);
                        self.servers[server].node.handle(self.now, inbound);
                        let outbound = Input::Connected { peer, address: to, direction: Direction::Outbound, id };
                        self.light.handle(self.now, outbound);
                    }
                    None => self.light.handle(self.now, Input::ConnectFailed { address: to, found: None }),
                }
            }
            Output::Send { peer, frame } => {
                if let Some(server) = self.server_of(peer) {
                    self.servers[server].heard.push(frame.kind().name());
                    let message = over_the_wire(&frame, &self.params);
                    let input = Input::Received { peer, message, at: self.now.mono };
                    self.servers[server].node.handle(self.now, input);
                }
            }
            Output::Disconnect { peer, reason } => {
                if let Some(server) = self.server_of(peer) {
                    self.servers[server].link = None;
                    self.servers[server].node.handle(self.now, Input::Disconnected { peer });
                    self.goodbyes.push((server, reason));
                }
            }
            Output::WakeAt { at } => self.wake = Some(at),
            Output::KeepHeaders { beginning, above, headers } => {
                if let Some(beginning) = beginning {
                    (self.beginning, self.kept_above) = (beginning, above.as_usize());
                }
                self.kept.truncate((above.as_usize() - self.kept_above) * 80);
                self.kept.extend(headers);
            }
            Output::Flush { .. } | Output::Event(_) => {}
        }
    }

    fn server_of(&self, peer: PeerId) -> Option<usize> {
        self.servers.iter().position(|server| server.link == Some(peer))
    }

    fn serve_output(&mut self, server: usize, output: Output) {
        let params = self.params.clone();
        let Server { node, lie, link, wake, .. } = &mut self.servers[server];
        match output {
            Output::Send { peer, frame } if *link == Some(peer) => {
                for message in lie(frame.message().unwrap()) {
                    let message = over_the_wire(&message.into(), &params);
                    let input = Input::Received { peer, message, at: self.now.mono };
                    self.light.handle(self.now, input);
                }
            }
            Output::Flush { peer } => node.handle(self.now, Input::Flushed { peer }),
            Output::WakeAt { at } => *wake = Some(at),
            Output::Event(Event::ProofDue) => {
                let chain = node.chain();
                let proof = prove_tip(chain.db(), chain.params(), chain.tip().key()).unwrap();
                node.command(self.now, Command::ProofMade(proof, Reply::nowhere()));
            }
            Output::Disconnect { peer, reason } if *link == Some(peer) => {
                panic!("the client was let go by server {server}: {reason}");
            }
            _ => {}
        }
    }
}

/// The message after it was a frame's bytes.
fn over_the_wire(frame: &Frame, params: &Params) -> Message {
    let mut decoder = Decoder::new(params.max_block_bytes);
    decoder.push(&frame.to_bytes());
    decoder.next_message().unwrap().unwrap()
}
