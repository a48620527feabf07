//! Messages on a byte stream: a `u32` little-endian length, a kind byte, the payload. The length counts kind and
//! payload.
//!
//! The cap of a kind is checked as soon as its five bytes are there, before anything is set aside for the payload, and
//! the buffer grows with the bytes that have really come. A frame of a kind not known here is read past without being
//! kept: later versions may send it.

use std::fmt;
use std::sync::Arc;

use crate::p2p::message::{Kind, MAX_HELLO_BYTES, Message, MessageError};
use crate::primitives::codec::{Decode, Encode};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;

/// Most bytes of frames of unknown kinds that are read past between two messages.
pub const MAX_UNKNOWN_BYTES: usize = 1_000_000;

/// Why a stream cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum FrameError {
    /// A frame must hold at least its kind.
    #[error("a frame of length 0")]
    Empty,
    /// More bytes than the kind may have.
    #[error("a frame of kind {kind} with {got} bytes, at most {max} are allowed")]
    TooLong {
        /// The kind byte.
        kind: u8,
        /// Bytes of payload announced.
        got: usize,
        /// Bytes of payload allowed.
        max: usize,
    },
    /// Frames of unknown kinds with more bytes than are read past.
    #[error("frames of unknown kinds have {got} bytes, at most {max} are read past")]
    TooManyUnknown {
        /// Bytes since the last message, those announced included.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The payload is not what the kind says.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// A message as it is sent, encoded once: clones, for other peers, share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    kind: Kind,
    payload: Arc<Vec<u8>>,
}

impl Frame {
    /// A message of a kind, from its encoding.
    pub(crate) fn new(kind: Kind, encoded: Vec<u8>) -> Self {
        Self { kind, payload: Arc::new(encoded) }
    }

    /// The message that holds a block, from the block's encoding as the store has it.
    pub fn of_block(encoded: Vec<u8>) -> Self {
        Self::new(Kind::Block, encoded)
    }

    /// Which message it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What comes before the payload.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        // No payload comes near 4 GB: counts and blocks are capped.
        let [a, b, c, d] = (self.payload.len() as u32 + 1).to_le_bytes();
        [a, b, c, d, self.kind as u8]
    }

    /// The message's encoding.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Bytes of header and payload.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Header and payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.header()[..], self.payload()].concat()
    }

    /// The message: for tests and simulations, which are on both sides.
    ///
    /// # Errors
    /// [`MessageError`], if it was made of what is no block.
    pub fn message(&self) -> Result<Message, MessageError> {
        Message::decode(self.kind, &self.payload)
    }
}

impl From<&Message> for Frame {
    fn from(message: &Message) -> Self {
        Self::new(message.kind(), message.encode())
    }
}

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        Self::from(&message)
    }
}

/// Shows the message, for people.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            Ok(message) => message.fmt(f),
            Err(error) => error.fmt(f),
        }
    }
}

/// The frame that holds `message`.
pub fn encode(message: &Message) -> Vec<u8> {
    Frame::from(message).to_bytes()
}

/// Reads frames from bytes that come in arbitrary pieces.
#[derive(Debug)]
pub struct Decoder {
    max_block_bytes: usize,
    /// Received and not used yet, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Whether no message has come yet on a connection, on which the first is a hello.
    expects_hello: bool,
    /// Bytes of frames of unknown kinds since the last message.
    unknown: usize,
    /// Bytes still to come of a frame of unknown kind.
    skipping: usize,
}

impl Decoder {
    /// A decoder for a network whose blocks have at most `max_block_bytes`.
    pub fn new(max_block_bytes: u32) -> Self {
        Self {
            max_block_bytes: max_block_bytes as usize,
            buffer: Vec::new(),
            start: 0,
            expects_hello: false,
            unknown: 0,
            skipping: 0,
        }
    }

    /// A decoder at the start of a connection: nothing is larger than a hello until the first message has come.
    pub fn of_connection(max_block_bytes: u32) -> Self {
        Self { expects_hello: true, ..Self::new(max_block_bytes) }
    }

    /// Adds received bytes. Call [`Decoder::next_message`] until it returns `None`: then at most one frame and one
    /// piece are buffered.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let skipped = self.skipping.min(bytes.len());
        self.skipping -= skipped;
        bytes = &bytes[skipped..];
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is complete, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is then out of step and must be closed.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        loop {
            let rest = &self.buffer[self.start..];
            let Some((&[a, b, c, d, kind], rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let length = u32::from_le_bytes([a, b, c, d]) as usize;
            let got = length.checked_sub(1).ok_or(FrameError::Empty)?;
            let known = Kind::from_byte(kind);
            let max = known.map_or(MAX_UNKNOWN_BYTES, |kind| kind.max_payload(self.max_block_bytes));
            let max = if self.expects_hello { max.min(MAX_HELLO_BYTES) } else { max };
            if got > max {
                return Err(FrameError::TooLong { kind, got, max });
            }
            match known {
                Some(kind) => {
                    let Some(payload) = rest.get(..got) else { return Ok(None) };
                    let message = Message::decode(kind, payload)?;
                    self.start += HEADER_BYTES + got;
                    (self.expects_hello, self.unknown) = (false, 0);
                    return Ok(Some(message));
                }
                None => {
                    self.unknown += HEADER_BYTES + got;
                    if self.unknown > MAX_UNKNOWN_BYTES + HEADER_BYTES {
                        let (got, max) = (self.unknown, MAX_UNKNOWN_BYTES + HEADER_BYTES);
                        return Err(FrameError::TooManyUnknown { got, max });
                    }
                    let here = got.min(rest.len());
                    self.skipping = got - here;
                    self.start += HEADER_BYTES + here;
                }
            }
        }
    }

    /// Bytes buffered.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::p2p::message::tests::samples;

    const MAX_BLOCK: u32 = 10_000;

    fn read_all(decoder: &mut Decoder) -> Result<Vec<Message>, FrameError> {
        std::iter::from_fn(|| decoder.next_message().transpose()).collect()
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            order in prop::collection::vec(0..=Kind::ALL.len(), 1..20),
            cuts in prop::collection::vec(1..200usize, 1..50),
        ) {
            let samples = samples();
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for which in order {
                match samples.get(which) {
                    Some(message) => {
                        stream.extend(encode(message));
                        expected.push(message.clone());
                    }
                    None => {
                        stream.extend(301u32.to_le_bytes());
                        stream.extend([200; 301]);
                    }
                }
            }
            let mut decoder = Decoder::new(MAX_BLOCK);
            let mut got = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at(*cut.min(&rest.len()));
                decoder.push(piece);
                got.extend(read_all(&mut decoder).unwrap());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_pile_up(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..40),
        ) {
            let mut decoder = Decoder::new(MAX_BLOCK);
            for piece in pieces {
                decoder.push(&piece);
                if read_all(&mut decoder).is_err() {
                    break;
                }
                prop_assert!(decoder.buffered() <= HEADER_BYTES + MAX_UNKNOWN_BYTES);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_kinds_cap_is_refused_at_its_fifth_byte() {
        for kind in Kind::ALL {
            let max = kind.max_payload(MAX_BLOCK as usize);
            let mut decoder = Decoder::new(MAX_BLOCK);
            decoder.push(&(max as u32 + 2).to_le_bytes());
            assert_eq!(decoder.next_message(), Ok(None));
            decoder.push(&[kind as u8]);
            assert_eq!(decoder.next_message(), Err(FrameError::TooLong { kind: kind as u8, got: max + 1, max }));
            assert_eq!(decoder.buffered(), HEADER_BYTES);
        }
    }

    #[test]
    fn a_long_frame_of_unknown_kind_is_not_kept() {
        let mut decoder = Decoder::new(MAX_BLOCK);
        decoder.push(&(MAX_UNKNOWN_BYTES as u32 + 1).to_le_bytes());
        decoder.push(&[255]);
        for _ in 0..MAX_UNKNOWN_BYTES / 1_000 {
            assert_eq!(decoder.next_message(), Ok(None));
            decoder.push(&[7; 1_000]);
            assert!(decoder.buffered() <= 1_000);
        }
        decoder.push(&encode(&Message::Ping(5)));
        assert_eq!(decoder.next_message(), Ok(Some(Message::Ping(5))));
    }

    #[test]
    fn frames_of_unknown_kinds_do_not_come_for_ever() {
        let mut unknown = 101u32.to_le_bytes().to_vec();
        unknown.extend([200; 101]);
        let allowed = (MAX_UNKNOWN_BYTES + HEADER_BYTES) / (HEADER_BYTES + 100);
        let mut decoder = Decoder::new(MAX_BLOCK);
        for _ in 0..2 {
            for _ in 0..allowed {
                decoder.push(&unknown);
                assert_eq!(decoder.next_message(), Ok(None));
            }
            decoder.push(&encode(&Message::Ping(5)));
            assert_eq!(decoder.next_message(), Ok(Some(Message::Ping(5))), "a message begins the count anew");
        }
        decoder.push(&unknown.repeat(allowed + 1));
        assert!(matches!(decoder.next_message(), Err(FrameError::TooManyUnknown { .. })));
    }

    #[test]
    fn before_a_hello_no_frame_is_larger_than_one() {
        for kind in [Kind::Block, Kind::ContentBlock, Kind::Hello] {
            let mut decoder = Decoder::of_connection(MAX_BLOCK);
            decoder.push(&(MAX_HELLO_BYTES as u32 + 2).to_le_bytes());
            decoder.push(&[kind as u8]);
            let (got, max) = (MAX_HELLO_BYTES + 1, MAX_HELLO_BYTES);
            assert_eq!(decoder.next_message(), Err(FrameError::TooLong { kind: kind as u8, got, max }));
        }
        let hello = samples().into_iter().find(|message| message.kind() == Kind::Hello).unwrap();
        let block = samples().into_iter().find(|message| message.kind() == Kind::Block).unwrap();
        let mut decoder = Decoder::of_connection(1_000_000);
        decoder.push(&[encode(&hello), encode(&block)].concat());
        assert_eq!(decoder.next_message(), Ok(Some(hello)));
        assert_eq!(decoder.next_message(), Ok(Some(block)));
    }

    #[test]
    fn an_empty_frame_is_refused() {
        let mut decoder = Decoder::new(MAX_BLOCK);
        decoder.push(&[0; 5]);
        assert_eq!(decoder.next_message(), Err(FrameError::Empty));
    }
}
