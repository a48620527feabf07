//! A network of real nodes in virtual time.
//!
//! Every node is a [`Node`] as it runs over sockets, with a store in memory; only the network and the clocks are
//! simulated. Latency, retransmissions, broken connections, partitions, crashes and mining follow from one seed, so a
//! run repeats exactly: [`Sim::trace`] is a hash over all messages. A [`Script`] acts as a peer that breaks the
//! protocol.
//!
//! [`network`] runs experiments with faults and measurements, [`scenario`] an incident from a file, and [`doublespend`] an attack. [`lookup`] and [`gossip`]
//! simulate larger networks with nodes reduced to one protocol.

mod byzantine;
mod disk;
pub mod doublespend;
mod faults;
pub mod gossip;
pub mod lookup;
pub mod network;
pub mod providers;
pub mod race;
mod run;
pub mod scenario;
pub mod summary;
pub mod units;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use crate::chain::{Chain, ChainError};
use crate::consensus::params::Params;
use crate::mempool::{Accepted, Limits, Mempool, MempoolError};
use crate::miner::template;
use crate::p2p::kad::NodeId;
use crate::p2p::message::Kind;
use crate::p2p::{Command, Config, Event, Input, Node, Now, Output, PeerAddr, Protocol, Reply};
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::{PublicKey, SecretKey};
use crate::primitives::time::{MonoTime, UnixTime};
use crate::primitives::tx::Transaction;
use crate::record::{Recorded, Recorder, Start};
use crate::storage::StoreError;
use disk::Disk;
use faults::Faults;
pub use faults::{LinkSettings, MAX_DELAY};
use units::{Latency, draw_between};
use wire::{Agenda, Link, SimEvent};

/// The port at which every node listens.
const PORT: u16 = 7331;
/// Time from genesis to the start of a run.
const HEAD_START: Duration = Duration::from_secs(600);

/// A separate generator for each use, so that one's draws do not change another's.
fn generator(seed: u64, what: u64, number: u64) -> ChaCha20Rng {
    let mut bytes = [0; 32];
    for (chunk, part) in bytes.chunks_exact_mut(8).zip([seed, what, number]) {
        chunk.copy_from_slice(&part.to_le_bytes());
    }
    ChaCha20Rng::from_seed(bytes)
}

/// A scripted peer, with the inputs and outputs of a node.
pub type Script = Box<dyn FnMut(Now, Input) -> Vec<Output>>;

/// The network's conditions.
#[derive(Debug, Clone)]
pub struct NetworkConditions {
    /// Latency of a message, drawn once for each connection.
    pub latency: Latency,
    /// Most that one takes longer now and then.
    pub jitter: Duration,
    /// Bytes a millisecond on each connection, each way.
    pub bandwidth: u64,
    /// The part of messages that is lost and sent again after a while, as TCP does.
    pub loss: f64,
    /// The part of messages at which their connection breaks.
    pub resets: f64,
}

impl Default for NetworkConditions {
    /// Homes in one country: 10 to 80 ms, 5 ms of jitter, 10 MB/s, no loss.
    fn default() -> Self {
        Self {
            latency: Latency::Uniform(Duration::from_millis(10), Duration::from_millis(80)),
            jitter: Duration::from_millis(5),
            bandwidth: 10_000,
            loss: 0.0,
            resets: 0.0,
        }
    }
}

/// Traffic of the whole network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that arrived.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// A block that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// When.
    pub at: MonoTime,
    /// The node whose tip changed.
    pub node: usize,
    /// The block.
    pub hash: BlockHash,
}

enum Actor {
    Up(Box<Recorded>),
    Down,
    Scripted(Script),
}

struct Place {
    actor: Actor,
    disk: Arc<Disk>,
    config: Config,
    /// How many times it was started: events scheduled for an earlier start are dropped.
    incarnation: u32,
    wake: Option<MonoTime>,
    group: usize,
    /// The share of its messages, from 0 to 1, that arrive with a bit flipped.
    garbled: f64,
    /// Its node's events, with their times.
    events: Vec<(MonoTime, Event)>,
}

impl Place {
    fn new(actor: Actor, config: Config, clock: &Arc<AtomicU64>) -> Self {
        let disk = Arc::new(Disk::new(Arc::clone(clock)));
        Self { actor, disk, config, incarnation: 0, wake: None, group: 0, garbled: 0.0, events: Vec::new() }
    }
}

/// The block that a node would mine now, with its nonce. `None` if no nonce meets the target.
fn next_block(node: &Node, payee: &PublicKey, extra_nonce: u64, now: UnixTime) -> Result<Option<Block>, ChainError> {
    let template = template::build(node.chain(), node.mempool(), payee, extra_nonce, now)?;
    let mut block = template.block(0);
    while !template.target.is_met_by(&block.hash()) {
        let Some(nonce) = block.header.nonce.checked_add(1) else { return Ok(None) };
        block.header.nonce = nonce;
    }
    Ok(Some(block))
}

/// A network of nodes in virtual time.
pub struct Sim {
    params: Arc<Params>,
    conditions: NetworkConditions,
    rng: ChaCha20Rng,
    time: MonoTime,
    /// The same in milliseconds, for the disks.
    clock: Arc<AtomicU64>,
    agenda: Agenda,
    places: Vec<Place>,
    links: BTreeMap<u64, Link>,
    faults: Faults,
    next_link: u64,
    trace: Sha256,
    traffic: [Traffic; Kind::ALL.len()],
    found: Vec<Found>,
    mining: Option<Duration>,
    mining_round: u32,
    extra_nonce: u64,
}

impl Sim {
    /// A network without nodes.
    pub fn new(params: Arc<Params>, conditions: NetworkConditions, seed: u64) -> Self {
        Self {
            params,
            conditions,
            rng: ChaCha20Rng::seed_from_u64(seed),
            time: MonoTime::START,
            clock: Arc::default(),
            agenda: Agenda::default(),
            places: Vec::new(),
            links: BTreeMap::new(),
            faults: Faults::default(),
            next_link: 0,
            trace: Sha256::new(),
            traffic: std::array::from_fn(|_| Traffic::default()),
            found: Vec::new(),
            mining: None,
            mining_round: 0,
            extra_nonce: 0,
        }
    }

    /// The network's parameters.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// The virtual time.
    pub fn now(&self) -> Now {
        let start = UnixTime::from_secs(u64::from(self.params.timestamp)).saturating_add(HEAD_START);
        Now { mono: self.time, unix: start.saturating_add(self.time.saturating_since(MonoTime::START)) }
    }

    /// The address of a node: each has its own.
    pub fn address(node: usize) -> PeerAddr {
        let [.., high, low] = (node as u32).to_be_bytes();
        PeerAddr::from((Ipv4Addr::new(10, high, low, 1), PORT))
    }

    /// A node's id.
    pub fn id(node: usize) -> NodeId {
        NodeId(Sha256::digest((node as u64).to_le_bytes()).into())
    }

    fn node_at(&self, address: &PeerAddr) -> Option<usize> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        let [_, high, low, _] = ip.octets();
        let node = usize::from(u16::from_be_bytes([high, low]));
        (node < self.places.len() && Self::address(node) == *address).then_some(node)
    }

    /// Starts a node with an empty store that knows the addresses of others; returns its number, counted from 0.
    ///
    /// # Errors
    /// The store's; a memory store has none.
    pub fn add_node(&mut self, seeds: &[usize]) -> Result<usize, StoreError> {
        let config = Config { seeds: seeds.iter().map(|seed| Self::address(*seed)).collect(), ..Config::default() };
        self.add_node_with(config)
    }

    /// Starts a node with its own settings; the simulation sets the port and the random seed.
    ///
    /// # Errors
    /// As [`Sim::add_node`].
    pub fn add_node_with(&mut self, config: Config) -> Result<usize, StoreError> {
        let node = self.add_place(config);
        self.start(node)?;
        Ok(node)
    }

    /// A place for a node that is not started yet. Its number is the next.
    fn add_place(&mut self, config: Config) -> usize {
        let node = self.places.len();
        let config = Config { id: Self::id(node), listens: vec![PeerAddr::tcp_port(PORT)], ..config };
        self.places.push(Place::new(Actor::Down, config, &self.clock));
        node
    }

    /// Adds a scripted peer: the script receives a node's inputs and returns its outputs.
    pub fn add_script(&mut self, script: Script) -> usize {
        let node = self.places.len();
        self.places.push(Place::new(Actor::Scripted(script), Config::default(), &self.clock));
        self.deliver(node, Input::Tick);
        node
    }

    /// From now on a part of what a node sends, from 0 to 1, has a bit flipped on its way.
    pub fn garble(&mut self, node: usize, part: f64) {
        self.places[node].garbled = part;
    }

    /// Kills the node's process: its connections break, its memory is lost, and so is a random part of the writes of
    /// the last half second, as with the real store.
    ///
    /// # Errors
    /// The store's; a memory store has none.
    pub fn crash(&mut self, node: usize) -> Result<(), StoreError> {
        let lost = draw_between(Duration::ZERO, disk::LINGER, &mut self.rng);
        self.take_down(node, lost)
    }

    /// Ends a node's process, which loses the writes of the last `lost`.
    fn take_down(&mut self, node: usize, lost: Duration) -> Result<(), StoreError> {
        self.note("crash", [node as u64, lost.as_millis() as u64, 0]);
        let place = &mut self.places[node];
        (place.actor, place.wake) = (Actor::Down, None);
        place.disk.crash(lost)?;
        let broken: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.nodes.contains(&node)).map(|(id, _)| *id).collect();
        broken.into_iter().for_each(|link| self.break_link(link));
        Ok(())
    }

    /// Stops a node in order: it saves what it has, and its connections end.
    ///
    /// # Errors
    /// The store's; a memory store has none.
    pub fn stop(&mut self, node: usize) -> Result<(), StoreError> {
        self.deliver(node, Input::Stop);
        self.take_down(node, Duration::ZERO)
    }

    /// Restarts a node that is down, with its store.
    ///
    /// # Errors
    /// As [`Sim::add_node`].
    pub fn start(&mut self, node: usize) -> Result<(), StoreError> {
        self.start_with(node, None)
    }

    /// The same, with a record from then on, if one is given.
    ///
    /// # Errors
    /// As [`Sim::add_node`].
    pub fn start_with(&mut self, node: usize, mut recorder: Option<Recorder>) -> Result<(), StoreError> {
        let now = self.now();
        let mut config = self.places[node].config.clone();
        config.seed = self.rng.random();
        let place = &mut self.places[node];
        let limits = Limits::default();
        if let Some(recorder) = &mut recorder {
            recorder.begin(&Start::new(&self.params, &config, &limits, now), &*place.disk)?;
        }
        let chain = Chain::open(self.params.clone(), place.disk.clone())?;
        let mempool = Mempool::new(self.params.clone(), limits);
        place.incarnation += 1;
        let up = Node::new(chain, mempool, config, now)?;
        place.actor = Actor::Up(Box::new(Recorded::new(up, recorder, now)));
        self.carry_out(node);
        Ok(())
    }

    /// A node that is up.
    pub fn node(&self, node: usize) -> Option<&Node> {
        match &self.places[node].actor {
            Actor::Up(node) => Some(&***node),
            Actor::Down | Actor::Scripted(_) => None,
        }
    }

    /// All nodes that are up, with their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        (0..self.places.len()).filter_map(|number| Some((number, self.node(number)?)))
    }

    /// What a node told, with the time at which it did.
    pub fn events(&self, node: usize) -> &[(MonoTime, Event)] {
        &self.places[node].events
    }

    /// Has a node carry out the command that `make` builds around a reply, delivers its outputs, and returns the reply.
    /// `None` if the node is down.
    pub fn command<R: Send + 'static>(&mut self, node: usize, make: impl FnOnce(Reply<R>) -> Command) -> Option<R> {
        let now = self.now();
        let Actor::Up(up) = &mut self.places[node].actor else { return None };
        let (sender, answer) = std::sync::mpsc::channel();
        // The receiver is in this function.
        up.command(now, make(Reply::to(move |result| drop(sender.send(result)))));
        self.carry_out(node);
        answer.try_recv().ok()
    }

    /// Gives a transaction to a node that is up; `None` if it is not.
    pub fn submit(&mut self, node: usize, tx: Transaction) -> Option<Result<Accepted, MempoolError>> {
        self.command(node, |reply| Command::SubmitTransaction(tx, reply))
    }

    /// The key to which a node's blocks pay.
    pub fn miner_key(node: usize) -> SecretKey {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&(node as u32).to_be_bytes());
        SecretKey::from_seed(seed)
    }

    /// Builds the block that a node would mine now, without submitting it. `None` if the node is down.
    pub fn make_block(&mut self, node: usize) -> Option<Block> {
        self.extra_nonce += 1;
        let payee: PublicKey = Self::miner_key(node).public_key();
        next_block(self.node(node)?, &payee, self.extra_nonce, self.now().unix).ok()?
    }

    /// Lets a node find a block immediately. `None` if it is down or refuses its own block.
    pub fn mine(&mut self, node: usize) -> Option<BlockHash> {
        let block = self.make_block(node)?;
        let hash = block.hash();
        let at = self.time;
        self.command(node, |reply| Command::SubmitBlock(block, reply))?.ok()?;
        self.found.push(Found { at, node, hash });
        Some(hash)
    }

    /// All blocks found so far, in order.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// From now on blocks are found at random, `mean` apart in the mean; `None` ends it.
    pub fn set_mining(&mut self, mean: Option<Duration>) {
        self.mining = mean;
        self.mining_round += 1;
        self.schedule_block();
    }

    /// Schedules the next block after an exponential time, since mining is memoryless.
    fn schedule_block(&mut self) {
        let Some(mean) = self.mining else { return };
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        let wait = Duration::from_millis(((-uniform.ln() * mean.as_millis() as f64) as u64).max(1));
        self.agenda.add(self.time + wait, SimEvent::BlockFound { round: self.mining_round });
    }

    /// Partitions the network into groups: each node is in the group that lists it, and others are in group 0.
    /// Connections across a cut are not closed, only silent.
    pub fn partition(&mut self, groups: &[&[usize]]) {
        for (node, place) in self.places.iter_mut().enumerate() {
            place.group = groups.iter().position(|group| group.contains(&node)).unwrap_or(0);
        }
        for link in self.links.values_mut() {
            link.is_cut |= self.places[link.nodes[0]].group != self.places[link.nodes[1]].group;
        }
    }

    /// Heals all partitions. Connections that were cut then break.
    pub fn heal(&mut self) {
        self.places.iter_mut().for_each(|place| place.group = 0);
        let cut: Vec<u64> = self.links.iter().filter(|(_, link)| link.is_cut).map(|(id, _)| *id).collect();
        cut.into_iter().for_each(|link| self.break_link(link));
    }

    /// Carries out all events of the next `millis` milliseconds.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.time + span;
        while let Some((at, happening)) = self.agenda.next(until) {
            self.set_time(at);
            self.happen(happening);
        }
        self.set_time(until);
    }

    fn set_time(&mut self, time: MonoTime) {
        self.time = time;
        self.clock.store(time.as_millis(), Ordering::Relaxed);
    }

    /// Lets time pass until a condition holds, looked at every 10 ms; `false` if it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let end = self.time + limit;
        while !condition(self) {
            if self.time >= end {
                return false;
            }
            self.run_for(end.saturating_since(self.time).min(Duration::from_millis(10)));
        }
        true
    }

    /// Whether all nodes that are up have one tip.
    pub fn is_converged(&self) -> bool {
        let mut tips = self.nodes().map(|(_, node)| node.chain().tip().hash);
        let first = tips.next();
        tips.all(|tip| Some(tip) == first)
    }

    /// A hash over all that happened, every byte of every message included: two runs with the same seed and the same calls have
    /// the same.
    pub fn trace(&self) -> String {
        hex::encode(self.trace.clone().finalize())
    }

    /// Traffic of the whole network so far.
    pub fn traffic(&self) -> Traffic {
        let add = |a: Traffic, b: &Traffic| Traffic { messages: a.messages + b.messages, bytes: a.bytes + b.bytes };
        self.traffic.iter().fold(Traffic::default(), add)
    }

    /// The same for each kind of message, in the order of [`Kind::ALL`].
    pub fn traffic_by_kind(&self) -> &[Traffic] {
        &self.traffic
    }
}
