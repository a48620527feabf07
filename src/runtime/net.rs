//! The listener and the dialler: they make connections, number them and hand them to the node's thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::chaos::Chaos;
use super::config::SocketLimits;
use super::connection::{Connection, Faults, Inbox, Opened, SocketEvent};
use super::outbox::outbox;
use super::traffic::Traffic;
use crate::p2p::{Direction, PeerId};

/// Inbound connections beyond the protocol's own limit, so that it can still tell a surplus peer why it is refused.
const SPARE_INBOUND: usize = 8;
/// Dials under way at a time.
const MAX_DIALS: usize = 32;
/// Before accepting again, when the system is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Makes connections. Clones share everything.
#[derive(Clone)]
pub(super) struct Net(Arc<Shared>);

struct Shared {
    runtime: tokio::runtime::Handle,
    inbox: Inbox,
    traffic: Arc<Traffic>,
    limits: SocketLimits,
    max_block_bytes: u32,
    chaos: Option<Arc<Chaos>>,
    next_peer: AtomicU64,
    inbound: Arc<Semaphore>,
    dials: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Net {
    /// `max_inbound` connections are the protocol's to choose from; a few more are taken for it to refuse.
    pub(super) fn new(
        inbox: Inbox,
        traffic: Arc<Traffic>,
        chaos: Option<Arc<Chaos>>,
        limits: SocketLimits,
        max_block_bytes: u32,
        max_inbound: usize,
    ) -> Self {
        Self(Arc::new(Shared {
            runtime: tokio::runtime::Handle::current(),
            inbox,
            traffic,
            limits,
            max_block_bytes,
            chaos,
            next_peer: AtomicU64::new(1),
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
                    Ok((stream, address)) => net.accepted(stream, address),
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    fn accepted(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(slot) = self.0.inbound.clone().try_acquire_owned() else {
            debug!(%address, "refused: too many connections");
            return;
        };
        let net = self.clone();
        self.0.tasks.spawn(async move {
            net.carry(stream, address, Direction::Inbound).await;
            drop(slot);
        });
    }

    /// Dials, from any thread. The answer arrives in the inbox.
    pub(super) fn dial(&self, address: SocketAddr) {
        let net = self.clone();
        self.0.tasks.spawn_on(
            async move {
                match net.connect(address).await {
                    Ok(stream) => net.carry(stream, address, Direction::Outbound).await,
                    Err(error) => {
                        debug!(%address, %error, "cannot connect");
                        net.0.inbox.put(SocketEvent::DialFailed { address }).await;
                    }
                }
            },
            &self.0.runtime,
        );
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let _turn = self.0.dials.acquire().await.map_err(io::Error::other)?;
        tokio::select! {
            () = self.0.stop.cancelled() => Err(io::Error::other("the node is stopping")),
            result = timeout(self.0.limits.connect, self.reach(address)) => {
                result.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            }
        }
    }

    async fn reach(&self, address: SocketAddr) -> io::Result<TcpStream> {
        if let Some(chaos) = &self.0.chaos {
            chaos.reachable(address).await;
        }
        TcpStream::connect(address).await
    }

    async fn carry(&self, stream: TcpStream, address: SocketAddr, direction: Direction) {
        // Without it small messages wait for the acknowledgement of earlier ones. A refusal only costs time.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        let peer = PeerId(self.0.next_peer.fetch_add(1, Ordering::Relaxed));
        let (outbox, reader) = outbox(self.0.chaos.is_some());
        let faults = self.0.chaos.as_ref().map(|chaos| {
            let link = chaos.open(peer, address, direction);
            Faults { link, chaos: chaos.clone() }
        });
        let closing = self.0.stop.child_token();
        let meter = self.0.traffic.open(peer);
        let opened = Opened { peer, address, direction, outbox, closing: closing.clone() };
        if self.0.inbox.put(SocketEvent::Opened(opened)).await {
            let Shared { limits, max_block_bytes, .. } = *self.0;
            let inbox = self.0.inbox.clone();
            let connection =
                Connection { peer, inbox, outbox: reader, closing, meter, limits, max_block_bytes, faults };
            connection.run(stream).await;
        }
        if let Some(chaos) = &self.0.chaos {
            chaos.close(peer);
        }
        self.0.traffic.close(peer);
    }

    /// Runs a task until [`Net::stop`].
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(task).await;
        });
    }

    /// Closes everything and waits until it is closed; connections get a moment for their last words.
    pub(super) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;
    use crate::p2p::frame;
    use crate::p2p::message::Message;
    use crate::runtime::outbox::Parcel;

    /// Ends a test that would wait for ever; nothing is measured with it.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct World {
        net: Net,
        events: mpsc::Receiver<SocketEvent>,
        address: SocketAddr,
    }

    impl World {
        async fn new(limits: SocketLimits, max_inbound: usize) -> Self {
            let (inbox, events) = Inbox::new();
            let net = Net::new(inbox, Arc::default(), None, limits, 1_000_000, max_inbound);
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
            let address = listener.local_addr().expect("it is bound");
            net.listen(listener);
            Self { net, events, address }
        }

        async fn next(&mut self) -> SocketEvent {
            timeout(PATIENCE, self.events.recv()).await.expect("something happens").expect("the net is there")
        }

        /// A connection from outside, and the node's end of it.
        async fn connect(&mut self) -> (TcpStream, Opened) {
            let stream = TcpStream::connect(self.address).await.expect("it listens");
            match self.next().await {
                SocketEvent::Opened(opened) => (stream, opened),
                other => panic!("{other:?}"),
            }
        }
    }

    fn impatient() -> SocketLimits {
        let short = Duration::from_millis(50);
        SocketLimits {
            connect: PATIENCE,
            first_message: short,
            message: short,
            write: short,
            resolve_interval: PATIENCE,
        }
    }

    async fn rest_of(mut stream: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection is closed");
        bytes
    }

    #[tokio::test]
    async fn messages_go_both_ways_and_are_counted() {
        let mut world = World::new(SocketLimits::default(), 8).await;
        let (mut stream, opened) = world.connect().await;
        let bytes = frame::encode(&Message::Ping(7));
        stream.write_all(&bytes[..3]).await.expect("open");
        stream.write_all(&bytes[3..]).await.expect("open");
        let SocketEvent::Received { message, .. } = world.next().await else { panic!("no message") };
        assert_eq!(message, Message::Ping(7));

        let answer = frame::encode(&Message::Pong(7));
        opened.outbox.push(Parcel::Frame(answer.clone())).expect("there is room");
        opened.outbox.push(Parcel::Mark).expect("there is room");
        assert!(matches!(world.next().await, SocketEvent::Flushed { peer } if peer == opened.peer));
        let totals = world.net.0.traffic.of(opened.peer).expect("it is open");
        assert_eq!((totals.received.bytes, totals.received.messages()), (bytes.len() as u64, 1));
        assert_eq!((totals.sent.bytes, totals.sent.messages()), (answer.len() as u64, 1));

        // Letting go closes the connection, after what was sent.
        drop(opened.outbox);
        assert_eq!(rest_of(stream).await, answer);
        assert!(matches!(world.next().await, SocketEvent::Closed { peer } if peer == opened.peer));
    }

    #[tokio::test]
    async fn last_words_are_sent_when_closing() {
        let mut world = World::new(SocketLimits::default(), 8).await;
        let (stream, opened) = world.connect().await;
        let words = frame::encode(&Message::Ping(1));
        opened.outbox.push(Parcel::Frame(words.clone())).expect("there is room");
        let Opened { outbox, closing, .. } = opened;
        drop(outbox);
        closing.cancel();
        assert_eq!(rest_of(stream).await, words);
    }

    #[tokio::test]
    async fn garbage_is_told_and_ends_the_connection() {
        let mut world = World::new(SocketLimits::default(), 8).await;
        let (mut stream, opened) = world.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("open");
        assert!(matches!(world.next().await, SocketEvent::Malformed { peer, .. } if peer == opened.peer));
        assert!(matches!(world.next().await, SocketEvent::Closed { peer } if peer == opened.peer));
        assert!(rest_of(stream).await.is_empty());
    }

    #[tokio::test]
    async fn silence_and_half_a_message_do_not_last() {
        let mut world = World::new(impatient(), 8).await;
        let (silent, _opened) = world.connect().await;
        assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
        assert!(rest_of(silent).await.is_empty());

        let (mut slow, _opened) = world.connect().await;
        let bytes = frame::encode(&Message::Ping(7));
        slow.write_all(&[&bytes[..], &bytes[..4]].concat()).await.expect("open");
        assert!(matches!(world.next().await, SocketEvent::Received { .. }));
        assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
        assert!(rest_of(slow).await.is_empty());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_does_not_last() {
        let limits = SocketLimits { first_message: PATIENCE, ..impatient() };
        let mut world = World::new(limits, 8).await;
        let (_stream, opened) = world.connect().await;
        // More than the buffers of two sockets on loopback hold.
        opened.outbox.push(Parcel::Frame(vec![0; 64 << 20])).expect("nothing else waits");
        assert!(matches!(world.next().await, SocketEvent::Closed { peer } if peer == opened.peer));
    }

    #[tokio::test]
    async fn a_flood_waits_its_turn_and_loses_nothing() {
        let mut world = World::new(SocketLimits::default(), 8).await;
        let (stream, _opened) = world.connect().await;
        let count = 4 * Inbox::MAX_WAITING as u64;
        let flood = tokio::spawn(async move {
            let mut stream = stream;
            for number in 0..count {
                stream.write_all(&frame::encode(&Message::Ping(number))).await.expect("open");
            }
            stream
        });
        let mut received = 0;
        while received < count {
            assert!(world.events.len() <= Inbox::MAX_WAITING);
            let SocketEvent::Received { message, .. } = world.next().await else { panic!("no message") };
            assert_eq!(message, Message::Ping(received));
            received += 1;
        }
        flood.await.expect("all was written");
    }

    #[tokio::test]
    async fn surplus_connections_are_closed_and_places_come_free() {
        let mut world = World::new(SocketLimits::default(), 0).await;
        let mut open = Vec::new();
        for _ in 0..SPARE_INBOUND {
            open.push(world.connect().await);
        }
        assert!(rest_of(TcpStream::connect(world.address).await.expect("it listens")).await.is_empty());
        open.clear();
        for _ in 0..SPARE_INBOUND {
            assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
        }
    }

    #[tokio::test]
    async fn dials_succeed_or_are_told_to_have_failed() {
        let mut world = World::new(SocketLimits::default(), 8).await;
        let (address, vacant) = (world.address, {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
            listener.local_addr().expect("it is bound")
        });
        world.net.dial(vacant);
        assert!(matches!(world.next().await, SocketEvent::DialFailed { address } if address == vacant));
        world.net.dial(address);
        let mut directions = Vec::new();
        for _ in 0..2 {
            let SocketEvent::Opened(opened) = world.next().await else { panic!("no connection") };
            directions.push(opened.direction);
        }
        assert!(directions.contains(&Direction::Inbound) && directions.contains(&Direction::Outbound));
    }

    #[tokio::test]
    async fn stopping_closes_everything() {
        let mut world = World::new(SocketLimits::default(), 8).await;
        let (stream, opened) = world.connect().await;
        drop(opened);
        timeout(PATIENCE, world.net.stop()).await.expect("it stops");
        assert!(rest_of(stream).await.is_empty());
        assert!(TcpStream::connect(world.address).await.is_err());
    }
}
