//! Propagation of one message through a very large network, in rounds: its time and its cost.
//!
//! Every node dials some random others, and messages go both ways, as in the real network. [`crate::p2p::fanout`]
//! decides to which peers a node pushes and which it asks. A round is the latency of one message.

use std::iter;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::summary::{Summary, share};
use crate::p2p::PeerId;
use crate::p2p::fanout::{Pull, push_to};
use crate::p2p::frame::HEADER_BYTES;
use crate::p2p::message::{Item, Message};
use crate::primitives::hash::Txid;

/// Rounds that a node waits after the first announcement for a push that may be under way, before it asks.
const PATIENCE: usize = 1;
/// Rounds after which a request times out.
const TIMEOUT: usize = 4;

/// The network through which messages spread, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GossipSetup {
    /// How many nodes there are.
    pub nodes: u32,
    /// How many others each dials; so many more dial it, in the mean.
    pub degree: u32,
    /// Number of peers to which a node pushes a new message.
    pub fanout: u32,
    /// Bytes of the message.
    pub bytes: u32,
    /// The part of everything sent, from 0 to 1, that is lost, so that promises are broken.
    pub loss: f64,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GossipReport {
    /// The setup that these figures are for.
    #[serde(flatten)]
    pub setup: GossipSetup,
    /// The part of the nodes that the message reached.
    pub coverage: f64,
    /// Rounds until it had reached the last of them.
    pub rounds: u64,
    /// Rounds until it had reached each.
    pub arrival: Summary,
    /// How often a node got the whole message, in the mean.
    pub copies_per_node: f64,
    /// The part of the nodes that had to ask for it.
    pub asked: f64,
    /// Messages of all kinds that a node sent, in the mean.
    pub messages_per_node: f64,
    /// Their bytes, those of their frames included.
    pub bytes_per_node: f64,
    /// The result if each node pushed the message once and then forgot it.
    pub push_only: PushOnly,
}

/// The same without announcements: a message is pushed to some and forgotten.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushOnly {
    /// The part of the nodes reached if each pushes to any others of the network, at random.
    pub coverage: f64,
    /// The same by the formula for an infinite network: the positive solution of c = 1 − e^(−fanout · c).
    pub closed_form: f64,
    /// The part reached if each pushes to some of its own peers, which are as good as random.
    pub over_peers: f64,
}

/// The connection graph.
struct Overlay {
    /// Where each node's peers begin in `peers`; one more for the end.
    starts: Vec<usize>,
    peers: Vec<u32>,
}

impl Overlay {
    fn new(nodes: u32, degree: u32, rng: &mut ChaCha20Rng) -> Self {
        let degree = degree.min(nodes.saturating_sub(1)) as usize;
        let mut dialled: Vec<u32> = Vec::with_capacity(nodes as usize * degree);
        for node in 0..nodes {
            let from = dialled.len();
            while dialled.len() < from + degree {
                let other = rng.random_range(0..nodes);
                if other != node && !dialled[from..].contains(&other) {
                    dialled.push(other);
                }
            }
        }
        let links = || dialled.iter().enumerate().map(|(at, other)| ((at / degree) as u32, *other));
        let mut starts = vec![0; nodes as usize + 1];
        for end in links().flat_map(|(a, b)| [a, b]) {
            starts[end as usize + 1] += 1;
        }
        for node in 0..nodes as usize {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut peers = vec![0; 2 * dialled.len()];
        for (node, peer) in links().flat_map(|(a, b)| [(a, b), (b, a)]) {
            peers[next[node as usize]] = peer;
            next[node as usize] += 1;
        }
        Self { starts, peers }
    }

    fn peers(&self, node: u32) -> &[u32] {
        &self.peers[self.starts[node as usize]..self.starts[node as usize + 1]]
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// The whole message arrives unsolicited.
    Pushed,
    /// The requested message arrives.
    Delivered,
    Announced,
    Asked,
    /// The node has waited long enough and may ask an announcer.
    MayAsk,
    /// A request has timed out.
    TimedOut,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
struct Event {
    node: u32,
    /// The peer that it comes from or concerns.
    peer: u32,
    what: What,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The round in which the message came.
    arrived_in: Option<u64>,
    pull: Pull,
    /// Peers known to have the message or about to receive it.
    known_to: Vec<u32>,
}

struct Run<'a> {
    setup: &'a GossipSetup,
    overlay: &'a Overlay,
    rng: ChaCha20Rng,
    nodes: Vec<Node>,
    round: usize,
    /// What happens in this round, and in each of those to come.
    agenda: Vec<Vec<Event>>,
    copies: u64,
    asked: u64,
    messages: u64,
    bytes: u64,
}

/// Starts a message at node 0 and follows its propagation. `progress` is called for each node reached.
pub fn run(setup: &GossipSetup, progress: &dyn Fn()) -> GossipReport {
    let mut rng = ChaCha20Rng::seed_from_u64(setup.seed);
    let overlay = Overlay::new(setup.nodes, setup.degree, &mut rng);
    let push_only = PushOnly {
        coverage: push_and_forget(setup, None, &mut rng),
        closed_form: closed_form(setup.fanout),
        over_peers: push_and_forget(setup, Some(&overlay), &mut rng),
    };
    let mut run = Run {
        setup,
        overlay: &overlay,
        rng,
        nodes: vec![Node::default(); setup.nodes as usize],
        round: 0,
        agenda: vec![Vec::new(); TIMEOUT + 1],
        copies: 0,
        asked: 0,
        messages: 0,
        bytes: 0,
    };
    run.receive(0, None, progress);
    while run.agenda.iter().any(|events| !events.is_empty()) {
        let events = std::mem::take(&mut run.agenda[0]);
        events.into_iter().for_each(|event| run.happen(event, progress));
        run.agenda.rotate_left(1);
        run.round += 1;
    }
    run.report(push_only)
}

impl Run<'_> {
    fn at(&mut self, rounds: usize, node: u32, peer: u32, what: What) {
        self.agenda[rounds].push(Event { node, peer, what });
    }

    fn send(&mut self, node: u32, peer: u32, what: What) {
        let item = || vec![Item::Transaction(Txid::of(b"x"))];
        let bytes = match what {
            What::Announced => Message::Inventory(item()).encoded_len(),
            What::Asked => Message::GetData(item()).encoded_len(),
            What::Pushed | What::Delivered | What::MayAsk | What::TimedOut => self.setup.bytes as usize,
        };
        self.messages += 1;
        self.bytes += (HEADER_BYTES + bytes) as u64;
        if self.setup.loss == 0.0 || self.rng.random::<f64>() >= self.setup.loss {
            self.at(1, peer, node, what);
        }
    }

    fn happen(&mut self, Event { node, peer, what }: Event, progress: &dyn Fn()) {
        let to = PeerId(u64::from(peer));
        let state = &mut self.nodes[node as usize];
        let has = state.arrived_in.is_some();
        match what {
            What::Pushed | What::Delivered => {
                self.copies += 1;
                if !has {
                    self.asked += u64::from(matches!(what, What::Delivered));
                    self.receive(node, Some(peer), progress);
                }
            }
            What::Announced if has => {}
            What::Announced => {
                state.known_to.push(peer);
                if state.pull.announced(to) {
                    self.at(PATIENCE, node, peer, What::MayAsk);
                }
            }
            What::MayAsk => {
                if !has && state.pull.ask(to) {
                    self.send(node, peer, What::Asked);
                    self.at(TIMEOUT, node, peer, What::TimedOut);
                }
            }
            What::Asked => self.send(node, peer, What::Delivered),
            What::TimedOut => {
                if !has && let Some(PeerId(next)) = state.pull.fail_over() {
                    self.at(1, node, next as u32, What::MayAsk);
                }
            }
        }
    }

    /// A node has the message, from a peer or by itself.
    fn receive(&mut self, node: u32, from: Option<u32>, progress: &dyn Fn()) {
        progress();
        let overlay = self.overlay;
        let state = &mut self.nodes[node as usize];
        state.arrived_in = Some(self.round as u64);
        state.known_to.extend(from);
        let known_to = std::mem::take(&mut state.known_to);
        let lacking = overlay.peers(node).iter().filter(|peer| !known_to.contains(peer));
        let lacking: Vec<PeerId> = lacking.map(|peer| PeerId(u64::from(*peer))).collect();
        let pushed = push_to(&lacking, !state.pull.is_announced(), self.setup.fanout as usize, &mut self.rng);
        for peer in &lacking {
            let what = if pushed.contains(peer) { What::Pushed } else { What::Announced };
            self.send(node, peer.0 as u32, what);
        }
    }

    fn report(self, push_only: PushOnly) -> GossipReport {
        let nodes = u64::from(self.setup.nodes);
        let arrivals: Vec<u64> = self.nodes.iter().filter_map(|node| node.arrived_in).collect();
        let reached = arrivals.len() as u64;
        let arrival = Summary::of(arrivals);
        GossipReport {
            setup: self.setup.clone(),
            coverage: share(reached, nodes),
            rounds: arrival.max,
            arrival,
            copies_per_node: share(self.copies, nodes),
            asked: share(self.asked, nodes),
            messages_per_node: share(self.messages, nodes),
            bytes_per_node: share(self.bytes, nodes),
            push_only,
        }
    }
}

/// The fraction reached if every node pushes a message once, to peers or to random nodes.
fn push_and_forget(setup: &GossipSetup, overlay: Option<&Overlay>, rng: &mut ChaCha20Rng) -> f64 {
    let mut has = vec![false; setup.nodes as usize];
    let mut open = vec![0];
    has[0] = true;
    while let Some(node) = open.pop() {
        let to: Vec<u32> = match overlay {
            Some(overlay) => {
                let peers: Vec<PeerId> = overlay.peers(node).iter().map(|peer| PeerId(u64::from(*peer))).collect();
                let pushed = push_to(&peers, true, setup.fanout as usize, rng);
                pushed.into_iter().map(|peer| peer.0 as u32).collect()
            }
            None => iter::repeat_with(|| rng.random_range(0..setup.nodes)).take(setup.fanout as usize).collect(),
        };
        for peer in to {
            if !std::mem::replace(&mut has[peer as usize], true) {
                open.push(peer);
            }
        }
    }
    share(has.iter().filter(|has| **has).count() as u64, u64::from(setup.nodes))
}

/// The positive solution of c = 1 − e^(−fanout · c), as the final size of an epidemic: a node is missed if none of the
/// fanout · c · n pushes goes to it. Nothing is reached for certain if each pushes to one or none.
fn closed_form(fanout: u32) -> f64 {
    let step = |coverage: f64| 1.0 - (-f64::from(fanout) * coverage).exp();
    if fanout < 2 { 0.0 } else { ((0..200).fold(1.0, |coverage, _| step(coverage)) * 1e4).round() / 1e4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_gives_the_known_shares() {
        assert_eq!([0, 1, 2, 3, 8].map(closed_form), [0.0, 0.0, 0.7968, 0.9405, 0.9997]);
    }
}
