//! A connection between a node and a page: ICE, DTLS, SCTP and one data channel, between a UDP socket and a stream of bytes.
//! The node's sessions share one socket.
//!
//! Back pressure goes both ways. While the node does not read, packets stay in a short queue and what comes then is lost,
//! so the browser's SCTP sends it again, more slowly. While the browser does not read, its SCTP grants no room, and the
//! node's writes wait.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::{CryptoProvider, DtlsVersion, Fingerprint};
use str0m::error::IceError;
use str0m::ice::IceCreds;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, RtcConfig, RtcError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep_until, timeout};

use super::certificate::{Certificate, CertificateError};
use super::credentials::Credentials;
use crate::runtime::read::read_some;

/// Most bytes of a message on the data channel.
pub(super) const MAX_FRAME: usize = 64 << 10;
/// Bytes of the messages that the node sends.
const FRAME: usize = 16 << 10;
/// Bytes that wait for the node to take them, before packets stay in the queue.
const MAX_RECEIVED: usize = 64 << 10;
/// Bytes that wait for the browser to confirm them: 5 MB a second over a round trip of 50 ms. It must have room for several
/// messages, or none would ever go; and the library looks through all of them for each packet.
const SEND_BUFFER: usize = 256 << 10;
/// Packets that wait for a session.
pub(super) const MAX_PACKETS: usize = 128;
/// How long a closing session may still send what it has.
const LINGER: Duration = Duration::from_secs(1);

/// A packet, and where it came from. In a box, for a channel has room for 32 at least.
pub(super) type Packet = Box<(SocketAddr, Vec<u8>)>;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// ICE, DTLS or SCTP failed.
    #[error(transparent)]
    Rtc(#[from] RtcError),
    /// An address is of a kind that ICE does not know.
    #[error(transparent)]
    Ice(#[from] IceError),
    /// The side that dials has no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What was dialled is not reached by WebRTC.
    #[error("that is no address for browsers")]
    NoWebRtc,
    /// The other side closed the channel.
    #[error("closed by the other side")]
    ByOther,
    /// Nothing comes any more.
    #[error("the other side is gone")]
    Gone,
    /// The listener ended.
    #[error("the node is stopping")]
    Stopped,
    /// The other side does something that no page of this protocol does.
    #[error("a second channel was opened")]
    SecondChannel,
    /// A message that is too large.
    #[error("a message of {got} bytes, at most {MAX_FRAME} are allowed")]
    Message {
        /// Its bytes.
        got: usize,
    },
    /// This side's end of the stream failed, or there is no socket.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Which side of a session this is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// The side that was dialled.
    Node,
    /// The side that dials a node at an address, which has a certificate with this SHA-256.
    Page { node: SocketAddr, certhash: [u8; 32] },
}

/// A session under way.
pub struct Session {
    /// Apart, for it has some ten kilobytes, and a future has room for each place that it is moved to.
    rtc: Box<str0m::Rtc>,
    channel: ChannelId,
    socket: Arc<UdpSocket>,
    /// Stands for this side's own address, which a socket for all addresses does not know.
    own: SocketAddr,
    packets: mpsc::Receiver<Packet>,
}

impl Session {
    pub(super) fn new(
        (provider, certificate): (&Arc<CryptoProvider>, &Certificate),
        side: Side,
        credentials: Credentials,
        own: SocketAddr,
        socket: Arc<UdpSocket>,
        packets: mpsc::Receiver<Packet>,
    ) -> Result<Self, SessionError> {
        let Credentials { own: node, page, page_password, page_certhash } = credentials;
        let node = IceCreds { ufrag: node.clone(), pass: node };
        let page = IceCreds { ufrag: page, pass: page_password };
        let (is_node, ours, theirs, their_certhash, version) = match side {
            // Browsers begin with the newer version, other implementations know only the older one.
            Side::Node => (true, node, page, page_certhash, DtlsVersion::Auto),
            // With the newer one the library's dialling side gives up after 40 s, although it is connected.
            Side::Page { certhash, .. } => (false, page, node, certhash, DtlsVersion::Dtls12),
        };
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(provider.clone())
            .set_dtls_cert(certificate.cert.clone())
            .set_dtls_version(version)
            .set_local_ice_credentials(ours)
            .set_ice_lite(is_node)
            .set_sctp_max_buffered_amount(SEND_BUFFER)
            .clear_codecs()
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(own, Protocol::Udp)?);
        if let Side::Page { node, .. } = side {
            rtc.add_remote_candidate(Candidate::host(node, Protocol::Udp)?);
        }
        let mut api = rtc.direct_api();
        api.set_ice_controlling(!is_node);
        api.set_remote_ice_credentials(theirs);
        api.set_remote_fingerprint(Fingerprint { hash_func: "sha-256".to_owned(), bytes: their_certhash.to_vec() });
        api.start_dtls(!is_node)?;
        api.start_sctp(!is_node);
        let channel = api.create_data_channel(ChannelConfig { negotiated: Some(0), ..ChannelConfig::default() });
        Ok(Self { rtc: Box::new(rtc), channel, socket, own, packets })
    }

    /// Runs until the channel is open: both certificates are those that were named before.
    ///
    /// # Errors
    /// [`SessionError`]; nothing more comes of it then.
    pub async fn open(&mut self) -> Result<(), SessionError> {
        loop {
            let wake = loop {
                match self.rtc.poll_output()? {
                    Output::Timeout(at) => break at,
                    Output::Transmit(packet) => send(&self.socket, packet.destination, &packet.contents).await,
                    Output::Event(Event::ChannelOpen(id, _)) if id == self.channel => return Ok(()),
                    Output::Event(event) => is_unexpected(&event, self.channel)?,
                }
            };
            tokio::select! {
                packet = self.packets.recv() => {
                    let packet = packet.ok_or(SessionError::Stopped)?;
                    self.take(&packet)?;
                }
                () = sleep_until(wake.into()) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
            }
        }
    }

    /// Carries bytes between the channel, once it is open, and a stream, until either is closed.
    pub async fn carry(mut self, stream: impl AsyncRead + AsyncWrite) -> SessionError {
        let ended = match self.exchange(stream).await {
            Ok(()) => SessionError::Stopped,
            Err(error) => error,
        };
        // Said once, so that the page knows at once; a page that does not hear it notices by itself.
        if self.rtc.close().is_ok() {
            let _ = timeout(LINGER, self.flush()).await;
        }
        ended
    }

    async fn exchange(&mut self, stream: impl AsyncRead + AsyncWrite) -> Result<(), SessionError> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (mut received, mut outgoing) = (Vec::new(), Vec::new());
        let mut closing = None;
        loop {
            let wake = loop {
                match self.rtc.poll_output()? {
                    Output::Timeout(at) => break at,
                    Output::Transmit(packet) => send(&self.socket, packet.destination, &packet.contents).await,
                    Output::Event(Event::ChannelData(data)) if data.id == self.channel => {
                        if data.data.len() > MAX_FRAME {
                            return Err(SessionError::Message { got: data.data.len() });
                        }
                        received.extend(data.data);
                    }
                    Output::Event(event) => is_unexpected(&event, self.channel)?,
                }
            };
            let Some(mut channel) = self.rtc.channel(self.channel) else { return Err(SessionError::ByOther) };
            if !outgoing.is_empty() && channel.write(true, &outgoing)? {
                outgoing = Vec::new();
                continue;
            }
            if let Some(until) = closing
                && (channel.buffered_amount() == 0 || Instant::now() >= until)
            {
                return Ok(());
            }
            let wake = closing.map_or(wake, |until| wake.min(until));
            tokio::select! {
                packet = self.packets.recv(), if received.len() < MAX_RECEIVED => {
                    let packet = packet.ok_or(SessionError::Stopped)?;
                    self.take(&packet)?;
                }
                // Once the node reads no more, what still comes is dropped.
                written = write_some(&mut writing, &received), if !received.is_empty() => {
                    match written {
                        Some(count) if count == received.len() => received = Vec::new(),
                        Some(count) => drop(received.drain(..count)),
                        None => received = Vec::new(),
                    }
                }
                read = read_some::<FRAME>(&mut reading), if outgoing.is_empty() && closing.is_none() => {
                    outgoing = read?;
                    if outgoing.is_empty() {
                        closing = Some(Instant::now() + LINGER);
                    }
                }
                () = sleep_until(wake.into()) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
            }
        }
    }

    async fn flush(&mut self) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(packet)) => send(&self.socket, packet.destination, &packet.contents).await,
                Ok(Output::Event(_)) => {}
                Ok(Output::Timeout(at)) => {
                    sleep_until(at.into()).await;
                    if self.rtc.handle_input(Input::Timeout(Instant::now())).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Takes a packet. One that is none of the kinds that a data channel needs is ignored.
    fn take(&mut self, (source, bytes): &(SocketAddr, Vec<u8>)) -> Result<(), SessionError> {
        if !matches!(bytes.first(), Some(0 | 1 | 20..=63)) {
            return Ok(());
        }
        let Ok(receive) = Receive::new(Protocol::Udp, *source, self.own, bytes) else { return Ok(()) };
        Ok(self.rtc.handle_input(Input::Receive(Instant::now(), receive))?)
    }
}

async fn write_some(writing: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> Option<usize> {
    match writing.write(bytes).await {
        Ok(count) if count > 0 => Some(count),
        _ => None,
    }
}

/// Sends a packet, or loses it, as any other may be lost on its way.
pub(super) async fn send(socket: &UdpSocket, destination: SocketAddr, bytes: &[u8]) {
    let _ = socket.send_to(bytes, on(socket, destination)).await;
}

/// A destination as the socket knows it: one for both families takes IPv4 addresses in IPv6 form.
pub(super) fn on(socket: &UdpSocket, destination: SocketAddr) -> SocketAddr {
    match (socket.local_addr(), destination) {
        (Ok(SocketAddr::V6(_)), SocketAddr::V4(v4)) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        _ => destination,
    }
}

/// Whether an event ends a session.
fn is_unexpected(event: &Event, channel: ChannelId) -> Result<(), SessionError> {
    match event {
        Event::ChannelClose(_) | Event::Closed => Err(SessionError::ByOther),
        Event::IceConnectionStateChange(IceConnectionState::Disconnected) => Err(SessionError::Gone),
        Event::ChannelOpen(id, _) if *id != channel => Err(SessionError::SecondChannel),
        Event::ChannelData(data) if data.id != channel => Err(SessionError::SecondChannel),
        _ => Ok(()),
    }
}
