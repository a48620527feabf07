//! The page's side of a session, for programs that are no browser: what pages cost a node is measured with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use str0m::config::CryptoProvider;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::certificate::Certificate;
use super::credentials::Credentials;
use super::provider::provider;
use super::session::{MAX_PACKETS, Packet, Session, SessionError, Side};
use super::{MAX_PACKET, READ_PAUSE};
use crate::p2p::PeerAddr;
use crate::p2p::noise::Carrier;

/// Bytes of a fragment and of a password before they are encoded.
const FRAGMENT: usize = 6;
const PASSWORD: usize = 18;

/// Dials nodes, as often as wanted, with one certificate.
pub struct Dialler {
    provider: Arc<CryptoProvider>,
    certificate: Certificate,
}

impl Dialler {
    /// One with a new certificate.
    ///
    /// # Errors
    /// [`SessionError::Certificate`] if none can be made.
    pub fn new() -> Result<Self, SessionError> {
        let provider = Arc::new(provider()?);
        Ok(Self { certificate: Certificate::generate(&provider)?, provider })
    }

    /// Dials an address of a node: a session that is open, and what both sides' handshakes are bound to.
    ///
    /// # Errors
    /// [`SessionError`]; of a node that does not answer, only after half a minute.
    pub async fn dial(&self, address: PeerAddr) -> Result<(Session, Carrier), SessionError> {
        let PeerAddr::WebRtc { socket: node, certhash } = address else { return Err(SessionError::NoWebRtc) };
        let socket = Arc::new(UdpSocket::bind((own_ip(node).await?, 0)).await?);
        let (sender, packets) = mpsc::channel(MAX_PACKETS);
        tokio::spawn(read(socket.clone(), sender));
        let page = STANDARD_NO_PAD.encode(rand::random::<[u8; FRAGMENT]>());
        let page_password = STANDARD_NO_PAD.encode(rand::random::<[u8; PASSWORD]>());
        let credentials = Credentials::of_page(self.certificate.hash, page, page_password);
        let (side, own) = (Side::Page { node, certhash }, socket.local_addr()?);
        let mut session = Session::new((&self.provider, &self.certificate), side, credentials, own, socket, packets)?;
        session.open().await?;
        Ok((session, Carrier::WebRtc { node: certhash, page: self.certificate.hash }))
    }
}

/// The address from which packets go to a destination.
async fn own_ip(destination: SocketAddr) -> std::io::Result<IpAddr> {
    let any = match destination {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let probe = UdpSocket::bind((any, 0)).await?;
    // Nothing is sent.
    probe.connect(destination).await?;
    Ok(probe.local_addr()?.ip())
}

/// Reads packets until the session has ended. What it has no room for is lost.
async fn read(socket: Arc<UdpSocket>, packets: mpsc::Sender<Packet>) {
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        tokio::select! {
            () = packets.closed() => return,
            read = socket.recv_from(&mut buffer) => {
                // An error says that a packet before did not arrive: ICE finds out by itself.
                let Ok((length, source)) = read else {
                    tokio::time::sleep(READ_PAUSE).await;
                    continue;
                };
                let _ = packets.try_send(Box::new((source, buffer[..length].to_vec())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Duration, timeout};

    use super::super::Listener;
    use super::*;

    #[tokio::test]
    async fn what_one_side_writes_comes_out_at_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::new(Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap(), dir.path()).unwrap();
        let address = listener.address();
        let (arrivals, mut arrived) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listener.run(move |arrival| arrivals.send(arrival).unwrap()));
        let carry = |session: Session| {
            let (ours, theirs) = duplex(1 << 10);
            tokio::spawn(session.carry(theirs));
            ours
        };
        let accept = async {
            let mut arrival = arrived.recv().await.unwrap();
            arrival.session.open().await.unwrap();
            (carry(arrival.session), arrival.carrier)
        };
        let dialler = Dialler::new().unwrap();
        let dial = async {
            let (session, carrier) = dialler.dial(address).await.unwrap();
            (carry(session), carrier)
        };
        let opened = timeout(Duration::from_secs(60), async { tokio::join!(dial, accept) });
        let ((mut page, carrier), (mut node, other)) = opened.await.unwrap();
        let Carrier::WebRtc { page: certhash, .. } = carrier else { panic!("{carrier:?}") };
        assert_eq!((carrier, certhash), (other, dialler.certificate.hash));
        let mut room = vec![0; 300_000];
        for bytes in [vec![1; 1], vec![2; 300_000]] {
            let room = &mut room[..bytes.len()];
            tokio::try_join!(page.write_all(&bytes), node.read_exact(room)).unwrap();
            assert_eq!(room, bytes);
            tokio::try_join!(node.write_all(&bytes), page.read_exact(room)).unwrap();
            assert_eq!(room, bytes);
        }
        // One that leaves is gone at once.
        drop(page);
        assert_eq!(node.read(&mut room).await.unwrap(), 0);
        listening.abort();
    }
}
