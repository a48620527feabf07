//! A scenario as values, after names are looked up and numbers are checked.

use std::time::Duration;

use crate::consensus::params::{Allocation, GenesisSpec, Params, ParamsError};
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN, FeeRate};
use crate::primitives::keys::SecretKey;
use crate::primitives::time::UnixTime;
use crate::sim::LinkSettings;

/// Most nodes: `cairn testnet` runs as many in one process.
pub const MAX_NODES: usize = 64;
/// The coins that each payment begins with.
pub(super) const COIN_VALUE: Amount = Amount::from_grains(COIN);

/// An incident to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name for people.
    pub title: String,
    /// What one learns from it.
    pub about: String,
    /// Seed of all that is drawn: which node finds a block and when; and in virtual time, the network's latencies.
    pub seed: u64,
    /// The largest block.
    pub(super) block_bytes: u32,
    /// Mean time between two blocks, of all miners together; `None` to mine only on request.
    pub(super) every: Option<Duration>,
    pub(super) nodes: Vec<NodePlan>,
    /// Faults from the beginning on: those of [`Event::Link`], for each side.
    pub(super) links: Vec<(usize, usize, LinkSettings)>,
    /// In the order of their times, those of one time in the order of the file.
    pub(super) events: Vec<Timed<Event>>,
    /// In the order of the file.
    pub(super) checks: Vec<Timed<Check>>,
    /// Number of payments in all; each has a coin of its own in genesis.
    pub(super) payments: usize,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodePlan {
    pub(super) name: String,
    /// Its part of the mining, in any unit.
    pub(super) power: f64,
    /// The nodes that it stays connected to.
    pub(super) connects: Vec<usize>,
    /// When it is started first.
    pub(super) joins: Duration,
    /// Most peers that may dial in, if not the usual number.
    pub(super) max_inbound: Option<usize>,
    /// Whether it mines selfishly.
    pub(super) is_selfish: bool,
}

/// Something at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timed<T> {
    pub(super) at: Duration,
    /// How long after that a check may take to hold.
    pub(super) within: Duration,
    /// The line of the file.
    pub(super) line: usize,
    /// What it is, in the file's words.
    pub(super) text: String,
    /// The author's remark.
    pub(super) note: Option<String>,
    pub(super) what: T,
}

/// What happens. Nodes are counted from 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// Sets both sides of links.
    Link(Vec<(usize, usize)>, LinkSettings),
    /// The first of each pair dials the second, once.
    Dial(Vec<(usize, usize)>),
    /// Nodes stop in order.
    Stop(Vec<usize>),
    /// Nodes start, with the store that they have.
    Start(Vec<usize>),
    /// A node finds blocks at once.
    Mine { node: usize, blocks: u32 },
    /// Payments, one after the other through each of the nodes.
    Pay(PayPlan),
    /// Blocks are found by chance, or no longer.
    Mining(bool),
}

/// Some payments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PayPlan {
    /// Their numbers among all payments.
    pub(super) numbers: std::ops::Range<usize>,
    pub(super) rate: FeeRate,
    pub(super) through: Vec<usize>,
    /// How long they take together.
    pub(super) over: Duration,
}

/// What must be so. Where several nodes are named, it must be so of each that is up.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Check {
    /// They are up and have one tip.
    Agree(Vec<usize>),
    /// How many different tips there are among these.
    Tips(Vec<usize>, Bounds),
    /// The height of the tip.
    Height(Vec<usize>, Bounds),
    /// How many of `among` a node is connected to.
    Peers { of: Vec<usize>, among: Vec<usize>, bounds: Bounds },
    /// How many transactions wait.
    Mempool(Vec<usize>, Bounds),
    /// How many of these payments are in the chain of a node.
    Confirmed { numbers: std::ops::Range<usize>, by: Vec<usize>, bounds: Bounds },
    /// The part of the blocks in a node's chain that these miners found.
    Share { miners: Vec<usize>, by: Vec<usize>, bounds: Bounds },
    /// How many blocks that these miners found are not in a node's chain.
    Lost { miners: Vec<usize>, by: Vec<usize>, bounds: Bounds },
}

/// What a number may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) at_least: Option<f64>,
    pub(super) at_most: Option<f64>,
}

impl Bounds {
    pub(super) fn hold(self, number: f64) -> bool {
        self.at_least.is_none_or(|least| number >= least) && self.at_most.is_none_or(|most| number <= most)
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if least == most => write!(f, "{least}"),
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) => write!(f, "at least {least}"),
            (None, Some(most)) => write!(f, "at most {most}"),
            (None, None) => write!(f, "any"),
        }
    }
}

impl Scenario {
    /// The network's parameters, with genesis at a time. Blocks take no work, and each payment has a coin.
    ///
    /// # Errors
    /// [`ParamsError`] if so many payments do not fit into a genesis.
    pub fn params(&self, genesis: UnixTime) -> Result<Params, ParamsError> {
        let mut spec = GenesisSpec::regtest();
        spec.network = "scenario".to_owned();
        spec.max_block_bytes = self.block_bytes;
        spec.timestamp = u32::try_from(genesis.as_secs()).unwrap_or(u32::MAX);
        let address = |number| address::encode(&spec.address_prefix, &payer(number).public_key());
        spec.alloc =
            (0..self.payments).map(|number| Allocation { address: address(number), value: COIN_VALUE }).collect();
        spec.mine_nonce();
        Params::new(spec)
    }

    /// The names of all nodes, in their order.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The most peers that may dial in, of each node that does not have the usual number.
    pub fn max_inbound(&self, node: usize) -> Option<usize> {
        self.nodes.get(node)?.max_inbound
    }

    /// When it is over: at its last event or check.
    pub fn ends(&self) -> Duration {
        let events = self.events.iter().map(|event| match &event.what {
            Event::Pay(plan) => event.at + plan.over,
            _ => event.at,
        });
        let checks = self.checks.iter().map(|check| check.at + check.within);
        events.chain(checks).max().unwrap_or_default()
    }
}

/// The key that has the coin of a payment.
pub(super) fn payer(number: usize) -> SecretKey {
    let mut seed = [11; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SecretKey::from_seed(seed)
}
