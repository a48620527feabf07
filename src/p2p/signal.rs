//! What two browser pages tell each other before there is a connection between them, through a node that both know.

use crate::primitives::codec::{Decode, Encode};

/// Most bytes of a description: certificate, ICE credentials, and some ten addresses.
pub const MAX_DESCRIPTION: usize = 2_048;
/// Most pages in a [`Message::Pages`](crate::p2p::message::Message::Pages).
pub const MAX_PAGES: usize = 8;

/// One side of a call between two pages: where its browser can be reached, and by which certificate it is known. The text is
/// the pages' own affair, which docs/protocol.md has; a node does not read it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Signal {
    /// Of the page that calls.
    Offer(Vec<u8>),
    /// Of the page that was called.
    Answer(Vec<u8>),
}

impl Signal {
    /// The bytes of the description.
    pub fn description(&self) -> &[u8] {
        match self {
            Self::Offer(description) | Self::Answer(description) => description,
        }
    }
}
