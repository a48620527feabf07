//! The handshake of [`p2p::noise`](crate::p2p::noise) over a stream, and the file of a node's key.

mod identity;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use identity::{IdentityError, KEY_FILE, open_identity};

use crate::p2p::kad::NodeId;
use crate::p2p::noise::{Carrier, HANDSHAKE_BYTES, Handshake, HandshakeError, Identity, Session};

/// Why there is no connection with a node.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection ended, or the network failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side does not speak this protocol, or is another node.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// The dialling side over TCP. If the other side's id is not `expected`, it does not learn this side's id.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    expected: Option<NodeId>,
) -> Result<Session, ConnectError> {
    initiate_over(stream, own, &Carrier::Tcp, expected).await
}

/// The dialling side. If the other side's id is not `expected`, it does not learn this side's id.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn initiate_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    carrier: &Carrier,
    expected: Option<NodeId>,
) -> Result<Session, ConnectError> {
    carry(stream, Handshake::initiate(own, carrier, expected, rand::random())?).await
}

/// The side that was dialled over TCP.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
) -> Result<Session, ConnectError> {
    respond_over(stream, own, &Carrier::Tcp).await
}

/// The side that was dialled.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn respond_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    carrier: &Carrier,
) -> Result<Session, ConnectError> {
    carry(stream, Handshake::respond(own, carrier, rand::random())?).await
}

/// Carries the messages of both sides. No side reads further than the other's message.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut handshake: Handshake,
) -> Result<Session, ConnectError> {
    let mut buffer = [0; HANDSHAKE_BYTES];
    loop {
        if let Some(message) = handshake.send()? {
            stream.write_all(&message).await?;
        }
        let Some(length) = handshake.awaited() else { return Ok(handshake.finish()?) };
        stream.read_exact(&mut buffer[..length]).await?;
        handshake.receive(&buffer[..length])?;
    }
}

#[cfg(test)]
mod tests;
