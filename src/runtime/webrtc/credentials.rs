//! What a browser tells about itself in its first packet, so that no exchange has to come before it.
//!
//! The page writes the node's side of the session description itself, and so chooses the ICE user name fragment that the
//! node is to have. It puts what the node must know there:
//!
//! | characters | what |
//! |---|---|
//! | 1 | the version, `1` |
//! | 43 | SHA-256 of the page's certificate, in base64 without padding |
//! | 22 to 212 | the page's ICE password |
//!
//! The same text is the node's ICE password. Each STUN request of the page names the fragment and is signed with that
//! password, which both sides then know. An eavesdropper sees it in the packets. The handshake keeps eavesdroppers out:
//! each side knows the hash of the other's certificate.

use std::hash::BuildHasher;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::primitives::keyed::Keyed;

/// The first character.
const VERSION: char = '1';
/// Characters of a SHA-256.
const HASH_CHARS: usize = 43;
/// Characters of an ICE password, at least (RFC 8839, section 5.4).
const MIN_PASSWORD: usize = 22;
/// Characters of a fragment, at most (the same section).
pub(super) const MAX_UFRAG: usize = 256;
/// Characters of a fragment, at least.
const MIN_UFRAG: usize = 4;

/// A fragment that a page chose, taken apart, and the page's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// The node's fragment and its password.
    pub(super) own: String,
    /// The page's fragment.
    pub(super) page: String,
    /// The page's password.
    pub(super) page_password: String,
    /// SHA-256 of the page's certificate.
    pub(super) page_certhash: [u8; 32],
}

impl Credentials {
    /// Those that a page makes up which has this certificate, fragment and password.
    pub(super) fn of_page(page_certhash: [u8; 32], page: String, page_password: String) -> Self {
        let own = format!("{VERSION}{}{page_password}", STANDARD_NO_PAD.encode(page_certhash));
        Self { own, page, page_password, page_certhash }
    }

    /// Those of the two fragments in a request's USERNAME; `None` if they are not of this form.
    pub(super) fn parse(own: &str, page: &str) -> Option<Self> {
        let in_bounds = |text: &str| (MIN_UFRAG..=MAX_UFRAG).contains(&text.len()) && text.bytes().all(is_ice_char);
        if !in_bounds(own) || !in_bounds(page) {
            return None;
        }
        let (hash, page_password) = own.strip_prefix(VERSION)?.split_at_checked(HASH_CHARS)?;
        if page_password.len() < MIN_PASSWORD {
            return None;
        }
        let page_certhash = STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?;
        Some(Self {
            own: own.to_owned(),
            page: page.to_owned(),
            page_password: page_password.to_owned(),
            page_certhash,
        })
    }

    /// The session that they are for.
    pub(super) fn session(&self, key: &Keyed) -> SessionId {
        SessionId(key.hash_one(&self.own))
    }
}

/// The keyed hash of a fragment that a page chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId(u64);

/// `ice-char` (RFC 8839, section 5.4).
fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_says_who_the_page_is() {
        let (hash, password) = (STANDARD_NO_PAD.encode([7; 32]), "p".repeat(MIN_PASSWORD));
        let own = format!("1{hash}{password}");
        let read = Credentials::parse(&own, "page").unwrap();
        assert_eq!((read.page_certhash, &read.page_password, &read.own), ([7; 32], &password, &own));
        let key = Keyed::default();
        let other = Credentials::parse(&format!("{own}p"), "page").unwrap();
        assert_ne!(read.session(&key), other.session(&key));

        let long = "p".repeat(MAX_UFRAG - 1 - HASH_CHARS);
        assert!(Credentials::parse(&format!("1{hash}{long}"), "page").is_some());
        for wrong in [
            format!("2{hash}{password}"),
            format!("1{hash}{}", &password[1..]),
            format!("1{hash}{long}p"),
            format!("1{}{password}", &hash[..42]),
            // Bits that no byte has.
            format!("1{}B{password}", &hash[..42]),
            format!("1{hash}{password}\u{e9}"),
            format!("1{hash}{password}-"),
            String::new(),
        ] {
            assert_eq!(Credentials::parse(&wrong, "page"), None, "{wrong}");
        }
        for page in ["", "pag", "page:", &"p".repeat(MAX_UFRAG + 1)] {
            assert_eq!(Credentials::parse(&own, page), None, "{page}");
        }
    }
}
