//! A light client, and what it has the page do.

mod connections;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use cairn::consensus::params::{Params, ParamsError};
use cairn::light::{Call, Config, Headers, Light, Notice, PeerStatus, Question, Scope};
use cairn::p2p::frame::Frame;
use cairn::p2p::kad::NodeId;
use cairn::p2p::misbehaviour::{BAN_POINTS, Offence};
use cairn::p2p::noise::Identity;
use cairn::p2p::{self, Input, Now, PeerAddr, PeerId, Protocol, Transports};
use cairn::primitives::amount::Amount;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::primitives::tx::Transaction;
use cairn::primitives::{address, codec, keyed};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::connections::{Connection, List};
use crate::purse::Purse;

/// Bytes of the seed.
const SEED_BYTES: usize = 32;
/// Nodes to find besides those that are given.
const OTHERS: usize = 2;

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
    Call(NodeId, Call),
    Content(u32, Vec<u8>),
    Lied(PeerAddr, Offence),
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
    /// Lists, for there are few: a map's code is 1 % of the module.
    dials: List<PeerAddr, Option<NodeId>>,
    connections: List<u32, Connection>,
    last_connection: u32,
    outputs: VecDeque<Output>,
    purse: Purse,
    /// The key whose coins the page asked for besides.
    asked: Option<PublicKey>,
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
        let identity = Identity::from_secret(random(&mut rng));
        let page = Some(identity.id());
        let config = Config { seed: random(&mut rng), transports, outbound_target: OTHERS, page, ..Config::default() };
        Ok(Self {
            client: Some(Client::Waits { chain: Headers::new(params.clone()), config }),
            params,
            identity,
            rng,
            dials: List::new(),
            connections: List::new(),
            last_connection: 0,
            outputs: VecDeque::new(),
            purse: Purse::default(),
            asked: None,
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

    /// A description of this side for a call: a page's id in hex, a line feed, the description.
    pub(crate) fn signal(&mut self, times: Times, input: &[u8]) {
        let Some(Client::Runs(light)) = &mut self.client else { return };
        let Some((id, [b'\n', description @ ..])) = input.split_at_checked(64) else { return };
        let Some(id) = std::str::from_utf8(id).ok().and_then(sha256) else { return };
        light.describe(times.now(), NodeId(id), description.to_vec());
        self.drain(times);
    }

    /// The hash of the network's genesis block, and this page's id.
    pub(crate) fn names(&self) -> String {
        format!("{} {}", self.params.genesis_hash, self.identity.id())
    }

    /// Calls a page, whose id is given in hex, before others.
    pub(crate) fn seek(&mut self, id: &[u8]) {
        if let (Some(Client::Runs(light)), Some(id)) = (&mut self.client, std::str::from_utf8(id).ok().and_then(sha256))
        {
            light.seek(NodeId(id));
        }
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
        let Some(Ok(key)) = key else { return false };
        self.asked = Some(key);
        self.prove(times)
    }

    /// Proves what the wallet and the address that was asked for own; `false` if the client does not run.
    fn prove(&mut self, times: Times) -> bool {
        let Some(Client::Runs(light)) = &mut self.client else { return false };
        // Collected, they would be sorted, whose code is 1 % of the module.
        let mut keys = BTreeSet::new();
        keys.extend(self.purse.keys().iter().copied().chain(self.asked));
        light.own(times.now(), Scope::Keys(keys));
        self.drain(times);
        true
    }

    /// Makes these keys, 32 bytes each, the wallet's: the address of the last, or `None` if there is none.
    pub(crate) fn watch(&mut self, times: Times, keys: &[u8]) -> Option<String> {
        let (keys, []) = keys.as_chunks() else { return None };
        self.purse.set_keys(keys.iter().map(|key| PublicKey(*key)).collect());
        self.prove(times);
        self.purse.address(&self.params)
    }

    /// What a payment would be, or why there is none.
    pub(crate) fn draft(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let light = self.light().ok_or("no peer was asked yet")?;
        self.purse.review(std::str::from_utf8(text).map_err(|error| error.to_string())?, light, &self.params)
    }

    /// Hands a payment to the peers and follows it: its id. `is_old` if it was sent before: a block may have it.
    pub(crate) fn pay(&mut self, times: Times, bytes: &[u8], is_old: bool) -> Option<String> {
        let Some(Client::Runs(light)) = &mut self.client else { return None };
        let transaction: Transaction = codec::decode(bytes).ok()?;
        let txid = self.purse.follow(transaction.clone());
        light.hand_over(times.now(), transaction);
        if is_old {
            light.ask(times.now(), Question::Transaction(txid));
        }
        self.drain(times);
        Some(txid.to_string())
    }

    /// What proves a payment, by the text of its id.
    pub(crate) fn proof(&self, txid: &[u8]) -> Option<String> {
        self.purse.proof(std::str::from_utf8(txid).ok()?, self.light()?.chain())
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
                PeerStatus::Unreachable | PeerStatus::OtherNode { .. } | PeerStatus::Http => "unreachable".to_owned(),
            };
            lines += &format!("peer {} {standing}\n", report.address);
        }
        if let Some(holding) = light.holding() {
            let committed = holding.proven.committed_at.map_or("-".to_owned(), |height| height.to_string());
            let proven = format!("{} {committed} {}", holding.proven.edge.0, holding.tip);
            if let Some(asked) = self.asked {
                let coins = || holding.coins.values().filter(|coin| coin.output.key() == Some(&asked));
                let sum = Amount::saturating_sum(coins().map(|coin| coin.output.value));
                lines += &format!("balance {sum} {} {proven}\n", coins().count());
            }
            lines += &self.purse.balance(&holding, &self.params, &proven);
        }
        lines + &self.purse.payments(light)
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
        if let Some(txid) = self.purse.unproven(light) {
            light.ask(times.now(), Question::Transaction(txid));
        }
        let outputs: Vec<p2p::Output> = light.drain().collect();
        let notices = light.take_notices();
        for output in outputs {
            self.carry_out(times, output);
        }
        for notice in notices {
            match notice {
                Notice::Call(page, call) => self.on_call(page, call),
                Notice::OffersContent(peer) => self.outputs.push_back(Output::Content(peer.0 as u32, Vec::new())),
                Notice::Content(peer, message) => {
                    let frame = Frame::from(message);
                    let bytes = [&[frame.kind() as u8], frame.payload()].concat();
                    self.outputs.push_back(Output::Content(peer.0 as u32, bytes));
                }
                Notice::Lied(peer, offence) if offence.points() >= BAN_POINTS => {
                    self.outputs.push_back(Output::Lied(peer, offence));
                }
                notice => {
                    let told = self.told(notice).map(Output::Tell);
                    self.outputs.extend(told);
                }
            }
        }
    }

    fn carry_out(&mut self, times: Times, output: p2p::Output) {
        match output {
            p2p::Output::Send { peer, frame } => self.send(peer.0 as u32, &frame.to_bytes()),
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

    /// A peer broke the rules of the exchange of content: `fault` is encoded.
    pub(crate) fn penalise(&mut self, times: Times, number: u32, fault: &[u8]) {
        if let (Some(Client::Runs(light)), Ok(fault)) = (&mut self.client, codec::decode(fault)) {
            light.penalise_content(times.now(), PeerId(number.into()), fault);
            self.drain(times);
        }
    }

    /// Looks for providers of a key, or ends that.
    pub(crate) fn find(&mut self, times: Times, key: &[u8]) {
        if let Some(Client::Runs(light)) = &mut self.client {
            light.find(times.now(), key.try_into().ok().map(NodeId));
            self.drain(times);
        }
    }

    /// A step of a call is for the page to do. The connection of one that ends goes with it.
    fn on_call(&mut self, page: NodeId, call: Call) {
        if call == Call::End {
            self.end_handshake(PeerAddr::page(page.0));
        }
        self.outputs.push_back(Output::Call(page, call));
    }

    /// What the page is to show of a notice. Written out for those that there can be: `Debug` of all takes 6 kB more of the module.
    fn told(&mut self, notice: Notice) -> Option<String> {
        match notice {
            Notice::Synced => Some("Synced".to_owned()),
            Notice::NotProven(why) => Some(why.to_string()),
            // Small faults that add up may be answers that came late, and no lies.
            Notice::Lied(peer, offence) => Some(format!("{peer} misbehaved: it {offence}")),
            Notice::HandedOver { txid, peer, taken } => {
                self.purse.handed_over(&txid, taken);
                Some(format!("{peer} {} payment {txid}", if taken { "took" } else { "refused" }))
            }
            Notice::Answered(Question::Transaction(txid), answer) => {
                self.purse.answered(&txid, answer);
                None
            }
            Notice::Answered(..)
            | Notice::Payment(_)
            | Notice::Watched { .. }
            | Notice::Proven
            | Notice::Call(..)
            | Notice::OffersContent(_)
            | Notice::Content(..) => None,
        }
    }
}

fn random(rng: &mut ChaCha20Rng) -> [u8; SEED_BYTES] {
    let mut bytes = [0; SEED_BYTES];
    rng.fill_bytes(&mut bytes);
    bytes
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
