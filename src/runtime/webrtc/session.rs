//! A browser's connection: ICE, DTLS, SCTP and one data channel, between the socket that all share and a stream of bytes.
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
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep_until, timeout};

use super::certificate::Certificate;
use super::door::Visitor;

/// Most bytes of a message on the data channel.
pub(super) const MAX_FRAME: usize = 64 << 10;
/// Bytes of the messages that the node sends.
const FRAME: usize = 16 << 10;
/// Bytes that wait for the node to take them, before packets stay in the queue.
const MAX_RECEIVED: usize = 64 << 10;
/// Bytes that wait for the browser to confirm them. It must have room for several messages, or none would ever go.
const SEND_BUFFER: usize = 512 << 10;
/// Packets that wait for a session.
pub(super) const MAX_PACKETS: usize = 128;
/// How long a closing session may still send what it has.
const LINGER: Duration = Duration::from_secs(1);

/// A packet, and where it came from.
pub(super) type Packet = (SocketAddr, Vec<u8>);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::runtime) enum SessionError {
    /// ICE, DTLS or SCTP failed.
    #[error(transparent)]
    Rtc(#[from] RtcError),
    /// The node's own address is of a kind that ICE does not know.
    #[error(transparent)]
    Ice(#[from] IceError),
    /// The browser closed the channel.
    #[error("closed by the page")]
    ByPage,
    /// Nothing comes any more.
    #[error("the page is gone")]
    Gone,
    /// The listener ended.
    #[error("the node is stopping")]
    Stopped,
    /// The page does something that no page of this protocol does.
    #[error("the page opened a second channel")]
    SecondChannel,
    /// A message that is too large.
    #[error("a message of {got} bytes, at most {MAX_FRAME} are allowed")]
    Message {
        /// Its bytes.
        got: usize,
    },
    /// The node's end of the stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A session under way.
pub(in crate::runtime) struct Session {
    rtc: str0m::Rtc,
    channel: ChannelId,
    socket: Arc<UdpSocket>,
    /// Stands for this node's own address, which a socket for all addresses does not know.
    own: SocketAddr,
    packets: mpsc::Receiver<Packet>,
}

impl Session {
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        certificate: &Certificate,
        visitor: &Visitor,
        own: SocketAddr,
        socket: Arc<UdpSocket>,
        packets: mpsc::Receiver<Packet>,
    ) -> Result<Self, SessionError> {
        let credentials = &visitor.credentials;
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(provider.clone())
            .set_dtls_cert(certificate.cert.clone())
            // Browsers begin with the newer version, other implementations know only the older one.
            .set_dtls_version(DtlsVersion::Auto)
            .set_local_ice_credentials(IceCreds { ufrag: credentials.own.clone(), pass: credentials.own.clone() })
            .set_ice_lite(true)
            .set_sctp_max_buffered_amount(SEND_BUFFER)
            .clear_codecs()
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(own, Protocol::Udp)?);
        let mut api = rtc.direct_api();
        api.set_remote_ice_credentials(IceCreds {
            ufrag: credentials.page.clone(),
            pass: credentials.page_password.clone(),
        });
        api.set_remote_fingerprint(Fingerprint {
            hash_func: "sha-256".to_owned(),
            bytes: credentials.page_certhash.to_vec(),
        });
        api.start_dtls(false)?;
        api.start_sctp(false);
        let channel = api.create_data_channel(ChannelConfig { negotiated: Some(0), ..ChannelConfig::default() });
        Ok(Self { rtc, channel, socket, own, packets })
    }

    /// Runs until the channel is open: both certificates are those that were named before.
    pub(in crate::runtime) async fn open(&mut self) -> Result<(), SessionError> {
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
                packet = self.packets.recv() => self.take(packet.ok_or(SessionError::Stopped)?)?,
                () = sleep_until(wake.into()) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
            }
        }
    }

    /// Carries bytes between the channel, once it is open, and a stream, until either is closed.
    pub(in crate::runtime) async fn carry(mut self, stream: DuplexStream) -> SessionError {
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

    async fn exchange(&mut self, stream: DuplexStream) -> Result<(), SessionError> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (mut received, mut outgoing) = (Vec::new(), Vec::with_capacity(FRAME));
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
            let Some(mut channel) = self.rtc.channel(self.channel) else { return Err(SessionError::ByPage) };
            if !outgoing.is_empty() && channel.write(true, &outgoing)? {
                outgoing.clear();
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
                    self.take(packet.ok_or(SessionError::Stopped)?)?;
                }
                // Once the node reads no more, what still comes is dropped.
                written = write_some(&mut writing, &received), if !received.is_empty() => {
                    match written {
                        Some(count) if count == received.len() => received = Vec::new(),
                        Some(count) => drop(received.drain(..count)),
                        None => received = Vec::new(),
                    }
                }
                read = reading.read_buf(&mut outgoing), if outgoing.is_empty() && closing.is_none() => {
                    if read? == 0 {
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
    fn take(&mut self, (source, bytes): Packet) -> Result<(), SessionError> {
        if !matches!(bytes.first(), Some(0 | 1 | 20..=63)) {
            return Ok(());
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.own, &bytes) else { return Ok(()) };
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
        Event::ChannelClose(_) | Event::Closed => Err(SessionError::ByPage),
        Event::IceConnectionStateChange(IceConnectionState::Disconnected) => Err(SessionError::Gone),
        Event::ChannelOpen(id, _) if *id != channel => Err(SessionError::SecondChannel),
        Event::ChannelData(data) if data.id != channel => Err(SessionError::SecondChannel),
        _ => Ok(()),
    }
}
