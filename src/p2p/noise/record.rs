//! Records: the encrypted stream after the handshake.
//!
//! A record is a `u16` little-endian length and that many bytes: ChaCha20-Poly1305 of 1 to 65,519 bytes of the stream, its tag
//! at the end. Each direction has a key of its own and counts its records from 0; that number is the nonce. So a record that
//! was changed, left out, sent again or moved does not open, and what is taken from the stream is what was put in, in order.
//! Where one record ends and the next begins means nothing to what is inside.

use std::fmt;
use std::sync::Arc;

use snow::StatelessTransportState;

/// Bytes of the tag of ChaCha20-Poly1305.
pub const TAG_BYTES: usize = 16;
/// Bytes of a record's length.
const LENGTH_BYTES: usize = 2;
/// Most bytes after the length: what Noise allows a message.
pub const MAX_RECORD: usize = 65_535;
/// Least bytes after the length: a tag and one byte. An empty record would be work for nothing.
pub const MIN_RECORD: usize = TAG_BYTES + 1;
/// Most bytes of the stream that a record takes.
pub const MAX_PLAIN: usize = MAX_RECORD - TAG_BYTES;

/// Why a stream of records cannot continue. The peer is not blamed, since an attacker between the two sides can cause
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum RecordError {
    /// Too short for a tag and anything.
    #[error("a record of {got} bytes, at least {MIN_RECORD} are needed")]
    TooShort { got: usize },
    /// It was changed, or is not the one that is next.
    #[error("record {number} does not decrypt: it was changed, or is not the next one that the other side sealed")]
    Forged {
        /// Which was expected, counted from 0.
        number: u64,
    },
    /// All 2^64 - 1 numbers are used up.
    #[error("no more records can be numbered")]
    Exhausted,
}

/// Both ends of a connection whose handshake is done.
pub(super) fn halves(state: StatelessTransportState) -> (Sealer, Opener) {
    let state = Arc::new(state);
    (
        Sealer { state: state.clone(), number: 0 },
        Opener { state, number: 0, received: Vec::new(), opened: 0, plain: Vec::new() },
    )
}

/// Encrypts the outgoing stream into records.
pub struct Sealer {
    state: Arc<StatelessTransportState>,
    /// Of the next record.
    number: u64,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Adds to `out` the records that hold `plain`; each but the last is full.
    ///
    /// # Errors
    /// [`RecordError::Exhausted`].
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        for piece in plain.chunks(MAX_PLAIN) {
            let length = piece.len() + TAG_BYTES;
            out.extend((length as u16).to_le_bytes());
            let start = out.len();
            out.resize(start + length, 0);
            // The lengths are right, so the number is all that can be wrong.
            self.state.write_message(self.number, piece, &mut out[start..]).map_err(|_| RecordError::Exhausted)?;
            self.number += 1;
        }
        Ok(())
    }
}

/// Reads records out of what comes, however it is cut into pieces.
///
/// To be emptied with [`Opener::open`] after every push: then it never holds more than a part of one record and what was
/// pushed last.
pub struct Opener {
    state: Arc<StatelessTransportState>,
    /// Of the next record.
    number: u64,
    received: Vec<u8>,
    /// So many of these bytes are opened already.
    opened: usize,
    /// What the last record held, and room for more.
    plain: Vec<u8>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("number", &self.number).field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Opener {
    /// Takes bytes from the wire.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.drain(..self.opened);
        self.opened = 0;
        self.received.extend_from_slice(bytes);
    }

    /// What the next record holds, if all of it has come.
    ///
    /// # Errors
    /// [`RecordError`]; nothing after it can be opened.
    pub fn open(&mut self) -> Result<Option<&[u8]>, RecordError> {
        let waiting = &self.received[self.opened..];
        let Some((length, rest)) = waiting.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*length));
        if length < MIN_RECORD {
            return Err(RecordError::TooShort { got: length });
        }
        let Some(record) = rest.get(..length) else { return Ok(None) };
        let held = length - TAG_BYTES;
        if self.plain.len() < held {
            self.plain.resize(held, 0);
        }
        let number = self.number;
        self.state.read_message(number, record, &mut self.plain[..held]).map_err(|error| match error {
            snow::Error::State(_) => RecordError::Exhausted,
            _ => RecordError::Forged { number },
        })?;
        self.number += 1;
        self.opened += LENGTH_BYTES + length;
        Ok(Some(&self.plain[..held]))
    }

    /// Bytes that came and are no whole record yet.
    pub fn waiting(&self) -> usize {
        self.received.len() - self.opened
    }
}

#[cfg(test)]
mod tests;
