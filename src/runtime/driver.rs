//! The node's thread: gives the protocol one input at a time and carries out its outputs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::checks::{self, Batch, Checks};
use super::clock::Clock;
use super::connection::{Opened, SocketEvent};
use super::error::Failure;
use super::header_file::HeaderFile;
use super::link::{Call, Tip};
use super::net::Net;
use super::send_queue::{Parcel, SendQueue};
use super::turns::Turns;
use crate::p2p::message::Message;
use crate::p2p::{Event, Input, Output, PeerId, Protocol};
use crate::primitives::hash::Txid;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::{HashedTransaction, Transaction};

/// Duration of a single call from which on the deadlines of peers are extended: well below any time-out, and well above
/// any work that is done in slices.
const LONG_CALL: Duration = Duration::from_millis(500);

/// How long a call has the thread before peers and other callers have their turn.
const SLICE: Duration = Duration::from_millis(20);

/// Work for others than the node's thread.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Told when a state is to be computed.
    pub(super) states: Notify,
    /// Told when the tip is to be proven.
    pub(super) proofs: Notify,
}

/// The protocol and its channels, on the node's thread.
pub(super) struct Driver<P: Protocol> {
    node: P,
    /// Commands to carry out first.
    first: Vec<P::Command>,
    clock: Clock,
    net: Net,
    headers: Option<Arc<HeaderFile>>,
    peers: BTreeMap<PeerId, Peer>,
    /// Waiting events from peers.
    turns: Turns<SocketEvent>,
    /// Transactions that wait for another thread to check their signatures.
    checks: Checks,
    /// Calls that have more to do.
    begun: VecDeque<Call<P>>,
    /// When the protocol is to be woken next.
    wake: Option<MonoTime>,
    events: broadcast::Sender<Event>,
    due: Arc<Due>,
    tip: watch::Sender<Tip>,
    /// Why the store failed, if it did.
    store_failed: Option<String>,
}

struct Peer {
    send_queue: SendQueue,
    closing: CancellationToken,
}

impl<P: Protocol> Driver<P> {
    pub(super) fn new(
        (node, first): (P, Vec<P::Command>),
        clock: Clock,
        net: Net,
        headers: Option<Arc<HeaderFile>>,
        events: broadcast::Sender<Event>,
        due: Arc<Due>,
        tip: watch::Sender<Tip>,
    ) -> Self {
        Self {
            node,
            first,
            clock,
            net,
            headers,
            peers: BTreeMap::new(),
            turns: Turns::new(),
            checks: Checks::default(),
            begun: VecDeque::new(),
            wake: Some(MonoTime::START),
            events,
            due,
            tip,
            store_failed: None,
        }
    }

    /// Works until `stop`, or until the store fails. Peers, callers and the clock take turns: chance decides between
    /// them, and the budget between peers.
    pub(super) async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call<P>>,
        mut sockets: mpsc::Receiver<SocketEvent>,
        stop: CancellationToken,
    ) -> Result<P, Failure> {
        self.act();
        for command in std::mem::take(&mut self.first) {
            self.node.command(self.clock.now(), command);
            self.act();
        }
        loop {
            let wake = self.wake.map(|at| Instant::from_std(self.clock.instant_of(at)));
            let alarm = async move {
                match wake {
                    Some(instant) if instant <= Instant::now() => {}
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            let began = tokio::select! {
                () = stop.cancelled() => break,
                Some(call) = calls.recv() => {
                    let began = self.clock.elapsed();
                    self.call(call);
                    began
                }
                () = std::future::ready(()), if !self.begun.is_empty() => {
                    let began = self.clock.elapsed();
                    if let Some(call) = self.begun.pop_front() {
                        self.call(call);
                    }
                    began
                }
                Some(event) = sockets.recv() => {
                    let began = self.clock.elapsed();
                    self.arrived(event);
                    // All waiting events are collected before the next turn is chosen.
                    while let Ok(event) = sockets.try_recv() {
                        self.arrived(event);
                    }
                    began
                }
                () = std::future::ready(()), if !self.turns.is_empty() => {
                    let (node, now, began) = (&self.node, self.clock.now(), self.clock.elapsed());
                    if let Some(peer) = self.turns.next_peer(|peer| node.budget_left(now, peer)) {
                        self.turn(peer);
                    }
                    began
                }
                (batch, verified) = self.checks.next() => {
                    let began = self.clock.elapsed();
                    // The next batch is being checked already, and there is room for another.
                    self.turns.release();
                    self.checked(batch, verified);
                    began
                }
                () = alarm => {
                    let began = self.clock.elapsed();
                    self.wake = None;
                    self.node.handle(self.clock.now(), Input::Tick);
                    began
                }
            };
            self.act();
            let took = self.clock.elapsed().saturating_sub(began);
            if took >= LONG_CALL {
                self.node.handle(self.clock.now(), Input::Delayed { by: took });
                self.act();
            }
            // The disk is consistent; continuing would only move memory further away from it.
            if let Some(message) = self.store_failed.take() {
                return Err(Failure::Store { message });
            }
            // The runtime on this thread polls timers and channels only when this yields.
            if !self.turns.is_empty() || !self.begun.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        self.node.handle(self.clock.now(), Input::Stop);
        self.act();
        match self.store_failed {
            Some(message) => Err(Failure::Store { message }),
            None => Ok(self.node),
        }
    }

    /// Carries out a call, or a slice of it.
    fn call(&mut self, mut call: Call<P>) {
        let until = self.clock.elapsed() + SLICE;
        // A caller that has stopped waiting wants no more than what was handed over at once.
        while let Some(command) = (call.next)(&self.node, self.clock.now()) {
            self.node.command(self.clock.now(), command);
            self.act();
            if self.store_failed.is_some() || call.published.is_closed() {
                break;
            }
            if self.clock.elapsed() >= until {
                return self.begun.push_back(call);
            }
        }
        let _ = call.published.send(());
    }

    /// Connection events, and pongs of peers within their budgets, are handled at once; messages, and the end of a connection,
    /// wait for their turn.
    fn arrived(&mut self, event: SocketEvent) {
        let peer = match &event {
            SocketEvent::Received { peer, message: Message::Pong(_), .. }
                if self.node.budget_left(self.clock.now(), *peer) >= 0 =>
            {
                None
            }
            SocketEvent::Received { peer, .. }
            | SocketEvent::Malformed { peer, .. }
            // After what the peer said before.
            | SocketEvent::Closed { peer } => Some(*peer),
            SocketEvent::Opened(_) | SocketEvent::DialFailed { .. } | SocketEvent::Flushed { .. } => None,
        };
        match peer {
            // Messages of a peer that was disconnected are dropped.
            Some(peer) if self.peers.contains_key(&peer) => self.turns.push(peer, event),
            Some(_) => {}
            None => {
                self.socket(event);
                self.act();
            }
        }
    }

    /// Handles what waits first from a peer, unless that has to wait for signatures to be checked.
    fn turn(&mut self, peer: PeerId) {
        let is_after_others = self.checks.concern(peer);
        let transactions = self.turns.waiting(peer).map_while(transaction).take(checks::WORTHWHILE).count();
        match transactions {
            0 | 1 if !is_after_others => {
                if let Some(event) = self.turns.take(peer) {
                    self.socket(event);
                }
            }
            0 => self.turns.hold(peer),
            checks::WORTHWHILE.. if self.checks.is_full() => self.turns.hold(peer),
            _ if is_after_others && self.checks.is_full() => self.turns.hold(peer),
            _ => self.transactions(peer),
        }
    }

    /// Has the signatures of a peer's transactions checked together: if they are many, apart from this thread.
    fn transactions(&mut self, peer: PeerId) {
        let mut signatures = 0;
        let fits = |event: &SocketEvent| {
            let has_room = signatures < checks::MAX_SIGNATURES;
            transaction(event).filter(|_| has_room).map(|tx| signatures += tx.inputs.len()).is_some()
        };
        let mut batch = Batch { peer, transactions: Vec::new(), spaces: Vec::new() };
        for event in self.turns.take_while(peer, fits) {
            if let SocketEvent::Received { message: Message::Transaction(tx), space, .. } = event {
                batch.transactions.push(HashedTransaction::new(tx));
                batch.spaces.push(space);
            }
        }
        let ahead = self.node.signatures_of(&self.checks.transactions(), &batch.transactions);
        if self.checks.concern(peer) || ahead.len() >= checks::WORTHWHILE && !self.checks.is_full() {
            self.checks.push(batch, ahead);
        } else {
            self.checked(batch, ahead.verify());
        }
    }

    fn checked(&mut self, Batch { peer, transactions, spaces }: Batch, verified: Vec<Txid>) {
        // Messages of a peer that was disconnected are dropped.
        if self.peers.contains_key(&peer) {
            self.node.handle(self.clock.now(), Input::Transactions { peer, transactions, verified });
        }
        drop(spaces);
    }

    fn socket(&mut self, event: SocketEvent) {
        let mut _space = None; // Given back when the node has handled the message.
        let input = match event {
            SocketEvent::Opened(Opened { peer, id, address, direction, send_queue, closing }) => {
                self.peers.insert(peer, Peer { send_queue, closing });
                Input::Connected { peer, address, direction, id }
            }
            SocketEvent::DialFailed { address, found } => Input::ConnectFailed { address, found },
            SocketEvent::Received { peer, message, at, space } if self.peers.contains_key(&peer) => {
                _space = Some(space);
                Input::Received { peer, message, at: self.clock.mono_of(at.into_std()) }
            }
            SocketEvent::Malformed { peer, reason } if self.peers.contains_key(&peer) => {
                Input::Malformed { peer, reason }
            }
            SocketEvent::Flushed { peer } if self.peers.contains_key(&peer) => Input::Flushed { peer },
            SocketEvent::Closed { peer } if self.peers.remove(&peer).is_some() => Input::Disconnected { peer },
            SocketEvent::Received { .. }
            | SocketEvent::Malformed { .. }
            | SocketEvent::Flushed { .. }
            | SocketEvent::Closed { .. } => return,
        };
        self.node.handle(self.clock.now(), input);
    }

    /// Carries out the protocol's outputs until there are none.
    fn act(&mut self) {
        loop {
            let outputs: Vec<Output> = self.node.drain().collect();
            if outputs.is_empty() {
                break;
            }
            let mut overflowed = Vec::new();
            for output in outputs {
                match output {
                    Output::Send { peer, frame } => {
                        if !self.send(peer, Parcel::Frame(frame)) {
                            overflowed.push(peer);
                        }
                    }
                    Output::Flush { peer } => {
                        if !self.send(peer, Parcel::Mark) {
                            overflowed.push(peer);
                        }
                    }
                    Output::Connect { address, id } => self.net.dial(address, id),
                    Output::Disconnect { peer, reason } => {
                        debug!(peer = peer.0, %reason, "disconnecting");
                        self.close(peer);
                    }
                    Output::WakeAt { at } => self.wake = Some(at),
                    Output::KeepHeaders { beginning, above, headers } => {
                        let replace = |file: &Arc<HeaderFile>| file.replace(beginning, above, &headers);
                        let kept = self.headers.as_ref().map_or(Ok(()), replace);
                        if let Err(error) = kept {
                            self.event(Event::StoreFailed { error: error.to_string() });
                        }
                    }
                    Output::Event(event) => self.event(event),
                }
            }
            for peer in overflowed {
                debug!(peer = peer.0, "disconnecting: reads too slowly");
                self.close(peer);
                self.node.handle(self.clock.now(), Input::Disconnected { peer });
            }
        }
    }

    /// Whether the peer's send queue had room.
    fn send(&self, peer: PeerId, parcel: Parcel) -> bool {
        self.peers.get(&peer).is_none_or(|peer| peer.send_queue.push(parcel).is_ok())
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::TipChanged { hash, height } => {
                info!(height = height.as_u32(), %hash, "tip");
                self.tip.send_replace(Tip { height: *height, hash: *hash });
            }
            Event::PeerConnected { peer, address, direction } => {
                info!(%peer, %address, ?direction, "peer connected");
                self.net.ready(*peer);
            }
            Event::PeerDisconnected { peer, address, reason } => {
                info!(%peer, %address, %reason, "peer disconnected");
            }
            Event::Banned { subnet, until } => warn!(?subnet, until = until.as_secs(), "banned"),
            Event::StoreFailed { error } => {
                error!(error, "the store failed");
                self.store_failed = Some(error.clone());
            }
            Event::StateDue => self.due.states.notify_one(),
            Event::ProofDue => self.due.proofs.notify_one(),
            Event::BranchTooDeep { error } => error!(error, "a branch was refused"),
            Event::BlockConnected { .. }
            | Event::BlockDisconnected { .. }
            | Event::TransactionAccepted { .. }
            | Event::NodesFound(_)
            | Event::ProviderNamed { .. }
            | Event::Announced { .. }
            | Event::Noticed => {}
        }
        // Fails only without subscribers.
        let _ = self.events.send(event);
    }

    fn close(&mut self, peer: PeerId) {
        self.turns.forget(peer);
        if let Some(peer) = self.peers.remove(&peer) {
            peer.closing.cancel();
        }
    }
}

/// The transaction that came, if it is one.
fn transaction(event: &SocketEvent) -> Option<&Transaction> {
    match event {
        SocketEvent::Received { message: Message::Transaction(tx), .. } => Some(tx),
        _ => None,
    }
}
