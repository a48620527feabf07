//! Addresses of nodes: a socket, and what else it takes to open a connection there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};

use crate::p2p::bans::Subnet;
use crate::p2p::reach::{is_nowhere, is_public};
use crate::primitives::codec::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, impl_borrow_decode};

/// Most characters of an address as text.
pub const MAX_TEXT: usize = 160;
/// What stands before the digest in a SHA-256 multihash: the function's number and the digest's length in bytes.
const SHA_256: [u8; 2] = [0x12, 32];
/// Tags of the encodings.
const TCP: u8 = 0;
const WEBRTC: u8 = 1;

/// An address of a node, of a kind for each transport.
///
/// Its text is `IP:PORT` for TCP, with an IPv6 address in brackets, and libp2p's multiaddr for WebRTC:
/// `/ip4/192.0.2.1/udp/4001/webrtc-direct/certhash/uEi…`, whose last part is a multibase (`u`: base64url without padding)
/// of a multihash. A page has none; `page/` and its id stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAddr {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A UDP port that accepts WebRTC data channels without signalling.
    WebRtc {
        /// The UDP port.
        socket: SocketAddr,
        /// SHA-256 of the certificate that the node proves to have.
        certhash: [u8; 32],
    },
}

/// Text that is no [`PeerAddr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddrError {
    /// Longer than any address.
    #[error("an address has at most {MAX_TEXT} bytes, got {got}")]
    TooLong {
        /// Bytes of the text.
        got: usize,
    },
    /// Neither form.
    #[error("{got:?} is not an address: expected IP:PORT or /ip4/IP/udp/PORT/webrtc-direct/certhash/HASH, or /ip6")]
    Form {
        /// The text.
        got: String,
    },
    /// The IP is not of the family named before it.
    #[error("{got:?} is not an {family} address")]
    Ip {
        /// `ip4` or `ip6`.
        family: &'static str,
        /// What stands in its place.
        got: String,
    },
    /// No port.
    #[error("{got:?} is not a port")]
    Port {
        /// What stands in its place.
        got: String,
    },
    /// The certificate's hash is no SHA-256 multihash in base64url.
    #[error("{got:?} is not a certificate hash: expected u and the base64url of a SHA-256 multihash")]
    Certhash {
        /// What stands in its place.
        got: String,
    },
}

/// The transports that a node's driver can dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Transports {
    /// TCP.
    pub tcp: bool,
    /// WebRTC.
    pub webrtc: bool,
}

impl Transports {
    /// Whether an address is of a kind that can be dialled.
    pub fn can_dial(&self, address: &PeerAddr) -> bool {
        match address {
            PeerAddr::Tcp(_) => self.tcp,
            PeerAddr::WebRtc { .. } => self.webrtc,
        }
    }
}

/// TCP alone.
impl Default for Transports {
    fn default() -> Self {
        Self { tcp: true, webrtc: false }
    }
}

impl PeerAddr {
    /// Bytes of the longest encoding.
    pub const MAX_LEN: usize = 1 + 16 + 2 + 32;

    /// What stands before the id of a page in the place of its address.
    pub const PAGE: &'static str = "page/";

    /// Stands for the address of a browser page that was met through a node: no port, and its id in the certificate's
    /// place. It cannot be dialled, so it is in no address book, and no peer is told of it.
    pub fn page(id: [u8; 32]) -> Self {
        Self::WebRtc { socket: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), certhash: id }
    }

    /// Whether it is a [`PeerAddr::page`].
    pub fn is_page(&self) -> bool {
        matches!(self, Self::WebRtc { socket, .. } if socket.port() == 0 && socket.ip().is_unspecified())
    }

    /// A TCP port of this node, whose IP others know better.
    pub fn tcp_port(port: u16) -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
    }

    /// IP and port, TCP's or UDP's.
    pub fn socket(&self) -> SocketAddr {
        match self {
            Self::Tcp(socket) | Self::WebRtc { socket, .. } => *socket,
        }
    }

    /// The IP.
    pub fn ip(&self) -> IpAddr {
        self.socket().ip()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.socket().port()
    }

    /// The same port and certificate at another IP.
    #[must_use]
    pub fn at(self, ip: IpAddr) -> Self {
        let socket = canonical(SocketAddr::new(ip, self.port()));
        match self {
            Self::Tcp(_) => Self::Tcp(socket),
            Self::WebRtc { certhash, .. } => Self::WebRtc { socket, certhash },
        }
    }

    /// Whether another address is of the same transport.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The part of the net ([`Subnet::group`]) that it lies in. All kinds share the host's.
    pub fn group(&self) -> Subnet {
        Subnet::group(self.ip())
    }

    /// Whether it can be reached from everywhere.
    pub fn is_public(&self) -> bool {
        is_public(self.ip())
    }

    /// Whether any node can accept connections there.
    pub fn is_valid(&self) -> bool {
        self.port() != 0 && !is_nowhere(self.ip())
    }

    /// Whether a peer at `source` may announce it. Private addresses from a public peer would lie in another network, or in
    /// our own.
    pub fn is_believable(&self, source: IpAddr) -> bool {
        let beyond = (is_public(source) && !self.is_public()) || (self.ip().is_loopback() && !source.is_loopback());
        self.is_valid() && !beyond
    }
}

/// TCP.
impl From<SocketAddr> for PeerAddr {
    fn from(socket: SocketAddr) -> Self {
        Self::Tcp(canonical(socket))
    }
}

/// TCP.
impl<I: Into<IpAddr>> From<(I, u16)> for PeerAddr {
    fn from((ip, port): (I, u16)) -> Self {
        SocketAddr::new(ip.into(), port).into()
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => write!(f, "{socket}"),
            Self::WebRtc { certhash, .. } if self.is_page() => write!(f, "{}{}", Self::PAGE, hex::encode(certhash)),
            Self::WebRtc { socket, certhash } => {
                let ip = socket.ip();
                let family = if ip.is_ipv4() { "ip4" } else { "ip6" };
                let hash = URL_SAFE_NO_PAD.encode([&SHA_256[..], certhash].concat());
                write!(f, "/{family}/{ip}/udp/{}/webrtc-direct/certhash/u{hash}", socket.port())
            }
        }
    }
}

impl FromStr for PeerAddr {
    type Err = PeerAddrError;

    fn from_str(text: &str) -> Result<Self, PeerAddrError> {
        let form = || PeerAddrError::Form { got: text.to_owned() };
        if text.len() > MAX_TEXT {
            return Err(PeerAddrError::TooLong { got: text.len() });
        }
        if !text.starts_with('/') {
            return text.parse::<SocketAddr>().map(Self::from).map_err(|_| form());
        }
        let parts: Vec<&str> = text.split('/').collect();
        let ["", family, ip, "udp", port, "webrtc-direct", "certhash", hash] = parts[..] else { return Err(form()) };
        let ip: IpAddr = match family {
            "ip4" => {
                ip.parse::<Ipv4Addr>().map_err(|_| PeerAddrError::Ip { family: "ip4", got: ip.to_owned() })?.into()
            }
            "ip6" => {
                ip.parse::<Ipv6Addr>().map_err(|_| PeerAddrError::Ip { family: "ip6", got: ip.to_owned() })?.into()
            }
            _ => return Err(form()),
        };
        // A number may be written in one way.
        let port = port.parse::<u16>().ok().filter(|number| number.to_string() == port);
        let port = port.ok_or_else(|| PeerAddrError::Port { got: parts[4].to_owned() })?;
        let certhash = certhash(hash).ok_or_else(|| PeerAddrError::Certhash { got: hash.to_owned() })?;
        Ok(Self::WebRtc { socket: canonical(SocketAddr::new(ip, port)), certhash })
    }
}

/// The same without IPv4 in IPv6 form, so that one address has one form. The zone of a link-local one stays.
fn canonical(socket: SocketAddr) -> SocketAddr {
    match socket.ip().to_canonical() {
        ip if ip == socket.ip() => socket,
        ip => SocketAddr::new(ip, socket.port()),
    }
}

fn certhash(text: &str) -> Option<[u8; 32]> {
    let hash = URL_SAFE_NO_PAD.decode(text.strip_prefix('u')?).ok()?;
    hash.strip_prefix(&SHA_256)?.try_into().ok()
}

impl Serialize for PeerAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Kind (u8), IP (16 bytes, IPv4 mapped into IPv6, so that one address has one form), port (u16); for WebRTC the
/// certificate's hash.
impl Encode for PeerAddr {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let ip = match self.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        match self {
            Self::Tcp(_) => (TCP, ip.octets(), self.port()).encode(encoder),
            Self::WebRtc { certhash, .. } => (WEBRTC, ip.octets(), self.port(), certhash).encode(encoder),
        }
    }
}

/// What is decoded with an address, or `None` if that is of a kind which later versions may have. Such a kind is followed by the
/// length of the rest (u8), so that a reader can skip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfKnown<T>(pub Option<T>);

impl<T> IfKnown<T> {
    /// Those of a list that are known.
    pub fn of_list(list: Vec<Self>) -> Vec<T> {
        list.into_iter().filter_map(|IfKnown(known)| known).collect()
    }
}

impl<C> Decode<C> for IfKnown<PeerAddr> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let kind = u8::decode(decoder)?;
        if !matches!(kind, TCP | WEBRTC) {
            let length = u8::decode(decoder)?;
            if usize::from(length) > PeerAddr::MAX_LEN - 2 {
                return Err(DecodeError::Other("an address longer than any may be"));
            }
            for _ in 0..length {
                u8::decode(decoder)?;
            }
            return Ok(Self(None));
        }
        let (ip, port) = <([u8; 16], u16)>::decode(decoder)?;
        let socket = SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port);
        Ok(Self(Some(match kind {
            WEBRTC => PeerAddr::WebRtc { socket, certhash: Decode::decode(decoder)? },
            _ => PeerAddr::Tcp(socket),
        })))
    }
}

impl<C> Decode<C> for PeerAddr {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        IfKnown::decode(decoder)?.0.ok_or(DecodeError::Other("no kind of PeerAddr"))
    }
}

impl_borrow_decode!(PeerAddr);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::codec;

    const WEBRTC_V4: &str =
        "/ip4/1.2.3.4/udp/4001/webrtc-direct/certhash/uEiAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw";

    fn webrtc(socket: &str) -> PeerAddr {
        PeerAddr::WebRtc { socket: socket.parse().unwrap(), certhash: std::array::from_fn(|i| i as u8) }
    }

    #[test]
    fn text_and_bytes_are_read_as_they_are_written() {
        assert_eq!(webrtc("1.2.3.4:4001").to_string(), WEBRTC_V4);
        for address in [
            PeerAddr::Tcp("1.2.3.4:5".parse().unwrap()),
            PeerAddr::Tcp("[2001:db8::1]:5".parse().unwrap()),
            webrtc("1.2.3.4:4001"),
            webrtc("[2001:db8::1]:65535"),
        ] {
            assert_eq!(address.to_string().parse(), Ok(address));
            let bytes = codec::encode(&address);
            assert!(bytes.len() <= PeerAddr::MAX_LEN);
            assert_eq!(codec::decode(&bytes), Ok(address));
            assert!(codec::decode::<PeerAddr>(&bytes[..bytes.len() - 1]).is_err());
        }
        assert_eq!(codec::encode(&webrtc("1.2.3.4:4001")).len(), PeerAddr::MAX_LEN);
        assert!(codec::decode::<PeerAddr>(&[[2].as_slice(), &[0; 50]].concat()).is_err(), "an unknown kind");
        let widest = PeerAddr::WebRtc { socket: SocketAddr::from(([0xffff; 8], 65_535)), certhash: [255; 32] };
        assert!(widest.to_string().len() <= MAX_TEXT);
    }

    #[test]
    fn other_text_is_refused_with_what_is_wrong() {
        type IsExpected = fn(&PeerAddrError) -> bool;
        let is_form: IsExpected = |error| matches!(error, PeerAddrError::Form { .. });
        let is_ip: IsExpected = |error| matches!(error, PeerAddrError::Ip { .. });
        let is_port: IsExpected = |error| matches!(error, PeerAddrError::Port { .. });
        let is_hash: IsExpected = |error| matches!(error, PeerAddrError::Certhash { .. });
        let is_long: IsExpected = |error| matches!(error, PeerAddrError::TooLong { .. });
        for (text, is_expected) in [
            ("".to_owned(), is_form),
            ("1.2.3.4".to_owned(), is_form),
            ("localhost:5".to_owned(), is_form),
            ("/".to_owned(), is_form),
            ("/ip4/1.2.3.4/tcp/5".to_owned(), is_form),
            (WEBRTC_V4.replace("udp", "tcp"), is_form),
            (WEBRTC_V4.replace("ip4", "dns4"), is_form),
            (format!("{WEBRTC_V4}/"), is_form),
            (WEBRTC_V4.replace("ip4", "ip6"), is_ip),
            (WEBRTC_V4.replace("1.2.3.4", "1.2.3"), is_ip),
            (WEBRTC_V4.replace("4001", "65536"), is_port),
            (WEBRTC_V4.replace("4001", "04001"), is_port),
            (WEBRTC_V4.replace("4001", "+4001"), is_port),
            (WEBRTC_V4.replace("/uEi", "/mEi"), is_hash),
            (WEBRTC_V4.replace("/uEi", "/uEy"), is_hash),
            (WEBRTC_V4.replace("Hw", "Hx"), is_hash),
            (WEBRTC_V4.replace("Hw", ""), is_hash),
            (format!("{WEBRTC_V4}AA"), is_hash),
            (format!("{WEBRTC_V4}{}", "A".repeat(MAX_TEXT)), is_long),
        ] {
            let error = text.parse::<PeerAddr>().unwrap_err();
            assert!(is_expected(&error), "{text}: {error}");
        }
    }

    #[test]
    fn every_kind_lies_where_its_host_does() {
        for address in [webrtc("8.8.1.1:5"), PeerAddr::Tcp("8.8.1.1:5".parse().unwrap())] {
            assert_eq!(address.group(), "8.8.0.0/16".parse().unwrap());
            assert!(address.is_public() && address.is_valid());
            let private = address.at([10, 0, 0, 1].into());
            assert_eq!((private.port(), private.is_same_kind(&address)), (5, true));
            assert!(!private.is_public());
            assert!(private.is_believable([10, 0, 0, 2].into()) && !private.is_believable([8, 8, 8, 8].into()));
            assert!(!address.at([0; 4].into()).is_valid());
        }
        assert_eq!(PeerAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x808, 0x101], 5)).to_string(), "8.8.1.1:5");
        assert_ne!(webrtc("8.8.1.1:5"), PeerAddr::Tcp("8.8.1.1:5".parse().unwrap()));
        let page = PeerAddr::page([7; 32]);
        assert!(page.is_page() && !page.is_valid() && !webrtc("8.8.1.1:5").is_page());
        assert_eq!(page.to_string(), format!("page/{}", "07".repeat(32)));
        assert!(page.to_string().parse::<PeerAddr>().is_err(), "it cannot be dialled");
        assert!(!Transports::default().can_dial(&webrtc("8.8.1.1:5")));
        assert!(Transports::default().can_dial(&PeerAddr::tcp_port(5)));
    }
}
