//! One TCP connection: bytes to messages and back, with patience that ends.
//!
//! Messages are decoded here, on the tasks of the sockets, and not on the node's thread. When the node has enough to do,
//! its inbox is full and this stops reading: the peer's own TCP then holds it back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::chaos::{Chaos, FaultyLink};
use super::config::SocketLimits;
use super::outbox::{Outbox, OutboxReader, Parcel};
use super::traffic::Meter;
use crate::p2p::frame::{self, Decoder};
use crate::p2p::message::Message;
use crate::p2p::{Direction, PeerId};

/// Bytes asked of a socket at once.
const READ_BYTES: usize = 32 << 10;
/// What may still be written to a peer that the node has let go: its last words, such as a refusal.
const LINGER: Duration = Duration::from_secs(1);

/// What sockets tell the node's thread.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// A connection is there.
    Opened(Opened),
    /// A message came.
    Received {
        peer: PeerId,
        message: Message,
        /// Its share of the inbox's bytes, given back when the node has handled it.
        _space: OwnedSemaphorePermit,
    },
    /// Bytes came that are no message; nothing after them can be understood.
    Malformed { peer: PeerId, reason: String },
    /// What was sent up to a mark has left.
    Flushed { peer: PeerId },
    /// The connection is gone.
    Closed { peer: PeerId },
    /// Dialling came to nothing.
    DialFailed { address: SocketAddr },
}

/// A connection as the node's thread gets to know it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    pub(super) outbox: Outbox,
    /// Cancelled to close the connection, after what waits in the outbox is written if the peer takes it quickly.
    pub(super) closing: CancellationToken,
}

/// The node's inbox: bounded in messages by the channel, and in bytes.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    pub(super) events: mpsc::Sender<SocketEvent>,
    pub(super) space: Arc<Semaphore>,
}

impl Inbox {
    /// Messages decoded and waiting for the node, of all peers.
    pub(super) const MAX_WAITING: usize = 512;
    /// Their bytes on the wire, of all peers.
    const MAX_BYTES: usize = 32 << 20;

    /// An empty inbox, and the end that the node's thread reads.
    pub(super) fn new() -> (Self, mpsc::Receiver<SocketEvent>) {
        let (events, received) = mpsc::channel(Self::MAX_WAITING);
        (Self { events, space: Arc::new(Semaphore::new(Self::MAX_BYTES)) }, received)
    }

    /// Waits for room and puts a message in. `false` if the node is gone.
    async fn receive(&self, peer: PeerId, message: Message, bytes: usize) -> bool {
        let share = bytes.clamp(1, Self::MAX_BYTES) as u32;
        let Ok(space) = self.space.clone().acquire_many_owned(share).await else { return false };
        self.put(SocketEvent::Received { peer, message, _space: space }).await
    }

    /// Waits for room and puts an event in. `false` if the node is gone.
    pub(super) async fn put(&self, event: SocketEvent) -> bool {
        self.events.send(event).await.is_ok()
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    ByPeer,
    #[error("closed by this node")]
    ByNode,
    #[error("no whole message in time")]
    TooSlow,
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("takes nothing of what is written")]
    Stuck,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection's own end of things.
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) inbox: Inbox,
    pub(super) outbox: OutboxReader,
    pub(super) closing: CancellationToken,
    pub(super) meter: Meter,
    pub(super) limits: SocketLimits,
    pub(super) max_block_bytes: u32,
    /// What is wrong with the link, where that can be set.
    pub(super) faults: Option<Faults>,
}

/// The link's faults, and where it is told who the peer is.
pub(super) struct Faults {
    pub(super) link: FaultyLink,
    pub(super) chaos: Arc<Chaos>,
}

impl Connection {
    /// Carries messages until either side has had enough.
    pub(super) async fn run(mut self, mut stream: TcpStream) {
        let (reading, writing) = stream.split();
        let link = self.faults.as_ref().map(|faults| faults.link.clone());
        let writer = write(writing, self.peer, &mut self.outbox, &self.inbox, &self.meter, self.limits.write, link);
        tokio::pin!(writer);
        let decoder = Decoder::new(self.max_block_bytes);
        let ended = tokio::select! {
            ended = read(reading, decoder, self.peer, &self.inbox, &self.meter, &self.limits, &mut self.faults) => ended,
            ended = &mut writer => ended,
            () = self.closing.cancelled() => timeout(LINGER, writer).await.unwrap_or(Ended::Stuck),
        };
        debug!(peer = self.peer.0, reason = %ended, "connection ended");
        if let Ended::Malformed(reason) = ended {
            self.inbox.put(SocketEvent::Malformed { peer: self.peer, reason }).await;
        }
        self.inbox.put(SocketEvent::Closed { peer: self.peer }).await;
    }
}

async fn read(
    mut stream: ReadHalf<'_>,
    mut decoder: Decoder,
    peer: PeerId,
    inbox: &Inbox,
    meter: &Meter,
    limits: &SocketLimits,
    faults: &mut Option<Faults>,
) -> Ended {
    let mut buffer = vec![0; READ_BYTES];
    // Until the first message, and whenever one is begun; in between, it is the node that pings and loses patience.
    let mut deadline = Some(Instant::now() + limits.first_message);
    loop {
        let reading = async {
            match faults {
                None => stream.read(&mut buffer).await,
                Some(Faults { link, .. }) => link.read(&mut stream, &mut buffer).await,
            }
        };
        let read = match deadline {
            Some(at) => timeout_at(at, reading).await,
            None => Ok(reading.await),
        };
        let count = match read {
            Err(_) => return Ended::TooSlow,
            Ok(Err(error)) => return error.into(),
            Ok(Ok(0)) => return Ended::ByPeer,
            Ok(Ok(count)) => count,
        };
        meter.bytes_received(count);
        decoder.push(&buffer[..count]);
        loop {
            let before = decoder.buffered();
            match decoder.next_message() {
                Ok(Some(message)) => {
                    let bytes = before - decoder.buffered();
                    meter.message_received(message.kind(), bytes);
                    deadline = None;
                    if let Some(Faults { link, chaos }) = faults {
                        if let Message::Hello(hello) = &message {
                            chaos.said_hello(peer, hello.listen_port);
                        }
                        link.healed().await;
                    }
                    if !inbox.receive(peer, message, bytes).await {
                        return Ended::ByNode;
                    }
                }
                Ok(None) => break,
                Err(error) => return Ended::Malformed(error.to_string()),
            }
        }
        if decoder.buffered() > 0 && deadline.is_none() {
            deadline = Some(Instant::now() + limits.message);
        }
    }
}

async fn write(
    mut stream: WriteHalf<'_>,
    peer: PeerId,
    outbox: &mut OutboxReader,
    inbox: &Inbox,
    meter: &Meter,
    patience: Duration,
    mut link: Option<FaultyLink>,
) -> Ended {
    while let Some((parcel, since)) = outbox.next().await {
        if let (Some(link), Some(since)) = (&mut link, since) {
            link.due(since).await;
        }
        let Parcel::Frame(frame) = parcel else {
            inbox.put(SocketEvent::Flushed { peer }).await;
            continue;
        };
        if link.as_ref().is_some_and(FaultyLink::loses) {
            outbox.written(frame.len());
            continue;
        }
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let count = match &mut link {
                None => rest.len(),
                Some(link) => link.pace(rest.len()).await,
            };
            match timeout(patience, stream.write(&rest[..count])).await {
                Err(_) => return Ended::Stuck,
                Ok(Err(error)) => return error.into(),
                Ok(Ok(0)) => return Ended::ByPeer,
                Ok(Ok(count)) => {
                    meter.bytes_sent(count);
                    rest = &rest[count..];
                }
            }
        }
        if let Some(kind) = frame::kind(&frame) {
            meter.message_sent(kind, frame.len());
        }
        outbox.written(frame.len());
    }
    // An error here means that the peer is gone already.
    let _ = stream.shutdown().await;
    Ended::ByNode
}
