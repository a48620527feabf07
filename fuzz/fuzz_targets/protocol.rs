//! A full node, or a light client, and peers that say anything in any order while time passes. Whatever they do, it says only
//! what may be sent, knows its peers to be bounded, keeps a store that replays, and still takes the honest chain.

#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use cairn::chain::{self, ChainError};
use cairn::light::{self, Headers, Light, Question};
use cairn::p2p::frame::{Decoder, Frame};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::{Kind, Message};
use cairn::p2p::{Config, Direction, Input, Node, Output, PeerAddr, PeerId, Protocol};
use cairn::primitives::height::Height;
use cairn::primitives::time::MonoTime;
use cairn_fuzz::{Script, blocks, fresh_chain, fresh_pool, key, messages, now, params, seed};
use libfuzzer_sys::fuzz_target;

/// Most steps of an input that are carried out.
const MAX_STEPS: usize = 64;

fn seeds() {
    let count = messages().len() as u8;
    let mut inputs = Vec::new();
    for light in 0..2u8 {
        // A peer that says hello and then all it may, in pieces; and the same after the node has dialled it.
        for first in (1..count).step_by(6) {
            let mut input = vec![light, 0, 1, 1, 0, 0];
            (first..count.min(first + 6)).for_each(|what| input.extend([1, 0, what, 6, 200]));
            inputs.push(input);
        }
        inputs.push(vec![light, 5, 0, 1, 0, 0, 1, 0, 2, 4, 0, 6, 255]);
        // Two peers; one changes a byte of what it says.
        inputs.push(vec![light, 0, 1, 0, 2, 1, 0, 0, 1, 1, 0, 2, 1, 2, 1, 30, 0, 9, 3, 0, 7]);
    }
    seed("protocol", inputs);
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    match script.byte() % 2 {
        0 => full(script),
        _ => client(script),
    }
});

fn full(script: Script) {
    let config = Config {
        id: NodeId([200; 32]),
        listens: vec![PeerAddr::tcp_port(7331)],
        max_inbound: 6,
        outbound_target: 2,
        ..Config::default()
    };
    let node = Node::new(fresh_chain(), fresh_pool(), config, now(MonoTime::START)).expect("memory does not fail");
    let mut driver = Driver::new(node);
    driver.run(script);
    let at = now(driver.time);
    assert!(driver.protocol.peers(at).len() <= 6 + 2 + driver.dialled.len() + 2, "connections are bounded");
    for block in blocks() {
        match driver.protocol.submit_block(at, block.clone()) {
            Ok(_) | Err(ChainError::Duplicate { .. }) => {}
            Err(error) => panic!("an honest block is refused: {error}"),
        }
    }
    driver.drain();
    let chain = driver.protocol.chain();
    let honest = chain.entry(&blocks()[blocks().len() - 1].hash()).expect("it was taken");
    assert!(chain.tip().work >= honest.work, "the best chain has most work");
    let report = chain::check(chain.db(), params(), &mut |_, _| ()).expect("the store replays");
    assert_eq!(report.height, chain.tip().height);
}

fn client(script: Script) {
    let config = light::Config { peers: vec![(address(1), None)], outbound_target: 2, ..light::Config::default() };
    let mut light = Light::new(Headers::new(params().clone()), config, now(MonoTime::START));
    light.ask(now(MonoTime::START), Question::Transaction(blocks()[4].txids()[2]));
    light.watch(now(MonoTime::START), BTreeSet::from([key(2).public_key()]), Height::GENESIS, 1);
    let mut driver = Driver::new(light);
    driver.run(script);
    let chain = driver.protocol.chain();
    for (below, height) in Height::GENESIS.until(chain.height()).map(|below| (below, below.next())) {
        let header = chain.header(height).expect("it has all headers");
        assert_eq!(Some(header.previous), chain.hash(below));
        assert!(params().genesis_target.is_met_by(&header.hash()));
    }
    driver.protocol.take_notices();
}

/// The address of a peer: a few, of different parts of the net.
fn address(n: u8) -> PeerAddr {
    match n % 8 {
        0 => ([127, 0, 0, 1], 7000 + u16::from(n)).into(),
        7 => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)], 7331).into(),
        part => ([203, part, 113, n], 7331).into(),
    }
}

/// Plays the sockets and the clock.
struct Driver<P> {
    protocol: P,
    time: MonoTime,
    wake: Option<MonoTime>,
    connected: Vec<PeerId>,
    next_peer: u64,
    dialled: VecDeque<PeerAddr>,
}

impl<P: Protocol> Driver<P> {
    fn new(protocol: P) -> Self {
        let (connected, dialled) = (Vec::new(), VecDeque::new());
        let mut driver = Self { protocol, time: MonoTime::START, wake: None, connected, next_peer: 1, dialled };
        driver.drain();
        driver
    }

    fn run(&mut self, mut script: Script) {
        for _ in 0..MAX_STEPS {
            if script.is_empty() {
                break;
            }
            self.step(&mut script);
        }
    }

    fn step(&mut self, script: &mut Script) {
        match script.byte() % 8 {
            0 => {
                let n = script.byte();
                self.connect(address(n), Direction::Inbound, NodeId([n; 32]));
            }
            1 => {
                let peer = self.peer(script);
                let message = script.choose(messages()).clone();
                self.receive(peer, message);
            }
            // As a socket would read it: bytes of an honest message, some of them changed.
            2 => {
                let peer = self.peer(script);
                let message = script.choose(messages());
                let mut payload = message.encode();
                script.change(&mut payload);
                self.receive_payload(peer, message.kind(), &payload);
            }
            3 => {
                let (peer, kind) = (self.peer(script), *script.choose(&Kind::ALL));
                let length = script.byte().into();
                self.receive_payload(peer, kind, script.take(length));
            }
            4 => {
                let peer = self.peer(script);
                self.handle(Input::Flushed { peer });
            }
            5 => {
                let n = script.byte();
                if let Some(address) = self.dialled.pop_front() {
                    match n % 4 {
                        3 => self.handle(Input::ConnectFailed { address, found: None }),
                        _ => self.connect(address, Direction::Outbound, NodeId([n; 32])),
                    }
                }
            }
            6 => {
                // Up to a minute, with every wake-up on the way.
                let until = self.time + Duration::from_millis(u64::from(script.byte()).pow(2));
                for _ in 0..100 {
                    let Some(wake) = self.wake.take().filter(|wake| *wake <= until) else { break };
                    self.time = self.time.max(wake);
                    self.handle(Input::Tick);
                }
                self.time = until;
                self.handle(Input::Tick);
            }
            _ => {
                let peer = self.peer(script);
                self.connected.retain(|other| *other != peer);
                self.handle(Input::Disconnected { peer });
            }
        }
    }

    /// One of those that are connected; one that never was if there are none.
    fn peer(&self, script: &mut Script) -> PeerId {
        let n = usize::from(script.byte());
        self.connected.get(n % self.connected.len().max(1)).copied().unwrap_or(PeerId(0))
    }

    fn connect(&mut self, address: PeerAddr, direction: Direction, id: NodeId) {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        self.connected.push(peer);
        self.handle(Input::Connected { peer, address, direction, id });
    }

    fn receive(&mut self, peer: PeerId, message: Message) {
        if self.connected.contains(&peer) {
            self.handle(Input::Received { peer, message, at: self.time });
        }
    }

    fn receive_payload(&mut self, peer: PeerId, kind: Kind, payload: &[u8]) {
        match Message::decode(kind, payload) {
            Ok(message) => self.receive(peer, message),
            Err(error) => self.handle(Input::Malformed { peer, reason: error.into() }),
        }
    }

    fn handle(&mut self, input: Input) {
        self.protocol.handle(now(self.time), input);
        self.drain();
    }

    fn drain(&mut self) {
        let outputs: Vec<Output> = self.protocol.drain().collect();
        assert!(outputs.len() < 1_000, "an input causes a bounded number of outputs");
        for output in outputs {
            match output {
                Output::Send { peer, frame } => {
                    assert!(peer.0 < self.next_peer);
                    can_be_read(&frame);
                }
                Output::Disconnect { peer, .. } => self.connected.retain(|other| *other != peer),
                Output::Connect { address, .. } => {
                    assert_ne!(address.port(), 0);
                    self.dialled.push_back(address);
                }
                Output::WakeAt { at } => self.wake = Some(at),
                Output::Event(_) | Output::Flush { .. } | Output::KeepHeaders { .. } => {}
            }
        }
    }
}

/// Whatever is said, the other side's decoder takes.
fn can_be_read(frame: &Frame) {
    let mut decoder = Decoder::new(params().max_block_bytes);
    decoder.push(&frame.to_bytes());
    let message = decoder.next_message().expect("it can be read").expect("it is whole");
    assert_eq!(Frame::from(message), *frame);
    assert_eq!(decoder.buffered(), 0);
}
