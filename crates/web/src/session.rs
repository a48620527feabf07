//! A light client, and its connections as streams of encrypted bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cairn::consensus::params::{Params, ParamsError};
use cairn::light::{Config, Headers, Light, Notice, PeerStatus, Scope};
use cairn::p2p::frame::{Decoder, FrameError};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::Message;
use cairn::p2p::noise::{self, Carrier, Handshake, HandshakeError, Identity, Opener, RecordError, Sealer};
use cairn::p2p::{self, Direction, Input, Now, PeerAddr, PeerId, Protocol, Transports};
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::primitives::{address, keyed};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Bytes of the seed.
const SEED_BYTES: usize = 32;

/// The two clocks' readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) mono_ms: u64,
    pub(crate) unix_secs: u64,
}

impl Times {
    fn now(self) -> Now {
        Now { mono: MonoTime::from_millis(self.mono_ms), unix: UnixTime::from_secs(self.unix_secs) }
    }
}

/// What the page is to do.
#[derive(Debug)]
pub(crate) enum Output {
    Dial(PeerAddr),
    Write(u32, Vec<u8>),
    Close(u32),
    Begin(u32, Vec<u8>),
    Keep(u32, Vec<u8>),
    WakeIn(u32),
    Tell(String),
}

/// Why no client starts.
#[derive(Debug)]
pub(crate) enum StartError {
    Seed,
    Text,
    Genesis(ParamsError),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seed => write!(f, "expected {SEED_BYTES} random bytes before genesis.json"),
            Self::Text => f.write_str("genesis.json is not UTF-8"),
            Self::Genesis(error) => error.fmt(f),
        }
    }
}

/// Why no more messages come from a connection.
enum Broken {
    Record(RecordError),
    /// Decrypted bytes are no message.
    Frame(FrameError),
}

impl From<RecordError> for Broken {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

enum Stage {
    Handshake { handshake: Handshake, received: Vec<u8> },
    Open { sealer: Sealer, opener: Opener, decoder: Decoder },
}

struct Connection {
    address: PeerAddr,
    stage: Stage,
}

/// The client: not begun until the first tick, so that headers and peers can be given before.
enum Client {
    Waits { chain: Headers, config: Config },
    Runs(Box<Light>),
}

pub(crate) struct Session {
    params: Arc<Params>,
    client: Option<Client>,
    identity: Identity,
    rng: ChaCha20Rng,
    /// Required ids of addresses being dialled.
    dials: BTreeMap<PeerAddr, Option<NodeId>>,
    connections: BTreeMap<u32, Connection>,
    last_connection: u32,
    outputs: VecDeque<Output>,
}

impl Session {
    /// A client that has not begun. `start` is a seed and genesis.json.
    pub(crate) fn new(start: &[u8]) -> Result<Self, StartError> {
        let (seed, genesis) = start.split_first_chunk::<SEED_BYTES>().ok_or(StartError::Seed)?;
        let genesis = std::str::from_utf8(genesis).map_err(|_| StartError::Text)?;
        let params = Arc::new(Params::from_json(genesis).map_err(StartError::Genesis)?);
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        // A second client of this instance keeps the first one's key.
        keyed::set_key(key);
        // What is dialled is what `add_peer` is given.
        let transports = Transports { tcp: false, webrtc: false };
        let config = Config { seed: random(&mut rng), transports, ..Config::default() };
        Ok(Self {
            client: Some(Client::Waits { chain: Headers::new(params.clone()), config }),
            params,
            identity: Identity::from_secret(random(&mut rng)),
            rng,
            dials: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            outputs: VecDeque::new(),
        })
    }

    pub(crate) fn load(&mut self, kept: &[u8]) {
        if let Some(Client::Waits { chain, .. }) = &mut self.client {
            chain.load(kept);
        }
    }

    pub(crate) fn add_peer(&mut self, address: &[u8]) -> bool {
        match (&mut self.client, parse(address)) {
            (Some(Client::Waits { config, .. }), Some(address)) => {
                match address {
                    PeerAddr::Tcp(_) => config.transports.tcp = true,
                    PeerAddr::WebRtc { .. } => config.transports.webrtc = true,
                }
                config.peers.push((address, None));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn tick(&mut self, times: Times) {
        if let Some(Client::Waits { chain, config }) =
            self.client.take_if(|client| matches!(client, Client::Waits { .. }))
        {
            self.client = Some(Client::Runs(Box::new(Light::new(chain, config, times.now()))));
        }
        self.handle(times, Input::Tick);
    }

    pub(crate) fn opened(&mut self, times: Times, input: &[u8]) -> u32 {
        self.last_connection += 1;
        let number = self.last_connection;
        let expected =
            carried(input).and_then(|(address, carrier)| Some((address, carrier, self.dials.remove(&address)?)));
        let Some((address, carrier, id)) = expected else {
            // The client did not dial that.
            self.outputs.push_back(Output::Close(number));
            return number;
        };
        let begun =
            Handshake::initiate(&self.identity, &carrier, id, random(&mut self.rng)).and_then(|mut handshake| {
                let first = handshake.send()?;
                Ok((handshake, first))
            });
        match begun {
            Ok((handshake, first)) => {
                let stage = Stage::Handshake { handshake, received: Vec::new() };
                self.connections.insert(number, Connection { address, stage });
                self.outputs.extend(first.map(|first| Output::Write(number, first)));
            }
            Err(error) => {
                self.outputs.push_back(Output::Tell(format!("{address}: {error}")));
                self.outputs.push_back(Output::Close(number));
                self.handle(times, Input::ConnectFailed { address });
            }
        }
        number
    }

    pub(crate) fn dial_failed(&mut self, times: Times, address: &[u8]) {
        if let Some(address) = parse(address).filter(|address| self.dials.remove(address).is_some()) {
            self.handle(times, Input::ConnectFailed { address });
        }
    }

    pub(crate) fn received(&mut self, times: Times, number: u32, bytes: &[u8]) {
        let Some(Connection { address, stage }) = self.connections.remove(&number) else { return };
        let peer = PeerId(number.into());
        match stage {
            Stage::Handshake { handshake, received } => {
                let advanced = self.advance(number, handshake, [&received, bytes].concat());
                let (stage, id) = match advanced {
                    Ok(advanced) => advanced,
                    Err(error) => {
                        self.outputs.push_back(Output::Tell(format!("{address}: {error}")));
                        self.outputs.push_back(Output::Close(number));
                        return self.handle(times, Input::ConnectFailed { address });
                    }
                };
                self.connections.insert(number, Connection { address, stage });
                if let Some(id) = id {
                    self.handle(times, Input::Connected { peer, address, direction: Direction::Outbound, id });
                }
            }
            Stage::Open { sealer, mut opener, decoder } => {
                opener.push(bytes);
                // It is back before its messages are handled, which may end it or write to it.
                let stage = Stage::Open { sealer, opener, decoder };
                self.connections.insert(number, Connection { address, stage });
            }
        }
        loop {
            match self.next_message(number) {
                Ok(None) => return,
                Ok(Some(message)) => {
                    self.handle(times, Input::Received { peer, message, at: times.now().mono });
                }
                Err(Broken::Frame(reason)) => return self.handle(times, Input::Malformed { peer, reason }),
                // A third party between the two sides can cause it, so the peer is not blamed.
                Err(Broken::Record(error)) => {
                    self.outputs.push_back(Output::Tell(error.to_string()));
                    self.outputs.push_back(Output::Close(number));
                    return self.closed(times, number);
                }
            }
        }
    }

    /// A handshake with what came: still that, or an open connection and the id that the other side has proven.
    fn advance(
        &mut self,
        number: u32,
        mut handshake: Handshake,
        mut received: Vec<u8>,
    ) -> Result<(Stage, Option<NodeId>), HandshakeError> {
        while let Some(length) = handshake.awaited() {
            if received.len() < length {
                return Ok((Stage::Handshake { handshake, received }, None));
            }
            let rest = received.split_off(length);
            handshake.receive(&received)?;
            received = rest;
            self.outputs.extend(handshake.send()?.map(|message| Output::Write(number, message)));
        }
        let noise::Session { peer, sealer, mut opener } = handshake.finish()?;
        opener.push(&received);
        Ok((Stage::Open { sealer, opener, decoder: Decoder::of_connection(self.params.max_block_bytes) }, Some(peer)))
    }

    /// The next message that a connection's bytes hold, if it is still there.
    fn next_message(&mut self, number: u32) -> Result<Option<Message>, Broken> {
        let Some(Connection { stage: Stage::Open { opener, decoder, .. }, .. }) = self.connections.get_mut(&number)
        else {
            return Ok(None);
        };
        loop {
            if let Some(message) = decoder.next_message()? {
                return Ok(Some(message));
            }
            match opener.open()? {
                Some(plain) => decoder.push(plain),
                None => return Ok(None),
            }
        }
    }

    pub(crate) fn closed(&mut self, times: Times, number: u32) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let input = match connection.stage {
            Stage::Handshake { .. } => Input::ConnectFailed { address: connection.address },
            Stage::Open { .. } => Input::Disconnected { peer: PeerId(number.into()) },
        };
        self.handle(times, input);
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn height(&self) -> u32 {
        self.light().map_or(0, |light| light.chain().height().as_u32())
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.light().is_some_and(Light::is_synced)
    }

    /// Proves what an address owns, in place of what was asked before: `false` if it is no address of this network.
    pub(crate) fn own(&mut self, times: Times, text: &[u8]) -> bool {
        let key = std::str::from_utf8(text).ok().map(|text| address::decode(&self.params.address_prefix, text));
        let (Some(Ok(key)), Some(Client::Runs(light))) = (key, &mut self.client) else { return false };
        light.own(times.now(), Scope::Keys([key].into()));
        self.drain(times);
        true
    }

    /// The best chain and the peers, a line for each: see [`crate::status`].
    pub(crate) fn status(&self) -> String {
        let Some(light) = self.light() else { return String::new() };
        let chain = light.chain();
        let (height, hash, time) = (chain.height(), chain.tip_hash(), chain.tip().time);
        let mut lines = format!("tip {height} {hash} {time} {}\n", chain.work());
        for report in light.reports() {
            let standing = match report.standing {
                PeerStatus::Asked => "asked".to_owned(),
                PeerStatus::Agrees => "agrees".to_owned(),
                PeerStatus::Behind { height } => format!("behind, at {height}"),
                PeerStatus::OtherBranch { height, .. } => format!("on another branch, at {height}"),
                PeerStatus::Less { height } => format!("claims less work, at {height}"),
                PeerStatus::Gone { reason } => format!("gone: {reason}"),
                PeerStatus::Unreachable => "unreachable".to_owned(),
            };
            lines += &format!("peer {} {standing}\n", report.address);
        }
        if let Some(holding) = light.holding() {
            let grains: u64 = holding.coins.values().map(|coin| coin.output.value.as_grains()).sum();
            let committed = holding.proven.committed_at.map_or("-".to_owned(), |height| height.to_string());
            let (count, edge, tip) = (holding.coins.len(), holding.proven.edge.0, holding.tip);
            lines += &format!("balance {grains} {count} {edge} {committed} {tip}\n");
        }
        lines
    }

    fn light(&self) -> Option<&Light> {
        match &self.client {
            Some(Client::Runs(light)) => Some(light),
            _ => None,
        }
    }

    /// Gives the client an input, and carries out what it puts out.
    fn handle(&mut self, times: Times, input: Input) {
        let Some(Client::Runs(light)) = &mut self.client else { return };
        light.handle(times.now(), input);
        self.drain(times);
    }

    fn drain(&mut self, times: Times) {
        let Some(Client::Runs(light)) = &mut self.client else { return };
        let outputs: Vec<p2p::Output> = light.drain().collect();
        let notices = light.take_notices();
        for output in outputs {
            self.carry_out(times, output);
        }
        self.outputs.extend(notices.into_iter().filter_map(told).map(Output::Tell));
    }

    fn carry_out(&mut self, times: Times, output: p2p::Output) {
        match output {
            p2p::Output::Send { peer, frame } => {
                let number = peer.0 as u32;
                let Some(Connection { stage: Stage::Open { sealer, .. }, .. }) = self.connections.get_mut(&number)
                else {
                    return;
                };
                let mut sealed = Vec::new();
                match sealer.seal(&frame.to_bytes(), &mut sealed) {
                    Ok(()) => self.outputs.push_back(Output::Write(number, sealed)),
                    // After 2^64 records.
                    Err(_) => self.outputs.push_back(Output::Close(number)),
                }
            }
            p2p::Output::Connect { address, id } => {
                self.dials.insert(address, id);
                self.outputs.push_back(Output::Dial(address));
            }
            p2p::Output::Disconnect { peer, reason } => {
                let number = peer.0 as u32;
                if let Some(Connection { address, .. }) = self.connections.remove(&number) {
                    self.outputs.push_back(Output::Tell(format!("{address}: {reason}")));
                    self.outputs.push_back(Output::Close(number));
                }
            }
            p2p::Output::WakeAt { at } => {
                // Seven weeks, if it is later.
                let millis = at.saturating_since(times.now().mono).as_millis();
                self.outputs.push_back(Output::WakeIn(u32::try_from(millis).unwrap_or(u32::MAX)));
            }
            p2p::Output::KeepHeaders { beginning, above, headers } => {
                self.outputs.extend(beginning.map(|beginning| Output::Begin(above.as_u32(), beginning)));
                self.outputs.push_back(Output::Keep(above.as_u32(), headers));
            }
            // A client that serves no peer flushes nothing.
            p2p::Output::Flush { .. } | p2p::Output::Event(_) => {}
        }
    }
}

/// What the page is to show of a notice. Written out for those that there can be: `Debug` of all takes 6 kB more of the module.
fn told(notice: Notice) -> Option<String> {
    match notice {
        Notice::Synced => Some("Synced".to_owned()),
        Notice::Lied(peer, offence) => Some(format!("{peer} lied: it {offence}")),
        // Nothing is asked of the client yet.
        Notice::Answered(..)
        | Notice::Payment(_)
        | Notice::Watched { .. }
        | Notice::Proven
        | Notice::NotProven(_)
        | Notice::HandedOver { .. } => None,
    }
}

fn random(rng: &mut ChaCha20Rng) -> [u8; SEED_BYTES] {
    let mut bytes = [0; SEED_BYTES];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// An address, and what carries a connection there: see [`crate::opened`].
fn carried(input: &[u8]) -> Option<(PeerAddr, Carrier)> {
    let text = std::str::from_utf8(input).ok()?;
    let (address, own) = text.split_once(' ').unwrap_or((text, ""));
    let address = address.parse().ok()?;
    let carrier = match address {
        PeerAddr::Tcp(_) => Carrier::Tcp,
        PeerAddr::WebRtc { certhash, .. } => Carrier::WebRtc { node: certhash, page: sha256(own)? },
    };
    Some((address, carrier))
}

/// A SHA-256 from 64 hex digits.
fn sha256(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(place..place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn parse(address: &[u8]) -> Option<PeerAddr> {
    std::str::from_utf8(address).ok()?.parse().ok()
}
