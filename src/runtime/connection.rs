//! One connection after its handshake, over any stream of bytes: records to messages and back, with time-outs.
//!
//! Messages are decrypted and decoded here, on the tasks of the sockets, and not on the node's thread. When the node has enough
//! to do, its inbox is full and this stops reading: the peer's own transport then holds it back.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::chaos::{Chaos, FaultyLink};
use super::config::SocketLimits;
use super::exchange::Inlet;
use super::read::read_with;
use super::send_queue::{Parcel, SendQueue, SendQueueReader};
use super::traffic::Meter;
use crate::p2p::frame::{Decoder, Frame, FrameError};
use crate::p2p::kad::NodeId;
use crate::p2p::message::Message;
use crate::p2p::noise::{MAX_PLAIN, Opener, RecordError, Sealer};
use crate::p2p::{Direction, OtherParty, PeerAddr, PeerId};

/// Bytes asked of a socket at once.
const READ_BYTES: usize = 64 << 10;
/// How long a closing connection may still write its last messages, such as a refusal.
const LINGER: Duration = Duration::from_secs(1);

/// Events from sockets to the node's thread.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// A connection is established, and the peer's id is verified.
    Opened(Opened),
    /// The peer has sent a message.
    Received {
        peer: PeerId,
        message: Message,
        /// When it was read from the socket.
        at: Instant,
        /// Its place in the inbox, given back when the node has handled it.
        space: Space,
    },
    /// Bytes came that are no message; nothing after them can be understood.
    Malformed { peer: PeerId, reason: FrameError },
    /// What was sent up to a mark has left.
    Flushed { peer: PeerId },
    /// The connection is gone.
    Closed { peer: PeerId },
    /// A dial failed, or something else was found there.
    DialFailed { address: PeerAddr, found: Option<OtherParty> },
}

/// A new connection for the node's thread.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    /// The id that the other side has proven.
    pub(super) id: NodeId,
    pub(super) address: PeerAddr,
    pub(super) direction: Direction,
    pub(super) send_queue: SendQueue,
    /// Cancelled to close the connection, after what waits in the send queue is written if the peer takes it quickly.
    pub(super) closing: CancellationToken,
}

/// The node's inbox. What waits for the node's thread is bounded for each connection, in messages and in bytes, so that none
/// takes the room of another. A message too large for that, a block, takes all of its connection's room and a part of what all
/// share, so that a connection has one such message waiting at most.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    pub(super) events: mpsc::Sender<SocketEvent>,
    /// For large messages.
    large: Arc<Semaphore>,
}

/// A connection's own room in the inbox.
#[derive(Debug)]
struct Share {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The room that a message takes.
#[derive(Debug)]
pub(super) struct Space {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn new() -> Self {
        let of = |room| Arc::new(Semaphore::new(room));
        Self { messages: of(Inbox::MAX_MESSAGES_OF_PEER), bytes: of(Inbox::MAX_BYTES_OF_PEER) }
    }
}

impl Inbox {
    /// Events that the node's thread has not looked at, of all peers.
    pub(super) const MAX_WAITING: usize = 512;
    /// Messages decoded and waiting for the node, of one peer: as many transactions as are worth checking together, while as
    /// many are being checked.
    const MAX_MESSAGES_OF_PEER: usize = 512;
    /// Their bytes on the wire: a full `headers`, and some more.
    const MAX_BYTES_OF_PEER: usize = 192 << 10;
    /// Bytes of larger messages waiting for the node, of all peers.
    const MAX_LARGE_BYTES: usize = 16 << 20;

    /// An empty inbox, and the end that the node's thread reads.
    pub(super) fn new() -> (Self, mpsc::Receiver<SocketEvent>) {
        let (events, received) = mpsc::channel(Self::MAX_WAITING);
        (Self { events, large: Arc::new(Semaphore::new(Self::MAX_LARGE_BYTES)) }, received)
    }

    /// Waits for room and puts a message in. `false` if the node is gone.
    async fn receive(&self, share: &Share, peer: PeerId, message: Message, bytes: usize, at: Instant) -> bool {
        let own = bytes.clamp(1, Self::MAX_BYTES_OF_PEER) as u32;
        let Ok(_message) = share.messages.clone().acquire_owned().await else { return false };
        let Ok(_bytes) = share.bytes.clone().acquire_many_owned(own).await else { return false };
        let _large = if bytes > Self::MAX_BYTES_OF_PEER {
            let shared = bytes.min(Self::MAX_LARGE_BYTES) as u32;
            let Ok(permit) = self.large.clone().acquire_many_owned(shared).await else { return false };
            Some(permit)
        } else {
            None
        };
        self.put(SocketEvent::Received { peer, message, at, space: Space { _message, _bytes, _large } }).await
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
    Malformed(FrameError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("stopped reading")]
    Stuck,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection's own end of things.
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// Until when the first message has to come.
    pub(super) deadline: Instant,
    pub(super) inbox: Inbox,
    pub(super) send_queue: SendQueueReader,
    pub(super) closing: CancellationToken,
    pub(super) meter: Meter,
    pub(super) limits: SocketLimits,
    pub(super) max_block_bytes: u32,
    /// The link's faults, if they can be set.
    pub(super) faults: Option<Faults>,
    /// Where messages about content go; to the node's thread if nowhere else.
    pub(super) content: Option<Inlet>,
}

/// The link's faults, and their table.
pub(super) struct Faults {
    pub(super) link: FaultyLink,
    pub(super) chaos: Arc<Chaos>,
}

impl Connection {
    /// Transfers messages until either side closes.
    pub(super) async fn run<S: AsyncRead + AsyncWrite>(self, stream: S) {
        let Self {
            peer,
            sealer,
            opener,
            deadline,
            inbox,
            send_queue,
            closing,
            meter,
            limits,
            max_block_bytes,
            faults,
            content,
        } = self;
        let (reading, writing) = tokio::io::split(stream);
        let writer = Writer {
            sealer,
            peer,
            send_queue,
            inbox: &inbox,
            meter: &meter,
            patience: limits.write,
            link: faults.as_ref().map(|faults| faults.link.clone()),
        };
        let writer = writer.run(writing);
        tokio::pin!(writer);
        let reader = Reader {
            opener,
            decoder: Decoder::of_connection(max_block_bytes),
            deadline: Some(deadline),
            peer,
            inbox: &inbox,
            share: Share::new(),
            meter: &meter,
            patience: limits.message,
            faults,
            content,
        };
        let ended = tokio::select! {
            ended = reader.run(reading) => ended,
            ended = &mut writer => ended,
            () = closing.cancelled() => timeout(LINGER, writer).await.unwrap_or(Ended::Stuck),
        };
        debug!(peer = peer.0, reason = %ended, "connection ended");
        if let Ended::Malformed(reason) = ended {
            inbox.put(SocketEvent::Malformed { peer, reason }).await;
        }
        inbox.put(SocketEvent::Closed { peer }).await;
    }
}

/// What reads from a socket.
struct Reader<'a> {
    opener: Opener,
    decoder: Decoder,
    /// Until when a whole message must arrive: set before the first, and whenever one has begun. In between, the node's
    /// pings detect a dead peer.
    deadline: Option<Instant>,
    peer: PeerId,
    inbox: &'a Inbox,
    share: Share,
    meter: &'a Meter,
    patience: Duration,
    faults: Option<Faults>,
    content: Option<Inlet>,
}

impl Reader<'_> {
    async fn run(mut self, mut stream: impl AsyncRead + Unpin) -> Ended {
        loop {
            let opener = &mut self.opener;
            let mut push = |bytes: &[u8]| {
                opener.push(bytes);
                bytes.len()
            };
            let reading = async {
                match &mut self.faults {
                    Some(Faults { link, .. }) => link.read::<READ_BYTES>(&mut stream).await.map(|bytes| push(&bytes)),
                    None => read_with::<READ_BYTES, _>(&mut stream, push).await,
                }
            };
            let read = match self.deadline {
                Some(at) => timeout_at(at, reading).await,
                None => Ok(reading.await),
            };
            let count = match read {
                Err(_) => return Ended::TooSlow,
                Ok(Err(error)) => return error.into(),
                Ok(Ok(0)) => return Ended::ByPeer,
                Ok(Ok(count)) => count,
            };
            let at = Instant::now();
            self.meter.bytes_received(count);
            loop {
                match self.opener.open() {
                    Ok(Some(plain)) => self.decoder.push(plain),
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
                if let Some(ended) = self.messages(at).await {
                    return ended;
                }
            }
            if self.deadline.is_none() && self.opener.waiting() + self.decoder.buffered() > 0 {
                self.deadline = Some(Instant::now() + self.patience);
            }
        }
    }

    /// Hands on what has come in whole, with bytes that were read at a time.
    async fn messages(&mut self, at: Instant) -> Option<Ended> {
        loop {
            let before = self.decoder.buffered();
            let message = match self.decoder.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => return None,
                Err(error) => return Some(Ended::Malformed(error)),
            };
            let bytes = before - self.decoder.buffered();
            self.meter.message_received(message.kind(), bytes);
            self.deadline = None;
            if let Some(Faults { link, chaos }) = &mut self.faults {
                if let Message::Hello(hello) = &message
                    && let Some(address) = hello.listens.first()
                {
                    chaos.set_listening(self.peer, *address);
                }
                link.until_healed().await;
            }
            if let Some(content) = &self.content {
                if let Message::Hello(hello) = &message {
                    content.greeted(hello.services);
                }
                if message.is_of_exchange() {
                    content.receive(message, bytes).await;
                    continue;
                }
            }
            if !self.inbox.receive(&self.share, self.peer, message, bytes, at).await {
                return Some(Ended::ByNode);
            }
        }
    }
}

/// What writes to a socket.
struct Writer<'a> {
    sealer: Sealer,
    peer: PeerId,
    send_queue: SendQueueReader,
    inbox: &'a Inbox,
    meter: &'a Meter,
    patience: Duration,
    link: Option<FaultyLink>,
}

impl Writer<'_> {
    async fn run(mut self, mut stream: impl AsyncWrite + Unpin) -> Ended {
        let mut frames = Vec::new();
        while let Some((parcel, since)) = self.send_queue.next().await {
            if let (Some(link), Some(since)) = (&mut self.link, since) {
                link.wait_delay(since).await;
            }
            let mut marks = self.take(parcel, &mut frames);
            // What else waits goes into the same records. Where links have faults, each message has a delay of its own.
            let mut bytes: usize = frames.iter().map(Frame::size).sum();
            while self.link.is_none()
                && bytes < MAX_PLAIN
                && let Some(parcel) = self.send_queue.next_waiting()
            {
                let before = frames.len();
                marks += self.take(parcel, &mut frames);
                bytes += frames[before..].iter().map(Frame::size).sum::<usize>();
            }
            if let Err(ended) = self.send(&mut stream, &frames).await {
                return ended;
            }
            frames.clear();
            for _ in 0..marks {
                self.inbox.put(SocketEvent::Flushed { peer: self.peer }).await;
            }
        }
        // An error means that the peer is already gone.
        let _ = stream.shutdown().await;
        Ended::ByNode
    }

    /// Adds a frame to those to be written, unless it gets lost; answers how many marks it was.
    fn take(&self, parcel: Parcel, frames: &mut Vec<Frame>) -> usize {
        match parcel {
            Parcel::Mark => return 1,
            Parcel::Frame(frame) if self.link.as_ref().is_some_and(FaultyLink::drops_next) => {
                self.send_queue.written(frame.size());
            }
            Parcel::Frame(frame) => frames.push(frame),
        }
        0
    }

    /// Writes frames, in as few records as they fill. What fills a record by itself is sealed where it lies, the rest is put
    /// together first.
    async fn send(&mut self, stream: &mut (impl AsyncWrite + Unpin), frames: &[Frame]) -> Result<(), Ended> {
        let (mut plain, mut sealed) = (Vec::new(), Vec::new());
        for frame in frames {
            let header = frame.header();
            for mut rest in [&header[..], frame.payload()] {
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.len().min(MAX_PLAIN - plain.len()));
                    rest = after;
                    if piece.len() == MAX_PLAIN {
                        self.record(stream, piece, &mut sealed).await?;
                        continue;
                    }
                    plain.extend_from_slice(piece);
                    if plain.len() == MAX_PLAIN {
                        self.record(stream, &plain, &mut sealed).await?;
                        plain.clear();
                    }
                }
            }
        }
        if !plain.is_empty() {
            self.record(stream, &plain, &mut sealed).await?;
        }
        for frame in frames {
            self.meter.message_sent(frame.kind(), frame.size());
            self.send_queue.written(frame.size());
        }
        Ok(())
    }

    /// Writes a record, sealed in memory that those before it had.
    async fn record(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        plain: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Result<(), Ended> {
        sealed.clear();
        self.sealer.seal(plain, sealed)?;
        let mut rest = &sealed[..];
        while !rest.is_empty() {
            let count = match &mut self.link {
                None => rest.len(),
                Some(link) => link.pace(rest.len()).await,
            };
            match timeout(self.patience, stream.write(&rest[..count])).await {
                Err(_) => return Err(Ended::Stuck),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(0)) => return Err(Ended::ByPeer),
                Ok(Ok(count)) => {
                    self.meter.bytes_sent(count);
                    rest = &rest[count..];
                }
            }
        }
        Ok(())
    }
}
