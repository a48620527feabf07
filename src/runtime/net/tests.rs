use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::*;
use crate::p2p::frame::{self, Frame, FrameError};
use crate::p2p::message::{MAX_HELLO_BYTES, Message};
use crate::p2p::noise::{MAX_PLAIN, MESSAGE_BYTES, MIN_RECORD, TAG_BYTES};
use crate::runtime::chaos::LinkKey;
use crate::runtime::lobby::MAX_HANDSHAKES;
use crate::runtime::send_queue::Parcel;

/// A time-out for tests that would otherwise wait for ever.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a record takes besides what it holds.
const OVERHEAD: usize = 2 + TAG_BYTES;

struct World {
    net: Net,
    events: mpsc::Receiver<SocketEvent>,
    address: SocketAddr,
}

/// A client connected to the node, after the handshake.
struct Client<S = TcpStream> {
    stream: S,
    session: Session,
}

impl World {
    async fn new(limits: SocketLimits, max_inbound: usize) -> Self {
        Self::with(limits, max_inbound, None).await
    }

    async fn with(limits: SocketLimits, max_inbound: usize, chaos: Option<Arc<Chaos>>) -> Self {
        let (inbox, events) = Inbox::new();
        let net = Net::new(
            inbox,
            Arc::default(),
            (chaos, None),
            limits,
            1_000_000,
            max_inbound,
            Identity::from_secret(rand::random()),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        net.listen(listener);
        Self { net, events, address }
    }

    fn id(&self) -> NodeId {
        self.net.0.identity.id()
    }

    async fn next(&mut self) -> SocketEvent {
        timeout(TIMEOUT, self.events.recv()).await.expect("something happens").expect("the net is there")
    }

    /// A connection from outside, and the node's end of it.
    async fn connect(&mut self) -> (Client, Opened) {
        let own = Identity::from_secret(rand::random());
        let mut stream = dialled(self.address).await;
        let session = noise::initiate(&mut stream, &own, Some(self.id())).await.expect("both mean the same");
        match self.next().await {
            SocketEvent::Opened(opened) => {
                assert_eq!((opened.id, opened.direction), (own.id(), Direction::Inbound));
                (Client { stream, session }, opened)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether nothing has happened so far that the node's thread is told of.
    fn is_quiet(&mut self) -> bool {
        self.events.try_recv().is_err() && self.net.0.traffic.totals() == Default::default()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, plain: &[u8]) {
        let mut records = Vec::new();
        self.session.sealer.seal(plain, &mut records).expect("there are numbers left");
        self.stream.write_all(&records).await.expect("open");
    }

    /// All that still comes: what the records hold, and how many bytes they took.
    async fn rest(&mut self) -> (Vec<u8>, usize) {
        let wire = rest_of(&mut self.stream).await;
        self.session.opener.push(&wire);
        let mut plain = Vec::new();
        while let Some(held) = self.session.opener.open().expect("the node seals as it should") {
            plain.extend_from_slice(held);
        }
        assert_eq!(self.session.opener.waiting(), 0);
        (plain, wire.len())
    }
}

async fn dialled(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

fn impatient() -> SocketLimits {
    let short = Duration::from_millis(50);
    SocketLimits { connect: TIMEOUT, first_message: short, message: short, write: short, resolve_interval: TIMEOUT }
}

async fn rest_of(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the connection is closed");
    bytes
}

#[tokio::test]
async fn a_connection_needs_no_socket() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let own = Identity::from_secret(rand::random());
    let (ours, mut stream) = tokio::io::duplex(64);
    let (met, session) = tokio::join!(
        world.net.accept_handshake(ours, &Carrier::Tcp, Instant::now() + TIMEOUT),
        noise::initiate(&mut stream, &own, Some(world.id()))
    );
    let (met, mut client) =
        (met.expect("the same protocol"), Client { stream, session: session.expect("the same id") });
    let (net, address) = (world.net.clone(), PeerAddr::WebRtc { socket: world.address, certhash: [1; 32] });
    tokio::spawn(async move { net.carry(met, address, Direction::Inbound).await });

    let SocketEvent::Opened(opened) = world.next().await else { panic!("no connection") };
    assert_eq!((opened.id, opened.address), (own.id(), address));
    client.send(&frame::encode(&Message::Ping(7))).await;
    let SocketEvent::Received { message, .. } = world.next().await else { panic!("no message") };
    assert_eq!(message, Message::Ping(7));
    opened.send_queue.push(Parcel::Frame(Frame::from(Message::Pong(7)))).expect("there is room");
    drop(opened);
    assert_eq!(client.rest().await.0, frame::encode(&Message::Pong(7)));
    assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
}

#[tokio::test]
async fn a_dial_of_an_unsupported_address_kind_fails() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let address = PeerAddr::WebRtc { socket: world.address, certhash: [1; 32] };
    assert!(!TRANSPORTS.can_dial(&address));
    world.net.dial(address, None);
    assert!(matches!(world.next().await, SocketEvent::DialFailed { address: failed, .. } if failed == address));
}

#[tokio::test]
async fn messages_go_both_ways_and_are_counted() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut client, opened) = world.connect().await;
    let bytes = frame::encode(&Message::Ping(7));
    client.send(&bytes[..3]).await;
    client.send(&bytes[3..]).await;
    let SocketEvent::Received { message, .. } = world.next().await else { panic!("no message") };
    assert_eq!(message, Message::Ping(7));

    let answer = Frame::from(Message::Pong(7));
    opened.send_queue.push(Parcel::Frame(answer.clone())).expect("there is room");
    opened.send_queue.push(Parcel::Mark).expect("there is room");
    assert!(matches!(world.next().await, SocketEvent::Flushed { peer } if peer == opened.peer));
    let totals = world.net.0.traffic.of(opened.peer).expect("it is open");
    let received = HANDSHAKE_BYTES + bytes.len() + 2 * OVERHEAD;
    assert_eq!((totals.received.bytes, totals.received.messages()), (received as u64, 1));
    let sent = HANDSHAKE_BYTES + answer.size() + OVERHEAD;
    assert_eq!((totals.sent.bytes, totals.sent.messages()), (sent as u64, 1));

    // Dropping closes the connection after the messages sent.
    drop(opened.send_queue);
    assert_eq!(client.rest().await.0, answer.to_bytes());
    assert!(matches!(world.next().await, SocketEvent::Closed { peer } if peer == opened.peer));
}

#[tokio::test]
async fn waiting_messages_share_records() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut client, opened) = world.connect().await;
    // The writing task cannot run between these: there is but one thread.
    let mut frames: Vec<Frame> = (0..1_000).map(|number| Message::Ping(number).into()).collect();
    frames.push(Frame::of_block(vec![7; 3 * MAX_PLAIN]));
    for frame in &frames {
        opened.send_queue.push(Parcel::Frame(frame.clone())).expect("there is room");
    }
    drop(opened.send_queue);
    let plain = frames.iter().map(Frame::to_bytes).collect::<Vec<_>>().concat();
    let (got, wire) = client.rest().await;
    assert!(got == plain);
    assert_eq!(wire, plain.len() + plain.len().div_ceil(MAX_PLAIN) * OVERHEAD);
}

#[tokio::test]
async fn queued_messages_are_sent_before_a_connection_closes() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut client, opened) = world.connect().await;
    let words = Frame::from(Message::Ping(1));
    opened.send_queue.push(Parcel::Frame(words.clone())).expect("there is room");
    let Opened { send_queue, closing, .. } = opened;
    drop(send_queue);
    closing.cancel();
    assert_eq!(client.rest().await.0, words.to_bytes());
}

#[tokio::test]
async fn garbage_is_reported_and_closes_the_connection() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut client, opened) = world.connect().await;
    client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    let SocketEvent::Malformed { peer, reason } = world.next().await else { panic!("the garbage was taken") };
    let length = u32::from_le_bytes(*b"GET ") as usize;
    let expected = FrameError::TooLong { kind: b'/', got: length - 1, max: MAX_HELLO_BYTES };
    assert_eq!((peer, reason), (opened.peer, expected));
    assert!(matches!(world.next().await, SocketEvent::Closed { peer } if peer == opened.peer));
    assert!(client.rest().await.0.is_empty());
}

#[tokio::test]
async fn forged_records_close_the_connection_without_blame() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let plain = frame::encode(&Message::Ping(7));
    for case in 0..4 {
        let (mut client, opened) = world.connect().await;
        let mut first = Vec::new();
        client.session.sealer.seal(&plain, &mut first).unwrap();
        let mut second = Vec::new();
        client.session.sealer.seal(&plain, &mut second).unwrap();
        let (wire, arrive) = match case {
            // Changed; in plain; sent twice; the later one first.
            0 => ([&first[..30], &[first[30] ^ 1], &first[31..]].concat(), 0),
            1 => (vec![(MIN_RECORD - 1) as u8, 0], 0),
            2 => ([first.clone(), first].concat(), 1),
            _ => ([second, first].concat(), 0),
        };
        client.stream.write_all(&wire).await.unwrap();
        for _ in 0..arrive {
            assert!(matches!(world.next().await, SocketEvent::Received { .. }));
        }
        let last = world.next().await;
        assert!(matches!(last, SocketEvent::Closed { peer } if peer == opened.peer), "case {case}: {last:?}");
        assert!(client.rest().await.0.is_empty());
    }
}

#[tokio::test]
async fn silence_and_half_a_message_do_not_last() {
    // Time enough for the handshake on a busy machine.
    let limits = SocketLimits { first_message: Duration::from_secs(2), ..impatient() };
    let mut world = World::new(limits, 8).await;
    let (mut silent, _opened) = world.connect().await;
    assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
    assert!(silent.rest().await.0.is_empty());

    let (mut slow, _opened) = world.connect().await;
    let bytes = frame::encode(&Message::Ping(7));
    slow.send(&[&bytes[..], &bytes[..4]].concat()).await;
    assert!(matches!(world.next().await, SocketEvent::Received { .. }));
    assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
    assert!(slow.rest().await.0.is_empty());

    // Half a record counts as half a message.
    let (mut slow, _opened) = world.connect().await;
    slow.send(&bytes).await;
    assert!(matches!(world.next().await, SocketEvent::Received { .. }));
    slow.stream.write_all(&[100]).await.unwrap();
    assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
    assert!(slow.rest().await.0.is_empty());
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_last() {
    let limits = SocketLimits { first_message: TIMEOUT, ..impatient() };
    let mut world = World::new(limits, 8).await;
    let (_client, opened) = world.connect().await;
    // More than the buffers of two sockets on loopback hold.
    opened.send_queue.push(Parcel::Frame(Frame::of_block(vec![0; 64 << 20]))).expect("nothing else waits");
    assert!(matches!(world.next().await, SocketEvent::Closed { peer } if peer == opened.peer));
}

#[tokio::test]
async fn a_flood_waits_its_turn_and_loses_nothing() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut client, _opened) = world.connect().await;
    let count = 4 * Inbox::MAX_WAITING as u64;
    let flood = tokio::spawn(async move {
        for number in 0..count {
            client.send(&frame::encode(&Message::Ping(number))).await;
        }
        client
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
    assert!(rest_of(&mut dialled(world.address).await).await.is_empty());
    open.clear();
    for _ in 0..SPARE_INBOUND {
        assert!(matches!(world.next().await, SocketEvent::Closed { .. }));
    }
    world.connect().await;
}

#[tokio::test]
async fn a_surplus_peer_is_refused_after_the_handshake() {
    let mut world = World::new(SocketLimits::default(), 0).await;
    // All are let in, for none has a place yet; then there is one too few.
    let (mut early, mut open) = (Vec::new(), Vec::new());
    for _ in 0..=SPARE_INBOUND {
        early.push(dialled(world.address).await);
    }
    for stream in &mut early[..SPARE_INBOUND] {
        noise::initiate(stream, &Identity::from_secret(rand::random()), None).await.expect("both mean the same");
        let SocketEvent::Opened(connection) = world.next().await else { panic!("no connection") };
        open.push(connection);
    }
    let last = &mut early[SPARE_INBOUND];
    // Its last message may meet a door that is shut already.
    let _ = noise::initiate(last, &Identity::from_secret(rand::random()), None).await;
    assert!(rest_of(last).await.is_empty());
}

#[tokio::test]
async fn slow_handshakes_take_no_places_and_block_no_other() {
    let mut world = World::new(SocketLimits { first_message: TIMEOUT, ..SocketLimits::default() }, 0).await;
    // At every stage of the handshake; all that are let in, and some more.
    let mut slow = Vec::new();
    for number in 0..MAX_HANDSHAKES + 8 {
        let mut stream = dialled(world.address).await;
        stream.write_all(&vec![9; number % MESSAGE_BYTES[0]]).await.unwrap();
        slow.push(stream);
    }
    // The oldest had to go, whatever else becomes of them.
    for stream in &mut slow[..8] {
        assert!(rest_of(stream).await.is_empty());
    }
    assert!(world.is_quiet());
    let mut open = Vec::new();
    for _ in 0..SPARE_INBOUND {
        open.push(world.connect().await);
    }
}

#[tokio::test]
async fn a_handshake_that_dawdles_at_any_stage_ends_in_time() {
    let mut world = World::new(impatient(), 8).await;
    for sent in [0, 1, MESSAGE_BYTES[0] - 1, MESSAGE_BYTES[0], MESSAGE_BYTES[0] + 1, HANDSHAKE_BYTES - 1] {
        let mut stream = dialled(world.address).await;
        // Any 32 bytes will do for a first message. What follows is not looked at before it is whole.
        stream.write_all(&vec![9; sent]).await.unwrap();
        let answer = rest_of(&mut stream).await;
        assert_eq!(answer.len(), if sent < MESSAGE_BYTES[0] { 0 } else { MESSAGE_BYTES[1] });
    }
    assert!(world.is_quiet());

    // Byte by byte does not help: there is one deadline for all of it.
    let mut stream = dialled(world.address).await;
    let drip = async {
        while stream.write_all(&[9]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TIMEOUT, drip).await.expect("the connection is closed");
    assert!(world.is_quiet());
}

#[tokio::test]
async fn a_connection_without_a_handshake_is_never_opened() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    // A whole handshake, as an eavesdropper sees it.
    let (mut here, there) = tokio::io::duplex(1_024);
    let replayed = tokio::spawn(async move {
        let mut heard = vec![0; MESSAGE_BYTES[0]];
        here.read_exact(&mut heard).await.unwrap();
        heard
    });
    let mut there = there;
    let _ =
        timeout(Duration::from_millis(50), noise::initiate(&mut there, &Identity::from_secret(rand::random()), None))
            .await;
    let first = replayed.await.unwrap();
    for hostile in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a browser that has lost its way and says a lot\r\n\r\n"[..],
        &[0xff; 200],
        &[9; 96],
        &[&first[..], &[7; 64]].concat(),
    ] {
        let mut stream = dialled(world.address).await;
        // It may be closed before all is written.
        let _ = stream.write_all(hostile).await;
        assert!(rest_of(&mut stream).await.len() <= MESSAGE_BYTES[1]);
    }
    // Zero is a key with which every secret is zero.
    let mut stream = dialled(world.address).await;
    stream.write_all(&[0; 96]).await.unwrap();
    assert!(rest_of(&mut stream).await.is_empty(), "there is no second message");
    assert!(world.is_quiet());
}

#[tokio::test]
async fn dials_succeed_or_are_told_to_have_failed() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (address, vacant) = (world.address, {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        listener.local_addr().expect("it is bound")
    });
    world.net.dial(vacant.into(), None);
    assert!(matches!(world.next().await, SocketEvent::DialFailed { address, .. } if address == vacant.into()));
    // Its own address: the protocol recognises it by the id.
    let own = world.id();
    world.net.dial(address.into(), Some(own));
    let mut directions = Vec::new();
    for _ in 0..2 {
        let SocketEvent::Opened(opened) = world.next().await else { panic!("no connection") };
        assert_eq!(opened.id, own);
        directions.push(opened.direction);
    }
    assert!(directions.contains(&Direction::Inbound) && directions.contains(&Direction::Outbound));
}

#[tokio::test]
async fn another_id_than_dialled_is_refused_and_learns_nothing() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut other, expected) =
        (World::new(SocketLimits::default(), 8).await, Identity::from_secret(rand::random()).id());
    let address = other.address;
    world.net.dial(address.into(), Some(expected));
    assert!(matches!(world.next().await, SocketEvent::DialFailed { address: failed, .. } if failed == address.into()));
    assert!(other.is_quiet());

    let error = noise::initiate(&mut dialled(address).await, &Identity::from_secret(rand::random()), Some(expected))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), format!("another node answers there: got node {}, expected {expected}", other.id()));
}

/// Its answer may be shorter than a message of the handshake.
#[tokio::test]
async fn a_dialled_server_of_http_is_recognised() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    let long = format!("HTTP/1.1 400 Bad Request\r\nserver: {}\r\n\r\n", "x".repeat(MESSAGE_BYTES[1]));
    for (answer, expected) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", Some(OtherParty::Http)),
        (&long, Some(OtherParty::Http)),
        ("220 mail.example.com ESMTP\r\n", None),
    ] {
        world.net.dial(address.into(), None);
        let (mut stream, _) = listener.accept().await.expect("it is dialled");
        stream.read_exact(&mut [0; MESSAGE_BYTES[0]]).await.expect("a first message comes");
        stream.write_all(answer.as_bytes()).await.expect("it waits for an answer");
        drop(stream);
        let SocketEvent::DialFailed { found, .. } = world.next().await else { panic!("it is no node: {answer}") };
        assert_eq!(found, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_dial_without_a_handshake_times_out() {
    let mut world = World::new(impatient(), 8).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    for answer in [0, 1, MESSAGE_BYTES[1]] {
        world.net.dial(address.into(), None);
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&vec![9; answer]).await.unwrap();
        assert!(
            matches!(world.next().await, SocketEvent::DialFailed { address: failed, .. } if failed == address.into())
        );
        assert_eq!(rest_of(&mut stream).await.len(), MESSAGE_BYTES[0]);
    }
}

#[tokio::test]
async fn a_cut_link_stops_a_handshake_and_healing_lets_it_go_on() {
    let chaos = Arc::<Chaos>::default();
    let limits = SocketLimits { connect: TIMEOUT, first_message: TIMEOUT, ..SocketLimits::default() };
    let mut world = World::with(limits, 8, Some(chaos.clone())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    let cut = |is: bool| chaos.change(LinkKey::Listening(address.into()), |link| link.cut = is);
    world.net.dial(address.into(), None);
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut first = [0; MESSAGE_BYTES[0]];
    // The first message has left; the answer comes after the cut.
    stream.peek(&mut first).await.unwrap();
    cut(true);
    let own = Identity::from_secret(rand::random());
    let answering = tokio::spawn(async move { noise::respond(&mut stream, &own).await.map(|session| (session, own)) });
    assert!(timeout(Duration::from_millis(300), world.events.recv()).await.is_err());
    assert!(!answering.is_finished());
    cut(false);
    let (_, own) = answering.await.unwrap().expect("both mean the same");
    let SocketEvent::Opened(opened) = world.next().await else { panic!("no connection") };
    assert_eq!(opened.id, own.id());
}

#[tokio::test]
async fn stopping_closes_everything() {
    let mut world = World::new(SocketLimits::default(), 8).await;
    let (mut client, opened) = world.connect().await;
    let mut early = dialled(world.address).await;
    drop(opened);
    timeout(TIMEOUT, world.net.stop()).await.expect("it stops");
    assert!(client.rest().await.0.is_empty());
    assert!(rest_of(&mut early).await.is_empty());
    assert!(TcpStream::connect(world.address).await.is_err());
}
