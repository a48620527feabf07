//! The node's thread: hands inputs to the protocol one at a time and does what it answers.

use std::collections::BTreeMap;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::connection::{Opened, SocketEvent};
use super::error::Failure;
use super::link::{Command, Tip};
use super::net::Net;
use super::outbox::{Outbox, Parcel};
use crate::p2p::frame;
use crate::p2p::{Event, Input, Output, PeerId, Protocol};

/// The protocol with what surrounds it. Lives on the node's thread.
pub(super) struct Driver<P> {
    node: P,
    clock: Clock,
    net: Net,
    peers: BTreeMap<PeerId, Peer>,
    /// When the protocol next wants to look at the clock.
    wake: Option<u64>,
    events: broadcast::Sender<Event>,
    tip: watch::Sender<Tip>,
    /// Why the store failed, if it did.
    store_failed: Option<String>,
}

struct Peer {
    outbox: Outbox,
    closing: CancellationToken,
}

impl<P: Protocol> Driver<P> {
    pub(super) fn new(
        node: P,
        clock: Clock,
        net: Net,
        events: broadcast::Sender<Event>,
        tip: watch::Sender<Tip>,
    ) -> Self {
        Self { node, clock, net, peers: BTreeMap::new(), wake: Some(0), events, tip, store_failed: None }
    }

    /// Works until `stop`, or until the store fails. Peers, callers and the clock take turns: when several have something, chance decides.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command<P>>,
        mut sockets: mpsc::Receiver<SocketEvent>,
        stop: CancellationToken,
    ) -> Result<P, Failure> {
        self.act();
        loop {
            let wake = self.wake.map(|millis| Instant::from_std(self.clock.instant_of(millis)));
            let alarm = async move {
                match wake {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(command) = commands.recv() => {
                    let answer = command(&mut self.node, self.clock.now());
                    self.act();
                    answer();
                }
                Some(event) = sockets.recv() => self.socket(event),
                () = alarm => {
                    self.wake = None;
                    self.node.handle(self.clock.now(), Input::Tick);
                }
            }
            self.act();
            // What is on disk is whole; going on would only move memory away from it.
            if let Some(message) = self.store_failed.take() {
                return Err(Failure::Store { message });
            }
        }
        if let Err(error) = self.node.save(self.clock.now()) {
            warn!(%error, "the address book was not kept");
        }
        Ok(self.node)
    }

    fn socket(&mut self, event: SocketEvent) {
        let input = match event {
            SocketEvent::Opened(Opened { peer, id, address, direction, outbox, closing }) => {
                self.peers.insert(peer, Peer { outbox, closing });
                Input::Connected { peer, address, direction, id }
            }
            SocketEvent::DialFailed { address } => Input::ConnectFailed { address },
            // What a peer said before it was let go, and still waited here, is nobody's concern any more.
            SocketEvent::Received { peer, message, _space } if self.peers.contains_key(&peer) => {
                Input::Received { peer, message }
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

    /// Does what the protocol asks, until it asks nothing more.
    fn act(&mut self) {
        loop {
            let outputs: Vec<Output> = self.node.drain().collect();
            if outputs.is_empty() {
                break;
            }
            let mut overflowed = Vec::new();
            for output in outputs {
                match output {
                    Output::Send { peer, message } => {
                        if !self.send(peer, Parcel::Frame(frame::encode(&message))) {
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
                    Output::WakeAt { millis } => self.wake = Some(millis),
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

    /// Whether the peer's outbox had room.
    fn send(&self, peer: PeerId, parcel: Parcel) -> bool {
        self.peers.get(&peer).is_none_or(|peer| peer.outbox.push(parcel).is_ok())
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::TipChanged { hash, height } => {
                info!(height, %hash, "tip");
                self.tip.send_replace(Tip { height: *height, hash: *hash });
            }
            Event::PeerConnected { peer, address, direction } => {
                info!(%peer, %address, ?direction, "peer connected");
            }
            Event::PeerDisconnected { peer, address, reason } => {
                info!(%peer, %address, %reason, "peer disconnected");
            }
            Event::Banned { subnet, until } => warn!(?subnet, until, "banned"),
            Event::StoreFailed { error } => {
                error!(error, "the store failed");
                self.store_failed = Some(error.clone());
            }
            Event::BlockConnected { .. }
            | Event::BlockDisconnected { .. }
            | Event::TransactionAccepted { .. }
            | Event::NodesFound(_)
            | Event::Noticed => {}
        }
        // Fails only when nobody listens.
        let _ = self.events.send(event);
    }

    fn close(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.remove(&peer) {
            peer.closing.cancel();
        }
    }
}
