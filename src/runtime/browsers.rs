//! The listener for browsers, in programs that are built with one and in those that are not.

use std::net::SocketAddr;
use std::path::Path;

use super::error::StartError;
use super::net::Net;
use crate::p2p::PeerAddr;

#[cfg(feature = "webrtc")]
use super::webrtc::Listener;

/// A port that is bound.
pub(super) struct Bound {
    #[cfg(feature = "webrtc")]
    socket: (tokio::net::UdpSocket, SocketAddr),
    #[cfg(not(feature = "webrtc"))]
    never: std::convert::Infallible,
}

/// A port with a certificate.
pub(super) struct Browsers {
    #[cfg(feature = "webrtc")]
    listener: Listener,
    #[cfg(not(feature = "webrtc"))]
    never: std::convert::Infallible,
}

#[cfg(feature = "webrtc")]
impl Bound {
    /// Binds an address, if there is one.
    pub(super) async fn new(address: Option<SocketAddr>) -> Result<Option<Self>, StartError> {
        let Some(address) = address else { return Ok(None) };
        let socket = Listener::bind(address).await.map_err(|source| StartError::ListenWebRtc { address, source })?;
        Ok(Some(Self { socket }))
    }

    /// Reads the certificate in a directory, or makes it.
    pub(super) fn with_certificate(self, dir: &Path) -> Result<Browsers, StartError> {
        Ok(Browsers { listener: Listener::new(self.socket, dir)? })
    }
}

#[cfg(feature = "webrtc")]
impl Browsers {
    /// Where browsers reach this node.
    pub(super) fn address(&self) -> PeerAddr {
        self.listener.address()
    }

    /// Takes connections until the net stops.
    pub(super) fn listen(self, net: &Net) {
        net.listen_webrtc(self.listener);
    }
}

#[cfg(not(feature = "webrtc"))]
impl Bound {
    /// An error if there is an address.
    pub(super) async fn new(address: Option<SocketAddr>) -> Result<Option<Self>, StartError> {
        if address.is_some() { Err(StartError::NoWebRtc) } else { Ok(None) }
    }

    /// There is none.
    pub(super) fn with_certificate(self, _: &Path) -> Result<Browsers, StartError> {
        match self.never {}
    }
}

#[cfg(not(feature = "webrtc"))]
impl Browsers {
    /// There is none.
    pub(super) fn address(&self) -> PeerAddr {
        match self.never {}
    }

    /// There is none.
    pub(super) fn listen(self, _: &Net) {
        match self.never {}
    }
}
