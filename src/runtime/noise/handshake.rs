//! The three messages of XX. None carries a payload, so each has a fixed length, and neither side ever reads further than
//! the other's message: 96 bytes each way in all.

use std::io;

use snow::{Builder, HandshakeState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::identity::{Identity, id_of};
use super::record::{Opener, Sealer, TAG_BYTES, halves};
use super::{PROLOGUE, PROTOCOL, Strict};
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
    /// The connection ended, or the network failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The received bytes are no message of this protocol and version, or were changed on the way.
    #[error("not the handshake of this protocol: {0}")]
    Invalid(#[from] snow::Error),
    /// The other side has another id than expected.
    #[error("another node is there: got node {got}, expected {expected}")]
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

/// The dialling side. If the other side's id is not `expected`, it does not learn this side's id.
///
/// # Errors
/// [`HandshakeError`]; nothing more is to be read or written then.
pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    expected: Option<NodeId>,
) -> Result<Session, HandshakeError> {
    let mut state = builder(own)?.build_initiator()?;
    send(stream, &mut state, MESSAGE_BYTES[0]).await?;
    receive(stream, &mut state, MESSAGE_BYTES[1]).await?;
    let got = peer(&state)?;
    if let Some(expected) = expected.filter(|expected| *expected != got) {
        return Err(HandshakeError::WrongId { got, expected });
    }
    send(stream, &mut state, MESSAGE_BYTES[2]).await?;
    session(state)
}

/// The side that was dialled.
///
/// # Errors
/// [`HandshakeError`]; nothing more is to be read or written then.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
) -> Result<Session, HandshakeError> {
    let mut state = builder(own)?.build_responder()?;
    receive(stream, &mut state, MESSAGE_BYTES[0]).await?;
    send(stream, &mut state, MESSAGE_BYTES[1]).await?;
    receive(stream, &mut state, MESSAGE_BYTES[2]).await?;
    session(state)
}

fn builder(own: &Identity) -> Result<Builder<'_>, snow::Error> {
    Builder::with_resolver(PROTOCOL.parse()?, Box::new(Strict)).local_private_key(own.secret())?.prologue(PROLOGUE)
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    state: &mut HandshakeState,
    length: usize,
) -> Result<(), HandshakeError> {
    let mut buffer = [0; HANDSHAKE_BYTES];
    let written = state.write_message(&[], &mut buffer)?;
    debug_assert_eq!(written, length);
    Ok(stream.write_all(&buffer[..written]).await?)
}

async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    state: &mut HandshakeState,
    length: usize,
) -> Result<(), HandshakeError> {
    let mut buffer = [0; HANDSHAKE_BYTES];
    stream.read_exact(&mut buffer[..length]).await?;
    // There is no payload: a place for one is not needed.
    state.read_message(&buffer[..length], &mut [])?;
    Ok(())
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
