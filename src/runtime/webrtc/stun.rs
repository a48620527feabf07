//! The part of STUN (RFC 8489) that ICE's checks (RFC 8445) need before a browser has a session: a request that names both
//! sides, the answer to it, and a request of our own. And the plain request by which a browser learns at which address the
//! node sees it, so that it can tell another browser.
//!
//! Strangers write these messages, so the reader takes nothing but what is well-formed, and keeps references only.

use std::net::{IpAddr, SocketAddr};

use str0m::config::CryptoProvider;
use subtle::ConstantTimeEq;

/// Bytes of a header: type, length, the cookie and the transaction's number.
const HEADER: usize = 20;
/// The cookie that every message has after its length.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Bytes of MESSAGE-INTEGRITY, an HMAC-SHA1.
const INTEGRITY: usize = 20;
/// What FINGERPRINT's CRC-32 is mixed with.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Types of messages: a binding request, and the answer that grants it.
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;

/// Attributes of lower types have to be understood by who answers (section 14).
const OPTIONAL: u16 = 0x8000;

/// Types of attributes.
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// Which exchange of request and answer a message belongs to.
pub(super) type Transaction = [u8; 12];

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A check by the other side, with USERNAME: the fragments of the side asked and of the one that asks.
    Request { asked: &'a str, asking: &'a str },
    /// The other side has answered a check of ours.
    Success,
}

/// A message that is well-formed. It proves nothing until [`Stun::is_signed_with`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Stun<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) transaction: Transaction,
    /// Whether the side that asks would use this path.
    pub(super) nominates: bool,
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins, and what it holds.
    integrity: (usize, &'a [u8]),
}

impl<'a> Stun<'a> {
    /// Reads a message of one of these kinds; `None` for all else.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, attributes) = bytes.split_at_checked(HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length != attributes.len() || header[4..8] != COOKIE {
            return None;
        }
        let (mut username, mut nominates, mut integrity) = (None, false, None);
        let mut rest = attributes;
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let (kind, size) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
            let value = after.get(..usize::from(size))?;
            match kind {
                MESSAGE_INTEGRITY => {
                    integrity = Some((bytes.len() - rest.len(), value));
                    // Only a fingerprint may come after it, and nothing vouches for that.
                    break;
                }
                USERNAME => username = std::str::from_utf8(value).ok(),
                USE_CANDIDATE => nominates = true,
                _ => {}
            }
            // Attributes end at multiples of four bytes.
            rest = after.get(usize::from(size).next_multiple_of(4)..)?;
        }
        let kind = match u16::from_be_bytes([header[0], header[1]]) {
            REQUEST => {
                let (asked, asking) = username?.split_once(':')?;
                Kind::Request { asked, asking }
            }
            SUCCESS => Kind::Success,
            _ => return None,
        };
        let transaction = header[8..].try_into().ok()?;
        Some(Self { kind, transaction, nominates, bytes, integrity: integrity? })
    }

    /// Whether the sender knows a password, and nothing was changed on the way. The one step that costs more than reading:
    /// an HMAC-SHA1 over the message.
    pub(super) fn is_signed_with(&self, provider: &CryptoProvider, password: &[u8]) -> bool {
        let (start, tag) = self.integrity;
        // As if the message ended with this attribute.
        let length = (start + 4 + INTEGRITY - HEADER) as u16;
        let parts = [&self.bytes[..2], &length.to_be_bytes(), &self.bytes[4..start]];
        let expected = provider.sha1_hmac_provider.sha1_hmac(password, &parts);
        expected[..].ct_eq(tag).into()
    }
}

/// The number of a request that asks only for the address that it comes from; `None` for all else. It has no credentials, and
/// no attribute that this server would have to understand.
pub(super) fn plain_request(bytes: &[u8]) -> Option<Transaction> {
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    let is_request = header[..2] == REQUEST.to_be_bytes() && header[4..8] == COOKIE;
    if !is_request || usize::from(u16::from_be_bytes([header[2], header[3]])) != rest.len() {
        return None;
    }
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let (kind, size) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        if kind < OPTIONAL {
            return None;
        }
        rest = after.get(usize::from(size).next_multiple_of(4)..)?;
    }
    rest.is_empty().then(|| header[8..].try_into().ok())?
}

/// The answer to a [`plain_request`] from `source`: 32 bytes, or 44 to an IPv6 address.
pub(super) fn reflection(transaction: Transaction, source: SocketAddr) -> Vec<u8> {
    let mut message = Writer::new(SUCCESS, transaction);
    message.attribute(XOR_MAPPED_ADDRESS, &mapped(transaction, source));
    message.set_length(0);
    message.0
}

/// The value of XOR-MAPPED-ADDRESS (section 14.2).
fn mapped(transaction: Transaction, source: SocketAddr) -> Vec<u8> {
    let mask = [&COOKIE[..], &transaction].concat();
    let (family, octets) = match source.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend((source.port() ^ 0x2112).to_be_bytes());
    value.extend(octets.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

/// The answer to a request from `source`, signed with the password of the side that was asked.
pub(super) fn success(
    provider: &CryptoProvider,
    transaction: Transaction,
    source: SocketAddr,
    password: &[u8],
) -> Vec<u8> {
    let mut message = Writer::new(SUCCESS, transaction);
    message.attribute(XOR_MAPPED_ADDRESS, &mapped(transaction, source));
    message.sign(provider, password)
}

/// A check of our own, which only a browser that receives it can answer, signed with the browser's password.
pub(super) fn request(provider: &CryptoProvider, transaction: Transaction, username: &str, password: &[u8]) -> Vec<u8> {
    let mut message = Writer::new(REQUEST, transaction);
    message.attribute(USERNAME, username.as_bytes());
    // A candidate of this host, of the highest local preference (RFC 8445, section 5.1.2.1).
    message.attribute(PRIORITY, &((126u32 << 24) | (65_535 << 8) | 255).to_be_bytes());
    message.attribute(ICE_CONTROLLED, &transaction[..8]);
    message.sign(provider, password)
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u16, transaction: Transaction) -> Self {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0; 2]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Sets the length as if so many bytes were still to come.
    fn set_length(&mut self, more: usize) {
        let length = (self.0.len() + more - HEADER) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn sign(mut self, provider: &CryptoProvider, password: &[u8]) -> Vec<u8> {
        self.set_length(4 + INTEGRITY);
        let tag = provider.sha1_hmac_provider.sha1_hmac(password, &[&self.0]);
        self.attribute(MESSAGE_INTEGRITY, &tag);
        self.set_length(8);
        let crc = crc32fast::hash(&self.0) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &crc.to_be_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 5769, section 2.1, which RFC 8489 keeps.
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
                          002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
                          000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
    const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_published_request_is_read_and_its_signature_holds() {
        let provider = str0m::crypto::from_feature_flags();
        let bytes = hex::decode(SAMPLE).unwrap();
        let stun = Stun::parse(&bytes).unwrap();
        assert_eq!(stun.kind, Kind::Request { asked: "evtj", asking: "h6vY" });
        assert!(!stun.nominates);
        assert!(stun.is_signed_with(&provider, PASSWORD));
        assert!(!stun.is_signed_with(&provider, b"VOkJxbRl1RmTxUk/WvJxBT"));
        for place in 0..bytes.len() - 8 {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let holds = Stun::parse(&changed).is_some_and(|stun| stun.is_signed_with(&provider, PASSWORD));
            assert!(!holds, "byte {place} was changed");
        }
        for length in 0..bytes.len() {
            assert!(Stun::parse(&bytes[..length]).is_none());
        }
    }

    /// A request as libwebrtc sends it, without attributes, and the answers of RFC 5769, sections 2.2 and 2.3, as far as these
    /// have the same attribute.
    #[test]
    fn a_plain_request_is_told_where_it_comes_from() {
        let number = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let request = |attributes: &[u8]| {
            let length = (attributes.len() as u16).to_be_bytes();
            [&[0, 1], &length[..], &COOKIE, &number, attributes].concat()
        };
        for (source, length, value) in [
            ("192.0.2.1:32853", 12, "0001a147e112a643"),
            ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", 24, "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
        ] {
            assert_eq!(plain_request(&request(&[])), Some(number));
            let answer = reflection(number, source.parse().unwrap());
            let header = format!("0101{length:04x}2112a442{}", hex::encode(number));
            assert_eq!(hex::encode(&answer), format!("{header}0020{:04x}{value}", length - 4));
        }
        // SOFTWARE may be there, what has to be understood may not, nor anything that is cut off.
        assert_eq!(plain_request(&request(&[0x80, 0x22, 0, 3, 65, 66, 67, 0])), Some(number));
        for wrong in [&[0, 3, 0, 4, 0, 0, 0, 6][..], &[0x80, 0x22, 0, 3, 65, 66, 67], &[0x80, 0x22, 0], &[0, 6, 0, 0]] {
            assert_eq!(plain_request(&request(wrong)), None, "{wrong:?}");
        }
        let whole = request(&[]);
        for place in 0..8 {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert_eq!(plain_request(&changed), None, "byte {place} was changed");
        }
        assert!((0..HEADER).all(|length| plain_request(&whole[..length]).is_none()));
        assert_eq!(plain_request(&hex::decode(SAMPLE).unwrap()), None, "it is signed");
    }

    #[test]
    fn what_is_written_is_read_by_another_implementation() {
        let provider = str0m::crypto::from_feature_flags();
        let hmac = |key: &[u8], parts: &[&[u8]]| provider.sha1_hmac_provider.sha1_hmac(key, parts);
        for source in ["192.0.2.1:32853", "[2001:db8::1]:1"] {
            let source: SocketAddr = source.parse().unwrap();
            let answer = success(&provider, [7; 12], source, PASSWORD);
            let read = str0m::ice::StunMessage::parse(&answer).unwrap();
            assert!(read.is_successful_binding_response() && read.verify(PASSWORD, hmac));
            assert_eq!(read.mapped_address(), Some(source));
            assert_eq!(Stun::parse(&answer).unwrap().kind, Kind::Success);
        }
        let asked = request(&provider, [8; 12], "page:node", PASSWORD);
        let read = str0m::ice::StunMessage::parse(&asked).unwrap();
        assert!(read.is_binding_request() && read.verify(PASSWORD, hmac));
        assert_eq!((read.split_username(), read.ice_controlled().is_some()), (Some(("page", "node")), true));
        assert_eq!(Stun::parse(&asked).unwrap().transaction, [8; 12]);
    }
}
