//! The three messages of XX. None carries a payload, so each has a fixed length, and neither side ever reads further than
//! the other's message: 96 bytes each way in all.

use std::fmt;

use snow::{Builder, HandshakeState};

use super::identity::{Identity, id_of};
use super::record::{Opener, Sealer, TAG_BYTES, halves};
use super::{Carrier, PROTOCOL, Strict};
use crate::p2p::kad::NodeId;

/// Bytes of a public key.
const PUBLIC_BYTES: usize = 32;

/// Bytes of the messages, in order: the initiator's ephemeral key; the responder's ephemeral and encrypted static key,
/// and a tag; the initiator's encrypted static key, and a tag.
pub const MESSAGE_BYTES: [usize; 3] =
    [PUBLIC_BYTES, PUBLIC_BYTES + PUBLIC_BYTES + TAG_BYTES + TAG_BYTES, PUBLIC_BYTES + TAG_BYTES + TAG_BYTES];

/// Bytes that each side sends, and receives, until both know each other.
pub const HANDSHAKE_BYTES: usize = MESSAGE_BYTES[1];
const _: () = assert!(MESSAGE_BYTES[0] + MESSAGE_BYTES[2] == HANDSHAKE_BYTES);

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The received bytes are no message of this protocol and version, or were changed on the way.
    #[error("not the handshake of this protocol: {0}")]
    Invalid(#[from] snow::Error),
    /// The other side has another id than expected.
    #[error("another node answers there: got node {got}, expected {expected}")]
    WrongId {
        /// The id proven.
        got: NodeId,
        /// The id expected.
        expected: NodeId,
    },
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Session {
    /// The id that the other side has proven.
    pub peer: NodeId,
    /// Makes the records to be written.
    pub sealer: Sealer,
    /// Reads the records that come.
    pub opener: Opener,
}

/// A handshake under way. Each side sends what [`Handshake::send`] gives it and passes to [`Handshake::receive`] the
/// [`Handshake::awaited`] bytes that come next, until none are awaited.
pub struct Handshake {
    state: HandshakeState,
    /// The id that the other side must have.
    expected: Option<NodeId>,
    /// Messages sent and received.
    done: usize,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Handshake {
    /// The dialling side. If the other side's id is not `expected`, it does not learn this side's id. The ephemeral key
    /// follows from `seed`, which must be secret and never be used again.
    ///
    /// # Errors
    /// [`HandshakeError::Invalid`], never with this protocol's primitives.
    pub fn initiate(
        own: &Identity,
        carrier: &Carrier,
        expected: Option<NodeId>,
        seed: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        let prologue = carrier.prologue();
        Ok(Self { state: builder(own, &prologue, seed)?.build_initiator()?, expected, done: 0 })
    }

    /// The side that was dialled, with a seed as in [`Handshake::initiate`].
    ///
    /// # Errors
    /// As there.
    pub fn respond(own: &Identity, carrier: &Carrier, seed: [u8; 32]) -> Result<Self, HandshakeError> {
        let prologue = carrier.prologue();
        Ok(Self { state: builder(own, &prologue, seed)?.build_responder()?, expected: None, done: 0 })
    }

    /// This side's next message, if the turn is its.
    ///
    /// # Errors
    /// [`HandshakeError::Invalid`]; the handshake has failed then.
    pub fn send(&mut self) -> Result<Option<Vec<u8>>, HandshakeError> {
        if !self.state.is_my_turn() || self.state.is_handshake_finished() {
            return Ok(None);
        }
        let mut message = vec![0; HANDSHAKE_BYTES];
        let written = self.state.write_message(&[], &mut message)?;
        debug_assert_eq!(Some(&written), MESSAGE_BYTES.get(self.done));
        message.truncate(written);
        self.done += 1;
        Ok(Some(message))
    }

    /// Bytes of the other side's next message; `None` once both sides know each other. Nothing that comes after these
    /// bytes belongs to the message.
    pub fn awaited(&self) -> Option<usize> {
        MESSAGE_BYTES.get(self.done).copied()
    }

    /// Takes the other side's next message.
    ///
    /// # Errors
    /// [`HandshakeError`]; the handshake has failed then, and nothing more is to be sent.
    pub fn receive(&mut self, message: &[u8]) -> Result<(), HandshakeError> {
        // There is no payload: a place for one is not needed.
        self.state.read_message(message, &mut [])?;
        self.done += 1;
        if let Some(expected) = self.expected {
            let got = peer(&self.state)?;
            if got != expected {
                return Err(HandshakeError::WrongId { got, expected });
            }
        }
        Ok(())
    }

    /// The connection, once no message is awaited.
    ///
    /// # Errors
    /// [`HandshakeError::Invalid`], if one is.
    pub fn finish(self) -> Result<Session, HandshakeError> {
        session(self.state)
    }
}

fn builder<'a>(own: &'a Identity, prologue: &'a [u8], seed: [u8; 32]) -> Result<Builder<'a>, snow::Error> {
    let primitives = Box::new(Strict { seed });
    Builder::with_resolver(PROTOCOL.parse()?, primitives).local_private_key(own.secret())?.prologue(prologue)
}

/// Who the other side is, once its static key has come.
fn peer(state: &HandshakeState) -> Result<NodeId, snow::Error> {
    state.get_remote_static().map(id_of).ok_or(snow::Error::Input)
}

fn session(state: HandshakeState) -> Result<Session, HandshakeError> {
    let peer = peer(&state)?;
    let (sealer, opener) = halves(state.into_stateless_transport_mode()?);
    Ok(Session { peer, sealer, opener })
}

#[cfg(test)]
mod tests;
