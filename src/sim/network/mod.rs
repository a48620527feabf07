//! An experiment: full nodes mine and pay each other while the network is partitioned, nodes crash and some peers lie.
//!
//! A run is a function of its [`NetworkSetup`], to the last byte of its report. Times count from the moment at which all
//! nodes have had [`WARM_UP`] to find each other, and nothing before it is measured.

mod payments;
mod report;
mod safety;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::byzantine::{self, GARBLED};
use super::units::{Fault, Latency, Span};
use super::{NetworkConditions, Sim, Traffic, generator};
use crate::p2p::kad::Contact;
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;
use crate::storage::StoreError;
use payments::Payments;
use safety::Safety;

pub use super::byzantine::Attack;
pub use report::{Hostile, Items, KindTraffic, NetworkReport, Propagation, Reach, Reorganisations};
pub use safety::{GRACE, SETTLED_BLOCKS};

/// Time that the nodes have to find each other before anything is measured.
pub const WARM_UP: Duration = Duration::from_secs(30);
/// Time after the end within which all nodes must have one tip.
pub const SETTLE: Duration = Duration::from_secs(300);
/// Time between two looks at whether all have one tip again.
const POLL: Duration = Duration::from_millis(100);
/// How many samples the series has at most.
const SAMPLES: u64 = 360;
/// Nodes that each newcomer knows.
const SEEDS: usize = 3;
/// Random generators: for address books, faults, payments and byzantine peers.
const ADDRESS_BOOKS: u64 = 11;
const FAULTS: u64 = 12;
const PAYMENTS: u64 = 13;
const BYZANTINE: u64 = 14;

/// The network to simulate: its nodes, traffic and faults.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkSetup {
    /// How many nodes there are, byzantine ones included.
    pub nodes: u32,
    /// How long to look.
    pub duration: Span,
    /// Time between two blocks in the mean: a Poisson process, each block by a random honest node that is up.
    pub interval: Span,
    /// Payments a second in the mean, a Poisson process too.
    pub payments: f64,
    /// Blocks that there are before the first node is joined by others.
    pub height: u32,
    /// How long messages take.
    pub latency: Latency,
    /// The part of messages that is lost and sent again later.
    pub loss: f64,
    /// Parts of the nodes cut off from the others for a time. No two overlap.
    pub partitions: Vec<Fault>,
    /// Parts of the honest nodes that stop, and come back with their store.
    pub crashes: Vec<Fault>,
    /// What byzantine peers do.
    pub attack: Option<Attack>,
    /// The part of the nodes that is byzantine, if there is an attack.
    pub share: f64,
    /// Whether to replay every honest node's chain from genesis in the end, and compare all that its store says.
    pub audit: bool,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Default for NetworkSetup {
    fn default() -> Self {
        Self {
            nodes: 100,
            duration: Span::from_secs(600),
            interval: Span::from_secs(10),
            payments: 0.5,
            height: 0,
            latency: Latency::Uniform(Duration::from_millis(10), Duration::from_millis(80)),
            loss: 0.0,
            partitions: Vec::new(),
            crashes: Vec::new(),
            attack: None,
            share: 0.1,
            audit: false,
            seed: 1,
        }
    }
}

/// A setup that cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum SetupError {
    /// Too few nodes would follow the protocol.
    #[error("{honest} of {nodes} nodes are honest, at least 2 must be")]
    TooFewHonest {
        /// Nodes that follow the protocol.
        honest: u32,
        /// How many there are.
        nodes: u32,
    },
    /// A fault would outlast the run.
    #[error("the fault {fault} outlasts the run, which ends after {duration}")]
    FaultTooLate {
        fault: String,
        /// The end of the run.
        duration: Span,
    },
    /// Partitions are told apart by their times.
    #[error("the partitions {first} and {second} overlap")]
    Overlap { first: String, second: String },
}

impl NetworkSetup {
    /// Number of byzantine peers.
    pub fn byzantine(&self) -> u32 {
        self.attack.map_or(0, |_| (f64::from(self.nodes) * self.share).round() as u32)
    }

    /// Number of nodes that keep to the protocol; they are the first.
    pub fn honest(&self) -> u32 {
        self.nodes - self.byzantine().min(self.nodes)
    }

    /// # Errors
    /// [`SetupError`].
    pub fn check(&self) -> Result<(), SetupError> {
        if self.honest() < 2 {
            return Err(SetupError::TooFewHonest { honest: self.honest(), nodes: self.nodes });
        }
        if let Some(late) = self.partitions.iter().chain(&self.crashes).find(|fault| fault.to > self.duration.0) {
            return Err(SetupError::FaultTooLate { fault: late.to_string(), duration: self.duration });
        }
        let mut ordered = self.partitions.clone();
        ordered.sort_by_key(|fault| fault.from);
        match ordered.windows(2).find(|pair| pair[1].from < pair[0].to) {
            Some(pair) => Err(SetupError::Overlap { first: pair[0].to_string(), second: pair[1].to_string() }),
            None => Ok(()),
        }
    }

    /// The command that repeats the run.
    pub fn command(&self) -> String {
        let mut text = format!(
            "cairn sim network --nodes {} --duration {} --interval {} --payments {} --latency {}",
            self.nodes, self.duration, self.interval, self.payments, self.latency
        );
        let mut add = |option: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = write!(text, " --{option} {value}");
        };
        if self.height > 0 {
            add("height", &self.height);
        }
        if self.loss > 0.0 {
            add("loss", &self.loss);
        }
        self.partitions.iter().for_each(|fault| add("partition", fault));
        self.crashes.iter().for_each(|fault| add("crash", fault));
        if let Some(attack) = self.attack {
            add("attack", &attack.name());
            add("share", &self.share);
        }
        if self.audit {
            text.push_str(" --audit");
        }
        format!("{text} --seed {}", self.seed)
    }
}

/// How the network stood at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// When, counted from when measuring began.
    pub at: Span,
    /// Honest nodes that are up.
    pub up: u64,
    /// Different tips that they have.
    pub tips: u64,
    /// The lowest of their tips.
    pub lowest: Height,
    /// Height of the highest tip of an honest node.
    pub highest: Height,
    /// Blocks found so far.
    pub found: u64,
    /// Transactions in a mempool, in the mean.
    pub mempool: f64,
    /// Messages that arrived since the sample before.
    pub messages: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// The end of a fault, and how long it took until all honest nodes that were up had one tip again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Healing {
    /// Which fault.
    pub fault: String,
    /// When it ended, counted likewise.
    pub at: Span,
    /// How long it took until then; `None` if another fault came first.
    pub took: Option<Span>,
}

/// A scheduled step of the run.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Cut(Fault),
    Heal(Fault),
    Crash(usize),
    Return(usize),
}

struct Run<'a> {
    setup: &'a NetworkSetup,
    sim: Sim,
    /// When measuring began.
    start: MonoTime,
    rng: ChaCha20Rng,
    payments: Payments,
    safety: Safety,
    /// Nodes that are down, for each crash.
    down: Vec<Vec<usize>>,
    series: Vec<Sample>,
    healings: Vec<Healing>,
    /// All traffic at the sample before.
    counted: Traffic,
}

/// Makes the network and lets it run. `progress` is told how much of `duration` has passed, now and then. The
/// setup must be one that [`NetworkSetup::check`] accepts.
///
/// # Errors
/// A store's; a memory store has none.
pub fn run(setup: &NetworkSetup, progress: &dyn Fn(Duration)) -> Result<NetworkReport, StoreError> {
    let mut run = Run::new(setup)?;
    let before = run.sim.traffic_by_kind().to_vec();
    run.sim.set_mining(Some(setup.interval.0));
    run.go(progress)?;
    let settled = run.settle();
    report::report(run, settled, &before)
}

impl<'a> Run<'a> {
    fn new(setup: &'a NetworkSetup) -> Result<Self, StoreError> {
        let payments = Payments::new(setup.payments, setup.interval.0, generator(setup.seed, PAYMENTS, 0));
        let params = payments.params();
        let conditions =
            NetworkConditions { latency: setup.latency.clone(), loss: setup.loss, ..NetworkConditions::default() };
        let mut sim = Sim::new(params.clone(), conditions, setup.seed);
        let mut rng = generator(setup.seed, ADDRESS_BOOKS, 0);
        let honest = setup.honest() as usize;
        for node in 0..honest {
            let seeds: BTreeSet<usize> =
                (0..SEEDS.min(node)).map(|_| rng.random_range(0..node as u64) as usize).collect();
            let seeds: Vec<usize> = seeds.into_iter().collect();
            sim.add_node(&seeds)?;
            if node == 0 {
                for _ in 0..setup.height {
                    sim.mine(0);
                }
            }
        }
        let all = setup.nodes as usize;
        let colluders: Vec<_> =
            (honest..all).map(|node| Contact { id: Sim::id(node), address: Sim::address(node) }).collect();
        // One node is enough to have cut off.
        let targets = if setup.attack == Some(Attack::Eclipse) { VICTIM..VICTIM + 1 } else { 0..honest };
        let targets: Vec<_> = targets.map(Sim::address).collect();
        for (attack, number) in
            setup.attack.iter().flat_map(|attack| (honest..all).map(move |number| (*attack, number)))
        {
            let rng = generator(setup.seed, BYZANTINE, number as u64);
            sim.add_script(byzantine::script(attack, Arc::clone(&params), targets.clone(), colluders.clone(), rng));
            if attack == Attack::Garbage {
                sim.garble(number, GARBLED);
            }
        }
        sim.run_for(WARM_UP);
        let (start, counted) = (sim.now().mono, sim.traffic());
        Ok(Self {
            setup,
            sim,
            start,
            rng: generator(setup.seed, FAULTS, 0),
            payments,
            safety: Safety::new(honest),
            down: Vec::new(),
            series: Vec::new(),
            healings: Vec::new(),
            counted,
        })
    }

    /// All scheduled turns, in the order of their times.
    fn turns(&mut self) -> Vec<(Duration, Turn)> {
        let mut turns = Vec::new();
        for fault in &self.setup.partitions {
            turns.extend([(fault.from, Turn::Cut(*fault)), (fault.to, Turn::Heal(*fault))]);
        }
        for (number, fault) in self.setup.crashes.iter().enumerate() {
            self.down.push(Vec::new());
            turns.extend([(fault.from, Turn::Crash(number)), (fault.to, Turn::Return(number))]);
        }
        // What ends, ends before something else begins.
        turns.sort_by_key(|(at, turn)| (*at, matches!(turn, Turn::Cut(_) | Turn::Crash(_))));
        turns
    }

    fn go(&mut self, progress: &dyn Fn(Duration)) -> Result<(), StoreError> {
        let turns = self.turns();
        let mut turns = turns.into_iter().peekable();
        let Span(duration) = self.setup.duration;
        let step = Duration::from_millis(self.setup.duration.as_millis().div_ceil(SAMPLES)).max(Duration::from_secs(1));
        let (mut sample, mut payment) = (Duration::ZERO, self.payments.wait());
        loop {
            let now = self.now();
            while let Some((_, turn)) = turns.next_if(|(at, _)| *at <= now) {
                self.turn(turn)?;
            }
            if payment.is_some_and(|at| at <= now) {
                self.payments.pay(&mut self.sim)?;
                payment = self.payments.wait().map(|wait| now + wait.max(Duration::from_millis(1)));
            }
            if sample <= now {
                self.sample();
                progress(now);
                sample += step;
            }
            self.poll();
            if now >= duration {
                return Ok(());
            }
            let poll = self.awaited().map(|_| now + POLL);
            let next = [turns.peek().map(|(at, _)| *at), payment, Some(sample), poll];
            let next = next.into_iter().flatten().fold(duration, Duration::min);
            self.sim.run_for(next - now);
        }
    }

    /// How long it is since measuring began.
    fn now(&self) -> Duration {
        self.sim.now().mono.saturating_since(self.start)
    }

    fn turn(&mut self, turn: Turn) -> Result<(), StoreError> {
        let now = self.now();
        // Pending healings end unsuccessfully when the next fault begins.
        match turn {
            Turn::Cut(fault) => {
                let mut nodes: Vec<usize> = (0..self.setup.nodes as usize).collect();
                nodes.shuffle(&mut self.rng);
                nodes.truncate((f64::from(self.setup.nodes) * fault.share).round() as usize);
                self.sim.partition(&[&[], &nodes]);
                self.safety.cut(&self.sim);
            }
            Turn::Heal(fault) => {
                self.sim.heal();
                self.safety.healed(&self.sim);
                self.healings.push(Healing { fault: format!("partition {fault}"), at: Span(now), took: None });
            }
            Turn::Crash(number) => {
                let mut nodes: Vec<usize> = (0..self.setup.honest() as usize).collect();
                nodes.shuffle(&mut self.rng);
                let share = self.setup.crashes[number].share;
                nodes.truncate((f64::from(self.setup.honest()) * share).round() as usize);
                nodes.retain(|node| self.sim.node(*node).is_some());
                for node in &nodes {
                    self.sim.crash(*node)?;
                }
                self.down[number] = nodes;
            }
            Turn::Return(number) => {
                for node in std::mem::take(&mut self.down[number]) {
                    self.sim.start(node)?;
                }
                let fault = format!("crash {}", self.setup.crashes[number]);
                self.healings.push(Healing { fault, at: Span(now), took: None });
            }
        }
        Ok(())
    }

    /// The healing that is still pending: the last, unless another fault is active.
    fn awaited(&self) -> Option<usize> {
        let last = self.healings.len().checked_sub(1)?;
        (self.healings[last].took.is_none() && !self.safety.is_cut()).then_some(last)
    }

    fn poll(&mut self) {
        if let Some(awaited) = self.awaited()
            && self.sim.is_converged()
        {
            let now = self.now();
            let healing = &mut self.healings[awaited];
            healing.took = Some(Span(now - healing.at.0));
        }
    }

    fn sample(&mut self) {
        self.safety.check(&self.sim);
        let nodes = || self.sim.nodes().map(|(_, node)| node);
        let heights = || nodes().map(|node| node.chain().tip().height);
        let tips: BTreeSet<_> = nodes().map(|node| node.chain().tip().hash).collect();
        let up = nodes().count() as u64;
        let waiting: usize = nodes().map(|node| node.mempool().len()).sum();
        let traffic = self.sim.traffic();
        let since =
            Traffic { messages: traffic.messages - self.counted.messages, bytes: traffic.bytes - self.counted.bytes };
        self.series.push(Sample {
            at: Span(self.now()),
            up,
            tips: tips.len() as u64,
            lowest: heights().min().unwrap_or_default(),
            highest: heights().max().unwrap_or_default(),
            found: self.sim.found().iter().filter(|found| found.at >= self.start).count() as u64,
            mempool: super::summary::share(waiting as u64, up),
            messages: since.messages,
            bytes: report::framed(since),
        });
        self.counted = traffic;
    }

    /// Ends mining and waits for one tip; how long it took, if it came. Two blocks found last and at once leave a tie,
    /// which no node caused and which ends with the next block.
    fn settle(&mut self) -> Option<Span> {
        self.sim.set_mining(None);
        let end = self.sim.now().mono;
        while !self.sim.run_until(SETTLE / 10, Sim::is_converged) {
            if self.sim.now().mono.saturating_since(end) >= SETTLE {
                return None;
            }
            let works: BTreeSet<_> = self.sim.nodes().map(|(_, node)| node.chain().tip().work).collect();
            if works.len() == 1 {
                self.sim.mine(0);
            }
        }
        Some(Span(self.sim.now().mono.saturating_since(end)))
    }
}

/// The target of [`Attack::Eclipse`].
const VICTIM: usize = 1;
