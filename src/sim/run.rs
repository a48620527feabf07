//! The event loop.

use std::time::Duration;

use rand::RngExt;
use sha2::Digest;

use super::units::draw_between;
use super::wire::{End, Link, SimEvent, link_of, peer_id};
use super::{Actor, Sim};
use crate::p2p::frame::{Decoder, Frame};
use crate::p2p::kad::NodeId;
use crate::p2p::{Input, Output, PeerAddr, PeerId, Protocol};
use crate::record;

impl Sim {
    pub(super) fn note(&mut self, what: &str, numbers: [u64; 3]) {
        self.trace.update(self.time.as_millis().to_le_bytes());
        self.trace.update(what);
        numbers.iter().for_each(|number| self.trace.update(number.to_le_bytes()));
    }

    pub(super) fn happen(&mut self, happening: SimEvent) {
        match happening {
            SimEvent::Dial { from, incarnation, address, id } => self.dialled(from, incarnation, (address, id)),
            SimEvent::DialFailed { node, incarnation, address } => {
                if self.places[node].incarnation == incarnation {
                    self.deliver(node, Input::ConnectFailed { address, found: None });
                }
            }
            SimEvent::Established { link } => {
                let Some(dialled) = self.links.get(&link) else { return };
                let (from, to) = (dialled.node(End::Dialler), dialled.node(End::Listener));
                let peer = peer_id(link, End::Dialler);
                let direction = End::Dialler.direction();
                self.deliver(from, Input::Connected { peer, address: Self::address(to), direction, id: Self::id(to) });
            }
            SimEvent::Arrival { link, to, frame } => {
                let Some((from, node)) = self.ends(link, to) else { return };
                let peer = peer_id(link, to);
                self.traffic[frame.kind().place()].add(frame.payload().len() as u64);
                let garbled = self.places[from].garbled;
                if garbled > 0.0 && self.rng.random_bool(garbled) {
                    return self.deliver_garbled(node, peer, frame.to_bytes());
                }
                match frame.message() {
                    Ok(message) => self.deliver(node, Input::Received { peer, message, at: self.time }),
                    Err(error) => self.deliver(node, Input::Malformed { peer, reason: error.into() }),
                }
            }
            SimEvent::Flushed { link, end } => {
                if let Some(node) = self.links.get(&link).filter(|link| !link.is_cut).map(|link| link.node(end)) {
                    self.deliver(node, Input::Flushed { peer: peer_id(link, end) });
                }
            }
            SimEvent::Closed { link, to } => {
                let Some(closed) = self.links.get(&link) else { return };
                let node = closed.node(to);
                if closed.is_cut {
                    return;
                }
                self.links.remove(&link);
                self.deliver(node, Input::Disconnected { peer: peer_id(link, to) });
            }
            SimEvent::Wake { node, incarnation } => {
                let place = &mut self.places[node];
                if place.incarnation == incarnation && place.wake == Some(self.time) {
                    place.wake = None;
                    self.deliver(node, Input::Tick);
                }
            }
            SimEvent::BlockFound { round } => {
                if round == self.mining_round {
                    self.block_found();
                    self.schedule_block();
                }
            }
        }
    }

    /// Sender and receiver of a connection that is established and not cut.
    fn ends(&self, link: u64, to: End) -> Option<(usize, usize)> {
        let link = self.links.get(&link).filter(|link| !link.is_cut)?;
        Some((link.node(to.other()), link.node(to)))
    }

    /// Delivers a message with a flipped bit as a frame reader would decode it. If the frame now claims more bytes than
    /// arrive, nothing is delivered.
    fn deliver_garbled(&mut self, node: usize, peer: PeerId, mut bytes: Vec<u8>) {
        let bit = self.rng.random_range(0..8 * bytes.len() as u64);
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
        let mut decoder = Decoder::new(self.params.max_block_bytes);
        decoder.push(&bytes);
        match decoder.next_message() {
            Ok(Some(message)) => self.deliver(node, Input::Received { peer, message, at: self.time }),
            Ok(None) => {}
            Err(error) => self.deliver(node, Input::Malformed { peer, reason: error }),
        }
    }

    fn dialled(&mut self, from: usize, incarnation: u32, (address, id): (PeerAddr, Option<NodeId>)) {
        if self.places[from].incarnation != incarnation || matches!(self.places[from].actor, Actor::Down) {
            return;
        }
        let latency = self.conditions.latency.draw(&mut self.rng);
        let reached = self.node_at(&address).filter(|to| {
            self.places[*to].group == self.places[from].group
                && !self.faults.is_cut(from, *to)
                && !matches!(self.places[*to].actor, Actor::Down)
                && id.is_none_or(|id| id == Self::id(*to))
        });
        let Some(to) = reached else {
            self.note("unreached", [from as u64, 0, 0]);
            return self.agenda.add(self.time + latency, SimEvent::DialFailed { node: from, incarnation, address });
        };
        let id = self.next_link;
        self.next_link += 1;
        let busy_until = [self.time + latency; 2];
        self.links.insert(id, Link { nodes: [from, to], latency, busy_until, is_cut: false });
        self.agenda.add(self.time + latency, SimEvent::Established { link: id });
        // Ports of diallers count up, as an operating system's do.
        let port = 40_000 + (id % 20_000) as u16;
        let address = PeerAddr::from((Self::address(from).ip(), port));
        self.note("dialled", [from as u64, to as u64, id]);
        let peer = peer_id(id, End::Listener);
        let id = Self::id(from);
        self.deliver(to, Input::Connected { peer, address, direction: End::Listener.direction(), id });
    }

    pub(super) fn block_found(&mut self) {
        let up: Vec<usize> = self.nodes().map(|(node, _)| node).collect();
        if up.is_empty() {
            return;
        }
        let node = up[self.rng.random_range(0..up.len() as u32) as usize];
        self.note("found", [node as u64, 0, 0]);
        self.mine(node);
    }

    /// Gives a node or script an input and carries out its outputs.
    pub(super) fn deliver(&mut self, number: usize, input: Input) {
        let now = self.now();
        self.note("tell", [number as u64, 0, 0]);
        self.trace.update(record::encode_input(&input));
        match &mut self.places[number].actor {
            Actor::Up(node) => {
                node.handle(now, input);
                self.carry_out(number);
            }
            Actor::Down => {}
            Actor::Scripted(script) => {
                let outputs = script(now, input);
                self.perform(number, outputs);
            }
        }
    }

    pub(super) fn carry_out(&mut self, number: usize) {
        if let Actor::Up(node) = &mut self.places[number].actor {
            let outputs = node.drain().collect();
            self.perform(number, outputs);
        }
    }

    fn perform(&mut self, node: usize, outputs: Vec<Output>) {
        let incarnation = self.places[node].incarnation;
        for output in outputs {
            match output {
                Output::Send { peer, frame } => self.send(peer, frame),
                Output::Flush { peer } => {
                    let (link, end) = link_of(peer);
                    if let Some(open) = self.links.get(&link) {
                        let left = open.busy_until[end.other() as usize].saturating_since(self.time + open.latency);
                        self.agenda.add(self.time + left, SimEvent::Flushed { link, end });
                    }
                }
                Output::Connect { address, id } => {
                    let latency = self.conditions.latency.draw(&mut self.rng);
                    self.agenda.add(self.time + latency, SimEvent::Dial { from: node, incarnation, address, id });
                }
                Output::Disconnect { peer, reason } => {
                    let (link, end) = link_of(peer);
                    self.note(&reason.to_string(), [node as u64, link, 0]);
                    if let Some(open) = self.links.get(&link) {
                        let at = open.busy_until[end.other() as usize].max(self.time + open.latency);
                        self.agenda.add(at, SimEvent::Closed { link, to: end.other() });
                    }
                }
                // There are no light clients here.
                Output::KeepHeaders { .. } => {}
                Output::WakeAt { at } => {
                    let at = at.max(self.time + Duration::from_millis(1));
                    self.places[node].wake = Some(at);
                    self.agenda.add(at, SimEvent::Wake { node, incarnation });
                }
                Output::Event(event) => {
                    self.trace.update(format!("{event:?}"));
                    self.places[node].events.push((self.time, event));
                }
            }
        }
    }

    fn send(&mut self, peer: PeerId, frame: Frame) {
        let (id, end) = link_of(peer);
        let to = end.other();
        let conditions = &self.conditions;
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.is_cut {
            return;
        }
        if conditions.resets > 0.0 && self.rng.random_bool(conditions.resets) {
            return self.break_link(id);
        }
        let faults = self.faults.of(link.node(end), link.node(to));
        if faults.loss > 0.0 && self.rng.random_bool(faults.loss) {
            return;
        }
        let mut delay = faults.delay + link.latency + draw_between(Duration::ZERO, conditions.jitter, &mut self.rng);
        if conditions.loss > 0.0 && self.rng.random_bool(conditions.loss) {
            delay += Duration::from_millis(200) + 2 * link.latency;
        }
        let bytes = frame.payload().len() as u64;
        let mut transfer = Duration::from_millis(bytes / conditions.bandwidth.max(1));
        if let Some(millis) = bytes.saturating_mul(1_000).checked_div(faults.bandwidth) {
            transfer = transfer.max(Duration::from_millis(millis));
        }
        let at = link.busy_until[to as usize].max(self.time + delay) + transfer;
        link.busy_until[to as usize] = at;
        self.agenda.add(at, SimEvent::Arrival { link: id, to, frame });
    }

    /// Breaks a connection: both ends are notified, and messages under way are lost.
    pub(super) fn break_link(&mut self, id: u64) {
        let Some(link) = self.links.remove(&id) else { return };
        self.note("broken", [link.nodes[0] as u64, link.nodes[1] as u64, id]);
        for end in [End::Dialler, End::Listener] {
            self.deliver(link.node(end), Input::Disconnected { peer: peer_id(id, end) });
        }
    }
}
