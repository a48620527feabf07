//! The results of an experiment.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use rayon::prelude::*;
use serde::Serialize;

use super::safety::MAX_REPORTED;
use super::{Healing, NetworkSetup, Run, Sample, VICTIM};
use crate::chain;
use crate::p2p::frame::HEADER_BYTES;
use crate::p2p::message::Kind;
use crate::p2p::{Event, PeerAddr, Reason};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;
use crate::sim::network::Attack;
use crate::sim::summary::share;
use crate::sim::units::Span;
use crate::sim::{Sim, Traffic};
use crate::storage::{Database, StoreError};

/// Steps of a curve: every 5 % of the nodes.
const STEPS: usize = 20;

/// The results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkReport {
    /// The setup that this report is for.
    pub setup: NetworkSetup,
    /// The command that repeats it.
    pub command: String,
    /// A hash over all that happened.
    pub trace: String,
    /// Blocks found, and how they spread.
    pub blocks: Items,
    /// The part of the blocks found that the best chain has not.
    pub stale_rate: f64,
    /// Payments that a node took, and how they spread.
    pub payments: Items,
    /// Messages and bytes that a node got, of each kind, in the mean.
    pub traffic: Vec<KindTraffic>,
    /// Bytes of a block of the best chain whole, in the mean: what a node got for each if none were compact.
    pub block_size: f64,
    /// Bytes that a node got of blocks, whole, compact and in part, for each one found.
    pub block_relay: f64,
    /// Connections between nodes in the end.
    pub links: u64,
    /// Bytes that went over each of them, both ways together, for each payment: the payment, whole, and what announces it
    /// and asks for it.
    pub payment_relay: f64,
    /// Of all kinds together.
    pub messages_per_node: f64,
    /// Bytes of their frames.
    pub bytes_per_node: f64,
    /// Blocks taken back, by all honest nodes.
    pub reorganisations: Vec<Reorganisations>,
    /// How long it took after each fault until all had one tip.
    pub healings: Vec<Healing>,
    /// The effect of the byzantine peers.
    pub hostile: Option<Hostile>,
    /// How long it took after the end until all honest nodes had one tip; `None` if they did not in time.
    pub settled: Option<Span>,
    /// Height of that tip.
    pub height: Height,
    /// Safety violations of honest nodes; empty if all is well.
    pub violations: Vec<String>,
    /// Nodes whose chain was replayed from genesis and matched their store.
    pub audited: u64,
    /// How the network stood from time to time.
    #[serde(skip)]
    pub series: Vec<Sample>,
}

/// How many blocks, or payments, were made, and how they spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Items {
    /// How many there were.
    pub count: u64,
    /// How many of them the best chain has in the end.
    pub in_chain: u64,
    /// How those that the best chain has came to the honest nodes.
    pub propagation: Propagation,
}

/// How long it took until things had come to a part of the honest nodes, counted from the moment they were made. Nodes that were
/// down or cut off count as any other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Propagation {
    /// To half of them.
    pub half: Reach,
    /// To 95 in 100.
    pub most: Reach,
    /// Time until every honest node has it.
    pub all: Reach,
    /// Medians of the times to every 5 % of the nodes, from the first to all.
    pub curve: Vec<Span>,
}

/// How long that took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// How many things came so far.
    pub reached: u64,
    /// What half of them took at most.
    pub median: Span,
    /// What 95 in 100 of them took at most.
    pub p95: Span,
}

/// Messages of a kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindTraffic {
    /// Its name.
    pub kind: &'static str,
    /// How many a node got, in the mean.
    pub messages_per_node: f64,
    /// Bytes of their frames.
    pub bytes_per_node: f64,
}

/// Moves of a tip that took blocks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reorganisations {
    /// Blocks taken back.
    pub depth: u32,
    /// How often so many, over all honest nodes.
    pub count: u64,
}

/// The effect of the byzantine peers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hostile {
    /// How many there were.
    pub peers: u64,
    /// How often an honest node banned a peer.
    pub bans: u64,
    /// How often an honest node disconnected one of them for misbehaviour.
    pub found_out: u64,
    /// How often one of them was disconnected for stalling.
    pub stalled: u64,
    /// The part of the honest nodes' connections in the end that lead to them.
    pub connections: f64,
    /// The same for the target of an eclipse attack.
    pub victim: Option<f64>,
}

/// Bytes of frames: of payloads and what is before each.
pub(super) fn framed(traffic: Traffic) -> u64 {
    traffic.bytes + traffic.messages * HEADER_BYTES as u64
}

pub(super) fn report(mut run: Run<'_>, settled: Option<Span>, before: &[Traffic]) -> Result<NetworkReport, StoreError> {
    let setup = run.setup;
    run.safety.check(&run.sim);
    let depths = run.safety.reorganisations(&run.sim);
    let mut violations = std::mem::take(&mut run.safety.violations);
    violations.extend(punished_honest(&run.sim, setup).into_iter().take(MAX_REPORTED));
    let audited = if setup.audit { audit(&run.sim, &mut violations) } else { 0 };
    let (sim, start) = (&run.sim, run.start);

    let blocks: Vec<(BlockHash, MonoTime)> =
        sim.found().iter().filter(|found| found.at >= start).map(|found| (found.hash, found.at)).collect();
    let payments: Vec<(Txid, MonoTime)> = run.payments.made.iter().map(|(txid, at)| (*txid, *at)).collect();
    let reference = sim.nodes().next().map(|(_, node)| node.chain());
    let has_block = |hash: &BlockHash| {
        reference.is_some_and(|chain| chain.entry(hash).is_some_and(|entry| chain.is_on_best_chain(&entry)))
    };
    let mut confirmed = Vec::new();
    for payment in &payments {
        if let Some(chain) = reference
            && chain.db().tx_location(&payment.0)?.is_some()
        {
            confirmed.push(*payment);
        }
    }
    let honest = setup.honest() as usize;
    let in_chain: Vec<_> = blocks.iter().filter(|(hash, _)| has_block(hash)).copied().collect();
    let block = |event: &Event| match event {
        Event::BlockConnected { hash, .. } => Some(*hash),
        _ => None,
    };
    let transaction = |event: &Event| match event {
        Event::TransactionAccepted { txid } => Some(*txid),
        _ => None,
    };
    let traffic: Vec<Traffic> = (sim.traffic_by_kind().iter().zip(before))
        .map(|(all, before)| Traffic { messages: all.messages - before.messages, bytes: all.bytes - before.bytes })
        .collect();
    let nodes = u64::from(setup.nodes);
    let of = |kinds: &[Kind]| kinds.iter().map(|kind| framed(traffic[kind.place()])).sum::<u64>();
    let block_relay =
        of(&[Kind::Block, Kind::CompactBlock, Kind::GetBlockTransactions, Kind::BlockTransactions, Kind::SendCompact]);
    // Blocks are asked for by the same kind of message as payments, but seldom.
    let payment_relay = of(&[Kind::Inventory, Kind::GetData, Kind::Transaction]);
    let links = sim.nodes().map(|(_, node)| node.peers(sim.now()).len() as u64).sum::<u64>() / 2;
    let mut sizes = 0;
    for (hash, _) in &in_chain {
        if let Some(chain) = reference
            && let Some(entry) = chain.entry(hash)
            && let Some(block) = chain.db().block(&entry.key())?
        {
            sizes += block.size() as u64;
        }
    }
    let by_kind = Kind::ALL.iter().zip(&traffic).filter(|(_, traffic)| traffic.messages > 0);
    Ok(NetworkReport {
        setup: setup.clone(),
        command: setup.command(),
        trace: sim.trace(),
        stale_rate: share((blocks.len() - in_chain.len()) as u64, blocks.len() as u64),
        blocks: Items {
            count: blocks.len() as u64,
            in_chain: in_chain.len() as u64,
            propagation: propagation(sim, honest, &in_chain, block),
        },
        payments: Items {
            count: payments.len() as u64,
            in_chain: confirmed.len() as u64,
            propagation: propagation(sim, honest, &confirmed, transaction),
        },
        traffic: by_kind
            .map(|(kind, traffic)| KindTraffic {
                kind: kind.name(),
                messages_per_node: share(traffic.messages, nodes),
                bytes_per_node: share(framed(*traffic), nodes),
            })
            .collect(),
        block_size: share(sizes, in_chain.len() as u64),
        block_relay: share(block_relay, blocks.len() as u64 * nodes),
        links,
        payment_relay: share(payment_relay, payments.len() as u64 * links),
        messages_per_node: share(traffic.iter().map(|traffic| traffic.messages).sum(), nodes),
        bytes_per_node: share(traffic.iter().map(|traffic| framed(*traffic)).sum(), nodes),
        reorganisations: (0..)
            .zip(depths)
            .filter(|(_, count)| *count > 0)
            .map(|(depth, count)| Reorganisations { depth, count })
            .collect(),
        hostile: setup.attack.map(|attack| hostile(sim, setup, attack)),
        settled,
        height: reference.map_or(Height::GENESIS, |chain| chain.tip().height),
        violations,
        audited,
        healings: run.healings,
        series: run.series,
    })
}

/// How items reached the honest nodes, by their events.
fn propagation<T: Copy + Eq + std::hash::Hash>(
    sim: &Sim,
    honest: usize,
    made: &[(T, MonoTime)],
    named: impl Fn(&Event) -> Option<T>,
) -> Propagation {
    let places: HashMap<T, usize> = made.iter().enumerate().map(|(place, (hash, _))| (*hash, place)).collect();
    let mut arrivals: Vec<Vec<Span>> = vec![Vec::new(); made.len()];
    // The last node that reported each item, to skip repeated arrivals.
    let mut last = vec![usize::MAX; made.len()];
    for node in 0..honest {
        for (at, event) in sim.events(node) {
            if let Some(place) = named(event).and_then(|hash| places.get(&hash))
                && last[*place] != node
            {
                last[*place] = node;
                arrivals[*place].push(Span(at.saturating_since(made[*place].1)));
            }
        }
    }
    arrivals.iter_mut().for_each(|arrivals| arrivals.sort_unstable());
    let reach = |step: usize| {
        let needed = (honest * step).div_ceil(STEPS).max(1);
        let mut times: Vec<Span> = arrivals.iter().filter_map(|arrivals| arrivals.get(needed - 1)).copied().collect();
        times.sort_unstable();
        let rank =
            |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or_default();
        Reach { reached: times.len() as u64, median: rank(50), p95: rank(95) }
    };
    Propagation {
        half: reach(STEPS / 2),
        most: reach(STEPS - 1),
        all: reach(STEPS),
        curve: (0..=STEPS).map(|step| reach(step).median).collect(),
    }
}

/// Tells the addresses of byzantine peers from others.
fn hostile_addresses(setup: &NetworkSetup) -> impl Fn(&PeerAddr) -> bool {
    let ips: HashSet<IpAddr> =
        (setup.honest() as usize..setup.nodes as usize).map(|node| Sim::address(node).ip()).collect();
    move |address| ips.contains(&address.ip())
}

/// Honest peers that an honest node punished.
fn punished_honest(sim: &Sim, setup: &NetworkSetup) -> Vec<String> {
    let is_hostile = hostile_addresses(setup);
    let tell = |number: usize, (at, event): &(MonoTime, Event)| match event {
        Event::PeerDisconnected { address, reason: Reason::Misbehaved(offence), .. } if !is_hostile(address) => {
            let millis = at.as_millis();
            Some(format!("at {millis} ms node {number} disconnected the honest {address}: {offence}"))
        }
        _ => None,
    };
    let all = (0..setup.honest() as usize).flat_map(|node| sim.events(node).iter().map(move |event| (node, event)));
    all.filter_map(|(node, event)| tell(node, event)).collect()
}

fn hostile(sim: &Sim, setup: &NetworkSetup, attack: Attack) -> Hostile {
    let honest = setup.honest() as usize;
    let is_hostile = hostile_addresses(setup);
    let (mut bans, mut found_out, mut stalled) = (0, 0, 0);
    for (_, event) in (0..honest).flat_map(|node| sim.events(node)) {
        match event {
            Event::Banned { .. } => bans += 1,
            Event::PeerDisconnected { address, reason: Reason::Misbehaved(_), .. } if is_hostile(address) => {
                found_out += 1
            }
            Event::PeerDisconnected { address, reason: Reason::Stalled, .. } if is_hostile(address) => stalled += 1,
            _ => {}
        }
    }
    let connections = |node: &crate::p2p::Node| {
        let peers = node.peers(sim.now());
        (peers.iter().filter(|peer| is_hostile(&peer.address)).count() as u64, peers.len() as u64)
    };
    let all = sim.nodes().map(|(_, node)| connections(node)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let victim = sim.node(VICTIM).filter(|_| attack == Attack::Eclipse).map(connections);
    Hostile {
        peers: u64::from(setup.byzantine()),
        bans,
        found_out,
        stalled,
        connections: share(all.0, all.1),
        victim: victim.map(|(hostile, all)| share(hostile, all)),
    }
}

/// Replays every node's chain; how many were in order.
fn audit(sim: &Sim, violations: &mut Vec<String>) -> u64 {
    let nodes: Vec<(usize, &Database)> = sim.nodes().map(|(number, node)| (number, node.chain().db())).collect();
    let params = sim.params();
    let check = |(number, db): &(usize, &Database)| {
        let checked = chain::check(db, params, &mut |_, _| ());
        checked.err().map(|error| format!("node {number}'s store is not what its blocks make: {error}"))
    };
    let faults: Vec<Option<String>> = nodes.par_iter().map(check).collect();
    let sound = faults.iter().filter(|fault| fault.is_none()).count();
    violations.extend(faults.into_iter().flatten());
    sound as u64
}
