//! The listener and the dialler: they make connections, verify ids, number the connections and hand them to the node's
//! thread, which never sees a failed handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::chaos::Chaos;
use super::config::SocketLimits;
use super::connection::{Connection, Faults, Inbox, Opened, SocketEvent};
use super::exchange::Exchange;
use super::lobby::{Lobby, PendingHandshake};
use super::noise::{self, ConnectError};
use super::send_queue::send_queue;
use super::traffic::Traffic;
use crate::p2p::kad::NodeId;
use crate::p2p::noise::{Carrier, HANDSHAKE_BYTES, HandshakeError, Identity, Session};
use crate::p2p::{Direction, OtherParty, PeerAddr, PeerId, Transports};

/// Inbound connections beyond the protocol's own limit, so that it can still tell a surplus peer why it is refused.
pub(super) const SPARE_INBOUND: usize = 8;
/// Dials under way at a time, their handshakes included.
pub(super) const MAX_DIALS: usize = 32;
/// Before accepting again, when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What [`Net::dial`] can dial.
pub(super) const TRANSPORTS: Transports = Transports { tcp: true, webrtc: false };

/// Makes connections. Clones share everything.
#[derive(Clone)]
pub(super) struct Net(Arc<Shared>);

struct Shared {
    runtime: tokio::runtime::Handle,
    identity: Identity,
    inbox: Inbox,
    traffic: Arc<Traffic>,
    limits: SocketLimits,
    max_block_bytes: u32,
    chaos: Option<Arc<Chaos>>,
    exchange: Option<Exchange>,
    next_peer: AtomicU64,
    lobby: Lobby,
    /// For browsers: packets with forged sources must not take the places of TCP's handshakes.
    #[cfg(feature = "webrtc")]
    browser_lobby: Lobby,
    inbound: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A connection whose handshake is done.
struct Authenticated<S> {
    stream: S,
    session: Session,
    /// Until when the first message has to come.
    deadline: Instant,
}

impl Net {
    /// `max_inbound` connections are the protocol's to choose from; a few more are taken for it to refuse.
    pub(super) fn new(
        inbox: Inbox,
        traffic: Arc<Traffic>,
        (chaos, exchange): (Option<Arc<Chaos>>, Option<Exchange>),
        limits: SocketLimits,
        max_block_bytes: u32,
        max_inbound: usize,
        identity: Identity,
    ) -> Self {
        Self(Arc::new(Shared {
            identity,
            runtime: tokio::runtime::Handle::current(),
            inbox,
            traffic,
            limits,
            max_block_bytes,
            chaos,
            exchange,
            next_peer: AtomicU64::new(1),
            lobby: Lobby::default(),
            #[cfg(feature = "webrtc")]
            browser_lobby: Lobby::default(),
            inbound: Arc::new(Semaphore::new(max_inbound + SPARE_INBOUND)),
            dials: Arc::new(Semaphore::new(MAX_DIALS)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Accepts connections until [`Net::stop`].
    pub(super) fn listen(&self, listener: TcpListener) {
        let net = self.clone();
        self.spawn(async move {
            loop {
                match listener.accept().await {
                    // A socket for both families gives IPv4 addresses in IPv6 form.
                    Ok((stream, address)) => {
                        net.accepted(stream, SocketAddr::new(address.ip().to_canonical(), address.port()));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    fn accepted(&self, stream: TcpStream, address: SocketAddr) {
        if self.0.inbound.available_permits() == 0 {
            debug!(%address, "refused: too many connections");
            return;
        }
        let pending_handshake = self.0.lobby.admit(address.ip());
        let net = self.clone();
        self.0.tasks.spawn(async move {
            at_once(&stream, address);
            let deadline = Instant::now() + net.0.limits.first_message;
            net.admitted(stream, address.into(), &Carrier::Tcp, deadline, pending_handshake).await;
        });
    }

    /// An inbound connection from its handshake until its end.
    async fn admitted<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: PeerAddr,
        carrier: &Carrier,
        deadline: Instant,
        pending_handshake: PendingHandshake,
    ) {
        let met = tokio::select! {
            () = self.0.stop.cancelled() => return,
            () = pending_handshake.evicted.cancelled() => Err(ConnectError::Io(io::Error::other("another needs the room"))),
            met = self.accept_handshake(stream, carrier, deadline) => met,
        };
        drop(pending_handshake);
        let met = match met {
            Ok(met) => met,
            Err(error) => return debug!(%address, %error, "no handshake"),
        };
        let Ok(_slot) = self.0.inbound.clone().try_acquire_owned() else {
            return debug!(%address, "refused: too many connections");
        };
        self.carry(met, address, Direction::Inbound).await;
    }

    /// The handshake of an inbound connection.
    async fn accept_handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        carrier: &Carrier,
        deadline: Instant,
    ) -> Result<Authenticated<S>, ConnectError> {
        let shaken = timeout_at(deadline, noise::respond_over(&mut stream, &self.0.identity, carrier)).await;
        let session = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Authenticated { stream, session, deadline })
    }

    /// Dials, from any thread, with a required `id` if given. The result arrives in the inbox.
    pub(super) fn dial(&self, address: PeerAddr, id: Option<NodeId>) {
        let net = self.clone();
        self.0.tasks.spawn_on(
            async move {
                let error = match net.meet(address, id).await {
                    Ok(met) => return net.carry(met, address, Direction::Outbound).await,
                    Err(error) => error,
                };
                let found = match error {
                    ConnectError::Handshake(HandshakeError::WrongId { got, .. }) => Some(OtherParty::Node(got)),
                    ConnectError::Http => Some(OtherParty::Http),
                    _ => None,
                };
                if matches!(found, Some(OtherParty::Node(_))) {
                    warn!(%address, %error, "cannot connect");
                } else {
                    debug!(%address, %error, "cannot connect");
                }
                net.0.inbox.put(SocketEvent::DialFailed { address, found }).await;
            },
            &self.0.runtime,
        );
    }

    async fn meet(&self, address: PeerAddr, id: Option<NodeId>) -> Result<Authenticated<TcpStream>, ConnectError> {
        let _turn = self.0.dials.acquire().await.map_err(io::Error::other)?;
        tokio::select! {
            () = self.0.stop.cancelled() => Err(io::Error::other("the node is stopping").into()),
            met = self.reach(address, id) => met,
        }
    }

    async fn reach(&self, address: PeerAddr, id: Option<NodeId>) -> Result<Authenticated<TcpStream>, ConnectError> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let PeerAddr::Tcp(socket) = address else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "no transport for this kind of address").into());
        };
        let connecting = self.unless_cut(address, TcpStream::connect(socket));
        let mut stream = timeout(self.0.limits.connect, connecting).await.map_err(late)??;
        let deadline = Instant::now() + self.0.limits.first_message;
        at_once(&stream, socket);
        let shaking = self.unless_cut(address, noise::initiate(&mut stream, &self.0.identity, id));
        let session = timeout_at(deadline, shaking).await.map_err(late)??;
        Ok(Authenticated { stream, session, deadline })
    }

    /// Polls a future only while the link to an address is not cut.
    async fn unless_cut<F: Future>(&self, address: PeerAddr, future: F) -> F::Output {
        match &self.0.chaos {
            Some(chaos) => chaos.unless_cut(address, future).await,
            None => future.await,
        }
    }

    async fn carry<S: AsyncRead + AsyncWrite>(&self, met: Authenticated<S>, address: PeerAddr, direction: Direction) {
        let Authenticated { stream, session: Session { peer: id, sealer, opener }, deadline } = met;
        let peer = PeerId(self.0.next_peer.fetch_add(1, Ordering::Relaxed));
        let (send_queue, reader) = send_queue(self.0.chaos.is_some());
        let faults = self.0.chaos.as_ref().map(|chaos| {
            let link = chaos.open(peer, address, direction);
            Faults { link, chaos: chaos.clone() }
        });
        let closing = self.0.stop.child_token();
        let content = self.0.exchange.as_ref().map(|exchange| exchange.attach(peer, id, send_queue.outlet()));
        let meter = self.0.traffic.open(peer);
        meter.bytes_received(HANDSHAKE_BYTES);
        meter.bytes_sent(HANDSHAKE_BYTES);
        let opened = Opened { peer, id, address, direction, send_queue, closing: closing.clone() };
        if self.0.inbox.put(SocketEvent::Opened(opened)).await {
            let Shared { limits, max_block_bytes, .. } = *self.0;
            let inbox = self.0.inbox.clone();
            let connection = Connection {
                peer,
                sealer,
                opener,
                deadline,
                inbox,
                send_queue: reader,
                closing,
                meter,
                limits,
                max_block_bytes,
                faults,
                content,
            };
            connection.run(stream).await;
        }
        if let Some(chaos) = &self.0.chaos {
            chaos.close(peer);
        }
        self.0.traffic.close(peer);
    }

    /// A connection is a peer's, and no brief one.
    pub(super) fn ready(&self, peer: PeerId) {
        if let Some(exchange) = &self.0.exchange {
            exchange.ready(peer);
        }
    }

    /// Runs a task until [`Net::stop`].
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(task).await;
        });
    }

    /// Closes everything and waits; connections get a moment to write their last messages.
    pub(super) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Without it small messages wait for the acknowledgement of earlier ones. A refusal only costs time.
fn at_once(stream: &TcpStream, address: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%address, %error, "cannot set TCP_NODELAY");
    }
}

#[cfg(feature = "webrtc")]
mod browsers;
#[cfg(test)]
mod tests;
