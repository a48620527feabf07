//! WebRTC, by which browsers connect: one UDP socket, and on it a session with one data channel for each page.
//!
//! There is no signalling. The page writes the node's side of the session description itself, from the node's address, and
//! tells the node in its first packet what the node has to know (`credentials`). `door` decides who gets a session,
//! `session` runs one, and this file's [`Listener`] reads the socket. What comes of it is a stream of bytes (`pipe`), on which the
//! handshake of [`p2p::noise`](crate::p2p::noise) and everything after it are those of TCP.
//!
//! `dial` is the page's side, for programs that are no browser.

mod certificate;
mod credentials;
mod dial;
mod door;
mod pipe;
mod primitives;
mod provider;
mod session;
mod stun;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use str0m::config::CryptoProvider;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Duration, MissedTickBehavior, interval};
use tracing::{debug, warn};

pub use certificate::{CERTIFICATE_FILE, CertificateError};
pub use dial::Dialler;
pub use pipe::{End, pipe};
pub use session::{Session, SessionError};

use self::certificate::Certificate;
use self::credentials::SessionId;
use self::door::{Door, Step, Visitor};
use self::session::{MAX_PACKETS, Packet, Side};
use crate::p2p::PeerAddr;
use crate::p2p::noise::Carrier;
use crate::primitives::keyed::HashMap;

/// Paths of a page on which its session takes packets: a page on the move has two for a while.
const MAX_PATHS: usize = 4;
/// Bytes read of a packet: none of these protocols sends more.
const MAX_PACKET: usize = 2_048;
/// Between looking for what has ended.
const CLEAN_INTERVAL: Duration = Duration::from_secs(1);
/// Before reading again after an error.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// A socket that takes pages.
pub struct Listener {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    certificate: Certificate,
    provider: Arc<CryptoProvider>,
}

/// A page that gets a session.
pub struct Arrival {
    /// Not open yet.
    pub session: Session,
    /// Where it is, and its certificate.
    pub address: PeerAddr,
    /// What both sides' handshakes are bound to.
    pub carrier: Carrier,
}

struct Live {
    packets: mpsc::Sender<Packet>,
    paths: Vec<SocketAddr>,
}

/// What the socket's task knows.
struct State {
    door: Door,
    live: HashMap<SessionId, Live>,
    paths: HashMap<SocketAddr, SessionId>,
}

impl Listener {
    /// Binds a UDP port; 0 takes a free one.
    ///
    /// # Errors
    /// The system's, if there is no such address or the port is taken.
    pub async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    }

    /// A listener on such a port with the certificate in a directory, which is made if there is none.
    ///
    /// # Errors
    /// [`CertificateError`] if there is none then.
    pub fn new((socket, address): (UdpSocket, SocketAddr), dir: &Path) -> Result<Self, CertificateError> {
        let provider = Arc::new(provider::provider()?);
        let certificate = Certificate::open(dir, &provider)?;
        Ok(Self { socket: Arc::new(socket), address, certificate, provider })
    }

    /// Where pages reach this node.
    pub fn address(&self) -> PeerAddr {
        PeerAddr::WebRtc { socket: self.address, certhash: self.certificate.hash }
    }

    /// Reads packets for ever. A page that may have a session is given to `admit`, which drops it if there are too many.
    pub async fn run(self, mut admit: impl FnMut(Arrival)) {
        let mut state = State {
            door: Door::new((*self.provider).clone(), Instant::now()),
            live: HashMap::default(),
            paths: HashMap::default(),
        };
        let mut cleaning = interval(CLEAN_INTERVAL);
        cleaning.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            tokio::select! {
                read = self.socket.recv_from(&mut buffer) => match read {
                    Ok((length, source)) => {
                        // A socket for both families gives IPv4 addresses in IPv6 form.
                        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
                        self.received(&mut state, source, &buffer[..length], &mut admit);
                    }
                    Err(error) => {
                        warn!(%error, "cannot read packets of browsers");
                        tokio::time::sleep(READ_PAUSE).await;
                    }
                },
                _ = cleaning.tick() => state.clean(Instant::now()),
            }
        }
    }

    fn received(&self, state: &mut State, source: SocketAddr, bytes: &[u8], admit: &mut impl FnMut(Arrival)) {
        let now = Instant::now();
        if let Some(session) = state.paths.get(&source).copied() {
            return state.pass(now, session, source, bytes);
        }
        let live = &state.live;
        match state.door.receive(now, source, bytes, |session| live.contains_key(session)) {
            Step::Ignore => {}
            Step::Answer(answers) => {
                for answer in answers {
                    // If the socket is full, the page asks again.
                    let _ = self.socket.try_send_to(&answer, session::on(&self.socket, source));
                }
            }
            Step::Forward(session) => {
                state.add_path(session, source);
                state.pass(now, session, source, bytes);
            }
            Step::Admit(visitor) => match self.session(&visitor, source) {
                Ok((arrival, packets)) => {
                    let (session, nomination) = (visitor.session, visitor.nomination);
                    state.live.insert(session, Live { packets, paths: Vec::new() });
                    state.add_path(session, source);
                    state.pass(now, session, source, &nomination);
                    state.pass(now, session, source, bytes);
                    admit(arrival);
                }
                Err(error) => debug!(%source, %error, "no session"),
            },
        }
    }

    fn session(&self, visitor: &Visitor, source: SocketAddr) -> Result<(Arrival, mpsc::Sender<Packet>), SessionError> {
        let (sender, packets) = mpsc::channel(MAX_PACKETS);
        let own = match (self.address.ip().is_unspecified(), source.ip()) {
            (false, _) => SocketAddr::new(self.address.ip().to_canonical(), self.address.port()),
            (true, IpAddr::V4(_)) => SocketAddr::from((Ipv4Addr::LOCALHOST, self.address.port())),
            (true, IpAddr::V6(_)) => SocketAddr::from((Ipv6Addr::LOCALHOST, self.address.port())),
        };
        let (keys, credentials) = ((&self.provider, &self.certificate), visitor.credentials.clone());
        let session = Session::new(keys, Side::Node, credentials, own, self.socket.clone(), packets)?;
        let page = visitor.credentials.page_certhash;
        let address = PeerAddr::WebRtc { socket: source, certhash: page };
        let carrier = Carrier::WebRtc { node: self.certificate.hash, page };
        Ok((Arrival { session, address, carrier }, sender))
    }
}

impl State {
    /// Gives a packet to a session, or loses it if the session has too many. A session that has ended is forgotten.
    fn pass(&mut self, now: Instant, session: SessionId, source: SocketAddr, bytes: &[u8]) {
        let Some(live) = self.live.get(&session) else { return };
        if let Err(mpsc::error::TrySendError::Closed(_)) = live.packets.try_send(Box::new((source, bytes.to_vec()))) {
            self.end(now, session);
        }
    }

    fn add_path(&mut self, session: SessionId, source: SocketAddr) {
        let Some(live) = self.live.get_mut(&session) else { return };
        live.paths.push(source);
        self.paths.insert(source, session);
        if live.paths.len() > MAX_PATHS {
            self.paths.remove(&live.paths.remove(0));
        }
    }

    fn end(&mut self, now: Instant, session: SessionId) {
        for path in self.live.remove(&session).map(|live| live.paths).unwrap_or_default() {
            self.paths.remove(&path);
        }
        self.door.forget(now, session);
    }

    fn clean(&mut self, now: Instant) {
        let ended = self.live.iter().filter(|(_, live)| live.packets.is_closed());
        let ended: Vec<SessionId> = ended.map(|(session, _)| *session).collect();
        for session in ended {
            self.end(now, session);
        }
        self.door.clean(now);
    }
}
