//! The messages about content apart from the others: the browser's module that handles these alone is a third smaller
//! without the code that reads and writes the rest.

use crate::p2p::frame::Frame;
use crate::p2p::message::Kind;
use crate::p2p::wants::{ContentBlock, Have, Want};
use crate::primitives::codec;

/// A message about content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentMessage {
    /// [`Message::WantBlocks`](crate::p2p::message::Message::WantBlocks).
    Wants(Vec<Want>),
    /// [`Message::HaveBlocks`](crate::p2p::message::Message::HaveBlocks).
    Haves(Vec<Have>),
    /// [`Message::ContentBlock`](crate::p2p::message::Message::ContentBlock).
    Block(ContentBlock),
}

impl ContentMessage {
    /// Decodes a payload that [`Message::decode`](crate::p2p::message::Message::decode) has held to its bounds before;
    /// `None` if it is no such message.
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        const WANTS: u8 = Kind::WantBlocks as u8;
        const HAVES: u8 = Kind::HaveBlocks as u8;
        const BLOCK: u8 = Kind::ContentBlock as u8;
        match kind {
            WANTS => codec::decode(payload).ok().map(Self::Wants),
            HAVES => codec::decode(payload).ok().map(Self::Haves),
            BLOCK => codec::decode(payload).ok().map(Self::Block),
            _ => None,
        }
    }

    /// The message as it is sent.
    pub fn frame(&self) -> Frame {
        match self {
            Self::Wants(wants) => Frame::new(Kind::WantBlocks, codec::encode(wants)),
            Self::Haves(haves) => Frame::new(Kind::HaveBlocks, codec::encode(haves)),
            Self::Block(block) => Frame::new(Kind::ContentBlock, codec::encode(block)),
        }
    }
}
