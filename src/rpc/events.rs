//! `GET /events`: a node's events as server-sent events (WHATWG HTML, 9.2). Needs no credentials.
//!
//! Each event has a name and an object as its data:
//!
//! - `tip` `{hash, height}`: the best chain's tip; also sent first to each new listener.
//! - `block` `{hash, height, connected}`: a block joined the best chain, or left it.
//! - `transaction` `{txid}`: the mempool admitted it.
//! - `peer` `{id, addr, inbound, connected}` and, when it is gone, `reason` instead of `inbound`.
//! - `missed` `{}`: the listener was too slow and lost some events; it should read everything again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use super::connections::{Busy, Place};
use super::http::{Server, plain};
use crate::p2p::{Direction, Event};

/// Interval of comments on a silent stream, so that proxies see that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The route, for at most `most` listeners at a time.
pub(super) fn routes(most: usize) -> Router<Arc<Server>> {
    let seats = Arc::new(Semaphore::new(most));
    let listen = move |State(server): State<Arc<Server>>, Extension(place): Extension<Place>| async move {
        match Arc::clone(&seats).try_acquire_owned() {
            Ok(seat) => stream(Listener::new(server, place.busy(), seat)),
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("there are {most} listeners already")),
        }
    };
    Router::new().route("/events", get(listen))
}

/// An open event stream, and its place among those that the server allows.
struct Listener {
    server: Arc<Server>,
    events: broadcast::Receiver<Event>,
    /// Whether the tip has been sent.
    tip_sent: bool,
    /// Marks the connection as busy and holds one of the places for listeners.
    _busy: Busy,
    _seat: OwnedSemaphorePermit,
}

impl Listener {
    fn new(server: Arc<Server>, busy: Busy, seat: OwnedSemaphorePermit) -> Self {
        let events = server.api.handle.subscribe();
        Self { server, events, tip_sent: false, _busy: busy, _seat: seat }
    }

    /// The next event to send; `None` when the server or the node stops.
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.tip_sent {
            self.tip_sent = true;
            let tip = self.server.api.tip();
            return Some(event("tip", &json!({ "hash": tip.hash, "height": tip.height })));
        }
        loop {
            let received = tokio::select! {
                received = self.events.recv() => received,
                () = self.server.api.stopping() => return None,
            };
            match received {
                Ok(happened) => {
                    if let Some(event) = to_sse(&happened) {
                        return Some(event);
                    }
                }
                Err(RecvError::Lagged(_)) => return Some(event("missed", &json!({}))),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn stream(listener: Listener) -> Response {
    let events = unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    respond(events)
}

fn respond(events: impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static) -> Response {
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // nginx would hold events back to fill its buffer.
    ([(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")], stream)
        .into_response()
}

fn event(name: &str, data: &impl Serialize) -> sse::Event {
    // The objects above have string keys and no failing serializer.
    sse::Event::default().event(name).data(super::jsonrpc::Reply::of(data).as_str())
}

/// An event as it is sent, if it is public.
fn to_sse(happened: &Event) -> Option<sse::Event> {
    Some(match happened {
        Event::TipChanged { hash, height } => event("tip", &json!({ "hash": hash, "height": height })),
        Event::BlockConnected { hash, height } => {
            event("block", &json!({ "hash": hash, "height": height, "connected": true }))
        }
        Event::BlockDisconnected { hash, height } => {
            event("block", &json!({ "hash": hash, "height": height, "connected": false }))
        }
        Event::TransactionAccepted { txid } => event("transaction", &json!({ "txid": txid })),
        Event::PeerConnected { peer, address, direction } => {
            let inbound = *direction == Direction::Inbound;
            event("peer", &json!({ "id": peer.0, "addr": address, "inbound": inbound, "connected": true }))
        }
        Event::PeerDisconnected { peer, address, reason } => {
            let reason = reason.to_string();
            event("peer", &json!({ "id": peer.0, "addr": address, "connected": false, "reason": reason }))
        }
        Event::Banned { .. } | Event::NodesFound(_) | Event::Noticed | Event::StateDue | Event::ProofDue => {
            return None;
        }
        Event::ProviderNamed { .. } | Event::Announced { .. } => return None,
        Event::StoreFailed { .. } | Event::BranchTooDeep { .. } => return None,
    })
}
